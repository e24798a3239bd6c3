"""torchvision's own detectors by name, and the weights that are published for them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from persistill.errors import UserError, first_line, unknown
from persistill.models.detection.detector import Detector
from persistill.models.detection.heads import begin_at_one_stride
from persistill.models.feature_extraction.feature_layout import Size
from persistill.models.libraries import replace_first_convolution

_OTHER_TARGETS = {"maskrcnn": "masks", "keypointrcnn": "keypoints"}
"""Detectors that are trained on more than boxes."""
CLASS_LAYERS = ("roi_heads.box_predictor.", "head.classification_head.")
"""Where the tensors lie whose length is the number of labels."""


def detector_names() -> list[str]:
    """Torchvision's detectors of boxes."""
    from torchvision import models  # noqa: PLC0415  slow to import

    names: list[str] = models.list_models(module=models.detection)
    return [name for name in names if name.partition("_")[0] not in _OTHER_TARGETS]


def is_torchvision_detector(name: str) -> bool:
    """Whether torchvision has a detector of this name, of boxes or of more than them."""
    return name in detector_names() or name.partition("_")[0] in _OTHER_TARGETS


def check_torchvision_detector(name: str) -> None:
    """Say whether torchvision has a detector of boxes by a name.

    Raises:
        UserError: if it has none, with the near names.
    """
    more = _OTHER_TARGETS.get(name.partition("_")[0])
    if more:
        raise UserError(
            f"torchvision/{name} is trained on {more}, which images with boxes do not have. Take one of "
            f"{', '.join(detector_names())}."
        )
    if name not in detector_names():
        raise unknown(
            "torchvision detector", name, detector_names(), "torchvision.models.detection lists them all.", listed=False
        )


def build_torchvision_detector(name: str, in_channels: int, num_classes: int, image_size: Size | None) -> Detector:
    """A detector of torchvision with random weights; nothing is downloaded. Boxes of FCOS begin at one stride.

    Args:
        name: as torchvision writes it, "fcos_resnet50_fpn".
        in_channels: channels of the images.
        num_classes: K.
        image_size: height and width of the images for which the levels are measured; None for those that an SSD is made
            for, and 256x256 for others.

    Raises:
        UserError: if there is none of that name, or it does not take such images.
    """
    from torchvision import models  # noqa: PLC0415

    check_torchvision_detector(name)
    module = models.get_model(name, weights=None, weights_backbone=None, num_classes=1 + num_classes)
    if isinstance(module, models.detection.FCOS):
        begin_at_one_stride(module)
    if in_channels != 3:
        replace_first_convolution(module.backbone, in_channels)
    native: Size | None = module.transform.fixed_size
    detector = Detector(f"torchvision/{name}", module, in_channels, num_classes, image_size or native)
    if native is not None:
        detector.image_size = image_size or native  # what lies behind the last levels depends on it
    return detector


def native_format(name: str) -> tuple[Size, tuple[float, ...], tuple[float, ...]]:
    """The images that a detector is trained on: their size, and the means and deviations that normalize them.

    Args:
        name: as torchvision writes it.

    Returns:
        Height and width (of what it scales to the shorter side where that is free), channel means, channel deviations.
    """
    from torchvision import models  # noqa: PLC0415

    check_torchvision_detector(name)
    with torch.device("meta"):
        transform = models.get_model(name, weights=None, weights_backbone=None).transform
    size = transform.fixed_size or (transform.min_size[-1], transform.min_size[-1])
    return size, tuple(transform.image_mean), tuple(transform.image_std)


def published_state(name: str) -> Mapping[str, Tensor]:
    """The weights that torchvision publishes for a detector, downloaded or from its cache.

    Raises:
        UserError: if they cannot be downloaded.
    """
    from torchvision import models  # noqa: PLC0415

    weights: Any = models.get_model_weights(name).DEFAULT
    try:
        state: Mapping[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # of the network, the server or the disk
        said = first_line(error).removesuffix(".")
        raise UserError(
            f"the published weights of torchvision/{name}, {weights} from {weights.url}, could not be loaded: "
            f"{said}. If there is no way there from here, fetch that file elsewhere, put it into "
            "torch's cache (torch.hub.get_dir()/checkpoints) under its own name, and try again."
        ) from error
    return state


def load_published(detector: Detector) -> tuple[str, ...]:
    """Give a detector of torchvision's the weights that are published for it, by its own module's names.

    All are taken but those of the layer that tells classes apart, where the number of classes differs from COCO's 90
    (with the numbers of classes that COCO left out), and of the first convolution, where the channels do.

    Args:
        detector: built from "torchvision/NAME".

    Returns:
        What was not taken, a clause each.

    Raises:
        UserError: if it is none of torchvision's, the weights cannot be downloaded, or they do not fit.
    """
    from torchvision import models  # noqa: PLC0415

    name = detector.name.removeprefix("torchvision/")
    check_torchvision_detector(name)
    labels = len(models.get_model_weights(name).DEFAULT.meta["categories"])
    given, state = published_state(name), detector.module.state_dict()
    taken, notes, wrong = dict[str, Tensor](), list[str](), list[str]()
    first = next(key for key, tensor in state.items() if key.startswith("backbone.") and tensor.ndim == 4)
    for key in dict.fromkeys([*state, *given]):
        ours, theirs = state.get(key), given.get(key)
        if ours is not None and theirs is not None and ours.shape == theirs.shape:
            taken[key] = theirs
        elif ours is None or theirs is None:
            if not key.endswith("num_batches_tracked"):  # older files count no batches
                wrong.append(f"{key} is only {'there' if ours is None else 'here'}")
        elif key.startswith(CLASS_LAYERS) and ours.shape[1:] == theirs.shape[1:]:
            notes.append(
                f"the layers that tell classes apart start fresh: what is published knows COCO's "
                f"{labels - 1} classes, the data have {detector.spec.num_classes}"
            )
        elif key == first and ours.shape[2:] == theirs.shape[2:]:
            notes.append(f"the first convolution starts fresh: these images have {detector.spec.in_channels} channels")
        else:
            wrong.append(f"{key} is {tuple(ours.shape)} here and {tuple(theirs.shape)} there")
    if wrong:
        raise UserError(
            f"{detector.name!r} cannot start from what torchvision publishes: {'; '.join(wrong[:3])}. Its weights are "
            "of another version of torchvision; update torchvision."
        )
    detector.module.load_state_dict(taken, strict=False)
    return tuple(dict.fromkeys(notes))
