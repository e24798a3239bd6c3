"""`persistill eval`: a trained network on the test images."""

from typing import Annotated

import typer

from persistill.cli.console import console, in_columns, quiet_start
from persistill.cli.options import Device, OwnCode, parse_changes

SUMMARY = "Measure a trained network on the test images."
EXAMPLES = (
    "persistill eval runs/student-tgd-seed0-0123456789ab --noise 0.1,0.2 --ece-bins 20",
    "persistill eval runs/student-tgd-seed0-0123456789ab --set ood=digits",
)


def evaluate(
    network: Annotated[str, typer.Argument(help="A student's or teacher's run folder, or its URL.")],
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
