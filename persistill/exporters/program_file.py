"""The student as a ``torch.export`` program: runs in torch without persistill, and compiles ahead of time."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from persistill.exporters.student import Student


def to_program(student: Student, shape: tuple[int, int, int]) -> ExportedProgram:
    """``student`` as a program, batch size free.

    Args:
        student: on the CPU, in evaluation mode.
        shape: (C, H, W) of the images.
    """
    free_batch = {"image": {0: torch.export.Dim("batch")}}
    return torch.export.export(student, (torch.zeros(2, *shape),), dynamic_shapes=free_batch)


def write(program: ExportedProgram, path: Path) -> None:
    """Write a program as one .pt2 file, in place."""
    with path.open("wb") as file:  # by its name alone, torch would insist on the ending .pt2
        torch.export.save(program, file)


def open_program(path: Path) -> Callable[[Tensor], Tensor]:
    """The program in a file, ready to answer images (B, C, H, W) in [0, 1] with logits (B, K)."""
    with path.open("rb") as file:
        module = torch.export.load(file).module()

    def answer(images: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = module(images)
        return logits

    return answer
