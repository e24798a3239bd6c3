"""How to repeat every number."""

import json
import math
from collections import Counter
from collections.abc import Iterable

from persistill.report.comparison import ArmSummary, Comparison, Run, Sample
from persistill.report.export_text import int8_sentence, problems
from persistill.report.figure import Section
from persistill.report.table import NOTHING, Table, duration


def repeat(comparison: Comparison) -> Section:
    """Command, seeds, versions, hardware, wall-clock, run folders and the resolved recipe."""
    facts = {
        "Command": comparison.command or "not recorded",
        "Seeds": ", ".join(str(seed) for seed in comparison.settings.get("seeds", [])) or "not recorded",
        "Date": _moment(str(comparison.about.get("created") or "not recorded")),
        "Software": _listed(comparison.about.get("software") or {}),
        "Hardware": _listed(comparison.about.get("hardware") or {}),
        "Trained on": _trained_on(comparison),
        "Folder": comparison.folder.name,
    }
    for teacher in comparison.teachers:
        if notes := [note for run in teacher.runs for note in run.notes]:
            facts[f"Teacher {teacher.name}"] = f"out of a file; {'; '.join(notes)}"
    if comparison.export is not None:
        facts["Exported student"] = _export(comparison)
    return Section(
        name="repeat",
        title="How to repeat every number",
        text=(
            "Every number of this page is read from the run folders named here. A stage whose folder is complete "
            "is not run again by the command; to see it run, give another place with --out.\n\nOn the CPU the same "
            "versions, the same kind of processor and the same number of threads give the same numbers to the last "
            "digit. Another number of threads (OMP_NUM_THREADS) adds up in another order, and training carries the "
            "difference on: then expect figures as near as those of another seed."
        ),
        tables=(_stages(comparison), _folders(comparison)),
        template="repeat.html",
        content={
            "facts": facts,
            "recipe": json.dumps(comparison.settings, indent=2, ensure_ascii=False),
        },
    )


def _trained_on(comparison: Comparison) -> str:
    """Devices and numbers of threads, and of how many runs where they are not all alike."""
    runs = (run for arm in (*comparison.teachers, *comparison.arms) for run in arm.runs if run.epochs)
    found = Counter((run.device, run.threads) for run in runs)
    named = {
        "not recorded" if device is None else f"{device}, {threads} thread{'s' * (threads != 1)}": count
        for (device, threads), count in found.items()
    }
    if len(named) <= 1:
        return next(iter(named), "nothing was trained here")
    return "; ".join(f"{name} ({count} run{'s' * (count > 1)})" for name, count in named.items())


def _stages(comparison: Comparison) -> Table:
    rows = [(f"view: {view.name}", "1", _total([view.seconds]), NOTHING) for view in comparison.views]
    rows += [_stage(arm) for arm in (*comparison.teachers, *comparison.arms) if arm.runs]
    if comparison.export is not None:
        rows.append(("export", "1", _total([comparison.export.get("seconds", math.nan)]), NOTHING))
    rows.append(("all stages", NOTHING, _total([comparison.seconds]), NOTHING))
    return Table(
        "Wall-clock of every stage when it ran, all seeds of an arm added up; the last row holds them all.",
        ("Stage", "Runs", "Making or training", "Evaluation"),
        tuple(rows),
    )


def _stage(arm: ArmSummary) -> tuple[str, str, str, str]:
    return (
        arm.label,
        str(len(arm.runs)),
        _total(run.train_seconds for run in arm.runs),
        _total(run.evaluation_seconds for run in arm.runs),
    )


def _folders(comparison: Comparison) -> Table:
    def row(arm: ArmSummary, run: Run) -> tuple[str, ...]:
        seed = NOTHING if run.seed is None else str(run.seed)
        return arm.label, seed, run.folder, run.evaluation.name

    views = tuple((f"view: {view.name}", NOTHING, view.folder.name, NOTHING) for view in comparison.views)
    return Table(
        "Run folders. Each holds run.json (inputs, versions, hardware), log.jsonl and done.json (the result).",
        ("Network", "Seed", "Run", "Evaluation"),
        (*views, *(row(arm, run) for arm in comparison.everyone for run in arm.runs)),
        words=True,
    )


def _export(comparison: Comparison) -> str:
    assert comparison.export is not None
    files = ", ".join(str(name) for name in comparison.export.get("files", {}).values())
    differences = [
        f"{name} {value:.2g}"
        for name, value in comparison.export.get("difference", {}).items()
        if isinstance(value, float | int)
    ]
    text = f"{comparison.export['folder']}: {files or 'no files recorded'}"
    if differences:
        text += (
            f"; largest difference of its outputs from the checkpoint's on "
            f"{comparison.export.get('images', 'some')} images: {', '.join(differences)}"
        )
    said = [one for one in (int8_sentence(comparison.export), *problems(comparison.export)) if one]
    return " ".join([f"{text}.", *said]) if said else text


def _total(seconds: Iterable[float]) -> str:
    known = tuple(value for value in seconds if math.isfinite(value))
    return duration(Sample((math.fsum(known),))) if known else NOTHING


def _moment(created: str) -> str:
    day, _, clock = created.partition("T")
    return f"{day}, {clock[:5]} UTC" if clock else created


def _listed(values: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items()) or "not recorded"
