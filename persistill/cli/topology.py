"""`persistill topology`: images to persistence images, diagrams or Betti curves."""

import contextlib
import math
import os
import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from persistill.cli.console import console
from persistill.errors import UserError, unknown
from persistill.topology.persistence_image import fields
from persistill.topology.persistence_image.fields import FieldDeclaration

SUMMARY = "Turn images into persistence images, diagrams or Betti curves."
EXAMPLES = (
    "persistill topology images --out topology",
    "persistill topology digits.npy --out diagrams --to diagrams",
    "persistill topology --explain cat.png",
)
_OUTPUT, _INPUT = "Persistence images", "Images"
_PIXELS = "x".join(map(str, fields.PIXELS.default))
_WINDOW = ",".join(f"{bound:g}" for bound in fields.BIRTHS.default)
_ALL_SCANS = ",".join(fields.SCANS.default)

Value = TypeVar("Value")


class To(StrEnum):
    """What images become."""

    IMAGES = "images"
    DIAGRAMS = "diagrams"
    CURVES = "curves"


class Preset(StrEnum):
    """Where the settings of persistence images come from."""

    FITTED = "fitted"
    TGD = "tgd"


class Dtype(StrEnum):
    """How persistence images are stored."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    UINT8 = "uint8"


def _setting(field: FieldDeclaration[Any], form: str | None = None) -> Any:
    """The option of a declared field, which may be left out."""
    words = list(field.choices)
    return typer.Option(
        rich_help_panel=_OUTPUT,
        metavar=form or (f"<{'|'.join(words)}>" if words else None),
        help=field.help,
        autocompletion=(lambda: words) if words else None,
    )


def topology(
    source: Annotated[
        Path | None,
        typer.Argument(
            help="A folder of images, a Parquet file or a folder of them, a .npy or .npz array, an image. It may be "
            "left out where --explain names an image file."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "--output",
            help="A new folder, or one to go on with. Without it, --explain draws its figure and no more.",
        ),
    ] = None,
    to: Annotated[To, typer.Option("--to", help="What the images become.")] = To.IMAGES,
    scans: Annotated[str, typer.Option(metavar=_ALL_SCANS, help=fields.SCANS.help)] = _ALL_SCANS,
    min_persistence: Annotated[
        float | None,
        typer.Option(
            help=f"{fields.MIN_PERSISTENCE.help} {fields.MIN_PERSISTENCE.default:g} for persistence images, else 0."
        ),
    ] = None,
    levels: Annotated[
        str | None, typer.Option(metavar="0,1,64", help="First, last and number of a curve's levels.")
    ] = None,
    explain: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGE",
            help="Draw one image with its bars, diagram and persistence image: a name, a number or a file.",
        ),
    ] = None,
    channel: Annotated[int, typer.Option(min=0, help="The channel that --explain follows.")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="How many threads; by default one a core.")] = None,
    preset: Annotated[
        Preset | None,
        typer.Option(
            rich_help_panel=_OUTPUT,
            help="fitted, the default: a window laid around the bars of these images. tgd: the settings of the TGD "
            "paper's code.",
        ),
    ] = None,
    pixels: Annotated[str | None, _setting(fields.PIXELS, _PIXELS)] = None,
    bandwidth: Annotated[float | None, _setting(fields.BANDWIDTH)] = None,
    births: Annotated[str | None, _setting(fields.BIRTHS, _WINDOW)] = None,
    persistences: Annotated[str | None, _setting(fields.PERSISTENCES, _WINDOW)] = None,
    weight: Annotated[str | None, _setting(fields.WEIGHT)] = None,
    grid: Annotated[str | None, _setting(fields.GRID)] = None,
    scaling: Annotated[str | None, _setting(fields.SCALING)] = None,
    scale: Annotated[float | None, _setting(fields.SCALE)] = None,
    dtype: Annotated[
        Dtype | None,
        typer.Option(rich_help_panel=_OUTPUT, help="Of stored values: float32 unless told; uint8 holds floor(255 x)."),
    ] = None,
    grayscale: Annotated[bool, typer.Option("--grayscale", rich_help_panel=_INPUT, help="Read one channel.")] = False,
    skip_unreadable: Annotated[
        bool,
        typer.Option("--skip-unreadable", rich_help_panel=_INPUT, help="Leave out images that fail, and say so."),
    ] = False,
    field: Annotated[
        str | None,
        typer.Option(rich_help_panel=_INPUT, help="The Parquet column or .npz array, where several could be it."),
    ] = None,
) -> None:
    """Turn images into persistence images, diagrams or Betti curves.

    Every channel is read along its rows, and again along its columns; the connected components of the signal's
    sublevel sets (H0) make its diagram. The folder gets the result, names.txt (one image a line, in order),
    settings.json and contact_sheet.png. Any number of images of any sizes: they are read a few at a time.
    Interrupted and run again, it goes on where it stopped; other parameters are refused.
    """
    if source is None:
        if explain is None:
            raise UserError("give a SOURCE of images, such as a folder: persistill topology images --out topology")
        source = Path(explain)
    if output is None:
        if explain is None:
            raise UserError(f"say where results go: persistill topology {source} --out topology")
        results = {"to": to if to is not To.IMAGES else None, "dtype": dtype, "levels": levels}
        _refuse(results, "is about results in a folder; give that folder with --out")
    given = {
        "pixels": _parsed("--pixels", pixels, _pixels),
        "bandwidth": bandwidth,
        "births": _parsed("--births", births, _pair),
        "persistences": _parsed("--persistences", persistences, _pair),
        "weight": weight,
        "grid": grid,
        "scaling": scaling,
        "scale": scale,
    }
    settings = {name: value for name, value in given.items() if value is not None}
    if to is To.IMAGES:
        _refuse({"levels": levels}, "tells the levels of curves; it goes with --to curves")
        if preset is not Preset.TGD:
            fitted = {name: settings.get(name) for name in ("births", "persistences", "grid", "scale")}
            _refuse(
                fitted, "is fitted to the images; to set it, add --preset tgd, whose settings then stand for the rest"
            )
        if min_persistence is not None:
            settings["min_persistence"] = min_persistence
    else:
        images = {"dtype": dtype, "preset": preset, **settings}
        _refuse(images, f"is of persistence images; --to {to} makes none")
        _refuse(
            {"levels": levels if to is To.DIAGRAMS else None}, "tells the levels of curves; it goes with --to curves"
        )
        if min_persistence is not None and not (
            fields.MIN_PERSISTENCE.allows(min_persistence) and math.isfinite(min_persistence)
        ):
            allowed = fields.MIN_PERSISTENCE.allowed
            raise UserError(f"--min-persistence must be {allowed}, and finite; got {min_persistence}.")
    with console.status("starting"):
        from persistill.api.progress_bars import Bars  # noqa: PLC0415
        from persistill.cli.topology_messages import print_outcome  # noqa: PLC0415 - torch is slow to import
        from persistill.cli.topology_run import Extraction, Wishes, require_folder  # noqa: PLC0415
        from persistill.data.streaming.files import open_stream  # noqa: PLC0415
    preset = preset or Preset.FITTED
    _check_images(preset, settings, dtype)
    if output is not None:
        require_folder(output, source)
    wishes = Wishes(
        to=to.value,
        scans=_scans(scans),
        preset=preset.value,
        given=settings,
        dtype="float32" if dtype is None else dtype.value,
        levels=_parsed("--levels", levels, _levels) or Wishes.levels,
        min_persistence=min_persistence or 0.0,
        grayscale=grayscale,
        skip_unreadable=skip_unreadable,
        explain=explain,
        channel=channel,
        threads=threads or min(os.cpu_count() or 1, 16),
    )
    with contextlib.closing(open_stream(source, field)) as stream, Bars(console) as bars:
        extraction = Extraction(stream, source, output or Path(), wishes, bars)
        outcome = extraction.run() if output is not None else extraction.explain_alone(str(explain))
    print_outcome(console, outcome, output)


def _check_images(preset: Preset, settings: dict[str, Any], dtype: Dtype | None) -> None:
    from persistill.topology import PersistenceImageConfig  # noqa: PLC0415

    try:
        checked = PersistenceImageConfig(**settings)
    except (TypeError, ValueError) as error:
        raise UserError(re.sub(r"PersistenceImageConfig\.(\w+)", lambda found: _option(found[1]), str(error))) from None
    scaling = settings.get("scaling", fields.FITTED_SCALING.default) if preset is Preset.FITTED else checked.scaling
    if dtype is Dtype.UINT8 and scaling != "max":
        raise UserError(
            f"--dtype uint8 holds intensities from 0 to 1, which --scaling {scaling} does not give. "
            "Add --scaling max, or take --dtype float16."
        )


def _refuse(options: dict[str, Any], why: str) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise UserError(f"{_option(given[0])} {why}.")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _parsed(option: str, text: str | None, parse: Callable[[str], Value]) -> Value | None:
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError:
        form = {"--pixels": f"{_PIXELS} (rows x columns)", "--levels": "0,1,64 (first, last, number)"}
        raise UserError(f"{option} {text!r} is not of the form {form.get(option, f'{_WINDOW} (low, high)')}.") from None


def _pixels(text: str) -> tuple[int, int]:
    rows, columns = text.lower().split("x") if "x" in text.lower() else (text, text)
    return int(rows), int(columns)


def _pair(text: str) -> tuple[float, float]:
    low, high = map(float, text.split(","))
    return low, high


def _levels(text: str) -> tuple[float, float, int]:
    first, last, number = text.split(",")
    low, high, count = float(first), float(last), int(number)
    if not (-float("inf") < low < high < float("inf")) or count < 2:
        raise ValueError
    return low, high, count


def _scans(text: str) -> tuple[Any, ...]:
    scans = tuple(part.strip() for part in text.split(","))
    for scan in scans:
        if scan not in fields.SCANS.choices:
            raise unknown("scan", scan, fields.SCANS.choices)
    if len(set(scans)) < len(scans):
        raise UserError(f"--scans {text} names a scan twice.")
    return scans
