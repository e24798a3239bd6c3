"""The stages of a classifier of torchvision, without the rest of it."""

from typing import Any

from torch import Tensor, nn

from persistill.errors import UserError
from persistill.models.encoder import Encoder
from persistill.models.feature_extraction.default_layers import default_layers
from persistill.models.feature_extraction.feature_layout import Layout, Size, channels_and_size, infer_layout, stride
from persistill.models.feature_extraction.trace import trace
from persistill.models.libraries import check_torchvision, replace_first_convolution, without_auxiliary_heads
from persistill.structures import FeatureMapSpec

_SIZE = (224, 224)


class TorchvisionEncoder(Encoder):
    """A network of torchvision up to its last stage; the pooled output is the mean of the last map.

    Its tensors have the names that they have in the classifier.

    Args:
        name: as torchvision writes it, "resnet50".
        in_channels: channels of the images; for another number than three the first convolution gives way.
        image_size: height and width of the images with which it is traced; None for 224x224.

    Raises:
        UserError: if there is none of that name, it does not take such images, or it has no stages.
    """

    def __init__(self, name: str, in_channels: int, image_size: Size | None) -> None:
        super().__init__()
        from torchvision import models  # noqa: PLC0415  slow to import
        from torchvision.models.feature_extraction import create_feature_extractor  # noqa: PLC0415

        check_torchvision(name)
        if name not in models.list_models(module=models):
            raise UserError(
                f"torchvision/{name} classifies pixels; the encoder of a detector is a classifier of images."
            )
        module: nn.Module = models.get_model(name, **without_auxiliary_heads(name))
        if in_channels != 3:
            replace_first_convolution(module, in_channels)
        size = image_size or _SIZE
        calls, _ = trace(module, in_channels, size)
        self._layers = tuple(default_layers(module, calls, size))
        shapes = {path: calls[path].output_shape or () for path in self._layers}
        if len(shapes) < 2 or any(len(shape) != 4 for shape in shapes.values()):
            raise UserError(
                f"torchvision/{name} has no stages of falling resolution, and a feature pyramid is built on them. Take "
                "a convolutional network or one like it."
            )
        self.name = f"torchvision/{name}"
        self.module: Any = create_feature_extractor(module, {path: path for path in self._layers})
        self.in_channels = in_channels
        layouts = {path: infer_layout(shape, size) or Layout("channels_first") for path, shape in shapes.items()}
        self._channels_last = {path for path, layout in layouts.items() if layout.kind == "channels_last"}
        self.feature_maps = {}
        for path, shape in shapes.items():
            channels, places = channels_and_size(shape, layouts[path], size)
            self.feature_maps[path] = FeatureMapSpec(channels, stride(places, size))
        self.embedding_dim = [*self.feature_maps.values()][-1].channels

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Images (B, C, H, W), normalized -> the pooled output (B, D), and the maps of the stages."""
        found = self.module(x)
        maps = {
            path: found[path].permute(0, 3, 1, 2) if path in self._channels_last else found[path]
            for path in self._layers
        }
        return maps[self._layers[-1]].mean((2, 3)), maps
