"""`persistill distill`: images and two networks in, a compared and exported student out. No recipe needed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from persistill.cli import launch
from persistill.cli.console import console, quiet_start
from persistill.cli.options import parse_changes, parse_formats, parse_seeds, parse_size, place_of_runs

if TYPE_CHECKING:
    from persistill.api.distillation import Plan
    from persistill.config import Recipe
    from persistill.pipeline.cost_estimate import Estimate
    from persistill.ranks import Ranks

SUMMARY = "Distill a student from a folder of images and the names of two networks."
EXAMPLES = (
    (
        "persistill distill --data images --teacher timm/resnet50 --teacher-initial pretrained "
        "--student timm/mobilenetv3_small_100 --student-initial pretrained"
    ),
    "persistill distill --data digits --teacher wrn-16-2 --student resnet-8 --method kd --method sp --dry-run",
    "persistill distill --data images --teacher timm/resnet50 --student resnet-8 --devices 8",
    "persistill distill --data boxes --teacher retinanet:timm/resnet18 --student retinanet:resnet-8 --method sekd",
)
_CHOICES, _RUN = "Choices", "Run"


def distill(
    data: Annotated[
        str,
        typer.Option(
            "--data",
            metavar="FOLDER",
            help="A folder with one folder of images a class, of Parquet or of tar files, the URL of such, or a hub "
            "name (owner/name); for other tasks, images with masks or with boxes.",
        ),
    ],
    teacher: Annotated[
        str,
        typer.Option(
            "--teacher",
            metavar="NETWORK",
            help="wrn-16-2, timm/NAME, torchvision/NAME or package.module:function; detectors are fcos:NAME, ...",
        ),
    ],
    student: Annotated[str, typer.Option("--student", metavar="NETWORK", help="Likewise.")],
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            metavar="NAME",
            help="classification, segmentation or detection; by default what the layout of the data speaks for.",
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help="kd (the default), tgd, sp, at, amd, dkd, ...; repeatable: one student each. kd+at adds two up.",
        ),
    ] = None,
    teacher_weights: Annotated[
        Path | None,
        typer.Option(
            "--teacher-weights",
            metavar="FILE",
            help="Safetensors for these classes: a teacher's of persistill, or plain weights of a timm or torchvision "
            "network. Without them the teacher is trained first.",
        ),
    ] = None,
    teacher_initial: Annotated[
        str | None,
        typer.Option(
            "--teacher-initial",
            metavar="pretrained|FILE",
            help="From what the teacher's training starts: the weights that timm or torchvision publish, or a "
            "safetensors file of such a network for any classes.",
        ),
    ] = None,
    student_initial: Annotated[
        str | None,
        typer.Option("--student-initial", metavar="pretrained|FILE", help="Likewise, that of every student."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            "--size", metavar="224", rich_help_panel=_CHOICES, help="To which images are brought: 224, or 120x160."
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, rich_help_panel=_CHOICES, help="Of every training.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=2, rich_help_panel=_CHOICES, help="Of every training.")
    ] = None,
    lr: Annotated[
        float | None, typer.Option("--lr", rich_help_panel=_CHOICES, help="The student's peak learning rate.")
    ] = None,
    seeds: Annotated[
        str, typer.Option("--seeds", metavar="0,1,2", rich_help_panel=_CHOICES, help="One student per method and seed.")
    ] = "0,1,2",
    augment: Annotated[
        bool | None,
        typer.Option(
            "--augment/--no-augment",
            rich_help_panel=_CHOICES,
            help="Random crops, and flips of colored images; on by default.",
        ),
    ] = None,
    int8_epochs: Annotated[
        int | None,
        typer.Option(
            "--int8-epochs",
            min=1,
            rich_help_panel=_CHOICES,
            help="Train the exported student on for so long, rounded to 8 bits, for its int8 file (quantization-aware "
            "training); 2 are usual. Without it, it is rounded as it is.",
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            rich_help_panel=_CHOICES,
            help="Measure without corruptions, attacks and the similarity to the teachers.",
        ),
    ] = False,
    formats: Annotated[
        str | None,
        typer.Option(
            "--formats",
            metavar="onnx,int8",
            rich_help_panel=_CHOICES,
            help="In which the student is exported: some of onnx, int8, program, executorch; all by default. The "
            "weights (safetensors) are always written.",
        ),
    ] = None,
    export: Annotated[
        str,
        typer.Option(
            "--export",
            metavar="best|NAME",
            rich_help_panel=_CHOICES,
            help="Whose student is exported: alone, or a method's; of its seeds the one best on validation images. By "
            "default the best of all.",
        ),
    ] = "best",
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            rich_help_panel=_CHOICES,
            help="Change any other field of the recipe (--save-recipe shows them); repeatable.",
        ),
    ] = None,
    out: Annotated[
        str,
        typer.Option(
            "--out",
            metavar="FOLDER|URL",
            callback=place_of_runs,
            rich_help_panel=_RUN,
            help="Where run folders are written: a folder, or a URL such as s3://bucket/runs.",
        ),
    ] = "runs",
    device: Annotated[
        str, typer.Option("--device", rich_help_panel=_RUN, help="auto, cpu, cuda, cuda:0 or mps.")
    ] = "auto",
    devices: Annotated[
        int | None,
        typer.Option(
            "--devices",
            min=1,
            metavar="N",
            rich_help_panel=_RUN,
            help="Train each network on so many devices at once, with the same numbers.",
        ),
    ] = None,
    nodes: Annotated[
        int | None,
        typer.Option(
            "--nodes",
            min=1,
            metavar="N",
            rich_help_panel=_RUN,
            help="Train on so many machines, on each of which this is started.",
        ),
    ] = None,
    node_rank: Annotated[
        int | None,
        typer.Option(
            "--node-rank",
            min=0,
            metavar="0..",
            rich_help_panel=_RUN,
            help="Which of --nodes this machine is, from 0.",
        ),
    ] = None,
    rendezvous: Annotated[
        str | None,
        typer.Option(
            "--rendezvous",
            metavar="HOST:PORT",
            rich_help_panel=_RUN,
            help="Where --nodes meet: the first of them, and a free port.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            metavar="N",
            rich_help_panel=_RUN,
            help="Work at so many stages at a time, each in a process.",
        ),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            "--executor",
            metavar="local|processes|ray|slurm",
            rich_help_panel=_RUN,
            help="Where stages are worked at; by default as --workers.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", rich_help_panel=_RUN, help="Print the plan and what it will cost, and stop.")
    ] = False,
    save_recipe: Annotated[
        Path | None,
        typer.Option(
            "--save-recipe",
            metavar="FILE",
            rich_help_panel=_RUN,
            help="Also write the recipe, a Python file to be edited and run with persistill run.",
        ),
    ] = None,
) -> None:
    """Distill a student from a folder of images and the names of two networks; no recipe needed.

    The student is trained alone, and once more for each method with the teacher's help, on several seeds, so that the
    table and the report at the end tell whether distillation helped. The plan is printed first, with an estimate of
    time, memory and disk that is measured on a few steps; nothing is asked. What is not stated is chosen, and the plan
    says what and why. Interrupted and run again, it goes on where it stopped.
    """
    if not dry_run:
        launch.in_processes(devices, nodes, node_rank, rendezvous)
    with quiet_start():
        from persistill.api import distillation  # noqa: PLC0415 - torch is slow to import
        from persistill.api.recipe_run import refuse_beside_ranks  # noqa: PLC0415
        from persistill.training.process_group import join  # noqa: PLC0415
    ranks = join(device)
    if ranks.size > 1:
        refuse_beside_ranks(ranks.size, executor, workers)
    if not ranks.leads:  # the first one plans, and says all that is to be said
        _run_along(ranks, out, device)
        return
    if save_recipe is not None:
        distillation.new_file(save_recipe)
    with console.status("looking at the images and the networks"):
        plan = distillation.plan(
            data,
            teacher,
            student,
            task=task,
            method=method or "kd",
            teacher_weights=teacher_weights,
            teacher_initial=teacher_initial,
            student_initial=student_initial,
            size=None if size is None else parse_size(size),
            epochs=epochs,
            batch_size=batch_size,
            lr=lr,
            seeds=parse_seeds(seeds),
            augment=augment,
            int8_epochs=int8_epochs,
            formats=parse_formats(formats),
            quick=quick,
            export=export,
            changes=parse_changes(changes),
            out=out,
            device=ranks.device.type if ranks.size > 1 else device,  # whichever each one has of that kind
        )
    costs = _print_plan(plan)
    if ranks.size > 1:
        console.print(f"That is for one device. Each network is trained by {ranks.size} together.")
    if save_recipe is not None:
        console.print(f"Wrote {plan.save(save_recipe)}. Edit it, then: persistill run {save_recipe}")
    if dry_run:
        ranks.from_leader(None)
        return
    plan.require_space(costs)
    ranks.from_leader(plan.recipe)
    console.print()
    from persistill.api.progress_bars import Bars  # noqa: PLC0415
    from persistill.cli.run_recipe import print_result  # noqa: PLC0415

    with Bars(console) as bars:
        result = plan.run(bars, workers=workers, executor=executor, memory=costs.memory)
    print_result(result, out)


def _run_along(ranks: "Ranks", out: str, device: str) -> None:
    """Train what the first process has planned, together with it; nothing if it only plans."""
    from persistill.api.recipe_run import run  # noqa: PLC0415
    from persistill.utils.progress import Silent  # noqa: PLC0415

    recipe: Recipe | None = ranks.from_leader(None)
    if recipe is not None:
        run(recipe, out=out, device=device, progress=Silent())


def _print_plan(plan: "Plan") -> "Estimate":
    from persistill.api.progress_bars import Bars  # noqa: PLC0415
    from persistill.autoconfig import defaults_of  # noqa: PLC0415
    from persistill.cli.plan_table import cost_table, overview, try_teacher  # noqa: PLC0415
    from persistill.cli.run_recipe import print_totals  # noqa: PLC0415
    from persistill.pipeline.cost_estimate import estimate  # noqa: PLC0415

    with Bars(console) as bars:
        pipeline = plan.pipeline(bars)
        costs = estimate(pipeline, bars)
    console.print()
    console.print(overview(plan.recipe, pipeline.splits))
    if plan.given_teacher is not None and defaults_of(plan.recipe.task).tries_teacher:
        try_teacher(plan.recipe, pipeline.splits, pipeline)
    reasons = Table.grid(padding=(0, 1))
    for reason in plan.reasons:
        reasons.add_row("-", reason)
    console.print(reasons)
    console.print()
    console.print(cost_table(pipeline, costs))
    print_totals(costs)
    return costs
