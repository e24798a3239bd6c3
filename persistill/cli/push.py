"""`persistill push`: a student, with its model card, to the Hugging Face Hub."""

from pathlib import Path
from typing import Annotated

import typer

from persistill.cli.console import console, quiet_start
from persistill.cli.options import OwnCode
from persistill.run_folder import RunFolder, find

SUMMARY = "Upload a student and its model card to the Hugging Face Hub."
EXAMPLES = (
    "persistill push runs/export-tgd-seed0-0123456789ab user/my-student",
    "persistill push my_student user/my-student --public",
)


def push(
    folder: Annotated[Path, typer.Argument(help="An exported student's folder, or a student's run folder.")],
    name: Annotated[str, typer.Argument(metavar="USER/NAME", help="The repository.")],
    public: Annotated[bool, typer.Option("--public", help="Let everybody see a new repository.")] = False,
    model: OwnCode = None,
) -> None:
    """Upload a student and its model card to the Hugging Face Hub.

    A new repository is private unless --public is given. The card is that of the comparison that lies beside a run
    folder; a plain one if there is none. Log in first: hf auth login.
    """
    with quiet_start():
        from persistill.exporters.hub import push_to_hub  # noqa: PLC0415 - torch is slow to import
    address = push_to_hub(folder, name, private=not public, card=find_card(folder), model=model)
    console.print(f"Pushed to {address}")


def find_card(folder: Path) -> str | None:
    """The model card of a student's or export's run folder, from the newest comparison beside it that shows it."""
    from persistill import report  # noqa: PLC0415 - matplotlib is slow to import

    if not (folder / "run.json").is_file():
        return None
    run = RunFolder.open(folder)
    student = run.result()["student"]["run"] if run.kind == "export" else run.path.resolve().name
    beside = find(run.path.resolve().parent, lambda other: other.kind == "comparison" and other.complete)
    for comparison in reversed(beside):
        for row in comparison.result()["rows"]:
            if row["run"] == student:
                return report.model_card(report.read(comparison.path), row["arm"], row["seed"])
    return None
