"""Feature pyramids on any encoder (Lin et al. 2017, arXiv 1612.03144)."""

from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from persistill.errors import UserError
from persistill.models.encoder import Encoder
from persistill.structures import FeatureMapSpec

_FINEST = 4
"""Stride of the finest stage that is used: finer ones cost more than the rest of the network together."""


class Pyramid(NamedTuple):
    """Which pyramid a head stands on.

    Attributes:
        stages: the most stages of the encoder that go in, counted from the last.
        extra: "conv": two levels more, by convolutions of stride 2 on the last one, as RetinaNet and FCOS have them.
            "pool": one level more, by leaving out every second place, as Faster R-CNN has it.
    """

    stages: int
    extra: Literal["conv", "pool"]


class FPNBackbone(nn.Module):
    """An encoder with torchvision's ``FeaturePyramidNetwork`` behind it, in the form of torchvision's backbones.

    Args:
        encoder: gives the stages. Of those with one stride the last counts; those with a stride below 4 are left out.
        out_channels: channels of all levels.
        pyramid: which levels.

    Attributes:
        out_channels: as given; torchvision's heads read it.
        strides: of the levels, from fine to coarse.

    Raises:
        UserError: if the encoder has no stage with a stride of 4 or more.
    """

    def __init__(self, encoder: Encoder, out_channels: int, pyramid: Pyramid) -> None:
        from torchvision.ops import feature_pyramid_network as fpn  # noqa: PLC0415  slow to import

        super().__init__()
        self.encoder = encoder
        self.out_channels = out_channels
        by_stride = {spec.stride: name for name, spec in encoder.feature_maps.items() if spec.stride >= _FINEST}
        if not by_stride:
            strides = ", ".join(str(spec.stride) for spec in encoder.feature_maps.values()) or "none"
            raise UserError(
                f"{encoder.name!r} has stages with strides of {strides}, and a feature pyramid needs one of {_FINEST} "
                "or more. Take another encoder."
            )
        self._stages = tuple(by_stride[stride] for stride in sorted(by_stride)[-pyramid.stages :])
        specs: list[FeatureMapSpec] = [encoder.feature_maps[name] for name in self._stages]
        extra: Any = fpn.LastLevelMaxPool()
        if pyramid.extra == "conv":
            extra = fpn.LastLevelP6P7(out_channels, out_channels)
        self.fpn = fpn.FeaturePyramidNetwork([spec.channels for spec in specs], out_channels, extra_blocks=extra)
        reached = [spec.stride for spec in specs]
        more = 2 if pyramid.extra == "conv" else 1
        self.strides = (*reached, *(reached[-1] * 2**power for power in range(1, more + 1)))

    @property
    def pooled_levels(self) -> tuple[str, ...]:
        """Names of the levels that regions are pooled from: all but the extra ones."""
        return self._stages

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (B, C, H, W) -> level -> (B, out_channels, h, w), from fine to coarse."""
        _, maps = self.encoder(x)
        levels: dict[str, Tensor] = self.fpn({name: maps[name] for name in self._stages})
        return levels
