"""Persistence images of images as they come: the same computation for what is stored and for the training loop."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from persistill.data.views.memmap import stored, unit
from persistill.topology import PersistenceImages, persistence_images


@dataclass(frozen=True)
class Drawing:
    """How images become the values of a view.

    Attributes:
        images: settings of the vectorization, with what was fitted.
        scans: how images are read, "rows" and "columns".
        peak: the intensity that becomes 1; larger ones are cut there.
        dtype: as which values are kept, see ``stored``.
        threads: how many threads; None for torch's number.
    """

    images: PersistenceImages
    scans: tuple[Literal["rows", "columns"], ...]
    peak: float
    dtype: str
    threads: int | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images, uint8 or floats in [0, 1] -> (B, scans * C, rows, columns) as they are kept."""
        values = persistence_images(images, self.images, scans=self.scans, threads=self.threads)
        return stored(values.div_(self.peak).clamp_(max=1), self.dtype)


@dataclass(frozen=True)
class DrawnView:
    """A view of images that are others at every epoch: computed from the batch instead of read from a file.

    For images that were not changed it holds, bit for bit on the CPU, what the stored view holds. On a GPU the images
    are drawn there, and an 8-bit value on the edge between two may fall to the other side.

    Attributes:
        drawing: how images become values.
        mean: per channel, measured on the stored view of training images, values in [0, 1].
        std: likewise.
    """

    drawing: Drawing
    mean: Sequence[float]
    std: Sequence[float]

    def draw(self, images: Tensor) -> Tensor:
        """The view of some images.

        Args:
            images: (B, C, H, W), uint8, or float32 in [0, 1].

        Returns:
            (B, C, H, W) float32 in [0, 1], on the device of ``images``.
        """
        return unit(self.drawing(images))
