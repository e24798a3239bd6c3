"""The commands."""

from typing import Annotated

import typer

from persistill.cli import (
    check,
    cp,
    dashboard,
    demo,
    distill,
    doctor,
    evaluate,
    export,
    import_checkpoint,
    ls,
    predict,
    push,
    replay,
    report,
    reproduce,
    run,
    sweep,
    topology,
    verify,
)
from persistill.cli.console import console
from persistill.cli.options import examples, in_paragraphs
from persistill.version import __version__

app = typer.Typer(
    name="persistill",
    help="Small vision models from large ones: distill, compare with training alone, export.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Start with: persistill demo",
)
app.command("demo", epilog=examples(*demo.EXAMPLES), short_help=demo.SUMMARY)(demo.demo)
app.command("run", epilog=examples(*run.EXAMPLES), short_help=run.SUMMARY)(run.run)
app.command("reproduce", epilog=examples(*reproduce.EXAMPLES), short_help=reproduce.SUMMARY)(reproduce.reproduce)
app.command("check", epilog=examples(*check.EXAMPLES), short_help=check.SUMMARY)(check.check)
app.command("ls", epilog=examples(*ls.EXAMPLES), short_help=ls.SUMMARY)(ls.ls)
app.command("cp", epilog=examples(*cp.EXAMPLES), short_help=cp.SUMMARY)(cp.cp)
app.command("eval", epilog=examples(*evaluate.EXAMPLES), short_help=evaluate.SUMMARY)(evaluate.evaluate)
app.command("report", epilog=examples(*report.EXAMPLES), short_help=report.SUMMARY)(report.write_report)
app.command("export", epilog=examples(*export.EXAMPLES), short_help=export.SUMMARY)(export.export_run)
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
