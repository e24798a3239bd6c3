"""What every view is: another image of an image, computed from its pixels, that a teacher may see instead."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from torch import Tensor

from persistill.settings import Settings
from persistill.topology import Diagrams

Shape = tuple[int, int, int]
Count = Annotated[int, Field(ge=2)]
"""Of samples along an axis."""


class View(Settings, ABC):
    """Another image of an image. Subclass it for a view of your own: ``shape`` and ``compute`` are all that it needs.

    A view is computed once for all images and stored, and computed again in every batch where images are augmented;
    values are divided by the largest one among up to 1000 training images, and cut to [0, 1].

    Attributes:
        dtype: of the stored values: "uint8" keeps floor(255 * value), "float16" 11 bits.
    """

    dtype: Literal["uint8", "float16"] = "uint8"

    @abstractmethod
    def shape(self, image: Shape) -> Shape:
        """(C, H, W) of the view of images of shape (C, H, W)."""

    @abstractmethod
    def compute(self, images: Tensor, fitted: Mapping[str, Any]) -> Tensor:
        """The view of some images.

        Args:
            images: (B, C, H, W), uint8, or floating point in [0, 1].
            fitted: what ``fit`` returned.

        Returns:
            (B, C, H, W) of ``shape``, floating point, 0 or more, on the device of ``images``.
        """

    def fit(self, images: npt.NDArray[np.uint8]) -> dict[str, Any]:  # noqa: ARG002 - for those that need it
        """What has to be measured on training images before any view is computed, as plain JSON; by default nothing.

        Args:
            images: (n, C, H, W), up to 1000 of them, evenly spaced.

        Raises:
            UserError: if the images hold nothing to fit to.
        """
        return {}

    @property
    def in_unit_range(self) -> bool:
        """Whether values lie in [0, 1] as they are computed, so that none need be divided."""
        return False

    @property
    def explanation(self) -> str:
        """How the view is to be read, for the report; by default the first line of the class's docstring."""
        return (inspect.getdoc(type(self)) or "").partition("\n")[0]

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of groups of channels, each with one channel for every channel of the image; empty for others."""
        return ()

    def diagrams(self, images: npt.NDArray[np.uint8]) -> "Diagrams[npt.NDArray[Any]] | None":  # noqa: ARG002
        """The persistence diagrams behind the view of images (B, C, H, W), for the report: (B, channels of the view).

        None for views without.
        """
        return None

    def described(self, fitted: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """The settings with what was fitted, as plain JSON, for the report."""
        return {name: value for name, value in self.to_json().items() if name != "is"}
