"""`persistill distill`: images and two networks in, a compared and exported student out. No recipe needed."""

import math
import shlex
import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from persistill.cli import recipes
from persistill.cli.plan_table import cost_table, overview, try_teacher
from persistill.cli.progress import Bars
from persistill.cli.run_recipe import console, execute, print_totals, quiet_start, size
from persistill.config import Data
from persistill.errors import UserError
from persistill.utils import atomic_io

if TYPE_CHECKING:
    from persistill.autoconfig import Chosen, Initial, Options, Role, TeacherCheckpoint
    from persistill.data import Splits
    from persistill.data.sources.inspect import Outline
    from persistill.pipeline.cost_estimate import Estimate

SUMMARY = "Distil a student from a folder of images and the names of two networks."
EXAMPLES = (
    (
        "persistill distill --data images --teacher timm/resnet50 --teacher-initial pretrained "
        "--student timm/mobilenetv3_small_100 --student-initial pretrained --method tgd"
    ),
    "persistill distill --data digits --teacher wrn-16-2 --student resnet-8 --method kd --method sp --dry-run",
)
_CHOICES, _RUN = "Choices", "Run"


def distill(
    data: Annotated[
        str,
        typer.Option(
            "--data",
            metavar="FOLDER",
            help="A folder with one folder of images a class, a folder of Parquet files, or a hub name (owner/name).",
        ),
    ],
    teacher: Annotated[
        str,
        typer.Option(
            "--teacher", metavar="NETWORK", help="wrn-16-2, timm/NAME, torchvision/NAME or package.module:function."
        ),
    ],
    student: Annotated[str, typer.Option("--student", metavar="NETWORK", help="Likewise.")],
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help="tgd (the default), kd, sp, at, amd, dkd, ...; repeatable: one student each. kd+at adds two up.",
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
    image_size: Annotated[
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
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            rich_help_panel=_CHOICES,
            help="Change any other field of the recipe (--save-recipe shows them); repeatable.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", rich_help_panel=_RUN, help="Where run folders are written.")] = Path(
        "runs"
    ),
    device: Annotated[str, typer.Option("--device", rich_help_panel=_RUN, help="auto, cpu, cuda or mps.")] = "auto",
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
    """Distil a student from a folder of images and the names of two networks; no recipe needed.

    The student is trained alone, and once more for each method with the teacher's help, on several seeds, so that the
    table and the report at the end tell whether distillation helped. The plan is printed first, with an estimate of
    time, memory and disk that is measured on a few steps; nothing is asked. What is not stated is chosen, and the plan
    says what and why. Interrupted and run again, it goes on where it stopped.
    """
    if save_recipe is not None and save_recipe.exists():
        raise UserError(f"{save_recipe} exists already and was not overwritten; give --save-recipe another name.")
    if save_recipe is not None and not save_recipe.parent.is_dir():
        raise UserError(f"--save-recipe: there is no folder {save_recipe.parent}; make it first.")
    if teacher_weights is not None and teacher_initial is not None:
        raise UserError(
            "--teacher-weights names a teacher that is trained already, for these classes; --teacher-initial, weights "
            "from which it is trained here. Give one of the two."
        )
    if lr is not None and not 0 < lr < math.inf:
        raise UserError(f"--lr {lr:g}: a learning rate is larger than 0; 0.1 is usual for SGD, 0.001 for AdamW.")
    with quiet_start():
        from persistill.autoconfig import Options  # noqa: PLC0415 - torch is slow to import
    options = Options(
        data=data,
        teacher=teacher,
        student=student,
        methods=tuple(method) if method else ("tgd",),
        teacher_weights=None if teacher_weights is None else str(teacher_weights),
        teacher_initial=teacher_initial,
        student_initial=student_initial,
        size=None if image_size is None else _size(image_size),
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        seeds=_seeds(seeds),
        augment=augment,
        int8_epochs=int8_epochs,
    )
    command = _command(options, changes or [], out)
    chosen, given = _choose(options, changes or [])
    splits, estimate = _plan(chosen, given, out, device)
    if save_recipe is not None:
        _save(chosen, command, save_recipe)
    if dry_run:
        return
    _room(estimate, out)
    console.print()
    execute(chosen.recipe, command, out, device, splits)


def _choose(options: "Options", changes: list[str]) -> "tuple[Chosen, TeacherCheckpoint | None]":
    from persistill import models  # noqa: PLC0415
    from persistill.autoconfig import choose_size, look_at_weights, make_recipe  # noqa: PLC0415
    from persistill.data.sources.inspect import outline  # noqa: PLC0415

    for name in (options.teacher, options.student):
        models.check(name)
    settings = Data(source=options.data)
    for field, value in map(recipes.parted, changes):
        if field.startswith("data."):
            settings = settings.with_value(field.removeprefix("data."), value)
    with console.status("looking at the images"):
        seen = outline(settings)
    given = None
    if options.teacher_weights is not None:
        given = look_at_weights(
            Path(options.teacher_weights),
            options.teacher,
            seen,
            options.size or settings.size or choose_size(seen.sizes),
            options.data,
        )
    wanted = options.size or settings.size or (given and given.size) or choose_size(seen.sizes)
    for name in (options.teacher, options.student):
        try:
            models.build(name, 1 if seen.gray else 3, len(seen.classes), wanted)
        except UserError as error:
            if "/" not in name:  # no network of a library, which may be made for some sizes only
                raise
            square = 32 * max(1, round(min(wanted) / 32))
            raise UserError(f"{error} Here: --size {square}x{square} brings images to such a size.") from None
    chosen = make_recipe(options, seen, given, _starts(options, seen, wanted))
    return chosen._replace(recipe=recipes.changed(chosen.recipe, changes)), given


def _starts(options: "Options", seen: "Outline", size: tuple[int, int]) -> "dict[Role, Initial]":
    from persistill.autoconfig import look_at_initial  # noqa: PLC0415

    stated: dict[Role, tuple[str | None, str]] = {
        "teacher": (options.teacher_initial, options.teacher),
        "student": (options.student_initial, options.student),
    }
    found: dict[Role, Initial] = {}
    for role, (initial, name) in stated.items():
        if initial is not None:
            with console.status(f"looking at the weights from which {name} starts"):
                found[role] = look_at_initial(initial, name, f"--{role}-initial", seen, size)
    return found


def _plan(chosen: "Chosen", given: "TeacherCheckpoint | None", out: Path, device: str) -> "tuple[Splits, Estimate]":
    from persistill.pipeline import Pipeline  # noqa: PLC0415
    from persistill.pipeline.cost_estimate import estimate  # noqa: PLC0415

    with Bars(console) as bars:
        pipeline = Pipeline(chosen.recipe, out, device=device, progress=bars)
        splits = pipeline.splits
        costs = estimate(pipeline, bars)
    console.print()
    console.print(overview(chosen.recipe, splits))
    if given is not None:
        try_teacher(chosen.recipe, splits, pipeline)
    reasons = Table.grid(padding=(0, 1))
    for reason in chosen.reasons:
        reasons.add_row("-", escape(reason))
    console.print(reasons)
    console.print()
    console.print(cost_table(pipeline, costs))
    print_totals(costs)
    return splits, costs


def _room(found: "Estimate", out: Path) -> None:
    place = out.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if found.bytes > free:
        raise UserError(
            f"about {size(found.bytes)} will be written below {out}, and {size(free)} are free there. Name another "
            "place with --out, or have less stored: --set teacher_cache=off asks teachers at every step instead."
        )


def _save(chosen: "Chosen", command: str, path: Path) -> None:
    from persistill.autoconfig import as_python  # noqa: PLC0415

    first = f"{chosen.recipe.student.name} taught by {chosen.recipe.teachers['image'].model.name}."
    reasons = "\n".join(textwrap.fill(f"* {reason}", 118, subsequent_indent="  ") for reason in chosen.reasons)
    with atomic_io.atomic(path) as temporary:
        temporary.write_text(
            as_python(chosen.recipe, f"{first}\n\nWritten by:\n\n    {command}\n\n{reasons}"), encoding="utf-8"
        )
    console.print(f"Wrote {path}. Edit it, then: persistill run {path}", highlight=False)


def _size(given: str) -> tuple[int, int]:
    parts = given.lower().split("x")
    if len(parts) > 2 or not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise UserError(f"--size {given!r} is no size: write --size 224, or height x width, --size 120x160.")
    return int(parts[0]), int(parts[-1])


def _seeds(given: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in given.split(","))
    except ValueError:
        found = ()
    if not found or len(set(found)) < len(found):
        raise UserError(f"--seeds {given!r}: write different whole numbers with commas between them, --seeds 0,1,2.")
    return found


def _command(options: "Options", changes: list[str], out: Path) -> str:
    """The command line that repeats this one, without what does not change the result."""
    words = ["persistill", "distill", "--data", options.data, "--teacher", options.teacher]
    words += ["--teacher-weights", options.teacher_weights] if options.teacher_weights else []
    words += ["--teacher-initial", options.teacher_initial] if options.teacher_initial else []
    words += ["--student", options.student]
    words += ["--student-initial", options.student_initial] if options.student_initial else []
    for name in options.methods:
        words += ["--method", name]
    words += ["--size", "x".join(map(str, options.size))] if options.size else []
    for name, value in (("epochs", options.epochs), ("batch-size", options.batch_size), ("lr", options.lr)):
        words += [f"--{name}", str(value)] if value is not None else []
    words += ["--seeds", ",".join(map(str, options.seeds))]
    words += [] if options.augment is None else ["--augment" if options.augment else "--no-augment"]
    words += [] if options.int8_epochs is None else ["--int8-epochs", str(options.int8_epochs)]
    for change in changes:
        words += ["--set", change]
    return shlex.join([*words, *(["--out", str(out)] if out != Path("runs") else [])])
