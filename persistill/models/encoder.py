"""Networks without their classifiers, as the first part of networks that classify every pixel or find objects."""

import contextlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from persistill.errors import UserError
from persistill.models.base import Network
from persistill.models.feature_extraction.feature_layout import Size
from persistill.models.feature_extraction.trace import trace
from persistill.structures import FeatureMapSpec

DENSE_STRIDE = 16
"""Of the last map of a network that classifies every pixel, where timm can dilate the stages behind it (Howard et al.
2019, section 6.4)."""
_SIZE = (64, 64)


class Encoder(nn.Module, ABC):
    """The stages of a network.

    Attributes:
        name: of the network, as ``build`` takes it.
        module: the network itself, without its classifier.
        in_channels: channels of the images.
        embedding_dim: D.
        feature_maps: name of a stage -> channels and stride, from the first stage to the last.
        image_size: height and width of the images that it takes; None for all.
    """

    name: str
    module: nn.Module
    in_channels: int
    embedding_dim: int
    feature_maps: dict[str, FeatureMapSpec]
    image_size: Size | None = None

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Images (B, C, H, W), normalized -> the pooled output (B, D), and the maps of the stages."""

    if TYPE_CHECKING:

        def __call__(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            """Call ``forward``; declared because ``nn.Module`` leaves the type of its result open."""


class OwnEncoder(Encoder):
    """One of our own networks; the pooled output is its embedding.

    Args:
        network: loses its classifier.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.name = network.name
        self.module = network
        self.in_channels = network.spec.in_channels
        self.embedding_dim = network.spec.embedding_dim
        self.feature_maps = network.spec.feature_maps
        network.classifier = nn.Identity()

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Images (B, C, H, W), normalized -> the pooled output (B, D), and the maps of the stages."""
        output = self.module(x)
        return output.embedding, output.feature_maps


class TimmEncoder(Encoder):
    """A network of timm up to its last stage (``features_only=True``); the pooled output is the mean of the last map.

    Args:
        name: as timm writes it.
        in_channels: channels of the images.
        image_size: height and width of the images; None for 64x64, or for the size that timm states where the network
            takes no other.
        last_stride: of its last map, where timm can make it so; None for the network's own.

    Raises:
        UserError: if timm cannot give its stages, or it does not take such images.
    """

    def __init__(
        self, name: str, in_channels: int, image_size: Size | None, last_stride: int | None = DENSE_STRIDE
    ) -> None:
        super().__init__()
        import timm  # noqa: PLC0415  slow to import

        config = timm.get_pretrained_cfg(name) or timm.models.PretrainedCfg()
        size = image_size or _SIZE
        if config.fixed_input_size:
            size = image_size or (config.input_size[1], config.input_size[2])
            self.image_size = size
        self.name = f"timm/{name}"
        self.module: Any = _stages(name, in_channels, self.image_size, last_stride)
        self.in_channels = in_channels
        info = self.module.feature_info
        self.feature_maps = {
            path: FeatureMapSpec(channels, stride)
            for path, channels, stride in zip(info.module_name(), info.channels(), info.reduction(), strict=True)
        }
        self.embedding_dim = info.channels()[-1]
        _, maps = trace(self.module, in_channels, size)
        channels = [spec.channels for spec in self.feature_maps.values()]
        if [one.ndim for one in maps] != [4] * len(channels):
            raise UserError(
                f"timm gives {[tuple(one.shape) for one in maps]} as the stages of {name!r}, and maps (B, C, H, W) of "
                f"{channels} channels are needed of an encoder. Take another one."
            )

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Images (B, C, H, W), normalized -> the pooled output (B, D), and the maps of the stages."""
        maps: dict[str, Tensor] = {}
        for (name, spec), given in zip(self.feature_maps.items(), self.module(x), strict=True):
            maps[name] = given if given.shape[1] == spec.channels else given.permute(0, 3, 1, 2)  # channels last
        return maps[name].mean((2, 3)), maps


def _stages(name: str, in_channels: int, image_size: Size | None, last_stride: int | None) -> Any:
    import timm  # noqa: PLC0415

    options: dict[str, Any] = {"features_only": True, "in_chans": in_channels}
    if image_size is not None:
        options["img_size"] = image_size
    try:
        made: Any = timm.create_model(name, **options)
    except Exception as error:  # its ways to say that a network has no stages are many
        raise UserError(
            f"timm cannot give the stages of {name!r} ({type(error).__name__}: {error}), so that it cannot be an "
            "encoder. Take another one."
        ) from error
    if last_stride is not None and made.feature_info.reduction()[-1] > last_stride:
        with contextlib.suppress(AssertionError, NotImplementedError, TypeError, ValueError):
            made = timm.create_model(name, output_stride=last_stride, **options)
    return made
