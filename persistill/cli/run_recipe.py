"""What the commands that run a recipe share: the console, the plan, the run, and what is printed at its end."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from persistill import report
from persistill.cli.progress import Bars
from persistill.config import Recipe
from persistill.report.export_text import int8_sentence
from persistill.run_folder import RunFolder

if TYPE_CHECKING:
    from persistill.data import Splits
    from persistill.pipeline.cost_estimate import Cost, Estimate

console = Console(width=None if sys.stdout.isatty() else 160)


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Show that something happens while torch is imported."""
    with console.status("starting"):
        yield


def execute(recipe: Recipe, command: str, out: Path, device: str, splits: "Splits | None" = None) -> RunFolder:
    """Run a recipe and print what came of it.

    Args:
        recipe: what to do.
        command: the command line that repeats this.
        out: where the run folders lie.
        device: "auto", "cpu", "cuda" or "mps".
        splits: the images, if they were read already.

    Returns:
        The comparison's folder.
    """
    with quiet_start():
        from persistill.pipeline import Pipeline  # noqa: PLC0415 - torch is slow to import; --help must not wait for it
    with Bars(console) as bars:
        folder = Pipeline(recipe, out, device=device, progress=bars, command=command, splits=splits).run()
    print_comparison(folder)
    return folder


def check(recipe: Recipe, out: Path, device: str) -> None:
    """Find what does not fit, and print the stages with their state."""
    with quiet_start():
        from persistill.pipeline import Pipeline  # noqa: PLC0415
    with Bars(console) as bars:
        pipeline = Pipeline(recipe, out, device=device, progress=bars)
        pipeline.probe()
        stages = pipeline.stages()
    table = Table("Stage", "Run folder", "State", box=None, header_style="bold")
    for stage in stages:
        done = stage.complete(pipeline.context)
        table.add_row(stage.kind, stage.folder_name, "complete" if done else "to do")
    console.print(table)


def plan(recipe: Recipe, out: Path, device: str) -> None:
    """Measure what a recipe will cost, and print its stages with their state, time and disk."""
    with quiet_start():
        from persistill.pipeline import Pipeline  # noqa: PLC0415
        from persistill.pipeline.cost_estimate import estimate  # noqa: PLC0415
    with Bars(console) as bars:
        costs = estimate(Pipeline(recipe, out, device=device, progress=bars), bars)
    table = Table("Stage", "Run folder", "State", box=None, header_style="bold")
    for title in ("Steps", "Time", "Disk"):
        table.add_column(title, justify="right")
    for cost in costs.costs:
        table.add_row(cost.stage.kind, cost.stage.folder_name, "complete" if cost.complete else "to do", *cells([cost]))
    console.print(table)
    print_totals(costs)


def cells(costs: "list[Cost]") -> tuple[str, str, str]:
    """Steps, time and disk of some stages together; "done" in place of the time if all are complete."""
    steps = sum(cost.steps or 0 for cost in costs)
    time = "done" if all(cost.complete for cost in costs) else duration(sum(cost.seconds for cost in costs))
    taken = sum(cost.bytes for cost in costs)
    return f"{steps:,}" if steps else "", time, size(taken) if taken else ""


def print_totals(found: "Estimate") -> None:
    """Print what all stages together will cost, and how that is known."""
    if not found.dry_run_seconds:
        console.print("Nothing is left to train.", highlight=False)
        return
    console.print(
        f"In all about {duration(found.seconds)} and {size(found.bytes)} of disk: measured just now on a few steps of "
        f"each stage, in {duration(found.dry_run_seconds)}, beside whatever else runs here.",
        highlight=False,
    )
    reached = [f"{size(found.memory)} of memory"] if found.memory else []
    reached += [f"{size(found.device_memory)} of the GPU's"] if found.device_memory else []
    if reached:
        console.print(f"These steps needed up to {' and '.join(reached)}.", highlight=False)


def print_comparison(folder: RunFolder) -> None:
    """Print the table of a comparison, what the differences say, and where its report and its student lie."""
    comparison = report.read(folder.path)
    titles, rows = report.header(comparison), report.rows(comparison)
    # A narrow terminal shows what matters most; the report has the rest.
    shown = [i for i, title in enumerate(titles) if console.width >= 130 or "noise" not in title]
    table = Table(title=comparison.recipe, box=None, header_style="bold", title_justify="left")
    for i in shown:
        table.add_column(titles[i], justify="left" if i == 0 else "right", no_wrap=i == 0)
    for row in rows:
        table.add_row(*(row[i] for i in shown))
    console.print()
    console.print(table)
    console.print(report.note(comparison), style="dim", highlight=False)
    for line in report.verdicts(comparison):
        console.print(escape(line), highlight=False)
    console.print()
    console.print(f"Report            {folder.path / 'report.html'}", highlight=False)
    result = folder.result()
    console.print(f"Exported student  {folder.path.parent / result['export']}", highlight=False)
    if comparison.export is not None and (made := int8_sentence(comparison.export)):
        console.print(made, highlight=False)
    if result["unreadable"]:
        names, count = ", ".join(result["unreadable"][:3]), len(result["unreadable"])
        console.print(f"Left out          {count} unreadable image(s): {names}", highlight=False)


def duration(seconds: float) -> str:
    """Seconds in the unit that reads best, with two digits."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def size(count: int) -> str:
    """Bytes in the unit that reads best, powers of ten."""
    for unit, name in ((10**9, "GB"), (10**6, "MB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}" if count < 10 * unit else f"{count / unit:.0f} {name}"
    return f"{max(1, round(count / 1000))} kB"
