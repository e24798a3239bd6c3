"""Weights in a file: safetensors, with a JSON header that says which network they belong to.

Reading such a file runs neither code in it nor code that it names: a user-defined network ("package.module:function")
is built only for a caller who passes that name.
"""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save as serialize
from torch import Tensor, nn

from persistill import schemas
from persistill.errors import UserError
from persistill.models.base import Network
from persistill.models.feature_extraction.wrapper import AdaptedNetwork, unwrap
from persistill.models.foreign_weights import names_beside, tidy
from persistill.models.projected import ProjectedClassifier, split_projector
from persistill.models.registry import NAMES, build, is_user_code
from persistill.models.registry import check as check_name
from persistill.utils.strict_json import decode_json
from persistill.utils.units import first_few

_FORMAT = 1
_KEY = "persistill"
_OWN = ("format", "model", "in_channels", "num_classes")
_SIZE = "image_size"
_LARGEST_SIZE = 4096


def save(network: Network, path: Path, about: Mapping[str, Any]) -> None:
    """Write weights and buffers to ``path``, from any device and memory format.

    The file is written in place: call this inside ``atomic_io.atomic`` to keep an older file until it is complete.
    Tensors that share memory are written once each.

    Args:
        network: one that ``build`` can make again from its name.
        path: the file.
        about: further metadata for users of the weights, as plain JSON (classes, mean, std, view).

    Raises:
        UserError: if the network was adapted without a name.
        ValueError: if ``about`` uses a name that the header needs itself.
        OSError: if the file cannot be written.
    """
    if clash := sorted({*_OWN, _SIZE} & set(about)):
        raise ValueError(f"about must not hold {', '.join(clash)}: the header states these itself.")
    inner = network.network if isinstance(network, ProjectedClassifier) else network
    if isinstance(inner, AdaptedNetwork) and not ("/" in network.name or is_user_code(network.name)):
        raise UserError(
            f"this {network.name} was adapted without a name by which it can be made again, so that its weights could "
            "not be loaded. Write a function that returns it and name that (package.module:function), or save "
            "unwrap(network).state_dict() yourself."
        )
    spec = network.spec
    own = dict(zip(_OWN, (_FORMAT, network.name, spec.in_channels, spec.num_classes), strict=True))
    if network.image_size is not None:
        own[_SIZE] = list(network.image_size)
    header = json.dumps({**own, **about}, allow_nan=False)
    # Copies, because safetensors refuses tensors that share memory, as tied weights do.
    tensors = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in network.state_dict().items()}
    path.write_bytes(serialize(tensors, {_KEY: header}))


def load(path: Path, model: str | None = None) -> tuple[Network, dict[str, Any]]:
    """Build the network of a file, on the CPU in evaluation mode, without changing the random state.

    Args:
        path: a file that ``save`` wrote.
        model: the name that the header must state, with or without a projector that was put on. It is required for a
            user-defined network ("package.module:function"), whose code runs then.

    Returns:
        The network, and ``about`` as it was given to ``save``.

    Raises:
        UserError: if the file is missing, cut short, foreign, of a network that is not known or not the one asked for,
            or of other shapes than its header says.
    """
    header, tensors = _read(path)
    name, sizes = header["model"], (header["in_channels"], header["num_classes"])
    alone, projector = split_projector(name)
    if model is not None and model not in (name, alone):
        raise UserError(f"{path} holds {_describe(name, *sizes)}; {model!r} is expected here.")
    if model is None and is_user_code(name):
        raise UserError(
            f"{path} holds weights of {name!r}, which is user code. Code that a file names is not run: if "
            f"you trust it, name it yourself: --model {name}, or model={name!r} in Python."
        )
    longest = max((side for tensor in tensors.values() for side in tensor.shape), default=0)
    if name not in NAMES and max(*sizes, projector.channels if projector else 0) > longest:
        raise UserError(
            f"the tensors in {path} are not those of {_describe(name, *sizes)}: the longest side of any is {longest}. "
            "It was changed since it was written."
        )
    if name not in NAMES and not is_user_code(name):
        try:
            check_name(alone)
        except UserError as error:
            raise UserError(f"{path} holds weights of a network that cannot be built here: {error}") from None
    if name in NAMES:
        with torch.device("meta"):
            network = build(name, *sizes)
        _compare(network, name, tensors, path)
        network.load_state_dict(tensors, assign=True)
    else:
        # Built in full: what is no part of the state (tables of positions, masks) must be there as well.
        with torch.random.fork_rng([]):
            size = header.get(_SIZE)
            network = build(name, *sizes, None if size is None else (size[0], size[1]))
        _compare(network, name, tensors, path)
        network.load_state_dict(tensors)
    return network.eval(), _about(header)


def open_network(network: Network, path: Path) -> tuple[Network, dict[str, Any]]:
    """Give a network the weights of a file, after a projector was put on it if the file's network has one.

    Returns:
        The network, or the one that was made of it, and ``about`` as it was given to ``save``.

    Raises:
        UserError: see ``load_into``.
    """
    header, tensors = read_checkpoint(path)
    projector = None if header is None else split_projector(header["model"])[1]
    if projector is not None and not isinstance(network, ProjectedClassifier):
        network = ProjectedClassifier(network, projector)
    return network, copy_into(network, header, tensors, path)


def load_into(network: Network, path: Path) -> dict[str, Any]:
    """Copy the weights of a file into ``network``, which stays as it is if they do not fit.

    A network also takes a safetensors file without persistill's header, with the names of its own module, as timm and
    others write them; see ``foreign_weights.tidy`` for how these may differ.

    Returns:
        ``about`` as it was given to ``save``; empty for a file without persistill's header.

    Raises:
        UserError: if the file is missing, cut short or foreign, or holds another network, with what differs.
    """
    return copy_into(network, *read_checkpoint(path), path)


def copy_into(
    network: Network, header: Mapping[str, Any] | None, tensors: Mapping[str, Tensor], path: Path
) -> dict[str, Any]:
    """Copy weights that were read already, see ``load_into``.

    Args:
        network: takes them.
        header: of ``read_checkpoint``.
        tensors: likewise; they are not changed.
        path: of the file, for errors.

    Returns:
        As ``load_into``.

    Raises:
        UserError: if they are of another network, with what differs.
    """
    spec = network.spec
    if header is None:
        module = unwrap(network)
        state = module.state_dict()
        tensors, _ = tidy(tensors, state)
        # Files of long ago count no batches.
        counters = {name: value for name, value in state.items() if name.endswith("num_batches_tracked")}
        tensors = {**counters, **tensors}
        advice = f"Give the weights of {_describe(network.name, spec.in_channels, spec.num_classes)}."
        _compare(module, network.name, tensors, path, advice)
        module.load_state_dict(tensors)
        return {}
    expected = (network.name, spec.in_channels, spec.num_classes)
    found = (header["model"], header["in_channels"], header["num_classes"])
    if found != expected:
        raise UserError(
            f"{path} holds {_describe(*found)}; {_describe(*expected)} is expected here. "
            "Give a file of that network, or change the network."
        )
    _compare(network, network.name, tensors, path)
    network.load_state_dict(tensors)
    return _about(header)


def refuse_pickle(path: Path) -> None:
    """Raise a UserError if a file is a pickle by its ending: reading one can run any code."""
    if path.suffix.lower() in (".pth", ".pt", ".bin", ".ckpt", ".tar"):
        raise UserError(
            f"{path} is a pickle by its name, and reading one can run any code: it is not opened. persistill "
            f"import-checkpoint {shlex.quote(str(path))} takes its weights out, without running anything in it."
        )


def read_checkpoint(path: Path) -> tuple[dict[str, Any] | None, dict[str, Tensor]]:
    """The header, None if the file has none of persistill's, and the tensors of a safetensors file.

    Raises:
        UserError: if the file is missing, cut short, no safetensors, or of another format version.
    """
    content, tensors = _parse(path)
    return (_header(content, path) if _KEY in _metadata(content) else None), tensors


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    content, tensors = _parse(path)
    return _header(content, path), tensors


def _parse(path: Path) -> tuple[bytes, dict[str, Tensor]]:
    try:
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"there is no weights file {path}.") from None
    try:
        tensors = parse(content)
    except SafetensorError as error:
        raise UserError(
            f"{path} is not a whole safetensors file ({error}): it was cut short or is of another kind. "
            "Copy it again, or export the network once more."
        ) from None
    return content, tensors


def _metadata(content: bytes) -> dict[str, str]:
    # A safetensors file begins with the length of its JSON header, 8 bytes; parse() has checked both.
    metadata: dict[str, str] = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get(
        "__metadata__", {}
    )
    return metadata or {}


def _header(content: bytes, path: Path) -> dict[str, Any]:
    try:
        header = decode_json(_metadata(content)[_KEY])
        model, numbers = header["model"], [header["format"], header["in_channels"], header["num_classes"]]
        fits = isinstance(model, str) and all(type(number) is int and 0 < number < 2**31 for number in numbers)
        size = header.get(_SIZE, [1, 1])
        fits = fits and len(size) == 2 and all(type(side) is int and 0 < side <= _LARGEST_SIZE for side in size)
    except (KeyError, TypeError, ValueError):
        fits = False
    if not fits:
        raise UserError(
            f"{path} is a safetensors file, but not one that persistill wrote: its header does not name "
            "model, channels and classes. Give the model.safetensors of a run or an export."
        )
    if header["format"] != _FORMAT:
        raise UserError(f"{path} has format {header['format']}; this version of persistill reads format {_FORMAT}.")
    assert isinstance(header, dict)
    schemas.check(schemas.StudentMetadata, header, f"the header of {path}", "Export the network again.")
    return header


def _compare(
    network: nn.Module,
    model: str,
    tensors: Mapping[str, Tensor],
    path: Path,
    advice: str = "It was written by another version or changed since.",
) -> None:
    """Check names, shapes and types of all tensors before the first one is copied."""
    state = network.state_dict()
    names = [*state, *(name for name in tensors if name not in state)]
    expected = [_shape(state.get(name)) for name in names]
    found = [_shape(tensors.get(name)) for name in names]
    differing = [
        f"{name} is expected {wanted} and found {given}"
        for name, wanted, given in zip(names, expected, found, strict=True)
        if wanted != given
    ]
    if differing:
        raise UserError(
            f"the tensors in {path} are not those of {model!r}: {first_few(differing, separator='; ')}."
            f"{names_beside(state, tensors)} {advice}"
        )


def _shape(tensor: Tensor | None) -> str:
    return "nowhere" if tensor is None else f"as {tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _describe(name: str, in_channels: int, num_classes: int) -> str:
    channels = "1 channel" if in_channels == 1 else f"{in_channels} channels"
    return f"{name!r} with {channels} and {num_classes} classes"


def _about(header: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in header.items() if name not in (*_OWN, _SIZE)}
