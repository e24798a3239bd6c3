"""Views of images as they come: the same computation for what is stored and for the training loop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from persistill.data.views.base import View
from persistill.data.views.memmap import stored, unit
from persistill.errors import UserError


@dataclass(frozen=True)
class ViewTransform:
    """How images become the values of a view.

    Attributes:
        view: its settings.
        fitted: what it measured on training images.
        peak: the value that becomes 1; larger ones are cut there.
    """

    view: View
    fitted: Mapping[str, Any]
    peak: float

    def __call__(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images, uint8 or floats in [0, 1] -> the view (B, C, H, W) as it is kept.

        Raises:
            UserError: if the view computes something of another shape than it says.
        """
        return stored(self.values(images).div(self.peak).clamp_(0, 1), self.view.dtype)

    def values(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images -> values before they are divided and cut."""
        values = self.view.compute(images, self.fitted)
        channels, height, width = images.shape[1:]
        expected = (len(images), *self.view.shape((channels, height, width)))
        if not isinstance(values, Tensor) or tuple(values.shape) != expected or not values.is_floating_point():
            given = f"{tuple(values.shape)} {values.dtype}" if isinstance(values, Tensor) else type(values).__name__
            raise UserError(
                f"the view {type(self.view).__name__} must compute {expected} floating-point values, as its shape() "
                f"says; it computed {given}."
            )
        return values


@dataclass(frozen=True)
class OnlineView:
    """A view of images that are others at every epoch: computed from the batch instead of read from a file.

    For images that were not changed it holds, bit for bit on the CPU, what the stored view holds. On a GPU the view
    is computed there, and an 8-bit value on the edge between two may fall to the other side.

    Attributes:
        transform: how images become values.
        mean: per channel, measured on the stored view of training images, values in [0, 1].
        std: likewise.
    """

    transform: ViewTransform
    mean: Sequence[float]
    std: Sequence[float]

    def compute(self, images: Tensor) -> Tensor:
        """The view of some images.

        Args:
            images: (B, C, H, W), uint8, or float32 in [0, 1].

        Returns:
            (B, C, H, W) float32 in [0, 1], on the device of ``images``.
        """
        return unit(self.transform(images))
