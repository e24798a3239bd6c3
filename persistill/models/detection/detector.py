"""Any detector with torchvision's calling convention as a ``Network``."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from persistill.errors import UserError
from persistill.models.base import Network
from persistill.models.detection.image_batch import GivenImages, NoTransform, check_images, to_image_list
from persistill.models.detection.loss_counts import counted_losses, has_known_losses
from persistill.models.detection.mixed_precision import exact_boxes
from persistill.models.detection.output import DenseLevel, DetectionOutput, join_levels
from persistill.models.detection.parts import (
    competes_with_background,
    has_regions,
    is_dense,
    region_dim,
    stated_normalization,
)
from persistill.models.encoder import Encoder
from persistill.models.feature_extraction.feature_layout import Size, stride
from persistill.structures import Detections, FeatureMapSpec, FeatureSpec, Objects
from persistill.utils.units import counted

if TYPE_CHECKING:
    from torchvision.models.detection.image_list import ImageList

Targets = Sequence[Objects] | Callable[[], Sequence[Objects]]
"""The objects of each image, or a function that gives them."""
PROBED = (256, 256)
"""Size of the image with which the levels are measured, where none is given: a multiple of all usual strides."""


class Detector(Network):
    """A detector that takes one batch for all networks, and returns ``DetectionOutput``.

    What is inside is called as it is, through its own ``forward``, in its own mode; levels and head outputs are read on
    the way. Its transform gives way to one that does nothing: images come normalized and in their final size.

    Labels are 0 to K - 1 outside, and 1 to K inside, as in torchvision's recipes, whose published weights keep 0 for
    the background in every detector.

    Args:
        name: from which ``build`` makes it again.
        module: a detector of torchvision's, or one that is called like it: with a list of images and, in training, a
            list of dictionaries with "boxes" and "labels"; it returns losses in training, and else detections. It has
            a ``backbone``, which gives a map or several by name, and calls its ``transform`` if it has one.
        in_channels: channels of the images.
        num_classes: K.
        image_size: height and width of the images for which the levels are measured.

    Attributes:
        module: as given.
        normalization: channel means and deviations that the module's own transform had; None if it had none.
        detecting: False to leave out the detections in evaluation mode, where only levels and heads are read, as of a
            teacher: proposals and the suppression of overlapping boxes take more time than small networks themselves.
            Detectors of another form than torchvision's make them all the same.
        has_known_losses: whether outputs tell over what each loss is a mean, ``DetectionOutput.loss_counts``.

    Raises:
        UserError: if the module has no backbone, or that fails on such images.
    """

    module: nn.Module

    def __init__(
        self, name: str, module: nn.Module, in_channels: int, num_classes: int, image_size: Size | None = None
    ) -> None:
        backbone = getattr(module, "backbone", None)
        if not isinstance(backbone, nn.Module):
            raise UserError(
                f"{name!r} is a {type(module).__name__} without a backbone: a detector needs the attribute backbone, a "
                "module that makes feature maps of a batch of images (B, C, H, W), as torchvision's have it."
            )
        probed = image_size or PROBED
        maps = _measure(name, backbone, in_channels, probed)
        two_stage = has_regions(module)
        dim = region_dim(module) if two_stage else [*maps.values()][-1].channels
        super().__init__(name, FeatureSpec(in_channels, num_classes, dim, maps))
        self.module = module
        self.two_stage = two_stage
        self.normalization = stated_normalization(getattr(module, "transform", None))
        if hasattr(module, "transform"):
            module.transform = NoTransform()
        self.detecting = True
        self.has_known_losses = has_known_losses(module)
        self._softmax = competes_with_background(module)

    @property
    def encoder(self) -> Encoder | None:
        """The encoder under a feature pyramid of ours; None for a detector that came as a whole."""
        found = getattr(self.module.get_submodule("backbone"), "encoder", None)
        return found if isinstance(found, Encoder) else None

    def forward(
        self,
        x: "Tensor | ImageList",
        targets: Targets | None = None,
        regions: Sequence[Tensor] | None = None,
    ) -> DetectionOutput:
        """Find objects, or learn to.

        Args:
            x: (B, in_channels, H, W), normalized, of images that fill it; or what ``batch_images`` made of others.
            targets: the objects of each image, needed in training and not looked at otherwise. Difficult ones and
                crowds are left out. Or a function that gives them, for wrappers that bring all tensors which they see
                to half precision: boxes must not be rounded.
            regions: of each image (r, 4) boxes, x1, y1, x2, y2 in pixels. A detector of two stages classifies them in
                addition; they are the same for a student and its teachers, as proposals of their own are not.

        Raises:
            UserError: if images, targets or regions do not suit.
        """
        batch = to_image_list(x)
        check_images(batch.tensors, self.spec.in_channels)
        count = len(batch.image_sizes)
        if regions is not None and (not self.two_stage or len(regions) != count):
            problem = "is a dense detector" if not self.two_stage else f"got {len(regions)} sets for {count} images"
            raise UserError(
                f"detectors of two stages classify regions, one set of boxes an image; {self.name!r} {problem}."
            )
        inside = self._targets(targets() if callable(targets) else targets, count) if self.training else None
        seen: dict[str, Any]
        result: Any = ()
        counts = dict[str, Tensor]()
        halved = torch.is_autocast_enabled(batch.tensors.device.type)
        with exact_boxes(self.module) if halved else contextlib.nullcontext():
            if self.training or self.detecting or not (self.two_stage or is_dense(self.module)):
                counting = (
                    counted_losses(self.module, batch.tensors) if self.training else contextlib.nullcontext(counts)
                )
                with self._watched() as seen, counting as counts:
                    result = self.module(GivenImages(batch), inside)
            else:
                seen = self._undecided(batch.tensors)
        features = _by_level(seen["backbone"])
        levels = self._levels(seen.get("head"), features)
        if self.two_stage:
            logits, embedding = self._classify(seen["backbone"], regions, batch)
        elif levels:
            logits = join_levels(levels)
            embedding = _last(features).mean((2, 3))
        else:
            logits, embedding = batch.tensors.new_zeros(count, self.spec.num_classes, 0), _last(features).mean((2, 3))
        return DetectionOutput(
            logits,
            embedding,
            features,
            levels,
            result if self.training else None,
            () if self.training else [_outside(found) for found in result],
            (batch.tensors.shape[2], batch.tensors.shape[3]),
            counts,
        )

    def _targets(self, targets: Sequence[Objects] | None, count: int) -> list[dict[str, Tensor]]:
        if targets is None or len(targets) != count:
            given = "none were given" if targets is None else f"{len(targets)} were given for {count} images"
            raise UserError(
                f"{self.name!r} computes its losses itself, and needs the objects of each image in training; {given}. "
                "Call detector(images, targets), or detector.eval() first."
            )
        inside = []
        for position, objects in enumerate(targets):
            kept = objects.trained()
            wrong = (kept.labels < 0) | (kept.labels >= self.spec.num_classes)
            flat = (kept.boxes[:, 2:] <= kept.boxes[:, :2]).any(1)
            if bool(wrong.any() | flat.any()):
                raise UserError(
                    f"image {position} of the batch has an object of class {int(kept.labels[wrong][0])}; classes are 0 "
                    f"to {self.spec.num_classes - 1}."
                    if wrong.any()
                    else f"image {position} of the batch has the box {kept.boxes[flat][0].tolist()}, which is empty: "
                    "boxes are x1, y1, x2, y2 with x1 < x2 and y1 < y2."
                )
            inside.append({"boxes": kept.boxes, "labels": kept.labels + 1})
        return inside

    @contextlib.contextmanager
    def _watched(self) -> Iterator[dict[str, Any]]:
        """What backbone and dense head return in this thread, while this context lasts."""
        seen, thread = dict[str, Any](), threading.get_ident()

        def record(name: str, output: Any) -> None:
            if threading.get_ident() == thread:
                seen[name] = output

        with contextlib.ExitStack() as hooks:
            for name in ("backbone", "head"):
                watched = getattr(self.module, name, None)
                if isinstance(watched, nn.Module):
                    hook = watched.register_forward_hook(lambda _, __, output, name=name: record(name, output))
                    hooks.callback(hook.remove)
            yield seen

    def _undecided(self, images: Tensor) -> dict[str, Any]:
        """What backbone and dense head return, without detections."""
        features = self.module.get_submodule("backbone")(images)
        seen = {"backbone": features}
        if not self.two_stage:
            seen["head"] = self.module.get_submodule("head")([*_by_level(features).values()])
        return seen

    def _levels(self, head: Any, features: Mapping[str, Tensor]) -> list[DenseLevel]:
        """The outputs of a dense head by level; none for heads of another form than torchvision's."""
        if not isinstance(head, Mapping) or not {"cls_logits", "bbox_regression"} <= head.keys():
            return []
        places = [tuple(maps.shape[2:]) for maps in features.values()]
        generator: Any = getattr(self.module, "anchor_generator", None)
        anchors = generator.num_anchors_per_location()
        counts = [height * width * each for (height, width), each in zip(places, anchors, strict=True)]
        levels = []
        parts = [head[name].split(counts, 1) for name in ("cls_logits", "bbox_regression")]
        center = head["bbox_ctrness"].split(counts, 1) if "bbox_ctrness" in head else [None] * len(counts)
        for (height, width), logits, boxes, central in zip(places, *parts, center, strict=True):
            shape = (len(logits), height, width, -1)
            levels.append(
                DenseLevel(
                    logits[..., 0 if self._softmax else 1 :].unflatten(1, shape[1:]),
                    boxes.unflatten(1, shape[1:]),
                    None if central is None else central.reshape(shape),
                    self._softmax,
                )
            )
        return levels

    def _classify(self, features: Any, regions: Sequence[Tensor] | None, batch: "ImageList") -> tuple[Tensor, Tensor]:
        """Logits (R, 1 + K) and embeddings (R, D) of regions."""
        if regions is None:
            empty = batch.tensors.new_zeros
            return empty(0, 1 + self.spec.num_classes), empty(0, self.spec.embedding_dim)
        heads: Any = self.module.get_submodule("roi_heads")
        embedding: Tensor = heads.box_head(heads.box_roi_pool(features, list(regions), batch.image_sizes))
        logits: Tensor = heads.box_predictor(embedding)[0]
        return logits, embedding

    if TYPE_CHECKING:

        def __call__(
            self,
            x: "Tensor | ImageList",
            targets: Targets | None = None,
            regions: Sequence[Tensor] | None = None,
        ) -> DetectionOutput:
            """Call ``forward``; declared because ``nn.Module`` leaves the type of its result open."""


def skip_detections(network: nn.Module) -> None:
    """Have all detectors in a network leave out the detections in evaluation mode; see ``Detector.detecting``."""
    for module in network.modules():
        if isinstance(module, Detector):
            module.detecting = False


def _measure(name: str, backbone: nn.Module, in_channels: int, size: Size) -> dict[str, FeatureMapSpec]:
    """Channels and strides of the levels, of one black image in evaluation mode."""
    training = backbone.training
    weight = next(backbone.parameters(), torch.empty(0))
    try:
        with torch.no_grad():
            features = _by_level(backbone.eval()(weight.new_zeros(1, in_channels, *size)))
    except Exception as error:  # other people's code, which may raise anything
        said = str(error).strip().split("\n")[0][:300]
        raise UserError(
            f"the backbone of {name!r} cannot take images with {counted(in_channels, 'channel')} of "
            f"{size[0]}x{size[1]}: {type(error).__name__}: {said}. Give images of a size that it is made for, or take "
            "another."
        ) from error
    finally:
        backbone.train(training)
    return {
        level: FeatureMapSpec(maps.shape[1], stride((maps.shape[2], maps.shape[3]), size))
        for level, maps in features.items()
    }


def _by_level(features: Any) -> dict[str, Tensor]:
    """Maps as "level1", ... in the order of the backbone.

    Its own keys are no strides: a detector of torchvision's has two levels of one stride, and calls its last "pool".
    """
    several = [features] if isinstance(features, Tensor) else list(features.values())
    return {f"level{number}": maps for number, maps in enumerate(several, 1)}


def _last(features: Mapping[str, Tensor]) -> Tensor:
    return [*features.values()][-1]


def _outside(found: Mapping[str, Tensor]) -> Detections:
    """Without what was taken for background, which dense heads with a column for it can say of a box."""
    order = found["scores"].argsort(descending=True, stable=True)
    order = order[found["labels"][order] > 0]
    return Detections(found["boxes"][order], found["scores"][order], found["labels"][order] - 1)
