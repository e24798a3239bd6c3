"""Weights in a file: safetensors, with a JSON header that says which network they belong to.

Reading such a file runs no code that stands in it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save as serialise
from torch import Tensor

from persistill.errors import UserError
from persistill.models.network import Network
from persistill.models.table import build

_FORMAT = 1
_KEY = "persistill"
_OWN = ("format", "model", "in_channels", "num_classes")


def save(network: Network, path: Path, about: Mapping[str, Any]) -> None:
    """Write weights and buffers to ``path``, from any device and memory format.

    The file is written in place: call this inside ``runs.atomic`` to keep an older file until it is whole.

    Args:
        network: one that ``build`` can make again from its name.
        path: the file.
        about: what else a user of the weights must know, as plain JSON (classes, mean, std, view).

    Raises:
        ValueError: if ``about`` uses a name that the header needs itself.
        OSError: if the file cannot be written.
    """
    if clash := sorted(set(_OWN) & set(about)):
        raise ValueError(f"about must not hold {', '.join(clash)}: the header states these itself.")
    spec = network.spec
    own = dict(zip(_OWN, (_FORMAT, network.name, spec.in_channels, spec.num_classes), strict=True))
    header = json.dumps({**own, **about}, allow_nan=False)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    path.write_bytes(serialise(tensors, {_KEY: header}))


def load(path: Path) -> tuple[Network, dict[str, Any]]:
    """Make the network of a file, on the CPU in evaluation mode, without touching the random state.

    Returns:
        The network, and ``about`` as it was given to ``save``.

    Raises:
        UserError: if the file is missing, cut short, foreign, of a network that is not known, or of other
            shapes than its header says.
    """
    header, tensors = _read(path)
    with torch.device("meta"):
        network = build(header["model"], header["in_channels"], header["num_classes"])
    _compare(network, tensors, path)
    network.load_state_dict(tensors, assign=True)
    return network.eval(), _about(header)


def load_into(network: Network, path: Path) -> dict[str, Any]:
    """Copy the weights of a file into ``network``, which stays as it is if they do not fit.

    Returns:
        ``about`` as it was given to ``save``.

    Raises:
        UserError: if the file is missing, cut short or foreign, or holds another network, with what differs.
    """
    header, tensors = _read(path)
    spec = network.spec
    expected = (network.name, spec.in_channels, spec.num_classes)
    found = (header["model"], header["in_channels"], header["num_classes"])
    if found != expected:
        raise UserError(
            f"{path} holds {_describe(*found)}; {_describe(*expected)} is expected here. "
            "Give a file of that network, or change the network."
        )
    _compare(network, tensors, path)
    network.load_state_dict(tensors)
    return _about(header)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
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
    return _header(content, path), tensors


def _header(content: bytes, path: Path) -> dict[str, Any]:
    # A safetensors file begins with the length of its JSON header, 8 bytes; parse() has checked both.
    whole = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    try:
        header = json.loads(whole["__metadata__"][_KEY])
        model, numbers = header["model"], [header["format"], header["in_channels"], header["num_classes"]]
        fits = isinstance(model, str) and all(type(number) is int and 0 < number < 2**31 for number in numbers)
    except (KeyError, TypeError, json.JSONDecodeError):
        fits = False
    if not fits:
        raise UserError(
            f"{path} is a safetensors file, but not one that persistill wrote: its header does not name "
            "model, channels and classes. Give the model.safetensors of a run or an export."
        )
    if header["format"] != _FORMAT:
        raise UserError(f"{path} has format {header['format']}; this version of persistill reads format {_FORMAT}.")
    assert isinstance(header, dict)
    return header


def _compare(network: Network, tensors: Mapping[str, Tensor], path: Path) -> None:
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
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise UserError(
            f"the tensors in {path} are not those of {network.name!r}: {'; '.join(differing[:3])}{more}. "
            "It was written by another version or changed since."
        )


def _shape(tensor: Tensor | None) -> str:
    return "nowhere" if tensor is None else f"as {tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _describe(name: str, in_channels: int, num_classes: int) -> str:
    channels = "1 channel" if in_channels == 1 else f"{in_channels} channels"
    return f"{name!r} with {channels} and {num_classes} classes"


def _about(header: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in header.items() if name not in _OWN}
