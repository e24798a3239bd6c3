"""The student for phones: an ExecuTorch program with XNNPACK's kernels. Needs the extra "executorch"."""

from collections.abc import Callable
from pathlib import Path

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime
from torch import Tensor, nn


def write(student: nn.Module, shape: tuple[int, int, int], path: Path) -> None:
    """Write ``student`` as one .pte file that takes one image at a time: its memory is planned beforehand.

    Args:
        student: on the CPU, in evaluation mode.
        shape: (C, H, W) of the images.
        path: the file. It is written in place.
    """
    program = torch.export.export(student, (torch.zeros(1, *shape),))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    path.write_bytes(lowered.buffer)


def open_program(path: Path) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """The program in a file, ready to answer one image (1, C, H, W) in [0, 1] with its outputs.

    It computes on ExecuTorch's own threads, one for each core that the process may use.
    """
    content = path.read_bytes()
    method = Runtime.get().load_program(content).load_method("forward")

    # Weights are read where they lie in ``content``, which the runtime does not keep alive: the answer does.
    def answer(images: Tensor, _content: bytes = content) -> tuple[Tensor, ...]:
        return tuple(torch.as_tensor(output).clone() for output in method.execute([images.contiguous()]))

    return answer
