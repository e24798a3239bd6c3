"""An evaluation in steps, each of which is kept when it is done: an interrupted evaluation goes on with the next."""

import hashlib
import itertools
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from persistill import schemas
from persistill.errors import UserError
from persistill.ranks import Ranks
from persistill.utils.atomic_io import atomic
from persistill.utils.progress import Progress
from persistill.utils.strict_json import decode_json


@dataclass(frozen=True)
class StepResult:
    """What a step found.

    Attributes:
        metrics: plain JSON values; steps may fill one mapping together ("noise").
        files: name of a file -> its arrays by name, written as npz.
        additions: likewise, beside those that other steps have left in the file.
    """

    metrics: dict[str, Any]
    files: Mapping[str, Mapping[str, NDArray[Any]]] = field(default_factory=dict)
    additions: Mapping[str, Mapping[str, NDArray[Any]]] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluationStep:
    """One piece of an evaluation.

    Attributes:
        name: of its file: "noise-0.02" is kept in ``part-noise-0.02.json``.
        units: by which ``measure`` advances the progress.
        measure: does the work.
        measured_by: where several ranks share an evaluation, "first" alone, while the others wait; "all" together, of
            which each calls ``measure``, which shares out its batches, and what it returns to the first one counts; or
            "any" one, while others measure the steps beside it. Steps before it have written their files, but for those
            beside it.
    """

    name: str
    units: int
    measure: Callable[[Progress], StepResult]
    measured_by: Literal["first", "all", "any"] = "first"


def measure_steps(
    steps: Sequence[EvaluationStep],
    folder: Path,
    made_of: object,
    progress: Progress,
    label: str,
    summary: Callable[[Mapping[str, Any]], str],
    ranks: Ranks | None = None,
    *,
    together: bool = False,
) -> tuple[dict[str, Any], float]:
    """Do what has not been done, one step after the other, or several at a time by several ranks.

    A step is passed over where its file stands in the folder and names the same ``made_of``. Its arrays are written
    first, the file that says that it is done last, each whole or not at all.

    Args:
        steps: in order.
        folder: exists.
        made_of: plain JSON, whatever all steps depend on.
        progress: one stage is started and finished on it; what was done before counts as done.
        label: the stage's name.
        summary: of the metrics in a few words, told to the progress at the end.
        ranks: among which the steps are shared out, each of which has called this; the first one writes.
        together: all ranks measure every step, because each holds but a part of the network.

    Returns:
        The metrics of all steps in one mapping, and the seconds that they took, those of earlier calls included.
        Values that are not finite are None. Nothing for ranks but the first.
    """
    ranks = ranks or Ranks()
    identity = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
    known = {step.name: _read(folder, step, identity) if ranks.leads else None for step in steps}
    records = {name: record for name, record in known.items() if record is not None}
    progress.start(label, sum(step.units for step in steps), sum(step.units for step in steps if step.name in records))
    if together:
        groups = [("all", [step]) for step in steps]
    else:
        groups = [(kind, list(some)) for kind, some in itertools.groupby(steps, lambda step: step.measured_by)]
    for kind, beside in groups:
        # Whoever hears which ones are left knows that all before them are written.
        left = ranks.from_leader([step.name for step in beside if step.name not in records])
        records |= _measured([step for step in steps if step.name in left], kind, folder, identity, progress, ranks)
    metrics: dict[str, Any] = {}
    if ranks.leads:
        for step in steps:
            _merge(metrics, records[step.name]["metrics"])
    progress.finish(summary(metrics) if ranks.leads else "")
    return metrics, sum(record["seconds"] for record in records.values())


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


def _measured(
    steps: Sequence[EvaluationStep], kind: str, folder: Path, identity: str, progress: Progress, ranks: Ranks
) -> dict[str, dict[str, Any]]:
    """Measure and write some steps of one kind: name -> record."""

    def measured(numbers: Iterable[int]) -> Iterator[StepResult]:
        return (steps[number].measure(progress) for number in numbers)

    if kind == "any":
        results = ranks.share(len(steps), measured)
    else:
        results = measured(range(len(steps)) if kind == "all" or ranks.leads else ())
    records = {}
    began = time.perf_counter()
    for number, result in enumerate(results):
        if ranks.leads:
            records[steps[number].name] = _written(result, began, folder, steps[number], identity)
        if kind == "any" and number % ranks.size:
            progress.advance(steps[number].units)  # another rank's
        began = time.perf_counter()
    return records


def _written(result: StepResult, began: float, folder: Path, step: EvaluationStep, identity: str) -> dict[str, Any]:
    # Until it is written again, the old file would vouch for new arrays.
    _file(folder, step).unlink(missing_ok=True)
    added = {name: {**_arrays(folder / name), **arrays} for name, arrays in result.additions.items()}
    for name, arrays in {**result.files, **added}.items():
        with atomic(folder / name) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
    record = {
        "of": identity,
        "seconds": time.perf_counter() - began,
        "metrics": _finite(result.metrics),
    }
    with atomic(_file(folder, step)) as temporary:
        temporary.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return record


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """What other steps have left in a file that several write: theirs, or what will be written over."""
    if not path.exists():
        return {}
    with np.load(path) as file:
        return {name: file[name] for name in file}


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
