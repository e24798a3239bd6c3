"""`persistill export`: a trained network in all formats."""

from pathlib import Path
from typing import Annotated

import typer

from persistill.cli.console import console, in_columns, quiet_start
from persistill.cli.options import Formats, OwnCode, folder, parse_formats

SUMMARY = "Write a trained student in all formats, each compared with its checkpoint."
EXAMPLES = (
    "persistill export runs/student-tgd-seed0-0123456789ab",
    "persistill export runs/student-tgd-seed0-0123456789ab --out my_student --formats onnx,int8",
)


def export_run(
    network: Annotated[str, typer.Argument(help="A student's or teacher's run folder, or its URL.")],
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
