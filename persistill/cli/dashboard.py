"""`persistill dashboard`: run folders and the explorer in a browser."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from persistill.api.text_console import text_console
from persistill.cli.options import folder

SUMMARY = "Watch run folders in a browser while training goes on; explore images."
EXAMPLES = ("persistill dashboard", "persistill dashboard --out runs --port 0 --no-browser")

console = text_console()


def dashboard(
    out: Annotated[Path, typer.Option("--out", callback=folder, help="Where run folders are looked for.")] = Path(
        "runs"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8765,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
) -> None:
    """Watch run folders in a browser while training goes on, and explore the topology of images.

    The server answers this machine alone (127.0.0.1), writes nothing, and needs no network. Ctrl-C ends it.
    """
    from persistill.dashboard import DashboardServer  # noqa: PLC0415 - plotly is slow to import

    with DashboardServer(out, port) as server:
        console.print(f"{server.entrance}  (runs of {out}; ctrl-C ends)", soft_wrap=True)
        if not no_browser:
            webbrowser.open(server.entrance)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.print("Ended.")
