"""A trained network before images that are not as those of its training: normalization, channels, size, classes."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from persistill.errors import UserError
from persistill.models.base import Network
from persistill.models.detection.detector import Detector
from persistill.structures import FeatureSpec, ModelOutput

_LUMINANCE = (0.299, 0.587, 0.114)
"""ITU-R 601-2, as images are read with one channel."""


class ImageFormat(NamedTuple):
    """How images reach a network.

    Attributes:
        shape: (C, H, W).
        mean: of each channel, of values in [0, 1], that is subtracted.
        std: likewise, by which is divided.
    """

    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]


class InputAdapter(Network):
    """A network that takes images of one format and shows them to another network in the format of its training.

    Gray images are repeated for three channels, color images become luminance for one; another size is reached by
    bicubic, antialiased scaling. Where nothing differs, images pass unchanged, bit for bit.

    Args:
        network: the trained network.
        given: how images come.
        own: how the network needs them.
        classes: for each class of the images, its place among the network's; None if they are the same.

    Raises:
        UserError: if a detector would see images of another size, or has other classes: its boxes, levels and heads
            are told apart by both.
    """

    def __init__(
        self, network: Network, given: ImageFormat, own: ImageFormat, classes: Sequence[int] | None = None
    ) -> None:
        spec = network.spec
        count = spec.num_classes if classes is None else len(classes)
        super().__init__(network.name, FeatureSpec(given.shape[0], count, spec.embedding_dim, spec.feature_maps))
        if isinstance(network, Detector) and (classes is not None or own.shape[1:] != given.shape[1:]):
            what = (
                "classes in another order or number than those of the images"
                if classes is not None
                else f"images of {own.shape[1]}x{own.shape[2]}, and those here are {given.shape[1]}x{given.shape[2]}"
            )
            raise UserError(
                f"the detector {network.name!r} was trained with {what}. Detectors see images as they are: state the "
                f"size of those here for it (size=({given.shape[1]}, {given.shape[2]})), and give it the same classes "
                "in the same order."
            )
        self.network = network
        self._size = own.shape[1:] if own.shape[1:] != given.shape[1:] else None
        self._channels = own.shape[0]
        self._same = own == given
        for name, values in (
            ("_given_mean", given.mean),
            ("_given_std", given.std),
            ("_mean", own.mean),
            ("_std", own.std),
        ):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("_luminance", torch.tensor(_LUMINANCE).view(1, 3, 1, 1), persistent=False)
        self._classes = None if classes is None else list(classes)

    def forward(self, x: Tensor) -> ModelOutput:
        """Classify images ``x``, (B, C, H, W), normalized as given.

        Returns:
            What the network returns, logits in the order of the images' classes; those of pixels (B, K, H, W) are
            brought back to the size of the image.
        """
        output = self.network(x if self._same else self._shown(x))
        logits = output.logits if self._classes is None else output.logits[:, self._classes]
        if logits.ndim == 4 and logits.shape[2:] != x.shape[2:]:
            logits = functional.interpolate(logits, x.shape[2:], mode="bilinear")
        return output._replace(logits=logits)

    def get_classifier(self) -> nn.Linear | None:
        """The network's, with the rows of the images' classes."""
        found = self.network.get_classifier()
        if found is None or self._classes is None:
            return found
        chosen = nn.Linear(found.in_features, len(self._classes), bias=found.bias is not None)
        chosen.to(device=found.weight.device, dtype=found.weight.dtype).requires_grad_(requires_grad=False)
        chosen.weight.copy_(found.weight[self._classes])
        if found.bias is not None:
            chosen.bias.copy_(found.bias[self._classes])
        return chosen

    def _shown(self, x: Tensor) -> Tensor:
        images = x * self.get_buffer("_given_std") + self.get_buffer("_given_mean")
        if images.shape[1] == 1 and self._channels == 3:
            images = images.expand(-1, 3, -1, -1)
        elif images.shape[1] == 3 and self._channels == 1:
            images = (images * self.get_buffer("_luminance")).sum(1, keepdim=True)
        if self._size is not None:
            images = functional.interpolate(images, self._size, mode="bicubic", antialias=True).clamp(0, 1)
        return (images - self.get_buffer("_mean")) / self.get_buffer("_std")
