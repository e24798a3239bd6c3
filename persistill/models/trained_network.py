"""A network out of a file: what the file says of its images and classes, and how it sees those at hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from persistill.errors import UserError
from persistill.models.base import Network
from persistill.models.checkpoint import copy_into, read_checkpoint, refuse_pickle
from persistill.models.feature_extraction.feature_layout import Size
from persistill.models.initial_weights import library_normalization
from persistill.models.input_adapter import ImageFormat, InputAdapter
from persistill.models.pretrained import Numbers
from persistill.models.registry import build
from persistill.utils.units import counted

_IMAGE = "image"
_CLASSIFICATION = "classification"
"""What networks see and do whose files do not say."""


@dataclass(frozen=True)
class TrainedNetwork:
    """A teacher out of a file.

    Attributes:
        network: as it was trained, with the weights.
        own: how it needs images.
        classes: that it tells apart, in its own order; None if its file does not name them.
        source: who says how its images are normalized, in words; empty if nobody does.
        trained_on: height and width of the images that it was trained on; None if its file does not say.
    """

    network: Network
    own: ImageFormat
    classes: tuple[str, ...] | None
    source: str
    trained_on: Size | None

    def about(self) -> dict[str, Any]:
        """For the header of a weights file."""
        return {"mean": list(self.own.mean), "std": list(self.own.std), "shape": list(self.own.shape)}

    def notes(self, given: ImageFormat, classes: Sequence[str]) -> list[str]:
        """What of its images and classes is not as those at hand, a clause each."""
        said = []
        if given.shape[0] != self.own.shape[0]:
            said.append("gray images are repeated for its three channels" if given.shape[0] == 1 else "it sees gray")
        if given.shape[1:] != self.own.shape[1:]:
            own, here = ("x".join(map(str, one.shape[1:])) for one in (self.own, given))
            said.append(f"images are scaled from {here} to its {own}")
        if not self.source:
            said.append("its file does not say how its images were normalized: they are normalized as those here")
        elif (self.own.mean, self.own.std) != (given.mean, given.std):
            said.append(f"images are normalized {self.source} for it")
        if self.classes is None:
            said.append(f"its file names no classes: they are taken for {_few(classes)}, in this order")
        elif tuple(classes) != self.classes:
            said.append("its classes are matched by name")
        return said


def read_trained(
    path: Path,
    model: str,
    given: ImageFormat,
    classes: Sequence[str],
    *,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    size: Size | None = None,
    view: str = _IMAGE,
    task: str = _CLASSIFICATION,
) -> TrainedNetwork:
    """Read a teacher's weights, and see that it can teach these classes.

    Args:
        path: a safetensors file, of persistill or with the names of the network's own module.
        model: the network's name.
        given: the images at hand.
        classes: of the images at hand.
        mean: of the channels of its images, which goes before what the file says; None to ask the file.
        std: likewise, given with ``mean``.
        size: likewise, (height, width).
        view: what it sees.
        task: what it is to do.

    Raises:
        UserError: if the file is missing, no safetensors, of another network or task, of a network that sees another
            view, or lacks classes.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}.")
    refuse_pickle(path)
    header, tensors = read_checkpoint(path)
    about: Mapping[str, Any] = header or {}
    _check_view(path, about, view)
    if about.get("task", _CLASSIFICATION) != task and header is not None:
        raise UserError(
            f"{path} was trained for the task {about.get('task', _CLASSIFICATION)!r}, and this one is {task!r}."
        )
    own_classes = None if about.get("classes") is None else tuple(map(str, about["classes"]))
    if own_classes is not None and (missing := [name for name in classes if name not in own_classes]):
        raise UserError(
            f"the classes of {path} are {_few(own_classes)}, and those here are {_few(classes)}: it does not know "
            f"{_few(missing)}. Classes are matched by name, in any order: rename the folders or the classes of one "
            "of the two, give the file as initial weights instead (model.initial, --teacher-initial), from which a "
            "teacher of these classes is trained, or leave it out."
        )
    shape = about.get("shape")
    trained_on = None if shape is None else (int(shape[1]), int(shape[2]))
    size = size or trained_on or given.shape[1:]
    network = _network(path, model, header, tensors, given.shape[0], len(classes), size)
    channels = network.spec.in_channels
    if mean is not None and std is not None:
        source = "as the recipe states"
    elif {"mean", "std"} <= about.keys():
        mean, std, source = tuple(about["mean"]), tuple(about["std"]), f"as {path.name} says"
    elif header is None and channels == 3 and (usual := library_normalization(model)) is not None:
        mean, std, source = usual
    else:
        # Nobody says it: as the images at hand, whose numbers are the best guess for each channel.
        mean, std = (_spread(values, channels) for values in (given.mean, given.std))
        source = ""
    if view == _IMAGE and not len(mean) == len(std) == channels:
        raise UserError(
            f"{path} holds a network for {counted(channels, 'channel')}, and {len(mean)} means and {len(std)} standard "
            "deviations are stated for it: give one of each for each channel."
        )
    own = ImageFormat((channels, *size), mean, std)
    if view != _IMAGE and own.shape != given.shape:
        raise UserError(
            f"{path} was trained on a view of shape {own.shape}, and the view {view!r} has {given.shape} here: give "
            "the view the settings with which the teacher was trained."
        )
    return TrainedNetwork(network, given if view != _IMAGE else own, own_classes, source, trained_on)


def adapt_input(
    network: Network, given: ImageFormat, own: ImageFormat, classes: Sequence[str], own_classes: Sequence[str] | None
) -> Network:
    """The network for the images at hand: itself, where they are as those of its training."""
    order = None
    if own_classes is not None and list(own_classes) != list(classes):
        places = {name: place for place, name in enumerate(own_classes)}
        order = [places[name] for name in classes]
    if order is None and own == given:
        return network
    return InputAdapter(network, given, own, order).eval()


def stored_format(header: Mapping[str, Any], view: str, given: ImageFormat) -> ImageFormat:
    """How the network of a run folder needs images, by the header of its weights."""
    if view != _IMAGE or not {"mean", "std", "shape"} <= header.keys():
        return given
    channels, height, width = header["shape"]
    return ImageFormat((channels, height, width), tuple(header["mean"]), tuple(header["std"]))


def _check_view(path: Path, about: Mapping[str, Any], view: str) -> None:
    own = about.get("view")
    if own is None or (own == _IMAGE) == (view == _IMAGE):
        return
    if own != _IMAGE:
        raise UserError(
            f"{path} was trained on the view {own!r} and not on images. Give a teacher of images; one of persistence "
            "images is trained by the recipe itself."
        )
    raise UserError(f"{path} was trained on images, and this teacher is to see the view {view!r}.")


def _network(
    path: Path,
    model: str,
    header: Mapping[str, Any] | None,
    tensors: Mapping[str, Tensor],
    channels: int,
    classes: int,
    size: Size,
) -> Network:
    if header is not None:
        network = build(model, header["in_channels"], header["num_classes"], size)
        copy_into(network, header, tensors, path)
        return network.eval()
    network = build(model, channels, classes, size)
    try:
        copy_into(network, header, tensors, path)
    except UserError:
        if channels == 3:
            raise
        colored = build(model, 3, classes, size)
        try:
            copy_into(colored, header, tensors, path)
        except UserError:
            copy_into(network, header, tensors, path)  # says what does not fit these images
        return colored.eval()
    return network.eval()


def _spread(values: Numbers, channels: int) -> Numbers:
    return values if len(values) == channels else (sum(values) / len(values),) * channels


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f", ... ({len(names)})" if len(names) > 4 else "")
