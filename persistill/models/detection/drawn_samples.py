"""Which anchors and regions of an image a detector of two stages is trained on: drawn for each image by itself.

What is drawn from one sequence for a whole batch changes where the batch is taken in parts, or shared by processes.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import torch
from torch import Tensor

Sampler = Callable[[list[Tensor]], tuple[list[Tensor], list[Tensor]]]
"""torchvision's: labels of each image -> masks of what is taken as objects, and as background."""

_IMAGES: ContextVar[tuple[int, Tensor] | None] = ContextVar("images", default=None)


@contextlib.contextmanager
def samples_by_image(step: int, index: Tensor) -> Iterator[None]:
    """Have detectors that are trained inside draw by the step and the image alone.

    Args:
        step: of the training.
        index: (B,) positions of the images in their split, in the order of the batch.
    """
    token = _IMAGES.set((step, index))
    try:
        yield
    finally:
        _IMAGES.reset(token)


def draw_samples(sampler: Sampler, labels: list[Tensor], stage: str) -> tuple[list[Tensor], list[Tensor]]:
    """What a sampler draws: of each image by itself inside ``samples_by_image``, and else from torch's own sequence.

    Args:
        sampler: torchvision's.
        labels: of the anchors or regions of each image.
        stage: its name, so that the two stages of a detector draw different things.
    """
    images = _IMAGES.get()
    if images is None:
        return sampler(labels)
    step, index = images
    taken: tuple[list[Tensor], list[Tensor]] = ([], [])
    device = labels[0].device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for image, label in zip(index.tolist(), labels, strict=True):
            digest = hashlib.sha256(repr((stage, step, image)).encode()).digest()
            torch.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
            for kept, mask in zip(taken, sampler([label]), strict=True):
                kept.extend(mask)
    return taken
