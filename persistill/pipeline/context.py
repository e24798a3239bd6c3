"""What every stage is worked with."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from persistill.config import Recipe
from persistill.pipeline.data_module import DataModule
from persistill.ranks import Ranks
from persistill.storage import Runs
from persistill.tasks import TASKS, Task
from persistill.utils.progress import Progress


@dataclass(frozen=True)
class Context:
    """What every stage is worked with. Two processes that make it of the same arguments do the same work.

    Attributes:
        recipe: what to do.
        data: its images.
        runs: where the run folders lie.
        progress: told of everything that takes time.
        command: the command line that repeats this, for the report.
        auto_batch: take batches of a training in parts where memory runs out.
        ranks: the processes that train networks together.
    """

    recipe: Recipe
    data: DataModule
    runs: Runs
    progress: Progress
    command: str = ""
    auto_batch: bool = False
    ranks: Ranks = field(default_factory=Ranks)

    @cached_property
    def task(self) -> Task:
        """What networks are to do."""
        return TASKS.find(self.recipe.task)

    @property
    def out(self) -> Path:
        """The folder of this machine that holds the run folders that are worked at."""
        return self.runs.path

    @property
    def device(self) -> torch.device:
        """Where networks and batches are."""
        return self.data.device
