"""An evaluation in steps, each of which is kept when it is done: an interrupted evaluation goes on with the next."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persistill import schemas
from persistill.errors import UserError
from persistill.utils.atomic_io import atomic
from persistill.utils.progress import Progress
from persistill.utils.strict_json import decode_json


@dataclass(frozen=True)
class StepResult:
    """What a step found.

    Attributes:
        metrics: plain JSON values; steps may fill one mapping together ("noise").
        files: name of a file -> its arrays by name, written as npz.
    """

    metrics: dict[str, Any]
    files: Mapping[str, Mapping[str, NDArray[Any]]] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluationStep:
    """One piece of an evaluation.

    Attributes:
        name: of its file: "noise-0.02" is kept in ``part-noise-0.02.json``.
        units: by which ``measure`` advances the progress.
        measure: does the work. Steps before it have written their files.
    """

    name: str
    units: int
    measure: Callable[[Progress], StepResult]


def measure_steps(
    steps: Sequence[EvaluationStep],
    folder: Path,
    made_of: object,
    progress: Progress,
    label: str,
    summary: Callable[[Mapping[str, Any]], str],
) -> tuple[dict[str, Any], float]:
    """Do what has not been done, one step after the other.

    A step is passed over where its file stands in the folder and names the same ``made_of``. Its arrays are written
    first, the file that says that it is done last, each whole or not at all.

    Args:
        steps: in order.
        folder: exists.
        made_of: plain JSON, whatever all steps depend on.
        progress: one stage is started and finished on it; what was done before counts as done.
        label: the stage's name.
        summary: of the metrics in a few words, told to the progress at the end.

    Returns:
        The metrics of all steps in one mapping, and the seconds that they took, those of earlier calls included.
        Values that are not finite are None.
    """
    identity = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
    done = {step.name: _read(folder, step, identity) for step in steps}
    progress.start(label, sum(step.units for step in steps), sum(step.units for step in steps if done[step.name]))
    metrics: dict[str, Any] = {}
    seconds = 0.0
    for step in steps:
        record = done[step.name] or _measured(step, folder, identity, progress)
        _merge(metrics, record["metrics"])
        seconds += record["seconds"]
    progress.finish(summary(metrics))
    return metrics, seconds


def _file(folder: Path, step: EvaluationStep) -> Path:
    return folder / f"part-{step.name}.json"


def _read(folder: Path, step: EvaluationStep, identity: str) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = decode_json(_file(folder, step).read_bytes())
        if record["of"] != identity:
            return None
        schemas.check(schemas.StoredStep, record, str(_file(folder, step)), "")
    except (FileNotFoundError, ValueError, KeyError, TypeError, UserError):
        return None  # not there, of another network or no longer what was written: it is measured again
    return record


def _measured(step: EvaluationStep, folder: Path, identity: str, progress: Progress) -> dict[str, Any]:
    began = time.perf_counter()
    measured = step.measure(progress)
    # Until it is written again, the old file would vouch for new arrays.
    _file(folder, step).unlink(missing_ok=True)
    for name, arrays in measured.files.items():
        with atomic(folder / name) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
    record = {"of": identity, "seconds": time.perf_counter() - began, "metrics": _finite(measured.metrics)}
    with atomic(_file(folder, step)) as temporary:
        temporary.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return record


def _merge(whole: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        if isinstance(value, Mapping) and isinstance(whole.get(name), dict):
            _merge(whole[name], value)
        else:
            whole[name] = value


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(name): _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
