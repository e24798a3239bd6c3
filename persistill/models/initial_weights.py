"""Initial weights of a training: those that a library publishes, or those of a file.

All are loaded except those of the classifier, if the classes differ, and of the first convolution, if the channels do.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from persistill.errors import UserError
from persistill.models.base import Network
from persistill.models.checkpoint import read_checkpoint, refuse_pickle
from persistill.models.detection.detector import Detector
from persistill.models.detection.torchvision_detectors import CLASS_LAYERS, load_published
from persistill.models.encoder import Encoder
from persistill.models.feature_extraction import timm_metadata
from persistill.models.feature_extraction.wrapper import AdaptedNetwork, unwrap
from persistill.models.foreign_weights import names_beside, tidy
from persistill.models.pretrained import PRETRAINED, Numbers, download_pretrained, find_pretrained
from persistill.models.registry import split_decoder
from persistill.models.segmentation.lraspp import LRASPP
from persistill.utils.units import first_few

_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.", "aux_classifier.")
"""Heads of GoogLeNet, Inception and DeepLab for training from scratch; networks are built without them here."""
_TWO_HEADS = ("classifier.low_classifier", "classifier.high_classifier")
"""torchvision's LR-ASPP adds the logits of two."""
_PUBLISHED = "what is published"
_COUNTER = "num_batches_tracked"


def check_initial(model: str, initial: str) -> None:
    """Check that there are initial weights, without reading or downloading them.

    Args:
        model: the network's name.
        initial: "pretrained", or the path of a safetensors file.

    Raises:
        UserError: if there is no such file, it is a pickle by its name, or nobody publishes weights of the network.
    """
    if initial == PRETRAINED:
        find_pretrained(model)
        return
    refuse_pickle(Path(initial))
    if not Path(initial).is_file():
        raise UserError(
            f"there is no file {initial} to start {model!r} from. Give the path of a safetensors file, or "
            f"{PRETRAINED!r} for the weights that timm or torchvision publish."
        )


def load_initial_weights(network: Network, initial: str) -> tuple[str, ...]:
    """Load the weights from which a training starts; the network is unchanged if they do not fit.

    The random state is not changed.

    Args:
        network: with random weights, which stay where shapes may differ (classifier, first convolution).
        initial: "pretrained", or the path of a safetensors file: one of ours, or one with the names of the network's
            own module.

    Returns:
        What was not taken as it is, a clause each: "the classifier starts fresh: the file w.safetensors has 1000
        classes, the data 10".

    Raises:
        UserError: if the file is missing, a pickle, cut short or of another network, with what differs; if nobody
            publishes weights, or they cannot be downloaded.
    """
    check_initial(network.name, initial)
    if initial != PRETRAINED:
        path = Path(initial)
        header, tensors = read_checkpoint(path)
        encoder = _encoder(network)
        if encoder is not None and _is_encoder(header, encoder):
            return _take_encoder(network, encoder, tensors, f"the file {path}")
        if header is not None and _architecture(header["model"]) != _architecture(network.name):
            raise UserError(
                f"{path} holds {header['model']!r}, and {network.name!r} is to start from it. Give a file of that "
                "network, or change the network."
            )
        if header is None:
            tensors, _ = tidy(tensors, unwrap(network).state_dict())
        elif isinstance(network, AdaptedNetwork):
            tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
        return _take(network, tensors, f"the file {path}")
    encoder, spec = _encoder(network), network.spec
    if isinstance(network, Detector) and encoder is None:
        return load_published(network)
    published, tensors = find_pretrained(network.name), download_pretrained(network)
    notes = (
        _take(network, tensors, _PUBLISHED) if encoder is None else _take_encoder(network, encoder, tensors, _PUBLISHED)
    )
    if published.name.startswith("timm/"):  # has fitted them to the network already
        if published.classes != spec.num_classes and encoder is None:
            notes += (_classes(published.classes, spec.num_classes, _PUBLISHED),)
        if published.channels != spec.in_channels:
            notes += (f"timm made {spec.in_channels} of the {published.channels} channels of the first convolution",)
    return notes


def initial_normalization(model: str, initial: str) -> tuple[Numbers, Numbers, str] | None:
    """Channel means and deviations by which the images were normalized that weights were trained on.

    Args:
        model: the network's name.
        initial: as in ``load_initial_weights``.

    Returns:
        Means, deviations, and who states them in words; None if nobody does.

    Raises:
        UserError: if nobody publishes such weights, or the file cannot be read.
    """
    if initial == PRETRAINED:
        found = find_pretrained(model)
        return found.mean, found.std, f"as {found.name} was trained"
    header, _ = read_checkpoint(Path(initial))
    if header is not None:
        if header.get("view", "image") == "image" and {"mean", "std"} <= header.keys():
            return tuple(header["mean"]), tuple(header["std"]), f"as {Path(initial).name} says"
        return None
    return library_normalization(model)


def library_normalization(model: str) -> tuple[Numbers, Numbers, str] | None:
    """Channel means and deviations with which a library's networks are trained, unless somebody says otherwise.

    Args:
        model: the network's name.

    Returns:
        Means, deviations, and who states them in words; None for networks of no library.
    """
    library, _, name = split_decoder(model)[1].partition("/")
    if library == "timm":
        import timm  # noqa: PLC0415  slow to import

        config = timm.get_pretrained_cfg(name)
        if config is not None:
            return tuple(config.mean), tuple(config.std), f"as timm states for {name}"
    if library == "torchvision":
        found = find_pretrained(model)
        return found.mean, found.std, "as is usual with torchvision (ImageNet's)"
    return None


def _take(network: Network, tensors: Mapping[str, Tensor], source: str) -> tuple[str, ...]:
    """Copy what fits, after everything was looked at.

    Args:
        network: takes it.
        tensors: by the names of the network's own module.
        source: what to call where they come from.

    Returns:
        What was not taken as it is.

    Raises:
        UserError: if something does not fit that has to.
    """
    module = unwrap(network)
    state = module.state_dict()
    stems, notes, wrong = _first_convolutions(module), list[str](), list[str]()
    head = {name for name in {*state, *tensors} if name.startswith(_heads(network))}
    whole = all(_fits(state.get(name), tensors.get(name)) for name in head)
    for name in dict.fromkeys([*state, *tensors]):
        wanted, given = state.get(name), tensors.get(name)
        if _fits(wanted, given) or _unneeded(name, wanted, given):
            continue
        if name in head and (wanted is None or given is None or wanted.shape[1:] == given.shape[1:]):
            continue
        if name in stems and wanted is not None and given is not None and _but_channels(wanted, given):
            ours, theirs = network.spec.in_channels, given.shape[1] * network.spec.in_channels // wanted.shape[1]
            what = f"{source} is for images of {theirs} channel{'s' * (theirs > 1)}, these have {ours}"
            notes.append(f"the first convolution starts fresh: {what}")
            continue
        wrong.append(f"{name} is {_said(wanted)} here and {_said(given)} there")
    if wrong:
        raise UserError(
            f"{network.name!r} cannot start from {source}: {first_few(wrong, separator='; ')}."
            f"{names_beside(state, tensors)} Only the classifier, and the "
            "first convolution for other channels, may differ. Give weights of this very network; for a transformer, "
            "of this size of image, too."
        )
    if not whole:
        rows = [len(tensors[name]) for name in sorted(head) if name in tensors]
        notes.insert(0, _classes(rows[0] if rows else 0, network.spec.num_classes, source))
    stale = {name for name, given in tensors.items() if not _fits(state.get(name), given)}
    kept = head if not whole else set()
    module.load_state_dict({name: given for name, given in tensors.items() if name not in stale | kept}, strict=False)
    return tuple(notes)


def _encoder(network: Network) -> Encoder | None:
    """The encoder inside a network that has one, which starts from the weights of a classifier."""
    return network.encoder if isinstance(network, LRASPP | Detector) else None


def _is_encoder(header: Mapping[str, Any] | None, encoder: Encoder) -> bool:
    """Whether a file holds the network that an encoder is a part of; one without a header may."""
    return header is None or _architecture(header["model"]) == _architecture(encoder.name)


def _take_encoder(network: Network, encoder: Encoder, tensors: Mapping[str, Tensor], source: str) -> tuple[str, ...]:
    """Copy the weights of an encoder out of those of a network, after everything was looked at.

    timm writes some dots in the names of an encoder's tensors as underscores. What the encoder does not have, the
    classifier above all, is passed over.

    Args:
        network: of which the encoder is a part.
        encoder: takes them.
        tensors: by the names of the network's own module, or with "module." before them.
        source: what to call where they come from.

    Returns:
        What was not taken.

    Raises:
        UserError: if something does not fit that has to.
    """
    state, stems = encoder.module.state_dict(), _first_convolutions(encoder.module)
    by_words = {name.removeprefix("module.").replace(".", "_"): tensor for name, tensor in tensors.items()}
    behind = "the pyramid and the head start" if isinstance(network, Detector) else "the decoder starts"
    notes = [f"{behind} fresh: {source} is an encoder"]
    taken, wrong = dict[str, Tensor](), list[str]()
    for name, wanted in state.items():
        given = by_words.get(name.replace(".", "_"))
        if given is not None and _fits(wanted, given):
            taken[name] = given
        elif given is not None and name in stems and _but_channels(wanted, given):
            notes.append(f"the first convolution starts fresh: {source} is for images of other channels")
        elif not _unneeded(name, wanted, given):
            wrong.append(f"{name} is {_said(wanted)} here and {_said(given)} there")
    if wrong:
        raise UserError(
            f"the encoder {encoder.name!r} cannot start from {source}: {first_few(wrong, separator='; ')}. Give "
            "weights of this very network."
        )
    encoder.module.load_state_dict(taken, strict=False)
    return tuple(notes)


def _classes(theirs: int, ours: int, source: str) -> str:
    what = f"has {theirs} classes, the data {ours}" if theirs and theirs != ours else "has none that fits"
    return f"the classifier starts fresh: {source} {what}"


def _heads(network: Network) -> tuple[str, ...]:
    """How the names of the classifiers' tensors begin."""
    if isinstance(network, Detector):
        return tuple(f"module.{path}" for path in CLASS_LAYERS)
    if not isinstance(network, AdaptedNetwork):
        return ("classifier.",)
    heads = _TWO_HEADS if network.head in _TWO_HEADS else (network.head,)
    return tuple(f"{path}." for path in (*heads, *timm_metadata.paths(network.module, "classifier")))


def _first_convolutions(module: nn.Module) -> set[str]:
    convolutions = [path for path, one in module.named_modules() if isinstance(one, nn.Conv2d)]
    return {f"{path}.weight" for path in timm_metadata.paths(module, "first_conv") or convolutions[:1]}


def _fits(wanted: Tensor | None, given: Tensor | None) -> bool:
    if wanted is None or given is None:
        return False
    return wanted.shape == given.shape and wanted.is_floating_point() == given.is_floating_point()


def _unneeded(name: str, wanted: Tensor | None, given: Tensor | None) -> bool:
    """Whether a tensor may be absent: old files count no batches, and no network of ours has auxiliary heads."""
    return (given is None and name.endswith(_COUNTER)) or (wanted is None and name.startswith(_AUXILIARY))


def _but_channels(wanted: Tensor, given: Tensor) -> bool:
    """Whether two weights of a convolution differ in the channels that go in, and in nothing else."""
    one, other = list(wanted.shape), list(given.shape)
    return len(one) == len(other) == 4 and [one[0], *one[2:]] == [other[0], *other[2:]]


def _architecture(model: str) -> str:
    """The name without the tag by which timm tells published weights apart."""
    return model.partition(".")[0] if model.startswith("timm/") else model


def _said(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
