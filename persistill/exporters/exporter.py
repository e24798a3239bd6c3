"""Exports the student alone, and checks that every file answers as the checkpoint does."""

import contextlib
import copy
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from persistill import models
from persistill.errors import UserError, unknown
from persistill.exporters.export_task import CLASSIFY, ExportTask
from persistill.exporters.failure import root_cause
from persistill.exporters.formats import FORMATS, ExportSource, Format, run_batches
from persistill.exporters.latency import milliseconds
from persistill.exporters.output_kind import OutputKind, Reference
from persistill.exporters.processor import instructions
from persistill.exporters.student import WEIGHTS
from persistill.models import Network
from persistill.utils.atomic_io import atomic, write_json
from persistill.utils.preprocessing import Preprocessing

CONFIG = "model.json"
FORMAT = 2
BATCH, _PIXELS = 64, 2**22
"""Images that a file is asked about at a time, and the pixels of larger ones: 64 of 256 x 256."""
MADE = ("by static quantization", "by static quantization after quantization-aware training")
"""How an int8 file was made: from the student itself, or from a copy with quantization-aware training."""


def export_student(
    network: Network,
    about: Mapping[str, Any],
    images: Tensor,
    folder: Path,
    *,
    targets: Tensor | None = None,
    calibration: Tensor | None = None,
    for_int8: Network | None = None,
    formats: Sequence[str] | None = None,
    task: ExportTask = CLASSIFY,
) -> dict[str, Any]:
    """Write a student in several formats, each with its preprocessing, and compare all with it.

    ``model.safetensors`` holds the weights, ``model.onnx``, ``model.int8.onnx``, ``model.pt2`` and ``model.pte`` the
    network with its normalization, ``model.json`` describes input and output, and a script (``classify.py``) shows how
    to run the ONNX file. Before it is moved into the folder, each file is loaded again, run on ``images``, the first
    alone and the others in batches, and timed. Its outputs must equal those of ``network`` up to a tolerance
    (``logits.TOLERANCE``); those of int8 may differ, and the result says by how much, and how that changes the figure.

    A format whose packages are not installed is left out, and one that cannot be written, or whose file does not answer
    as the network does, fails alone: the result says which and why, and the others are written. The weights come first,
    and if they fail nothing is left to deliver.

    Args:
        network: the trained student; it is not changed.
        about: "classes" (K names), "mean" and "std" (C numbers each, of images in [0, 1]) and "shape" (C, H, W);
            kept, with whatever else it holds, in the header of ``model.safetensors``. "temperature", if it is there,
            divides logits for calibrated confidences.
        images: (N, C, H, W) uint8, real images.
        folder: an existing folder for the files.
        targets: (N, *) what is right, for the task's figure.
        calibration: (n, C, H, W) uint8, training images for the ranges of int8; without them it is left out.
        for_int8: a copy of the network after quantization-aware training (``Recipe.quantize``), from which
            ``model.int8.onnx`` alone is made. None to quantize ``network`` itself.
        formats: names of the task's (``task.outputs.formats``, in most tasks ``FORMATS``); None for all. "safetensors"
            is always written.
        task: what files answer, how they are scored, and the script that travels with them.

    Returns:
        ``files`` (format -> file name), ``bytes`` (format -> size), ``difference`` (format -> largest
        absolute difference between outputs), ``agreement`` (format -> share of equal answers), ``figure`` (the name of
        the task's figure, "accuracy") and, under this name, format and "checkpoint" -> figure on ``images``, with
        targets; ``milliseconds`` (format -> images in a batch -> median wall-clock of the batch on one thread),
        ``left_out`` (format -> why it was not tried), ``failed`` (format -> why it could not be written), ``notes``
        (format -> how else than usual it was written, a sentence), ``int8`` (what kind of int8 file there is, under
        "made": one of ``MADE``; under "saturating" the layers that may answer otherwise on processors without VNNI,
        none in files that are written here; and with ``for_int8``, under "static", the difference, agreement and
        figure of the file that would be there without; empty if there is no int8 file), ``instructions`` (of the
        processor that measured, for 8-bit integers), ``parameters``, ``images`` and ``seconds``.

    Raises:
        UserError: if ``about`` or ``images`` do not fit the network, a format is unknown, or the folder holds another
            model.
        RuntimeError: if the weights alone, loaded again, do not answer as the network does.
        OSError: if a file cannot be written to the disk.
    """
    began, kinds = time.perf_counter(), task.outputs.formats
    formats = tuple(kinds) if formats is None else formats
    check_formats(formats, kinds)
    _check(network, about, images)
    network = copy.deepcopy(network).cpu().eval()
    _refuse_others(folder, network, kinds)
    inputs = images.float() / 255
    # A batch of one, and then another size: a batch dimension that is not free would be noticed.
    at_a_time = min(BATCH, max(2, _PIXELS // math.prod(inputs.shape[2:])))
    batches = [inputs[:1], *(torch.split(inputs[1:], at_a_time) if len(inputs) > 1 else ())]
    expected = task.outputs.reference(network, about, batches)
    config = _config(network, about, expected, task)
    source = _source(network, about, config, calibration, task.outputs)
    trained = None
    if for_int8 is not None:
        trained = _source(_check_copy(for_int8, network), about, config, calibration, task.outputs)
    kept: dict[str, dict[str, Any]] = {}
    impossible = task.outputs.left_out(network)
    left_out: dict[str, str] = {}
    failed: dict[str, str] = {}
    int8: dict[str, Any] = {}
    for name, kind in kinds.items():
        if name not in formats and name != "safetensors":
            continue
        if reason := impossible.get(name) or _reason_left_out(name, kind, calibration):
            left_out[name] = reason
            continue
        try:
            with atomic(folder / kind.file) as temporary:
                kind.write(source, temporary)
                measured = _measured(kind, temporary, source, batches, expected, targets, task)
                if name == "int8":
                    static = {what: value for what, value in measured.items() if what != "milliseconds"}
                    if trained is not None:
                        kind.write(trained, temporary)
                        measured = _measured(kind, temporary, trained, batches, expected, targets, task)
                    int8 = {"made": MADE[trained is not None], "saturating": _saturating(temporary)}
                    int8 |= {} if trained is None else {"static": static}
            kept[name] = measured
        except OSError:
            raise  # of the disk, and no fault of the format
        except Exception as error:  # of exporters and runtimes, which raise whatever comes to hand
            if name == "safetensors":
                raise
            failed[name] = f"{kind.file} could not be written: {root_cause(error).rstrip('.')}."
    files = {name: kinds[name].file for name in kept}
    made = {"int8": int8["made"]} if int8 else {}
    write_json(folder / CONFIG, {**config, "script": task.script, "files": files, **made})
    files["config"] = CONFIG
    if task.runs in kept:
        with atomic(folder / task.script) as temporary:
            temporary.write_text(task.script_text, encoding="utf-8")
        files["example"] = task.script
    figures = {name: measured[task.figure] for name, measured in kept.items() if task.figure in measured}
    if targets is not None:
        figures = {"checkpoint": task.score(expected.answers, targets), **figures}
    figures = {name: value for name, value in figures.items() if math.isfinite(value)}
    return {
        "files": files,
        "bytes": {kind: (folder / name).stat().st_size for kind, name in files.items()},
        **{
            what: {name: measured[what] for name, measured in kept.items()}
            for what in ("difference", "agreement", "milliseconds")
        },
        "figure": task.figure,
        task.figure: figures,
        "left_out": left_out,
        "failed": failed,
        "notes": {name: note for name, note in source.notes().items() if name in kept},
        "int8": int8,
        "instructions": instructions(),
        "parameters": config["parameters"],
        "images": len(images),
        "seconds": time.perf_counter() - began,
    }


def check_formats(formats: Sequence[str], known: Mapping[str, Format] = FORMATS) -> None:
    """See that there are such formats.

    Args:
        formats: their names.
        known: those of a task.

    Raises:
        UserError: if one is unknown.
    """
    for name in formats:
        if name not in known:
            raise unknown("format", name, known)


def _source(
    network: Network, about: Mapping[str, Any], config: Mapping[str, Any], calibration: Tensor | None, kind: OutputKind
) -> ExportSource:
    return ExportSource(network, about, config, calibration, kind.module, kind.names, kind.float_tail)


def _reason_left_out(name: str, kind: Format, calibration: Tensor | None) -> str:
    """Why a format cannot be written here; empty if it can."""
    if missing := kind.missing():
        return (
            f"{kind.file} was left out: {', '.join(missing)} cannot be imported. "
            f'Install with: pip install "persistill[{kind.extra}]"'
        )
    if name == "int8" and calibration is None:
        return f"{kind.file} was left out: no training images were given on which ranges could be measured."
    return ""


def _measured(
    kind: Format,
    path: Path,
    source: ExportSource,
    batches: Sequence[Tensor],
    expected: Reference,
    targets: Tensor | None,
    task: ExportTask,
) -> dict[str, Any]:
    """How a written file compares with the checkpoint.

    Raises:
        RuntimeError: if it should be equal and is not.
    """
    model = kind.open(path, source.network.name)
    outputs = run_batches(model, batches, one_by_one=not kind.batches)
    compared = task.outputs.compare(outputs, expected, kind)
    measured = {
        "difference": compared.difference,
        "agreement": compared.agreement,
        "milliseconds": milliseconds(model, source.shape, one_by_one=not kind.batches, batches=task.outputs.timed),
    }
    return measured if targets is None else {**measured, task.figure: task.score(compared.answers, targets)}


def _saturating(path: Path) -> list[str]:
    from persistill.exporters import saturation  # noqa: PLC0415

    return saturation.saturating_layers(path)


def _check(network: Network, about: Mapping[str, Any], images: Tensor) -> None:
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
            f"{lengths[0]} classes, {lengths[1]} means, {lengths[2]} standard deviations and images of shape {shape}."
        )
    if images.dtype != torch.uint8 or images.shape[1:] != shape or len(images) == 0:
        raise UserError(
            f"the images for the comparison must be uint8 of shape (N, {', '.join(map(str, shape))}), at least one; "
            f"{images.dtype} of shape {tuple(images.shape)} was given."
        )


def _check_copy(copied: Network, network: Network) -> Network:
    """A copy of a copy of the network, with other weights.

    Raises:
        UserError: if it is another network.
    """
    if (copied.name, copied.spec) != (network.name, network.spec):
        raise UserError(
            f"the int8 file of {network.name!r} cannot be made of {copied.name!r}: give a copy of the same network "
            "that was trained on."
        )
    return copy.deepcopy(copied).cpu().eval()


def _refuse_others(folder: Path, network: Network, kinds: Mapping[str, Format]) -> None:
    """Let a folder through that is empty, or that an interrupted export of the same network left behind."""
    present = [name for name in (*(kind.file for kind in kinds.values()), CONFIG) if (folder / name).exists()]
    if not present:
        return
    if WEIGHTS in present:
        own = network.state_dict()
        with contextlib.suppress(UserError):  # of another network, or damaged
            found = models.load(folder / WEIGHTS, network.name)[0].state_dict()
            if found.keys() == own.keys() and all(torch.equal(found[name], own[name]) for name in own):
                return
    raise UserError(
        f"{folder} holds another model ({', '.join(present)}). Nothing was changed: export into another folder, "
        "or move these files away."
    )


def _in_words(channels: int, about: Mapping[str, Any]) -> str:
    """What to make of an image that was read and brought to its size, for people."""
    colors = {
        1: "One channel: luminance, ITU-R 601-2 (Pillow's mode L).",
        3: "Three channels in the order red, green, blue (OpenCV reads blue, green, red: turn them round).",
    }.get(channels, f"{channels} channels, in the order of the training data.")
    mean, std = (", ".join(f"{value:.6g}" for value in about[name]) for name in ("mean", "std"))
    height, width = about["shape"][1:]
    return (
        f"{colors} Height {height}, width {width}, channels first. 8-bit values are divided by 255 and nothing else. "
        f"The files subtract the mean ({mean}) and divide by the standard deviation ({std}) of each channel themselves."
    )


def _config(network: Network, about: Mapping[str, Any], expected: Reference, task: ExportTask) -> dict[str, Any]:
    """What stands in model.json, for people and for programs that do not know persistill."""
    preprocessing = Preprocessing.from_json(about.get("preprocessing"))
    return {
        "format": FORMAT,
        "task": task.name,
        "model": network.name,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "classes": list(about["classes"]),
        "input": {
            "name": "image",
            "shape": ["batch", *about["shape"]],
            "type": "float32",
            "range": [0.0, 1.0],
            "channels": "first",
            "color": {1: "gray", 3: "RGB"}.get(network.spec.in_channels, "as in the training data"),
            "preprocessing": preprocessing.to_json(),
            "read": preprocessing.in_words,
            "in_words": _in_words(network.spec.in_channels, about),
        },
        **task.outputs.describe(expected),
        "normalization": {
            "mean": list(about["mean"]),
            "std": list(about["std"]),
            "done": f"inside every file but {WEIGHTS}, and by persistill.exporters.load_student: give images in "
            f"[0, 1]. The weights in {WEIGHTS} expect (image - mean) / std.",
        },
        # Confidence is softmax(logits / temperature); 1 where no temperature was fitted.
        "temperature": float(about.get("temperature", 1.0)),
    }
