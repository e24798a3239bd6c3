"""Writes the student alone, and checks that what was written answers as what was trained."""

import copy
import importlib.util
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from persistill import models
from persistill.errors import UserError
from persistill.export.student import WEIGHTS, Student, read
from persistill.models import Network
from persistill.runs import atomic, write_json

CONFIG, ONNX = "model.json", "model.onnx"
FORMAT = 1
TOLERANCE = 1e-4
"""Largest difference between logits, as a share of the largest absolute logit of the checkpoint."""

_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def export_student(network: Network, about: Mapping[str, Any], pictures: Tensor, folder: Path) -> dict[str, Any]:
    """Write a student as safetensors and as ONNX, each with its preprocessing, and compare both with it.

    ``model.safetensors`` holds the weights, ``model.json`` says in plain words what goes in and comes out,
    ``model.onnx`` normalises by itself. Each file is loaded again before it takes its place, and answers
    ``pictures``, the first alone and the others in batches; it must agree with ``network`` up to
    ``TOLERANCE``.

    Without the packages of the extra "onnx" the ONNX file is left out, and the result says so.

    Args:
        network: the trained student; it is left as it was.
        about: "classes" (K names), "mean" and "std" (C numbers each, of pictures in [0, 1]) and "shape" (C, H, W);
            kept, with whatever else it holds, in the header of ``model.safetensors``.
        pictures: (N, C, H, W) uint8, real ones.
        folder: exists, and receives the files.

    Returns:
        ``files`` (format -> file name), ``bytes`` (format -> size), ``difference`` (format -> largest
        absolute difference between logits), ``agreement`` (format -> share of pictures with the same class),
        ``left_out`` (format -> why), ``parameters``, ``pictures`` and ``seconds``.

    Raises:
        UserError: if ``about`` or ``pictures`` do not fit the network, or the folder holds another model.
        RuntimeError: if a file does not answer as the network does. That file is not kept.
    """
    began = time.perf_counter()
    _check(network, about, pictures)
    network = copy.deepcopy(network).cpu().eval()
    _refuse_others(folder, network)
    images = pictures.float() / 255
    # A batch of one, and then another size: a batch dimension that is not free would be noticed.
    batches = [images[:1], *(torch.split(images[1:], 64) if len(images) > 1 else ())]
    expected = _reference(network, about, batches)
    config = _config(network, about)
    files, differences, agreements, left_out = {}, {}, {}, {}

    def deliver(kind: str, name: str, write: Callable[[Path], None], run: Callable[[Path], Tensor]) -> None:
        with atomic(folder / name) as temporary:
            write(temporary)
            differences[kind], agreements[kind] = _compare(run(temporary), expected, name)
        files[kind] = name

    deliver(
        "safetensors",
        WEIGHTS,
        lambda path: models.save(network, path, about),
        lambda path: _answers(read(path), batches),
    )
    if missing := [name for name in _PACKAGES if importlib.util.find_spec(name) is None]:
        left_out["onnx"] = (
            f"{ONNX} was left out: {', '.join(missing)} cannot be imported. "
            'Install with: pip install "persistill[onnx]"'
        )
    else:
        # Not at the top of the file, because these packages are an extra.
        from persistill.export import onnx_file  # noqa: PLC0415

        student = Student(network, about["mean"], about["std"]).eval()
        deliver(
            "onnx",
            ONNX,
            lambda path: onnx_file.write(student, tuple(about["shape"]), config, path),
            lambda path: onnx_file.run(path, batches),
        )
    write_json(folder / CONFIG, {**config, "files": files})
    files["config"] = CONFIG
    return {
        "files": files,
        "bytes": {kind: (folder / name).stat().st_size for kind, name in files.items()},
        "difference": differences,
        "agreement": agreements,
        "left_out": left_out,
        "parameters": config["parameters"],
        "pictures": len(pictures),
        "seconds": time.perf_counter() - began,
    }


def _check(network: Network, about: Mapping[str, Any], pictures: Tensor) -> None:
    if absent := [name for name in ("classes", "mean", "std", "shape") if name not in about]:
        raise UserError(
            f"a student cannot be exported without its {', '.join(absent)}: its weights file does not hold them. "
            "Export the run of a student that persistill trained."
        )
    spec, shape = network.spec, tuple(about["shape"])
    lengths = (len(about["classes"]), len(about["mean"]), len(about["std"]), *shape[:1])
    if lengths != (spec.num_classes, *(spec.in_channels,) * 3) or len(shape) != 3:
        raise UserError(
            f"{network.name!r} has {spec.in_channels} channels and {spec.num_classes} classes; given were "
            f"{lengths[0]} classes, {lengths[1]} means, {lengths[2]} standard deviations and pictures of shape {shape}."
        )
    if pictures.dtype != torch.uint8 or pictures.shape[1:] != shape or len(pictures) == 0:
        raise UserError(
            f"the pictures for the comparison must be uint8 of shape (N, {', '.join(map(str, shape))}), at least one; "
            f"{pictures.dtype} of shape {tuple(pictures.shape)} was given."
        )


def _refuse_others(folder: Path, network: Network) -> None:
    """Let a folder through that is empty, or that an interrupted export of the same network left behind."""
    present = [name for name in (WEIGHTS, CONFIG, ONNX) if (folder / name).exists()]
    if not present:
        return
    if WEIGHTS in present:
        found, own = models.load(folder / WEIGHTS)[0].state_dict(), network.state_dict()
        if found.keys() == own.keys() and all(torch.equal(found[name], own[name]) for name in own):
            return
    raise UserError(
        f"{folder} holds another model ({', '.join(present)}). Nothing was changed: export into another folder, "
        "or move these files away."
    )


def _reference(network: Network, about: Mapping[str, Any], batches: Iterable[Tensor]) -> Tensor:
    """The checkpoint's own logits, with pictures normalised as in training and not by ``Student``."""
    mean, std = (torch.tensor(about[name]).reshape(1, -1, 1, 1) for name in ("mean", "std"))
    with torch.inference_mode():
        return torch.cat([network((x - mean) / std).logits for x in batches])


def _answers(student: Student, batches: Iterable[Tensor]) -> Tensor:
    with torch.inference_mode():
        return torch.cat([student(x) for x in batches])


def _compare(found: Tensor, expected: Tensor, name: str) -> tuple[float, float]:
    """The largest difference and the share of equal classes."""
    difference = float((found - expected).abs().max())
    agreement = float((found.argmax(1) == expected.argmax(1)).double().mean())
    allowed = TOLERANCE * float(expected.abs().max())
    # Written so that NaN does not pass.
    if not difference <= allowed:
        raise RuntimeError(
            f"{name} does not answer as the checkpoint does: its logits differ by up to {difference:.3g} on "
            f"{len(expected)} pictures, where {allowed:.3g} is allowed; {agreement:.1%} of the classes are equal. "
            "The file was not kept."
        )
    return difference, agreement


def _config(network: Network, about: Mapping[str, Any]) -> dict[str, Any]:
    """What stands in model.json, for people and for programs that do not know persistill."""
    return {
        "format": FORMAT,
        "model": network.name,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "classes": list(about["classes"]),
        "input": {
            "name": "image",
            "shape": ["batch", *about["shape"]],
            "type": "float32",
            "range": [0.0, 1.0],
            "channels": "first",
        },
        "output": {"name": "logits", "shape": ["batch", len(about["classes"])], "type": "float32"},
        "normalisation": {
            "mean": list(about["mean"]),
            "std": list(about["std"]),
            "done": f"inside {ONNX} and by persistill.export.load_student: give pictures in [0, 1]. "
            f"The weights in {WEIGHTS} expect (image - mean) / std.",
        },
    }
