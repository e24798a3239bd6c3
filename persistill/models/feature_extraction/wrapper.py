"""Wraps any ``nn.Module`` that classifies images, or their pixels, as a ``Network``, without changing it."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from persistill.errors import UserError, unknown
from persistill.models.base import Network
from persistill.models.feature_extraction import timm_metadata
from persistill.models.feature_extraction.default_layers import default_layers
from persistill.models.feature_extraction.feature_layout import Layout, Size, channels_and_size, stride, to_feature_map
from persistill.models.feature_extraction.hooks import KeptHooks, capture
from persistill.models.feature_extraction.trace import BATCH, Call, first_tensor, trace
from persistill.structures import FeatureMapSpec, FeatureSpec, ModelOutput


class AdaptedNetwork(Network):
    """Any classifier as a network that returns ``ModelOutput``. Made by ``adapt``.

    Attributes:
        module: the classifier itself. It carries no hooks outside of a forward pass, but for those of ``keep_hooks``.
        image_size: height and width of the images for which the spec was measured.
    """

    module: nn.Module

    def __init__(
        self, name: str, spec: FeatureSpec, module: nn.Module, layers: Mapping[str, Layout], head: str, image_size: Size
    ) -> None:
        super().__init__(name, spec)
        self.module = module
        self.image_size = image_size
        self._layers = dict(layers)
        self._head = head
        self._kept: KeptHooks | None = None

    @property
    def head(self) -> str:
        """Path of the module whose input is the embedding."""
        return self._head

    def get_classifier(self) -> nn.Linear | None:
        """The head, if it is one linear layer."""
        found = self.module.get_submodule(self._head)
        return found if isinstance(found, nn.Linear) else None

    def forward(self, x: Tensor) -> ModelOutput:
        """Classify images.

        Args:
            x: (B, in_channels, H, W), normalized, of a size that the module takes.

        Returns:
            Logits (B, num_classes) or (B, num_classes, H, W), embedding (B, D), and feature maps of the layers.

        Raises:
            UserError: if a tapped module was not called this time, or its tokens form no grid for this image.
        """
        if self._kept is None:
            with capture(self.module, list(self._layers), [self._head]) as captured:
                output = self.module(x)
        else:
            self._kept.take()
            output = self.module(x)
            captured = self._kept.take()
        if absent := [path for path in self._layers if path not in captured.outputs] + [self._head] * (
            not captured.inputs
        ):
            raise UserError(
                f"{self.name!r} did not call {', '.join(absent)} this time, but did when it was adapted: its "
                "forward pass depends on its mode or input. Tap modules that are always called."
            )
        image = (x.shape[2], x.shape[3])
        maps: dict[str, Tensor] = {}
        for path, layout in self._layers.items():
            found = to_feature_map(captured.outputs[path], layout, image)
            if found is None:
                raise UserError(_no_grid(self.name, path, captured.outputs[path].shape, image))
            maps[path] = found
        logits = find_logits(output)
        assert logits is not None
        return ModelOutput(logits, _embedding(captured.inputs[self._head], self.module.get_submodule(self._head)), maps)

    @contextlib.contextmanager
    def keep_hooks(self) -> Iterator[None]:
        """Leave the hooks on the module for as long as the block lasts, as ``torch.compile`` needs it.

        Inside, the network is for one thread.
        """
        self._kept = KeptHooks(self.module, list(self._layers), [self._head])
        try:
            yield
        finally:
            self._kept.remove()
            self._kept = None


def adapt(
    module: nn.Module,
    in_channels: int,
    num_classes: int,
    layers: Sequence[str] | None = None,
    head: str | None = None,
    *,
    image_size: Size,
    name: str | None = None,
) -> AdaptedNetwork:
    """Make a network of any module that classifies images, or every pixel of them, by tracing one forward pass.

    The module is called once, on noise, in evaluation mode and without gradients; its modes, buffers and the random
    state are restored. It is neither copied nor changed: ``unwrap`` returns it.

    A tapped layer may return a feature map (B, C, H, W); a feature map (B, H, W, C), recognized by the channels that
    timm states or by the aspect ratio of the image; or tokens (B, N, C), which become a feature map (B, C, h, w) once
    the tokens before the grid (class, distillation, registers) are dropped: as many as timm's ``num_prefix_tokens``
    says, or else the fewest, at most eight, that leave a grid with the image's aspect ratio. If a layer returns several
    tensors, the first counts; if it is called several times, the last call.

    The embedding is what goes into the head, averaged over positions where it has any: the last ``nn.Linear`` or 1x1
    convolution with ``num_classes`` outputs that is called (inside the classifier that timm states, where it states
    one), unless ``head`` names another.

    Args:
        module: takes images (B, in_channels, H, W) and returns logits (B, num_classes), or (B, num_classes, H, W) for
            the pixels: as a tensor, as attribute or entry "logits" of what it returns, as entry "out", or as the first
            entry of a tuple.
        in_channels: channels of the images.
        num_classes: number of classes.
        layers: paths of the modules whose results are the feature maps, as ``named_modules`` gives them; an empty
            sequence for none. None: see ``default_layers.default_layers``.
        head: path of the module whose input is the embedding.
        image_size: height and width of the images. Other sizes may be used later if the module takes them.
        name: under which ``build`` makes the network again; without one it cannot be saved with its name.

    Returns:
        The network. Its spec was measured on images of ``image_size``; see ``feature_layout.stride``.

    Raises:
        UserError: if the module fails on such images or returns no such logits, if a path is wrong, with close
            matches, or if a tapped layer returns neither a feature map nor a grid of tokens.
    """
    kind = type(module).__name__
    _check_paths(module, [*(layers or ()), *([] if head is None else [head])])
    calls, output = trace(module, in_channels, image_size)
    _check_logits(kind, find_logits(output), num_classes, image_size)
    head = _find_head(module, calls, num_classes) if head is None else _called(kind, head, calls).path
    layouts, maps = {}, {}
    for path in default_layers(module, calls, image_size) if layers is None else layers:
        shape = _called(kind, path, calls).output_shape
        layout = None if shape is None else timm_metadata.layout(module, path, shape, image_size)
        if layout is None and shape is not None and len(shape) == 4:
            layout = Layout(
                "channels_first"
            )  # chosen by the caller: a feature map of an unusual shape, in torch's order
        if shape is None or layout is None:
            raise UserError(_no_map(kind, path, shape, image_size))
        channels, size = channels_and_size(shape, layout, image_size)
        layouts[path] = layout
        maps[path] = FeatureMapSpec(channels, stride(size, image_size))
    spec = FeatureSpec(in_channels, num_classes, _width(kind, head, module, calls), maps)
    return AdaptedNetwork(kind if name is None else name, spec, module, layouts, head, image_size)


def unwrap(network: Network) -> nn.Module:
    """The original module inside an adapted network, free of hooks, with its own names and behavior.

    A network of our own has nothing inside: it is given back itself.
    """
    return network.module if isinstance(network, AdaptedNetwork) else network


def _check_paths(module: nn.Module, given: Sequence[str]) -> None:
    paths = [path for path, _ in module.named_modules(remove_duplicate=False) if path]
    for path in given:
        if path not in paths:
            kind = type(module).__name__
            raise unknown(
                f"module path in {kind}:", path, paths, f"Its named_modules() lists all {len(paths)}.", listed=False
            )


def _called(kind: str, path: str, calls: Mapping[str, Call]) -> Call:
    if path not in calls:
        inside = [other for other in calls if other.startswith(f"{path}.")]
        raise UserError(
            f"{path!r} in {kind} was not called on the way to the logits: a list of modules is not, nor one whose "
            f"forward is called directly. Tap {'one inside it: ' + ', '.join(inside[-3:]) if inside else 'another'}."
        )
    return calls[path]


def find_logits(output: Any) -> Tensor | None:
    """The logits in what a module returned: see ``adapt``; None if there are none."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        output = output.get("logits", output.get("out"))  # torchvision's segmentation says "out"
    return first_tensor(getattr(output, "logits", output))


def _check_logits(kind: str, logits: Tensor | None, num_classes: int, image: Size) -> None:
    if logits is None:
        raise UserError(
            f"{kind} does not return logits: give a module that returns a tensor (B, {num_classes}), or one under the "
            'name "logits", or first in a tuple.'
        )
    if logits.shape in ((BATCH, num_classes), (BATCH, num_classes, *image)):
        return
    if logits.ndim in (2, 4) and logits.shape[0] == BATCH and logits.shape[2:] in ((), image):
        raise UserError(
            f"{kind} has {logits.shape[1]} classes and {num_classes} are needed. Make it with that many, or put a last "
            f"layer with {num_classes} outputs in the place of its own."
        )
    raise UserError(
        f"{kind} returns {tuple(logits.shape)} for {BATCH} images of {image[0]}x{image[1]}, where logits ({BATCH}, "
        f"{num_classes}) are needed, or ({BATCH}, {num_classes}, {image[0]}, {image[1]}) for every pixel. Give a "
        "module that classifies whole images, or enlarge the logits to the size of the image."
    )


def _find_head(module: nn.Module, calls: Mapping[str, Call], num_classes: int) -> str:
    heads = [path for path in calls if _outputs(module.get_submodule(path)) == num_classes]
    place = timm_metadata.classifier(module)
    likely = [path for path in heads if place is not None and f"{path}.".startswith(f"{place}.")] or heads
    if likely:
        return likely[-1]
    raise UserError(
        f"{type(module).__name__} called no linear layer with {num_classes} outputs, whose input would be the "
        "embedding. Name the module that is given the embedding (head=...); the last ones called: "
        f"{', '.join([*calls][-5:])}."
    )


def _outputs(layer: nn.Module) -> int | None:
    if isinstance(layer, nn.Linear):
        return layer.out_features
    return layer.out_channels if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) else None


def _width(kind: str, head: str, module: nn.Module, calls: Mapping[str, Call]) -> int:
    shape = calls[head].input_shape
    if shape is None or len(shape) < 2 or shape[0] != BATCH:
        raise UserError(
            f"{head!r} in {kind} was given {_said(shape)} for {BATCH} images, where an embedding ({BATCH}, D) is "
            "needed. Name another module (head=...)."
        )
    return shape[1] if _channels_first(len(shape), module.get_submodule(head)) else shape[-1]


def _embedding(given: Tensor, head: nn.Module) -> Tensor:
    """The head's input, averaged over positions."""
    if given.ndim == 2:
        return given
    return given.flatten(2).mean(2) if _channels_first(given.ndim, head) else given.flatten(1, -2).mean(1)


def _channels_first(axes: int, head: nn.Module) -> bool:
    return axes == 4 and not isinstance(head, nn.Linear)


def _no_map(kind: str, path: str, shape: Sequence[int] | None, image: Size) -> str:
    if shape is not None and len(shape) == 3:
        return _no_grid(kind, path, shape, image)
    return (
        f"{path!r} in {kind} returns {_said(shape)} for {BATCH} images: neither a map (B, C, H, W) nor tokens "
        "(B, N, C). Tap a module further from the logits."
    )


def _no_grid(kind: str, path: str, shape: Sequence[int], image: Size) -> str:
    return (
        f"the {shape[1]} tokens that {path!r} in {kind} returns for images of {image[0]}x{image[1]} form no "
        "grid, with or without a few tokens before it. Tap a module whose tokens lie on a grid of the image's aspect "
        "ratio, or none (layers=())."
    )


def _said(shape: Sequence[int] | None) -> str:
    return "no tensor" if shape is None else str(tuple(shape))
