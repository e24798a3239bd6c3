"""All that an interrupted training needs to go on as if nothing had happened, in one safetensors file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from persistill.errors import UserError
from persistill.utils.atomic_io import atomic


def save(path: Path, modules: Mapping[str, nn.Module], optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Write what is trained, optimizer, random states and ``state`` (plain JSON) atomically.

    Args:
        path: the file; an older checkpoint there is replaced only once the new one is whole.
        modules: name -> module; whole state dicts are kept, running statistics included.
        optimizer: its moments are kept as tensors, its numbers as JSON.
        state: position in the data, sums for the log, the key of the run.
    """
    packed = optimizer.state_dict()
    tensors = _tensors(modules)
    numbers: dict[str, dict[str, Any]] = {}
    for index, moments in packed["state"].items():
        for name, value in moments.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            else:
                numbers.setdefault(str(index), {})[name] = value
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    whole = {**state, "optimizer": {"groups": packed["param_groups"], "numbers": numbers}}
    # safetensors refuses tensors that share memory or are not dense; copies on the CPU are neither.
    tensors = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
    with atomic(path) as temporary:
        save_file(tensors, temporary, metadata={"state": json.dumps(whole)})


def load(path: Path, modules: Mapping[str, nn.Module], optimizer: Optimizer, key: str) -> dict[str, Any]:
    """Bring what is trained, optimizer and random states back to a checkpoint.

    Args:
        path: a file that ``save`` wrote.
        modules: of the same names and architectures; changed in place.
        optimizer: an optimizer of the same kind; changed in place.
        key: the run's key, which the checkpoint must carry.

    Returns:
        The ``state`` that was saved.

    Raises:
        UserError: if the file is cut short, is no checkpoint, or belongs to another run or model. Nothing is changed
            then, neither in memory nor on disk.
    """
    advice = f"Remove {path} to train this stage from its beginning."
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            state: dict[str, Any] = json.loads((file.metadata() or {})["state"])
        packed, found = state["optimizer"], state["key"]
    except (SafetensorError, KeyError, json.JSONDecodeError, OSError) as error:
        raise UserError(f"the checkpoint {path} is cut short or no checkpoint ({error}). {advice}") from None
    if found != key:
        raise UserError(f"the checkpoint {path} belongs to run {found}, not to this one ({key}). {advice}")
    own = {name: value.shape for name, value in _tensors(modules).items()}
    saved = {name: t.shape for name, t in tensors.items() if not name.startswith(("optimizer.", "random."))}
    if own != saved:
        differing = sorted(name for name in own.keys() | saved.keys() if own.get(name) != saved.get(name))
        raise UserError(f"the checkpoint {path} is of another model: {differing[0]!r} differs. {advice}")
    for name, module in modules.items():
        module.load_state_dict({own: tensors[f"{name}.{own}"] for own in module.state_dict()})
    moments: dict[int, dict[str, Any]] = {int(index): dict(items) for index, items in packed["numbers"].items()}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, moment = name.split(".", 2)
            moments.setdefault(int(index), {})[moment] = value
    optimizer.load_state_dict({"state": moments, "param_groups": packed["groups"]})
    torch.set_rng_state(tensors["random.cpu"])
    if torch.cuda.is_available() and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"])
    return state


def _tensors(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    return {f"{name}.{own}": value for name, module in modules.items() for own, value in module.state_dict().items()}
