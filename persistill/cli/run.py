"""`persistill run`: a recipe, from images to the report; and what other commands that run one share."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from persistill.api import recipe_files
from persistill.cli import launch
from persistill.cli.console import quiet_start
from persistill.cli.options import (
    AutoBatch,
    Changes,
    Device,
    Devices,
    DryRun,
    ExecutorName,
    Export,
    NodeRank,
    Nodes,
    Out,
    Quick,
    Rendezvous,
    Seeds,
    Small,
    Workers,
    recipe_changes,
)

if TYPE_CHECKING:
    from persistill.api.result import Result

SUMMARY = "Run a recipe: views, teachers, students, evaluation, report, export."
EXAMPLES = (
    "persistill run tgd_cifar10_small --dry-run",
    "persistill run my_recipe.py --set train.epochs=5 --seeds 0,1 --device cuda",
)


def run(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped one (persistill ls).")],
    out: Out = "runs",
    device: Device = "auto",
    seeds: Seeds = None,
    export: Export = None,
    changes: Changes = None,
    small: Small = False,
    quick: Quick = False,
    auto_batch: AutoBatch = False,
    dry_run: DryRun = False,
    devices: Devices = None,
    nodes: Nodes = None,
    node_rank: NodeRank = None,
    rendezvous: Rendezvous = None,
    workers: Workers = None,
    executor: ExecutorName = None,
) -> None:
    """Run a recipe: views, teachers, students, evaluation, report, export. Finished stages are reused."""
    run_named(
        recipe,
        f"persistill run {recipe}",
        out,
        device,
        seeds,
        changes,
        export=export,
        small=small,
        quick=quick,
        auto_batch=auto_batch,
        dry_run=dry_run,
        processes=(devices, nodes, node_rank, rendezvous),
        workers=workers,
        executor=executor,
    )


def run_named(
    name: str,
    command: str,
    out: str,
    device: str,
    seeds: str | None,
    changes: list[str] | None,
    *,
    export: str | None = None,
    small: bool = False,
    quick: bool = False,
    auto_batch: bool = False,
    dry_run: bool = False,
    processes: tuple[int | None, int | None, int | None, str | None] = (None, None, None, None),
    workers: int | None = None,
    executor: str | None = None,
) -> "Result | None":
    """Run the recipe of a name or file and print what came of it, or print the plan alone.

    Args:
        name: of a shipped recipe, or its file.
        command: that repeats this, but for options.
        out: where the run folders lie: a folder or a URL.
        device: "auto", "cpu", "cuda", "cuda:0" or "mps".
        seeds: as typed; None for those of the recipe.
        changes: "field=value" each.
        export: whose student is exported, if not as the recipe says.
        small: run the small sibling.
        quick: measure without corruptions, attacks and the similarity to the teachers.
        auto_batch: take batches of a training in parts where memory runs out.
        dry_run: print the plan; nothing is returned.
        processes: in which each network is trained at once, the arguments of ``launch.in_processes``.
        workers: stages that are worked at at the same time.
        executor: of ``executors.choose``.
    """
    changed = recipe_changes(changes, seeds, export)
    if not dry_run:
        launch.in_processes(*processes)
    with quiet_start():
        from persistill.cli import run_recipe  # noqa: PLC0415 - torch is slow to import
    recipe = recipe_files.read(name, changed, small=small, quick=quick)
    if dry_run:
        run_recipe.plan(recipe, out, device)
        return None
    words = [command, *(["--small"] if small else []), *(["--quick"] if quick else [])]
    words += [f"--set '{change}'" for change in changes or []]
    words += [f"--seeds {seeds}"] if seeds else []
    words += [f"--export {shlex.quote(export)}"] if export else []
    return run_recipe.execute(
        recipe, " ".join(words), out, device, auto_batch=auto_batch, workers=workers, executor=executor
    )
