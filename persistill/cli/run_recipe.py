"""What the commands that run a recipe share: the plan, the run, and what is printed at its end."""

from rich.table import Table

from persistill.api.progress_bars import Bars
from persistill.api.recipe_run import run
from persistill.api.result import Result
from persistill.cli.console import console, in_columns
from persistill.cli.images_table import images_table
from persistill.config import Recipe
from persistill.pipeline import Pipeline
from persistill.pipeline.cost_estimate import Cost, Estimate, estimate
from persistill.report.decision import asked_for
from persistill.report.export_text import int8_sentence, problems
from persistill.storage import is_url
from persistill.utils.process_place import find_place
from persistill.utils.progress import Silent
from persistill.utils.units import counted, duration, file_size


def execute(
    recipe: Recipe,
    command: str,
    out: str,
    device: str,
    *,
    auto_batch: bool = False,
    workers: int | None = None,
    executor: str | None = None,
) -> Result:
    """Run a recipe and print what came of it.

    Args:
        recipe: what to do.
        command: the command line that repeats this.
        out: where the run folders lie: a folder or a URL.
        device: "auto", "cpu", "cuda", "cuda:0" or "mps".
        auto_batch: take batches of a training in parts where memory runs out.
        workers: stages that are worked at at the same time.
        executor: of ``executors.choose``.
    """
    place = find_place()
    if place is not None and place.rank > 0:  # the first rank says all that is to be said
        return run(recipe, out=out, device=device, progress=Silent(), auto_batch=auto_batch)
    with Bars(console) as bars:
        result = run(
            recipe,
            out=out,
            device=device,
            progress=bars,
            command=command,
            auto_batch=auto_batch,
            workers=workers,
            executor=executor,
        )
    print_result(result, out)
    return result


def check(recipe: Recipe, out: str, device: str) -> int:
    """Find what does not fit, and print the images and the stages with their state.

    Returns:
        How many notes there are on the images.
    """
    with Bars(console) as bars:
        pipeline = Pipeline(recipe, out, device=device, progress=bars)
        pipeline.probe()
        stages = pipeline.stages()
    console.print(images_table(pipeline.splits))
    table = Table("Stage", "Run folder", "State", box=None, header_style="bold")
    for stage in stages:
        done = stage.complete(pipeline.context)
        table.add_row(stage.kind, stage.folder_name, "complete" if done else "to do")
    console.print(table)
    return len(pipeline.splits.notes)


def plan(recipe: Recipe, out: str, device: str) -> None:
    """Measure what a recipe will cost, and print its stages with their state, time and disk."""
    with Bars(console) as bars:
        pipeline = Pipeline(recipe, out, device=device, progress=bars)
        costs = estimate(pipeline, bars)
    console.print(images_table(pipeline.splits))
    table = Table("Stage", "Run folder", "State", box=None, header_style="bold")
    for title in ("Steps", "Time", "Disk"):
        table.add_column(title, justify="right")
    for cost in costs.costs:
        table.add_row(cost.stage.kind, cost.stage.folder_name, "complete" if cost.complete else "to do", *cells([cost]))
    console.print(table)
    print_totals(costs)


def cells(costs: list[Cost]) -> tuple[str, str, str]:
    """Steps, time and disk of some stages together; "done" in place of the time if all are complete."""
    steps = sum(cost.steps or 0 for cost in costs)
    time = "done" if all(cost.complete for cost in costs) else duration(sum(cost.seconds for cost in costs))
    taken = sum(cost.bytes for cost in costs)
    return f"{steps:,}" if steps else "", time, file_size(taken) if taken else ""


def print_totals(found: Estimate) -> None:
    """Print what all stages together will cost, and how that is known."""
    if not found.dry_run_seconds:
        console.print("Nothing is left to train.")
        return
    console.print(
        f"In all about {duration(found.seconds)} and {file_size(found.bytes)} of disk: measured just now on a few "
        f"steps of each stage, in {duration(found.dry_run_seconds)}, beside whatever else runs here."
    )
    if saved := found.savings:
        parts = ", ".join(f"--set '{setting}' about {duration(seconds)}" for setting, seconds in saved.items())
        total = duration(sum(saved.values()))
        console.print(f"--quick would save about {total} of it: {parts}.")
    reached = [f"{file_size(found.memory)} of memory"] if found.memory else []
    reached += [f"{file_size(found.device_memory)} of the GPU's"] if found.device_memory else []
    if reached:
        console.print(f"These steps needed up to {' and '.join(reached)}.")


def print_result(result: Result, out: str = "") -> None:
    """Print what a comparison comes to: which student to take and why, six columns, and where its files lie.

    Args:
        result: the comparison.
        out: what was given as the place of the run folders; a URL is told of.
    """
    comparison, decision = result.comparison, result.decision
    console.print()
    console.print(decision.sentence, style="bold")
    for reason in decision.reasons:
        console.print(f"- {reason}")
    console.print()
    console.print(in_columns(decision.table))
    console.print(decision.table.caption, style="dim")
    for line in result.verdict.splitlines():
        console.print(line)
    if decision.advice:
        console.print("\nWhat to try next", style="bold")
        for advice in decision.advice:
            console.print(f"- {advice}")
    console.print()
    console.print(f"Report            {result.report}", soft_wrap=True)
    if is_url(out):
        console.print(f"Run folders       {out.rstrip('/')}", soft_wrap=True, highlight=False)
    if comparison.export is not None and (made := int8_sentence(comparison.export)):
        console.print(made)
    for problem in problems(comparison.export or {}):
        console.print(problem)
    if result.unreadable:
        names, count = ", ".join(result.unreadable[:3]), len(result.unreadable)
        console.print(f"Left out          {counted(count, 'unreadable image')}: {names}")
    for note in result.notes:
        console.print(f"Images            {note}")
    console.print(f"Exported student  {_exported(result)}", soft_wrap=True)


def _exported(result: Result) -> str:
    choice, folder = result.comparison.choice, result.require_exported()
    if choice is None:
        return f"{folder}"
    why = "as asked" if asked_for(result.comparison) else f"best on {counted(choice.images, 'validation image')}"
    return f"{folder} ({choice.name}, {why})"
