"""Options that several commands share, and what is typed for them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from persistill.errors import UserError
from persistill.storage import check_out
from persistill.utils.output_folder import require_folder


def folder(parameter: typer.CallbackParam, path: Path | None) -> Path | None:
    """For options that name a folder: see at once that one is there or can be made."""
    return None if path is None else require_folder(path, parameter.opts[0])


def place_of_runs(parameter: typer.CallbackParam, place: str) -> str:
    """For options that name the place of run folders: see at once that it can be one."""
    return check_out(place, parameter.opts[0])


Out = Annotated[
    str,
    typer.Option(
        "--out",
        metavar="FOLDER|URL",
        callback=place_of_runs,
        help="Where run folders are written and looked for: a folder, or a URL such as s3://bucket/runs.",
    ),
]
OutFolder = Annotated[
    Path, typer.Option("--out", callback=folder, help="Where run folders are written and looked for.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:0 or mps.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the recipe; repeatable.")
]
Seeds = Annotated[str | None, typer.Option("--seeds", metavar="0,1,2", help="One student per arm and seed.")]
Export = Annotated[
    str | None,
    typer.Option(
        "--export",
        metavar="best|ARM",
        help="Whose student is exported; by default as the recipe says, or else the best one on validation images.",
    ),
]
Small = Annotated[
    bool, typer.Option("--small", help="The recipe's sibling for two cores: fewer images, epochs, smaller networks.")
]
Quick = Annotated[
    bool, typer.Option("--quick", help="Measure without corruptions, attacks and the similarity to the teachers.")
]
OwnCode = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="MODULE:NAME", help="The network, if it is code of your own: it runs only if named here."
    ),
]
Formats = Annotated[
    str | None,
    typer.Option(
        "--formats",
        metavar="onnx,int8",
        help="Some of onnx, int8, program, executorch; by default all. The weights (safetensors) are always written.",
    ),
]
AutoBatch = Annotated[
    bool, typer.Option("--auto-batch", help="Where memory runs out, take batches in parts; the update stays the same.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Measure a few steps, print the plan with its costs, and stop.")
]

Devices = Annotated[
    int | None,
    typer.Option(
        "--devices", min=1, metavar="N", help="Work at each network on so many devices at once, with the same numbers."
    ),
]
Nodes = Annotated[
    int | None,
    typer.Option("--nodes", min=1, metavar="N", help="Train on so many machines, on each of which this is started."),
]
NodeRank = Annotated[
    int | None, typer.Option("--node-rank", min=0, metavar="0..", help="Which of --nodes this machine is, from 0.")
]
Rendezvous = Annotated[
    str | None,
    typer.Option("--rendezvous", metavar="HOST:PORT", help="Where --nodes meet: the first of them, and a free port."),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, metavar="N", help="Work at so many stages at a time, each in a process."),
]
ExecutorName = Annotated[
    str | None,
    typer.Option(
        "--executor", metavar="local|processes|ray|slurm", help="Where stages are worked at; by default as --workers."
    ),
]


def examples(*lines: str) -> str:
    """The end of a help text."""
    return "[bold]Examples[/bold]\n\n" + "\n\n".join(lines)


def in_paragraphs(docstring: str) -> str:
    """A docstring as a help text: a line a paragraph, which is broken to the width of the terminal."""
    return "\n\n".join(" ".join(part.split()) for part in docstring.split("\n\n"))


def parse_changes(texts: Sequence[str] | None) -> dict[str, str]:
    """Field path -> text of its value, from "field=value" each.

    Raises:
        UserError: if one lacks "=".
    """
    changes = {}
    for text in texts or ():
        field, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--set {text!r} lacks '=': write --set field=value, e.g. --set train.epochs=5.")
        changes[field.strip()] = value.strip()
    return changes


def recipe_changes(changes: Sequence[str] | None, seeds: str | None, export: str | None) -> dict[str, Any]:
    """What --set, --seeds and --export change in a recipe: field path -> value, the last two after the first.

    Raises:
        UserError: if one cannot be read.
    """
    changed: dict[str, Any] = {**parse_changes(changes), **({"seeds": parse_seeds(seeds)} if seeds else {})}
    return changed | ({} if export is None else {"export": export})


def parse_formats(text: str | None) -> tuple[str, ...] | None:
    """("onnx", "int8") from "onnx,int8"; None, for all, from None."""
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) from "224" or "120x160".

    Raises:
        UserError: if it is neither.
    """
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise UserError(f"--size {text!r} is no size: write --size 224, or height x width, --size 120x160.")
    return int(parts[0]), int(parts[-1])


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds from "0,1,2".

    Raises:
        UserError: if these are not different whole numbers.
    """
    try:
        seeds = tuple(int(part) for part in text.split(","))
    except ValueError:
        seeds = ()
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds {text!r}: write different whole numbers with commas between them, --seeds 0,1,2.")
    return seeds
