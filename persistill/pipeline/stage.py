"""A step of a recipe."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persistill import run_folder
from persistill.run_folder import RunFolder


@dataclass(frozen=True)
class Stage:
    """One step of a recipe.

    Attributes:
        kind: of its run folder.
        name: of its run folder.
        inputs: all that its result depends on.
        work: fills the folder and returns the result.
    """

    kind: run_folder.Kind
    name: str
    inputs: dict[str, Any]
    work: Callable[[RunFolder], dict[str, Any]]

    @property
    def key(self) -> str:
        """Hash of the inputs."""
        return run_folder.key_of(self.kind, self.inputs)

    @property
    def folder_name(self) -> str:
        """The run folder's name below the root."""
        return run_folder.place(Path(), self.kind, self.name, self.key).name
