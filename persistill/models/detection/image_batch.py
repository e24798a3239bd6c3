"""Images of several sizes in one tensor, as torchvision's ``ImageList``, made once for all networks that see them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from persistill.errors import UserError

if TYPE_CHECKING:
    from torchvision.models.detection.image_list import ImageList

SIZE_DIVISIBLE = 32
"""Height and width of a batch are multiples of it, as in torchvision: most networks halve images five times."""


def batch_images(images: Sequence[Tensor], size_divisible: int = SIZE_DIVISIBLE) -> "ImageList":
    """Put images of several sizes into one batch, each in the upper left corner, zeros (the mean color) around it.

    Make it once, and give it to the student and to its teachers: torchvision's own transform would resize each image
    anew for each network, in training to a size drawn at random, and no two maps would show the same places.

    Args:
        images: (C, H, W) each, normalized, of one number of channels.
        size_divisible: height and width of the batch are the next multiples of this.

    Returns:
        ``tensors`` (B, C, H, W), and ``image_sizes``, the height and width of each image.

    Raises:
        UserError: if there is no image, or they differ in their channels.
    """
    from torchvision.models.detection.image_list import ImageList  # noqa: PLC0415  slow to import

    if not images or any(image.ndim != 3 or image.shape[0] != images[0].shape[0] for image in images):
        raise UserError(
            f"a batch is made of one or more images (C, H, W) with the same C; {[tuple(one.shape) for one in images]} "
            "were given."
        )
    sizes = [(image.shape[1], image.shape[2]) for image in images]
    height, width = (-(-max(sides) // size_divisible) * size_divisible for sides in zip(*sizes, strict=True))
    batch = images[0].new_zeros(len(images), images[0].shape[0], height, width)
    for slot, image in zip(batch, images, strict=True):
        slot[:, : image.shape[1], : image.shape[2]] = image
    return ImageList(batch, sizes)


def to_image_list(x: "Tensor | ImageList") -> "ImageList":
    """A tensor (B, C, H, W) of images that fill it, or an ``ImageList``, as an ``ImageList``."""
    if not isinstance(x, Tensor):
        return x
    from torchvision.models.detection.image_list import ImageList  # noqa: PLC0415

    return ImageList(x, [(x.shape[2], x.shape[3])] * len(x))


class GivenImages(list[Tensor]):
    """The images of a batch as the list that torchvision's detectors take, beside the batch itself.

    Args:
        batch: the images.
    """

    def __init__(self, batch: "ImageList") -> None:
        sizes = zip(batch.tensors, batch.image_sizes, strict=True)
        super().__init__(image[:, :height, :width] for image, (height, width) in sizes)
        self.batch = batch


class NoTransform(nn.Module):
    """Stands where a detector has its own transform, and neither resizes nor normalizes: the batch was made before."""

    def forward(self, images: GivenImages, targets: Any = None) -> tuple["ImageList", Any]:
        """The batch as it was given, and the targets."""
        return images.batch, targets

    def postprocess(self, result: Any, image_shapes: Any, original_image_sizes: Any) -> Any:  # noqa: ARG002
        """Detections in pixels of the batch, as they are."""
        return result


def check_images(x: Tensor, channels: int) -> None:
    """See that a tensor holds images.

    Raises:
        UserError: if it does not.
    """
    if x.ndim != 4 or x.shape[1] != channels or not torch.is_floating_point(x):
        raise UserError(
            f"the detector takes normalized images (B, {channels}, H, W) of floating point; {tuple(x.shape)} {x.dtype} "
            "was given."
        )
