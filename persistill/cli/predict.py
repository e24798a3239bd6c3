"""`persistill predict`: what a trained student says of images, and how sure it is."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from persistill.api.text_console import text_console
from persistill.cli.console import console, quiet_start
from persistill.cli.options import OwnCode
from persistill.cli.printable import printable
from persistill.errors import UserError
from persistill.utils.atomic_io import atomic

if TYPE_CHECKING:
    from rich.console import Console

    from persistill.inference import ImagePrediction, Predictor, UnreadableImage
    from persistill.utils.preprocessing import Preprocessing

SUMMARY = "Classify images with a trained student."
EXAMPLES = (
    "persistill predict my_student images --sheet answers.png",
    "persistill predict runs/student-tgd-seed0-0123456789ab cat.jpg dog.png --top 3",
)
SKIPPED = 3
"""Exit code if some of the images could not be read, and the others were answered."""
SHEET = 48
"""Images on a contact sheet, at most."""

_LEAST = 0.005
"""Share of the pixels of an image that is worth being listed."""
_SIDE, _LARGE = 256, 512  # pixels of an image on a sheet, without and with boxes on it


def predict(
    student: Annotated[
        str,
        typer.Argument(
            help="An exported student's folder, a student's run folder or the URL of one, or its .safetensors or .onnx "
            "file."
        ),
    ],
    images: Annotated[list[Path], typer.Argument(help="Image files, and folders that are searched for them.")],
    top: Annotated[int, typer.Option("--top", min=1, help="So many classes for each image.")] = 1,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold", min=0, max=1, help="Least score of an object that a detector finds; 0.3 by default."
        ),
    ] = None,
    table: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write the answers into a new file instead.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answers as JSON.")] = False,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", metavar="FILE.png", help="Also draw a contact sheet, into a new file.")
    ] = None,
    model: OwnCode = None,
) -> None:
    """Classify images with a trained student: file, class, calibrated confidence.

    A student of segmentation writes a mask beside each image instead, cat.jpg -> cat.mask.png, in colors. A detector
    finds objects: file, class, score, and the corners of a box in pixels of the image, x1, y1, x2, y2.

    Images may have any format, size and orientation; each is brought to what the student sees as training images
    were. Files that cannot be read are named and passed over, and the exit code is 3.
    """
    _require_new("--csv", table)
    _require_new("--sheet", sheet)
    if sheet is not None and sheet.suffix.lower() != ".png":
        raise UserError(f"--sheet {sheet}: the contact sheet is a PNG; give a name that ends in .png.")
    with quiet_start():
        from persistill.api.progress_bars import Bars  # noqa: PLC0415 - numpy is slow to import, and --help needs none
        from persistill.inference import Predictor, predict_files, search_images  # noqa: PLC0415

        predictor = Predictor.load(student, model=model)
    aside = text_console(stderr=True, soft_wrap=True)  # a pipe gets answers alone
    files, notes = search_images(images)
    for note in notes:
        aside.print(f"Note: {printable(note)}")
    if predictor.dense:
        _write_masks(
            predictor,
            files,
            aside,
            refused={"--csv": table, "--json": as_json, "--sheet": sheet, "--threshold": threshold},
        )
        return
    if predictor.detects:
        _find_objects(predictor, files, aside, threshold, top=top, table=table, as_json=as_json, sheet=sheet)
        return
    if threshold is not None:
        raise UserError(f"--threshold is of detectors, and {predictor.file} classifies whole images; leave it out.")
    with Bars(aside) as bars:
        answered, unread = predict_files(predictor, files, top, bars)
    _require_some(answered, unread, files, aside)
    if table is not None:
        _write_csv(table, answered)
    if as_json:
        _print_json(predictor, answered, unread)
    elif table is None:
        _print(answered)
    if sheet is not None:
        _draw(sheet, answered, predictor.preprocessing)
    if predictor.temperature is None:
        aside.print(
            "These confidences are not calibrated: this student has no temperature. persistill eval fits one for its "
            "run folder, and persistill export takes it along."
        )
    _finish(aside, answered, unread, table, sheet)


def _finish(
    aside: "Console",
    answered: Sequence[object],
    unread: "Sequence[UnreadableImage]",
    table: Path | None,
    sheet: Path | None,
) -> None:
    """Say what was written; exit with ``SKIPPED`` where files could not be read."""
    for written in (table, sheet):
        if written is not None:
            aside.print(f"Wrote {written}")
    if sheet is not None and len(answered) > SHEET:
        aside.print(f"The sheet shows the first {SHEET} of {len(answered):,} images.")
    if unread:
        raise typer.Exit(SKIPPED)


def _find_objects(
    student: "Predictor",
    files: Sequence[Path],
    aside: "Console",
    threshold: float | None,
    *,
    top: int,
    table: Path | None,
    as_json: bool,
    sheet: Path | None,
) -> None:
    """Say which objects a detector finds, and where."""
    from persistill.api.progress_bars import Bars  # noqa: PLC0415
    from persistill.cli.object_answers import print_json, print_objects, write_csv  # noqa: PLC0415
    from persistill.inference import THRESHOLD, find_in_files  # noqa: PLC0415

    if top != 1:
        raise UserError(f"--top lists classes of images, and {student.file} finds objects; leave it out.")
    least = THRESHOLD if threshold is None else threshold
    with Bars(aside) as bars:
        answered, unread = find_in_files(student, files, least, bars)
    _require_some(answered, unread, files, aside)
    if table is not None:
        write_csv(table, answered)
    if as_json:
        print_json(student, least, answered, unread)
    elif table is None:
        print_objects(answered)
    if sheet is not None:
        from persistill.cli.object_sheet import Tile, draw_objects  # noqa: PLC0415 - matplotlib is slow to import
        from persistill.inference.image_files import thumbnail  # noqa: PLC0415

        tiles = [
            Tile(thumbnail(one.file, _LARGE, student.preprocessing), one.size, one.objects, printable(one.file.name))
            for one in answered[:SHEET]
        ]
        draw_objects(sheet, tiles, student.classes)
    _finish(aside, answered, unread, table, sheet)


def _write_masks(student: "Predictor", files: Sequence[Path], aside: "Console", refused: dict[str, Any]) -> None:
    """Write a mask beside each image, and print what it holds."""
    from persistill.api.progress_bars import Bars  # noqa: PLC0415
    from persistill.inference import write_masks  # noqa: PLC0415

    for option, given in refused.items():
        if given:
            raise UserError(
                f"{option} lists classes of images, and {student.file} answers for every pixel; leave it out."
            )
    with Bars(aside) as bars:
        written, unread = write_masks(student, files, bars)
    _require_some(written, unread, files, aside)
    for file, mask, shares in written:
        listed = ", ".join(f"{name} {share:.0%}" for name, share in shares.items() if share >= _LEAST)
        line = f"{printable(file)}  {printable(mask.name)}  {listed}"
        console.print(line, soft_wrap=True)
    if unread:
        raise typer.Exit(SKIPPED)


def _require_some(
    answers: Sequence[object], unread: "Sequence[UnreadableImage]", files: Sequence[Path], aside: "Console"
) -> None:
    """Name the files that cannot be read; raise a UserError where no others were answered."""
    for file, why in unread:
        aside.print(f"Left out: {printable(file)} ({why})")
    if not answers:
        raise UserError(f"none of the {len(files):,} files can be read as an image.")


def _require_new(option: str, file: Path | None) -> None:
    if file is None:
        return
    if file.exists():
        raise UserError(f"{option} {file} exists already and was not overwritten; give another name.")
    if not file.absolute().parent.is_dir():
        raise UserError(f"{option} {file}: there is no folder {file.parent}. Make it first, or give another name.")


def _print(answered: "Sequence[ImagePrediction]") -> None:
    """A line an image; never wrapped, so that other programs can read it."""
    lines = [
        [printable(file), *(text for guess in answer.guesses for text in (guess.name, f"{guess.confidence:.1%}"))]
        for file, answer in answered
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        shown = (
            text.rjust(width) if place and place % 2 == 0 else text.ljust(width)
            for place, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        console.print("  ".join(shown), soft_wrap=True)


def _write_csv(path: Path, answered: "Sequence[ImagePrediction]") -> None:
    count = len(answered[0].prediction.guesses)
    titles = ["class", "confidence", *(f"{name}_{k}" for k in range(2, count + 1) for name in ("class", "confidence"))]
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", *titles])
        for image, answer in answered:
            writer.writerow([image, *(text for guess in answer.guesses for text in (guess.name, guess.confidence))])


def _print_json(
    student: "Predictor", answered: "Sequence[ImagePrediction]", unread: "Sequence[UnreadableImage]"
) -> None:
    said: dict[str, Any] = {
        "model": str(student.file),
        "temperature": student.temperature,
        "images": [
            {
                "file": str(file),
                "class": answer.name,
                "confidence": answer.confidence,
                "top": [{"class": guess.name, "confidence": guess.confidence} for guess in answer.guesses],
            }
            for file, answer in answered
        ],
        "unreadable": [{"file": str(file), "why": why} for file, why in unread],
    }
    console.print(json.dumps(said, indent=2), soft_wrap=True)


def _draw(path: Path, answered: "Sequence[ImagePrediction]", preprocessing: "Preprocessing") -> None:
    from persistill.cli.prediction_sheet import draw_predictions  # noqa: PLC0415 - matplotlib is slow to import
    from persistill.inference.image_files import thumbnail  # noqa: PLC0415

    shown = answered[:SHEET]
    draw_predictions(
        path,
        [thumbnail(file, _SIDE, preprocessing) for file, _ in shown],
        [(answer.name, f"{answer.confidence:.1%}", printable(file.name)) for file, answer in shown],
    )
