"""The student for phones: an ExecuTorch program with XNNPACK's kernels. Needs the extra "executorch"."""

from collections.abc import Callable
from pathlib import Path

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime
from torch import Tensor

from persistill.exporters.student import Student


def write(student: Student, shape: tuple[int, int, int], path: Path) -> None:
    """Write ``student`` as one .pte file that takes one image at a time: its memory is planned beforehand.

    Args:
        student: on the CPU, in evaluation mode.
        shape: (C, H, W) of the images.
        path: the file. It is written in place.
    """
    program = torch.export.export(student, (torch.zeros(1, *shape),))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    path.write_bytes(lowered.buffer)


def open_program(path: Path) -> Callable[[Tensor], Tensor]:
    """The program in a file, ready to answer one image (1, C, H, W) in [0, 1] with logits (1, K).

    It computes on ExecuTorch's own threads, one for each core that the process may use.
    """
    content = path.read_bytes()
    method = Runtime.get().load_program(content).load_method("forward")

    # Weights are read where they lie in ``content``, which the runtime does not keep alive: the answer does.
    def answer(images: Tensor, _content: bytes = content) -> Tensor:
        (logits,) = method.execute([images.contiguous()])
        return torch.as_tensor(logits).clone()

    return answer
