"""`persistill topology`: images to persistence images, diagrams or Betti curves."""

import contextlib
import math
import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from persistill.cli import topology_values
from persistill.cli.console import console
from persistill.errors import UserError
from persistill.topology.persistence_image import fields
from persistill.topology.persistence_image.fields import FieldDeclaration

SUMMARY = "Turn images into persistence images, diagrams or Betti curves."
EXAMPLES = (
    "persistill topology images --out topology",
    "persistill topology digits.npy --out diagrams --to diagrams",
    "persistill topology --explain cat.png",
)
_OUTPUT, _INPUT, _SCALE = "Persistence images", "Images", "Many images"


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
    scans: Annotated[
        str, typer.Option(metavar=topology_values.ALL_SCANS, help=fields.SCANS.help)
    ] = topology_values.ALL_SCANS,
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
    pixels: Annotated[str | None, _setting(fields.PIXELS, topology_values.PIXELS)] = None,
    bandwidth: Annotated[float | None, _setting(fields.BANDWIDTH)] = None,
    births: Annotated[str | None, _setting(fields.BIRTHS, topology_values.WINDOW)] = None,
    persistences: Annotated[str | None, _setting(fields.PERSISTENCES, topology_values.WINDOW)] = None,
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
    workers: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", rich_help_panel=_SCALE, help="So many processes; results lie in shards."),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            metavar="local|processes|ray",
            rich_help_panel=_SCALE,
            help="Where shards are made; by default as --workers.",
        ),
    ] = None,
    images_per_shard: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", rich_help_panel=_SCALE, help="Results in files of so many images each."),
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
        results: dict[str, Any] = {"to": to if to is not To.IMAGES else None, "dtype": dtype, "levels": levels}
        results |= {"workers": workers, "executor": executor, "images_per_shard": images_per_shard}
        topology_values.refuse(results, "is about results in a folder; give that folder with --out")
    given = {
        "pixels": topology_values.parsed("--pixels", pixels, topology_values.pixels),
        "bandwidth": bandwidth,
        "births": topology_values.parsed("--births", births, topology_values.pair),
        "persistences": topology_values.parsed("--persistences", persistences, topology_values.pair),
        "weight": weight,
        "grid": grid,
        "scaling": scaling,
        "scale": scale,
    }
    settings = {name: value for name, value in given.items() if value is not None}
    if to is To.IMAGES:
        topology_values.refuse({"levels": levels}, "tells the levels of curves; it goes with --to curves")
        if preset is not Preset.TGD:
            fitted = {name: settings.get(name) for name in ("births", "persistences", "grid", "scale")}
            topology_values.refuse(
                fitted, "is fitted to the images; to set it, add --preset tgd, whose settings then stand for the rest"
            )
        if min_persistence is not None:
            settings["min_persistence"] = min_persistence
    else:
        images = {"dtype": dtype, "preset": preset, **settings}
        topology_values.refuse(images, f"is of persistence images; --to {to} makes none")
        topology_values.refuse(
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
        from persistill.cli.topology_run import Extraction, require_folder  # noqa: PLC0415
        from persistill.cli.topology_wishes import Wishes  # noqa: PLC0415
        from persistill.data.streaming.files import open_stream  # noqa: PLC0415
        from persistill.extraction.chosen_pool import open_pool  # noqa: PLC0415
    preset = preset or Preset.FITTED
    _check_images(preset, settings, dtype)
    if output is not None:
        require_folder(output, source)
    wishes = Wishes(
        to=to.value,
        scans=topology_values.scans(scans),
        preset=preset.value,
        given=settings,
        dtype="float32" if dtype is None else dtype.value,
        levels=topology_values.parsed("--levels", levels, topology_values.levels) or Wishes.levels,
        min_persistence=min_persistence or 0.0,
        grayscale=grayscale,
        skip_unreadable=skip_unreadable,
        explain=explain,
        channel=channel,
        threads=threads or min(os.cpu_count() or 1, 16),
        images_per_shard=images_per_shard,
        sharded=workers is not None or executor is not None,
    )
    with (
        contextlib.closing(open_stream(source, field)) as stream,
        open_pool(executor, workers, threads) as pool,
        Bars(console) as bars,
    ):
        extraction = Extraction(stream, source, output or Path(), wishes, pool, bars)
        outcome = extraction.run() if output is not None else extraction.explain_alone(str(explain))
    print_outcome(console, outcome, output)


def _check_images(preset: Preset, settings: dict[str, Any], dtype: Dtype | None) -> None:
    from persistill.topology import PersistenceImageConfig  # noqa: PLC0415

    try:
        checked = PersistenceImageConfig(**settings)
    except (TypeError, ValueError) as error:
        raise UserError(
            re.sub(r"PersistenceImageConfig\.(\w+)", lambda found: topology_values.option(found[1]), str(error))
        ) from None
    scaling = settings.get("scaling", fields.FITTED_SCALING.default) if preset is Preset.FITTED else checked.scaling
    if dtype is Dtype.UINT8 and scaling != "max":
        raise UserError(
            f"--dtype uint8 holds intensities from 0 to 1, which --scaling {scaling} does not give. "
            "Add --scaling max, or take --dtype float16."
        )
