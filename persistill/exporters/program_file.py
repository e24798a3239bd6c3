"""The student as a ``torch.export`` program: runs in torch without persistill, and compiles ahead of time."""

from pathlib import Path

import torch
from torch import nn
from torch.export import ExportedProgram


def to_program(student: nn.Module, shape: tuple[int, int, int]) -> ExportedProgram:
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


def open_program(path: Path) -> nn.Module:
    """The program in a file, which takes images (B, C, H, W) in [0, 1] and returns a tensor or several."""
    with path.open("rb") as file:
        return torch.export.load(file).module()
