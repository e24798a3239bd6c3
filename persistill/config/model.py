"""A network by its name."""

from typing import Any

from persistill.settings import Settings


class Model(Settings):
    """A network by its name, and the weights from which its training starts.

    Attributes:
        name: "wrn-16-3", "timm/mobilenetv3_small_100", "torchvision/resnet18", or your own "package.module:function".
        initial: "pretrained" for the weights that timm or torchvision publish for it, or the path of a safetensors
            file of such a network. The classifier may be for other classes, and starts fresh then. None for random
            weights.
    """

    name: str
    initial: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As for all settings; ``initial`` is left out where there is none, as before there was such a field."""
        return {name: value for name, value in super().to_json().items() if (name, value) != ("initial", None)}
