"""What the topology teacher gets right that the image teacher does not, and whether students gain by it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from persistill.errors import UserError
from persistill.report.comparison import ArmSummary, Comparison
from persistill.report.data_uri import inlined_sheet
from persistill.report.example_images import Case, cases, kept_images, standing
from persistill.report.figure import Section
from persistill.report.significance import Difference
from persistill.report.table import NOTHING, Table, percent, signed, spread
from persistill.report.teacher_pairs import TeacherPair, teacher_pairs

_TITLE = "What only the topology teacher gets right"


class Gain(NamedTuple):
    """An arm that both teachers teach, beside another.

    Attributes:
        arm: the one.
        other: its control, or the baseline for want of one.
        controlled: whether it is the control.
        differences: group -> how much more of it the arm gets right; None for a group without images.
    """

    arm: ArmSummary
    other: ArmSummary
    controlled: bool
    differences: Mapping[str, Difference | None]


def only_topology(comparison: Comparison) -> Section | str:
    """For each pair of teachers: four groups of test images, students on each of them, and images."""
    pairs = teacher_pairs(comparison)
    if not pairs:
        return f"{_TITLE}: this comparison has no complete teacher of images beside one of persistence images."
    try:
        told = [_told(pair) for pair in pairs]
    except (UserError, ValueError) as error:
        return f"{_TITLE}: {error}"
    return Section(
        name="only-topology",
        title=_TITLE,
        text=(
            "The test images in four groups, by which of two teachers is right: one that sees images, and one that "
            "sees their persistence images. Any second network gets some images right that the first gets wrong; the "
            "baseline shows how many need no topology.\n\n"
            "Students take on mistakes with the rest: one that follows the image teacher closely loses where only the "
            "topology teacher is right. So an arm that both teach stands beside one that is taught in the same way "
            "without the topology teacher, where the recipe has one. Following the image teacher less, whatever takes "
            "its place, gains wherever it is wrong; what was learnt of the topology teacher's own shows as a larger "
            "gain where that one is right than where neither is."
        ),
        tables=tuple(table for found in told for table in found["tables"]),
        template="only_topology.html",
        content={"pairs": told},
    )


def _told(pair: TeacherPair) -> dict[str, Any]:
    gains = [gain for arm in pair.taught() if (gain := _gain(pair, arm)) is not None]
    images, note = _cases(pair)
    return {
        "title": f"{pair.image.name} and {pair.topology.name}",
        "sentences": [*_counts(pair), *(_sentence(pair, gain) for gain in gains)],
        "tables": [_table(pair), *([_gains(pair, gains)] if gains else [])],
        "cases": images,
        "note": note,
    }


def _table(pair: TeacherPair) -> Table:
    groups = {**pair.groups, "all": pair.everything}
    counts = ("ImageDataset", *(f"{group.sum():,}" for group in groups.values()), "")
    rows = tuple(
        (arm.label, *(spread(pair.accuracy(arm, group), 100) for group in groups.values()), _taught_by(pair, arm))
        for arm in pair.comparison.arms
        if arm.runs
    )
    return Table(
        f"Right answers of the students in % of each group, by which of {pair.image.name} (image) and "
        f"{pair.topology.name} (topology) is right; mean and sample standard deviation over seeds.",
        ("Network", "Both right", "Only image", "Only topology", "Neither", "All", "Taught by"),
        (counts, *rows),
    )


def _taught_by(pair: TeacherPair, arm: ArmSummary) -> str:
    settings = (pair.comparison.settings.get("arms") or {}).get(arm.name) or {}
    teachers = settings.get("teachers") or ()
    short = {pair.image.name: "image", pair.topology.name: "topology"}
    return " + ".join(short.get(name, name) for name in teachers) or "labels"


def _counts(pair: TeacherPair) -> list[str]:
    """How many images there are in the groups, and how many the baseline finds."""
    counts = {name: int(group.sum()) for name, group in pair.groups.items()}
    total, missed = sum(counts.values()), counts["topology"] + counts["neither"]
    image, topology = pair.image.name, pair.topology.name
    first = (
        f"Of {total:,} test images both teachers are right on {counts['both']:,} and neither on "
        f"{counts['neither']:,}; only {image} is right on {counts['image']:,}, and only {topology} on "
        f"{counts['topology']:,}."
    )
    baseline = pair.baseline
    if not missed or baseline is None:
        return [first]
    found = pair.accuracy(baseline, pair.groups["topology"] | pair.groups["neither"]).mean
    second = (
        f"{topology}, right on {percent(pair.topology.score.mean)} % of all images, is right on "
        f"{percent(counts['topology'] / missed)} % of the {missed:,} that {image} gets wrong. The baseline, "
        f"“{baseline.name}”, right on {percent(baseline.score.mean)} %, is right on {percent(found)} % of them."
    )
    return [first, second]


def _gain(pair: TeacherPair, arm: ArmSummary) -> Gain | None:
    """What an arm that both teach gains and loses; None if there is nothing to compare it with."""
    control = pair.control(arm)
    other = control or pair.baseline
    if other is None or other == arm:
        return None
    groups = {**{name: pair.groups[name] for name in ("topology", "image", "neither")}, "all": pair.everything}
    differences = {name: pair.difference(arm, other, group) for name, group in groups.items()}
    # Without a shared seed there is none of them.
    return Gain(arm, other, control is not None, differences) if differences["all"] else None


def _sentence(pair: TeacherPair, gain: Gain) -> str:
    where = {
        "topology": f"where only {pair.topology.name} is right",
        "image": f"where only {pair.image.name} is right",
        "neither": "where neither is right",
        "all": "on all images",
    }
    said: dict[str, list[str]] = {}
    for name, found in gain.differences.items():
        if found is not None:
            said.setdefault(found.verdict, []).append(f"{where[name]} ({signed(100 * found.mean)} points)")
    same = f"taught in the same way without {pair.topology.name}"
    beside = f"which is {same}" if gain.controlled else f"the baseline, for no arm is {same}"
    verdicts = "; ".join(f"{verdict} {', '.join(places)}" for verdict, places in said.items())
    return f"{gain.arm.name} beside {gain.other.name}, {beside}: {verdicts}."


def _gains(pair: TeacherPair, gains: list[Gain]) -> Table:
    def cell(found: Difference | None) -> str:
        if found is None:
            return NOTHING
        mean, low, high = (signed(100 * value) for value in (found.mean, found.low, found.high))
        return f"{mean} ({low} to {high})"

    return Table(
        f"Students that {pair.image.name} and {pair.topology.name} both teach, less those beside which they stand, in "
        "points with 95 % intervals, which are not corrected for their number.",
        ("Network", "Beside", "Only topology", "Only image", "Neither", "All"),
        tuple(
            (
                gain.arm.name,
                gain.other.name if gain.controlled else f"{gain.other.name} (baseline)",
                *map(cell, gain.differences.values()),
            )
            for gain in gains
        ),
    )


def _cases(pair: TeacherPair) -> tuple[tuple[Case, ...], str]:
    """The images, and what is to be said of them."""
    comparison, (name, groups) = pair.comparison, _view(pair)
    try:
        kept = kept_images(comparison)
        places = kept.chosen(f"only_{pair.topology.name}_not_{pair.image.name}")
        images = kept.view(name)[places]
        sheets = [inlined_sheet(image / 255, groups) for image in images]
        found = cases(comparison, kept, places, (pair.image, pair.topology, *standing(comparison)), sheets=sheets)
    except UserError as error:
        return (), f"The images cannot be shown: {error}"
    if not found:
        return (), f"There is no image that {pair.topology.name} gets right and {pair.image.name} wrong."
    return found, (
        f"Images that {pair.topology.name} gets right and {pair.image.name} wrong, those of which the former is "
        f"surest, beside what it sees of them{_order(images.shape[1], groups)}. Students are of their "
        "first seed; images are numbered from 0."
    )


def _view(pair: TeacherPair) -> tuple[str, tuple[str, ...]]:
    """What the topology teacher sees, and the groups of its channels."""
    name = pair.comparison.settings["teachers"][pair.topology.name]["view"]
    return name, next((view.groups for view in pair.comparison.views if view.name == name), ())


def _order(channels: int, groups: tuple[str, ...]) -> str:
    """How the images of a sheet are laid out."""
    lines = f"by {', then by '.join(groups)}" if groups else ""
    colors = "red, green and blue from the left" if channels == 3 * len(groups) else ""
    told = "; ".join(filter(None, (lines, colors)))
    return f" ({told})" if told else ""
