"""The commands."""

import contextlib
import errno
import shlex
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.table import Table
from rich.text import Text

from persistill import run_folder
from persistill.api import recipe_files
from persistill.api.text_console import text_console
from persistill.cli import (
    dashboard,
    distill,
    doctor,
    import_checkpoint,
    launch,
    predict,
    push,
    replay,
    sweep,
    topology,
    verify,
)
from persistill.cli.console import console, in_columns, quiet_start
from persistill.cli.options import (
    AutoBatch,
    Changes,
    Device,
    Devices,
    DryRun,
    ExecutorName,
    Export,
    Formats,
    Out,
    OwnCode,
    Quick,
    Seeds,
    Small,
    Workers,
    examples,
    folder,
    in_paragraphs,
    parse_changes,
    parse_formats,
    recipe_changes,
)
from persistill.cli.runs_table import runs_table
from persistill.errors import RankLostError, UserError, unknown
from persistill.utils.remote_fault import CARRIED, frames_of
from persistill.utils.stop_signals import STOP_SIGNALS, Stopped, stop_at_once
from persistill.utils.units import counted
from persistill.version import __version__

if TYPE_CHECKING:
    from traceback import FrameSummary

    from persistill.api.result import Result

app = typer.Typer(
    name="persistill",
    help="Small vision models from large ones: distill, compare with training alone, export.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Start with: persistill demo",
)
errors = text_console(stderr=True, soft_wrap=True)
_INTERRUPTED = 130
"""With which typer leaves when a command was interrupted."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line, and leave with 0, with 2 after a user's mistake, with 1 after a fault.

    After ctrl-C, SIGTERM and SIGUSR1 it leaves with 128 and the number of the signal.

    Args:
        arguments: instead of those of the process.
    """
    code = 0
    try:
        with stop_at_once() as stopped_by:
            given = list(sys.argv[1:] if arguments is None else arguments)
            launch.ARGUMENTS.set(given)
            launch.end_with_launcher()
            app(args=given, prog_name="persistill")
    except Stopped as stopped:
        code = _stopped(stopped.signum)
    except RankLostError as error:
        code = launch.LOST
        if launch.launched():
            launch.note_lost(error)
        else:
            _complain("Error:", f"{error}. Run the same command again, and it goes on where it stopped.")
    except UserError as error:
        _complain("Error:", str(error))
        code = 2
    except OSError as error:
        code = 1
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "the disk is full. What was finished is whole; make room and run the same command again."
        else:
            advice = "nothing that was there is lost; mend it and run the same command again."
        _complain("Error:", f"{error}: {advice}")
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if code == _INTERRUPTED:
            code = _stopped(_signal_of(stop) or stopped_by())
        elif code - launch.SIGNALED in STOP_SIGNALS:  # of processes that this one started
            code = _stopped(code - launch.SIGNALED)
    except Exception as error:  # noqa: BLE001 - the last line of defence
        import traceback  # noqa: PLC0415

        code = 1
        log = Path("persistill-fault.log")
        with contextlib.suppress(OSError):
            log.write_text(traceback.format_exc(), encoding="utf-8")
        name, place = type(error).__name__, _own_place(frames_of(error))
        whose = (
            f"It came up in code of yours, or in what that code called: {place}. The whole story is in {log}."
            if place
            else f"This is a mistake in persistill, not yours. The whole story is in {log}; please report it."
        )
        _complain("Fault:", f"{name}: {error}\n{whose}")
    sys.exit(code)


def _signal_of(stop: BaseException) -> int:
    """The number of the signal that a command was left after, 0 if none is known: typer puts its own exit in place."""
    error: BaseException | None = stop
    while error is not None and not isinstance(error, Stopped):
        error = error.__context__
    return 0 if error is None else error.signum


def _stopped(signum: int) -> int:
    """Say that a signal ended the command: the exit code."""
    signum = signum or signal.SIGINT
    if launch.launched():
        return launch.SIGNALED + signum  # the command that started this process says it
    what = "Interrupted" if signum == signal.SIGINT else f"Stopped by {signal.Signals(signum).name}"
    errors.print(f"{what}. Run the same command again, and it goes on where it stopped.")
    return launch.SIGNALED + signum


def _own_place(frames: Iterable["FrameSummary"]) -> str:
    """The innermost line that is neither the package's nor that of an installed library; "" if there is none."""
    import sysconfig  # noqa: PLC0415

    others = Path(__file__).resolve().parents[1], Path(sysconfig.get_path("stdlib")).resolve()
    place = ""
    for frame in frames:
        file = Path(frame.filename).resolve()
        installed = not {"site-packages", "dist-packages"}.isdisjoint(file.parts)
        if frame.filename == CARRIED:
            place = f"the recipe's file, line {frame.lineno}, in {frame.name}"
        elif file.is_file() and not installed and not any(file.is_relative_to(folder) for folder in others):
            place = f"{frame.filename}, line {frame.lineno}, in {frame.name}"
    return place


@app.command(
    epilog=examples("persistill demo", "persistill demo --seeds 0 --out /tmp/demo"),
    short_help="Distill a topology-guided student on handwritten digits, in minutes.",
)
def demo(
    out: Out = Path("runs"),
    device: Device = "auto",
    seeds: Seeds = None,
    export: Export = None,
    changes: Changes = None,
    quick: Quick = False,
    dry_run: DryRun = False,
    devices: Devices = None,
    workers: Workers = None,
    executor: ExecutorName = None,
) -> None:
    """Distill a topology-guided student on handwritten digits, in minutes.

    The digits ship with scikit-learn; nothing is downloaded. Two teachers are trained, one on the images and one on
    their persistence images, then students alone, with KD and with TGD, each on three seeds. It ends with a table, an
    HTML report and an exported student. Interrupted and run again, it goes on where it stopped.
    """
    _run(
        "tgd_digits",
        "persistill demo",
        out,
        device,
        seeds,
        changes,
        export=export,
        quick=quick,
        dry_run=dry_run,
        devices=devices,
        workers=workers,
        executor=executor,
    )


@app.command(
    epilog=examples(
        "persistill run tgd_cifar10_small --dry-run",
        "persistill run my_recipe.py --set train.epochs=5 --seeds 0,1 --device cuda",
    ),
    short_help="Run a recipe: views, teachers, students, evaluation, report, export.",
)
def run(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped one (persistill ls).")],
    out: Out = Path("runs"),
    device: Device = "auto",
    seeds: Seeds = None,
    export: Export = None,
    changes: Changes = None,
    small: Small = False,
    quick: Quick = False,
    auto_batch: AutoBatch = False,
    dry_run: DryRun = False,
    devices: Devices = None,
    workers: Workers = None,
    executor: ExecutorName = None,
) -> None:
    """Run a recipe: views, teachers, students, evaluation, report, export. Finished stages are reused."""
    _run(
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
        devices=devices,
        workers=workers,
        executor=executor,
    )


@app.command(
    epilog=examples("persistill reproduce", "persistill reproduce tgd_cifar10_published --small --seeds 0"),
    short_help="Run a published row, and print ours beside it.",
)
def reproduce(
    name: Annotated[str | None, typer.Argument(help="A row's name; without one, all rows are listed.")] = None,
    out: Out = Path("runs"),
    device: Device = "auto",
    seeds: Seeds = None,
    changes: Changes = None,
    small: Small = False,
) -> None:
    """Run a published row with its seeds, and print our figures beside the published ones.

    Ours are of the last epoch, test images read once; how the published epoch was chosen, and what else differs
    between the two protocols, is printed below. Most rows want a GPU and hours; --small shows that a row runs.
    """
    with quiet_start():
        from persistill.cli import reproduce as reproduction  # noqa: PLC0415 - torch is slow to import
    known = reproduction.rows()
    if name is None:
        reproduction.print_rows(console, known)
        return
    if name not in known:
        raise unknown("published row", name, known, "persistill reproduce lists them.")
    result = _run(name, f"persistill reproduce {name}", out, device, seeds, changes, small=small)
    assert result is not None
    reproduction.print_beside(console, result.comparison, small=small)


@app.command(
    epilog=examples("persistill check my_recipe.py", "persistill check images"),
    short_help="Check a recipe against its data without training.",
)
def check(
    recipe: Annotated[str, typer.Argument(help="A recipe file, the name of a shipped one, or a folder of images.")],
    out: Out = Path("runs"),
    device: Device = "auto",
    changes: Changes = None,
    small: Small = False,
) -> None:
    """Check a recipe without training: its fields, its data, and whether networks, views and methods fit together.

    Given a folder of images, check these alone, as persistill distill would read them.
    """
    if Path(recipe).is_dir() and recipe not in recipe_files.shipped():
        if changes or small:
            raise UserError(
                f"--set and --small change a recipe, and {recipe} is a folder of images. Leave them out, or plan a "
                f"distillation with them: persistill distill --data {shlex.quote(recipe)}."
            )
        with quiet_start():
            from persistill.cli.check_folder import check_folder  # noqa: PLC0415 - torch is slow to import
        check_folder(Path(recipe))
        return
    with quiet_start():
        from persistill.cli import run_recipe  # noqa: PLC0415 - torch is slow to import
    notes = run_recipe.check(recipe_files.read(recipe, parse_changes(changes), small=small), out, device)
    said = f"it can run; read the {counted(notes, 'note')} on its images above" if notes else "no problem found"
    console.print(f"{recipe}: {said}.")


@app.command(epilog=examples("persistill ls", "persistill ls --out runs"), short_help="List recipes and runs.")
def ls(out: Out = Path("runs")) -> None:
    """List the recipes that come with persistill, and the runs below a folder.

    Of each run folder: when it was made, what its network reaches on the test images, whether it is complete, and
    whether it is the student that is exported.
    """
    table = Table("Recipe", "What it does", box=None, header_style="bold")
    for name, path in recipe_files.shipped().items():
        table.add_row(name, recipe_files.summary(path))
    console.print(table)
    readable, others = run_folder.scan(out)
    if readable:
        title, *rows = runs_table(readable)
        console.print()
        console.print(title, style="bold", soft_wrap=True, markup=False)
        for row in rows:
            console.print(row, soft_wrap=True, markup=False, highlight=False)
    if others:
        names = ", ".join(path.name for path in others[:3]) + (", ..." if len(others) > 3 else "")
        console.print(
            f"Passed over {counted(len(others), 'run folder')} of another version of persistill, or damaged: {names}",
            soft_wrap=True,
        )


@app.command(
    epilog=examples("persistill cp tgd_cifar10_small", "persistill cp tgd_digits my_recipe.py"),
    short_help="Copy a recipe, to be edited.",
)
def cp(
    name: Annotated[str, typer.Argument(help="A shipped recipe (persistill ls).")],
    target: Annotated[Path, typer.Argument(help="A file or folder; nothing is overwritten.")] = Path(),
) -> None:
    """Copy a recipe, to be edited."""
    written = recipe_files.copy(name, target)
    console.print(f"Wrote {written}. Edit it, then: persistill check {written}")


@app.command(
    "eval",
    epilog=examples(
        "persistill eval runs/student-tgd-seed0-0123456789ab --noise 0.1,0.2 --ece-bins 20",
        "persistill eval runs/student-tgd-seed0-0123456789ab --set ood=digits",
    ),
    short_help="Measure a trained network on the test images.",
)
def evaluate(
    network: Annotated[Path, typer.Argument(help="A student's or teacher's run folder.")],
    noise: Annotated[str, typer.Option(metavar="0.1,0.2", help="Strengths of Gaussian noise.")] = "0.02,0.04,0.08",
    noise_seed: Annotated[int, typer.Option(help="Draws the noise.")] = 0,
    ece_bins: Annotated[int, typer.Option(help="Bins of the calibration errors.")] = 15,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of Evaluate; repeatable.")
    ] = None,
    model: OwnCode = None,
    device: Device = "auto",
) -> None:
    """Measure a trained network on the test images of its recipe, with other noise, bins or attacks if wanted.

    Nothing is trained; the figures are printed, and kept in an evaluation folder beside the network's. Interrupted and
    run again, it goes on where it stopped.
    """
    settings = {"noise": f"({noise},)", "noise_seed": noise_seed, "ece_bins": ece_bins, **parse_changes(changes)}
    with quiet_start():
        from persistill.api.progress_bars import Bars  # noqa: PLC0415 - torch is slow to import
        from persistill.api.trained_network import evaluate as measure  # noqa: PLC0415
    with Bars(console) as bars:
        measured = measure(network, changes=settings, device=device, model=model, progress=bars)
    console.print(in_columns(measured.table))


@app.command(
    "report",
    epilog=examples(
        "persistill report runs/comparison-tgd_digits-0123456789ab --out report.html",
        "persistill report runs/comparison-tgd_digits-0123456789ab --paper paper",
    ),
    short_help="Write the HTML report of a comparison again; tables and figures for a paper.",
)
def write_report(
    comparison: Annotated[Path, typer.Argument(help="A comparison's run folder.")],
    output: Annotated[
        Path | None, typer.Option("--out", "--output", help="The file; by default report.html in that folder.")
    ] = None,
    paper: Annotated[
        Path | None,
        typer.Option(
            callback=folder,
            help="Also write tables (Markdown, LaTeX), figures (SVG, PNG) and model cards into this folder.",
        ),
    ] = None,
) -> None:
    """Write the HTML report of a comparison again, from its run folders alone."""
    with quiet_start():
        from persistill import report  # noqa: PLC0415 - matplotlib is slow to import
    console.print(f"Wrote {report.write(comparison, output)}")
    if paper is not None:
        written = report.write_paper(report.read(comparison), paper)
        console.print(f"Wrote {written / 'tables'}, {written / 'figures'} and {written / 'cards'}")


@app.command(
    "export",
    epilog=examples(
        "persistill export runs/student-tgd-seed0-0123456789ab",
        "persistill export runs/student-tgd-seed0-0123456789ab --out my_student --formats onnx,int8",
    ),
    short_help="Write a trained student in all formats, each compared with its checkpoint.",
)
def export_run(
    network: Annotated[Path, typer.Argument(help="A student's or teacher's run folder.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--out", "--output", callback=folder, help="A new folder; by default 'exported' in the run folder."
        ),
    ] = None,
    formats: Formats = None,
    model: OwnCode = None,
) -> None:
    """Write a trained network as safetensors, ONNX, int8 ONNX, torch.export and ExecuTorch program.

    Each file is loaded again, compared with the checkpoint on test images, and timed. A format that cannot be written
    is named with the reason, and the others are there.
    """
    with quiet_start():
        from persistill.api.progress_bars import Bars  # noqa: PLC0415 - torch is slow to import
        from persistill.api.trained_network import export  # noqa: PLC0415
    with Bars(console) as bars:
        written = export(network, output, formats=parse_formats(formats), model=model, progress=bars)
    console.print(in_columns(written.table))
    for line in written.remarks:
        console.print(line, soft_wrap=True)


app.command("distill", epilog=examples(*distill.EXAMPLES), short_help=distill.SUMMARY)(distill.distill)
app.command("predict", epilog=examples(*predict.EXAMPLES), short_help=predict.SUMMARY)(predict.predict)
app.command("import-checkpoint", epilog=examples(*import_checkpoint.EXAMPLES), short_help=import_checkpoint.SUMMARY)(
    import_checkpoint.import_checkpoint
)
app.command("push", epilog=examples(*push.EXAMPLES), short_help=push.SUMMARY)(push.push)
app.command("topology", epilog=examples(*topology.EXAMPLES), short_help=topology.SUMMARY)(topology.topology)
app.command("replay", epilog=examples(*replay.EXAMPLES), short_help=replay.SUMMARY)(replay.replay)
app.command("sweep", epilog=examples(*sweep.EXAMPLES), short_help=sweep.SUMMARY)(sweep.sweep)
app.command("verify", epilog=examples(*verify.EXAMPLES), short_help=verify.SUMMARY)(verify.verify)
app.command("doctor", epilog=examples(*doctor.EXAMPLES), short_help=doctor.SUMMARY)(doctor.doctor)
app.command("dashboard", epilog=examples(*dashboard.EXAMPLES), short_help=dashboard.SUMMARY)(dashboard.dashboard)
for _command in app.registered_commands:
    _command.help = in_paragraphs(_command.callback.__doc__ or "" if _command.callback else "")


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version and stop.", is_eager=True)] = False,
) -> None:
    """Small vision models from large ones: distill, compare with training alone, export."""
    if show:
        console.print(f"persistill {__version__}")
        raise typer.Exit


def _run(
    name: str,
    command: str,
    out: Path,
    device: str,
    seeds: str | None,
    changes: list[str] | None,
    *,
    export: str | None = None,
    small: bool = False,
    quick: bool = False,
    auto_batch: bool = False,
    dry_run: bool = False,
    devices: int | None = None,
    workers: int | None = None,
    executor: str | None = None,
) -> "Result | None":
    changed = recipe_changes(changes, seeds, export)
    if not dry_run:
        launch.in_processes(devices)
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


def _complain(what: str, text: str) -> None:
    errors.print(Text.assemble((what, "bold red"), f" {text}"))
