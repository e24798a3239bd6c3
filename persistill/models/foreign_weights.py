"""Weights as people have them: wrappers' prefixes, half precision, state dicts inside checkpoints of a training."""

import argparse
import pickle
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from persistill.errors import UserError, unknown
from persistill.utils.atomic_io import atomic

_WRAPPERS = ("module.", "_orig_mod.")
"""What DataParallel, DistributedDataParallel, AveragedModel and torch.compile write before every name."""
_OUTER = ("model.", "network.", "net.", "encoder.", "backbone.")
"""What a training's own module writes before the names of the network inside it."""
_COUNTER = "n_averaged"
"""AveragedModel counts the models that it averaged."""
_AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")
"""Names of the averaged weights in a checkpoint, which are those that trainings report figures of."""
_ENTRIES = (*_AVERAGES, "state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params")
_DEPTH = 3


class Imported(NamedTuple):
    """What was taken out of a checkpoint.

    Attributes:
        entry: where the weights lay in it; "" if it held nothing else.
        others: other entries that hold weights.
        notes: what was changed, a sentence each.
        tensors: name -> tensor.
    """

    entry: str
    others: tuple[str, ...]
    notes: tuple[str, ...]
    tensors: Mapping[str, Tensor]


def tidy(tensors: Mapping[str, Tensor], known: Collection[str] = ()) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Weights by the names of the network itself, in single precision.

    Args:
        tensors: by names that a wrapper may have lengthened.
        known: the network's own names, where they are known: names that are among them stay.

    Returns:
        The weights, and what was changed, a sentence each.
    """
    found, notes = {name: tensor for name, tensor in tensors.items() if name != _COUNTER}, []
    removed = ""
    while prefix := _shared_prefix(found, known):
        found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
        removed += prefix
    if removed:
        notes.append(f"{removed!r} was taken from the beginning of all names.")
    halves = {str(t.dtype).removeprefix("torch.") for t in found.values() if t.dtype in (torch.half, torch.bfloat16)}
    if halves:
        found = {
            name: tensor.float() if tensor.dtype in (torch.half, torch.bfloat16) else tensor
            for name, tensor in found.items()
        }
        notes.append(f"{' and '.join(sorted(halves))} became float32.")
    return found, tuple(notes)


def import_checkpoint(path: Path, target: Path, entry: str | None = None) -> Imported:
    """Take the weights out of a checkpoint of a training, and write them as safetensors.

    No code in the file is run: it is read with ``weights_only``, and one that needs more is refused.

    Args:
        path: a file that ``torch.save`` wrote (.pth, .pt, .bin, .ckpt, .tar), or safetensors.
        target: a new file.
        entry: where in the checkpoint the weights lie, "state_dict" or "ema.state_dict"; None to look in the usual
            places, averaged weights first.

    Raises:
        UserError: if the file is missing, damaged, holds code or no weights, or the target exists.
        OSError: if the target cannot be written.
    """
    if target.exists():
        raise UserError(f"{target} exists already and was not overwritten; name another file with --out.")
    found = dict(_entries(_read(path), ""))
    if not found:
        raise UserError(
            f"{path} holds no weights: no entry of it maps names to tensors. Save the network's state_dict() where it "
            "was trained, torch.save(network.state_dict(), FILE)."
        )
    if entry is None:
        entry = min(found, key=_rank)
    elif entry not in found:
        raise unknown(f"entry with weights in {path}:", entry, [name or "''" for name in found])
    tensors, notes = tidy(_plain(found[entry], path))
    with atomic(target) as temporary:
        save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, temporary)
    return Imported(entry, tuple(name for name in found if name != entry), notes, tensors)


def names_beside(network: Collection[str], file: Collection[str]) -> str:
    """Names that the network and the file do not share, beside each other; empty if one of the two has no such."""
    missing = [name for name in network if name not in file]
    extra = [name for name in sorted(file) if name not in network]
    if not missing or not extra:
        return ""
    return f" Names in the file alone: {_some(extra)}. In the network alone: {_some(missing)}."


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f", ... ({len(names)})" if len(names) > 3 else "")


def _shared_prefix(names: Collection[str], known: Collection[str]) -> str:
    if not names or any(name in known for name in names):
        return ""
    shared = next((one for one in (*_WRAPPERS, *_OUTER) if all(name.startswith(one) for name in names)), "")
    # Without the network's names, a part of the training's module may be a part of the network as well.
    return shared if known or shared in _WRAPPERS else ""


def _read(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"there is no file {path}.")
    if path.suffix.lower() == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise UserError(f"{path} is not a whole safetensors file ({error}). Copy it again.") from None
    try:
        # Options that trainings keep beside their weights; nothing of theirs runs.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of kinds of tensors that are refused afterwards
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} holds more than tensors, numbers and texts, and reading that could run code: it was not read "
            f"({_first_line(error)}). Where you trust it, save its state dict alone where it was written: "
            "torch.save(network.state_dict(), FILE)."
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, IndexError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read as a checkpoint ({_first_line(error)}): it is damaged, cut short or of another "
            "kind. Give a file that torch.save wrote, or safetensors."
        ) from None


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    unsupported = next(
        (line for line in lines if line.startswith(("GLOBAL", "WeightsUnpickler error", "Unsupported"))), ""
    )
    return (unsupported or (lines[0] if lines else type(error).__name__))[:200].rstrip(".")


def _entries(content: Any, place: str, depth: int = 0) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Dotted names of the entries that hold weights, and the entries."""
    if not isinstance(content, Mapping) or depth > _DEPTH:
        return
    names = [name for name in content if isinstance(name, str)]
    tensors = [name for name in names if isinstance(content[name], Tensor)]
    if len(tensors) > len(content) / 2:
        yield place, content
        return
    for name in names:
        if name != "optimizer":
            yield from _entries(content[name], f"{place}.{name}" if place else name, depth + 1)


def _rank(place: str) -> tuple[int, int]:
    first = place.split(".", maxsplit=1)[0]
    return (_ENTRIES.index(first) if first in _ENTRIES else len(_ENTRIES), place.count("."))


def _plain(entry: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    found = {
        name: value.detach() for name, value in entry.items() if isinstance(name, str) and isinstance(value, Tensor)
    }
    odd = [
        name for name, value in found.items() if value.layout != torch.strided or value.is_quantized or value.is_meta
    ]
    if odd:
        raise UserError(
            f"{odd[0]} in {path} is a sparse, quantized or empty tensor, which no network here has: save the weights "
            "of the network in floating point."
        )
    return found
