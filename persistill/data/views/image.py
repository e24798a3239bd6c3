"""The image itself, as a view like the others."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from persistill.data.views.base import Shape, View
from persistill.data.views.registry import VIEWS

IMAGE = "image"
"""Its name in recipes, batches and weights files."""


class ImageView(View):
    """The image as it is read and augmented: what students see, and teachers that name no other view.

    It is not stored: every batch holds it.
    """

    def shape(self, image: Shape) -> Shape:
        """The shape of the image."""
        return image

    def compute(self, images: Tensor, fitted: Mapping[str, Any]) -> Tensor:  # noqa: ARG002 - nothing is fitted
        """The images, in [0, 1]."""
        return images if images.is_floating_point() else images.float() / 255


def is_stored(view: str) -> bool:
    """Whether what a view of this name shows is computed beforehand and stored: of all but the image itself.

    Noise, attacks and corruptions of images reach no network of a stored view.
    """
    return view != IMAGE


def with_image(named: Mapping[str, Any]) -> dict[str, View]:
    """All views that networks of a recipe may see, by name: the image, and those that the recipe names.

    Raises:
        UserError: if one of them is no view.
    """
    return {IMAGE: ImageView(), **{name: VIEWS.find(view) for name, view in named.items()}}
