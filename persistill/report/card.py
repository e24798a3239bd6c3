"""A model card for one student: what it is, what it can do and cannot, and how it was made.

Markdown with the Hub's front matter (huggingface.co/docs/hub/model-cards), so that a card can stand as the README of a
model repository.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from persistill.errors import UserError, unknown
from persistill.report.against_baseline import against_baseline
from persistill.report.class_scores import BALANCED, unequal_classes
from persistill.report.comparison import ArmSummary, Comparison, Run, read
from persistill.report.decision import decide, exported_run
from persistill.report.sections.corruptions import corruption_error
from persistill.report.significance import sentence
from persistill.report.table import NOTHING, Table, as_markdown, escaped, percent, spread
from persistill.utils.atomic_io import atomic

_TAGS = ("knowledge-distillation", "persistill")
_DOES = {
    "image-classification": "classifies",
    "image-segmentation": "gives a class to every pixel of",
    "object-detection": "finds objects in",
}
"""Tasks by their names on the Hub, and what a network of each does with images."""


def model_card(comparison: Comparison, arm: str, seed: int | None = None) -> str:
    """A student's card.

    Args:
        comparison: as read from its folder.
        arm: name of the student's arm.
        seed: of the network that the card goes with; None for the exported one, or the first that is complete.

    Raises:
        UserError: if there is no such arm or seed, or no network of it is complete.
    """
    arms = {summary.name: summary for summary in comparison.arms}
    if arm not in arms:
        raise unknown("arm:", arm, arms)
    found, exported = arms[arm], exported_run(comparison)
    if seed is None and exported in found.runs:
        seed = exported.seed
    runs = [run for run in found.runs if seed is None or run.seed == seed]
    if not runs:
        of = "" if seed is None else f" of seed {seed}"
        raise UserError(
            f"there is no complete network{of} in arm {arm!r} to write a card for. Run the recipe to its end."
        )
    run = runs[0]
    parts = [_front(comparison, found, run), *_body(comparison, found, run)]
    return "\n\n".join(parts) + "\n"


def write_card_of_exported(folder: Path) -> None:
    """Write the model card of the exported student beside its files, as README.md, which is replaced whole.

    Args:
        folder: a comparison's. Where its export failed or is gone, nothing is written.
    """
    comparison = read(folder)
    choice = comparison.choice
    if comparison.export is None or choice is None or exported_run(comparison) is None:
        return
    with atomic(folder.parent / comparison.export["folder"] / "README.md") as temporary:
        temporary.write_text(model_card(comparison, choice.student.arm, choice.student.seed), encoding="utf-8")


def _front(comparison: Comparison, arm: ArmSummary, run: Run) -> str:
    """YAML, of which JSON is a part: texts are written as JSON strings."""
    source = _source(comparison)
    tag = comparison.task.pipeline_tag
    lines = ["---", f"pipeline_tag: {tag}", "tags:", *(f"- {tag}" for tag in (tag, *_TAGS))]
    if "/" in source:
        lines += ["datasets:", f"- {_text(source)}"]
    lines += [
        "metrics:",
        f"- {comparison.task.figure.name}",
        "model-index:",
        f"- name: {_text(f'{comparison.recipe} {arm.name}')}",
        "  results:",
        "  - task:",
        f"      type: {tag}",
        "    dataset:",
        f"      name: {_text(source)}",
        f"      type: {_text(source)}",
        "      split: test",
        "    metrics:",
        *(
            f"    - {{type: {kind}, name: {_text(name)}, value: {value:.6g}}}"
            for kind, name, value in _results(comparison, run)
        ),
        "---",
    ]
    return "\n".join(lines)


def _results(comparison: Comparison, run: Run) -> Iterator[tuple[str, str, float]]:
    columns = comparison.task.columns
    figures = (
        *((measure.name, measure.title, run.figure(*measure.path)) for measure in columns),
        ("corruption_error", "Mean corruption error", run.figure("corruptions", "error")),
    )
    return ((kind, name, value) for kind, name, value in figures if math.isfinite(value))


def _body(comparison: Comparison, arm: ArmSummary, run: Run) -> Iterator[str]:
    settings = comparison.settings
    model = (settings.get("student") or {}).get("name", "a network")
    own: Mapping[str, Any] = (settings.get("arms") or {}).get(arm.name) or {}
    teachers = ", ".join(own.get("teachers") or ())
    methods = ", ".join(str(method.get("is", "?")) for method in own.get("methods") or ())
    size = "" if run.parameters is None else f" with {run.parameters:,} parameters"
    seed = "" if run.seed is None else f", seed {run.seed}"
    does = _DOES.get(comparison.task.pipeline_tag, "was trained on")
    made = f"learned from {teachers} by {methods}" if teachers and methods else "was trained without teachers"
    yield f"# {escaped(comparison.recipe)}: {escaped(arm.name)}"
    yield escaped(
        f"A {model}{size} that {does} images like those of {_source(comparison)}. It {made} ({arm.name}{seed}), "
        "with Persistill."
    )
    if comparison.classes:
        yield f"Classes, in the order of its answers: {escaped(', '.join(comparison.classes))}."
    yield "## What it was measured to do"
    yield as_markdown(_figures(comparison, arm, run))
    yield (
        f"On {run.images:,} test images that nothing was chosen on, with the network after its last epoch. "
        + ("± is the sample standard deviation over seeds." if len(arm.runs) > 1 else "One seed was trained.")
    )
    told = _verdict(comparison, arm)
    if told:
        yield escaped(told)
    if run is exported_run(comparison):
        decision = decide(comparison)
        yield "## Why this one"
        yield escaped(decision.sentence)
        yield "\n".join(f"* {escaped(reason)}" for reason in decision.reasons)
    yield "## What to know before using it"
    yield "\n".join(f"* {line}" for line in _limits(comparison.task.pipeline_tag, run))
    yield "## How it was made"
    yield as_markdown(_making(comparison, arm, run))


def _figures(comparison: Comparison, arm: ArmSummary, run: Run) -> Table:
    absolute, relative = corruption_error(comparison, arm)
    position = arm.runs.index(run)
    rows = [
        (
            measure.header + (f", {measure.unit}" if measure.unit not in ("%", "") else ""),
            measure.show(run.figure(*measure.path)),
            spread(arm.of(measure), measure.scale, measure.digits),
        )
        for measure in comparison.task.columns
    ]
    if unequal_classes(comparison):
        rows += [(one.header, one.show(run.figure(*one.path)), spread(arm.of(one), 100)) for one in BALANCED]
    for title, names in (
        ("ECE %, calibrated", ("calibrated", "ece")),
        ("Area under the risk-coverage curve %", ("aurc",)),
    ):
        every = arm.figures(*names)
        if every.values:
            rows.append((title, percent(run.figure(*names)), spread(every, 100)))
    rows += [
        (f"{comparison.task.figure.header} at noise {level:g}", percent(run.noise[level]), spread(s, 100))
        for level, s in arm.noise.items()
    ]
    if absolute.values:
        rows.append(("Mean corruption error %", percent(absolute.values[position]), spread(absolute, 100)))
    if relative.values:
        baseline = comparison.arms[0].name
        rows.append(
            (f"The same, relative to {baseline}", f"{relative.values[position]:.3f}", spread(relative, digits=3))
        )
    for strength in (run.metrics.get("attacks") or {}).get("pgd", {}):
        path = ("attacks", "pgd", strength)
        rows.append(
            (f"Accuracy % under PGD, {strength}/255", percent(run.figure(*path)), spread(arm.figures(*path), 100))
        )
    return Table("", ("Figure", "This network", "All seeds"), tuple(rows))


def _verdict(comparison: Comparison, arm: ArmSummary) -> str:
    if arm.name == comparison.arms[0].name:
        return ""
    of_two = replace(comparison, arms=(comparison.arms[0], arm))  # the others are not compared again for every card
    try:
        found = against_baseline(of_two).get(arm.name)
    except (UserError, ValueError):
        return ""
    return (
        ""
        if found is None
        else sentence(
            arm.name, comparison.arms[0].name, found, comparison.task.figure.in_text, comparison.task.figure.difference
        )
    )


def _limits(tag: str, run: Run) -> Iterator[str]:
    if tag == "object-detection":
        yield "It knows its classes and nothing else: other objects are passed over, or named as one of them."
        yield "Detections with low scores are mostly wrong: choose the least score that counts on images of your own."
    else:
        yield "It knows its classes and nothing else: an image of another thing gets one of them, often confidently."
    yield "It was measured on images of the same source as it was trained on. On others it will do worse."
    temperature = run.figure("calibrated", "temperature")
    if math.isfinite(temperature):
        yield (
            f"Divide its logits by the temperature {temperature:.3f}, fitted on validation images, before taking its "
            "confidence at its word."
        )
    if run.metrics.get("attacks"):
        yield "Changes too small to see can mislead it; the table says how often simple ones do."


def _making(comparison: Comparison, arm: ArmSummary, run: Run) -> Table:
    def listed(what: str) -> str:
        return ", ".join(f"{name} {value}" for name, value in (comparison.about.get(what) or {}).items()) or NOTHING

    cost = comparison.cost(arm)
    rows = [
        ("Command", comparison.command or NOTHING),
        ("Seeds of the arm", ", ".join(map(str, arm.seeds)) or NOTHING),
        ("Epochs", NOTHING if run.epochs is None else str(run.epochs)),
        ("Run folder", run.folder),
        ("Date", str(comparison.about.get("created") or NOTHING)),
        ("Software", listed("software")),
        ("Hardware", listed("hardware")),
    ]
    if cost:
        rows.append(("MACs for one image", f"{cost['macs']:,}"))
        rows.append(("Bytes of weights", f"{cost['bytes']:,}"))
    return Table("", ("", ""), tuple(rows))


def _source(comparison: Comparison) -> str:
    """Where the images came from: a name on the Hub as it is, of a folder the last part."""
    source = str((comparison.settings.get("data") or {}).get("source") or "unknown")
    named = source.count("/") == 1 and not source.startswith((".", "/", "~"))
    return source if named else PurePath(source).name


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
