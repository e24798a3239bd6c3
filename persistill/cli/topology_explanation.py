"""The image that `persistill topology --explain` draws: which it is, and what its figure is called."""

import difflib
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from persistill.data.streaming.base import ImageStream, Unreadable
from persistill.data.streaming.files import open_stream
from persistill.errors import UserError
from persistill.extraction.outputs import Pixels
from persistill.utils.image_reader import SUFFIXES

_LONGEST_SEARCH = 10_000  # names among which near ones are looked for


class ExplainedImage(NamedTuple):
    """An image to be explained.

    Attributes:
        pixels: (C, H, W).
        file: the name of its figure; no two images of a source share one.
    """

    pixels: Pixels
    file: str


def find_image(wanted: str, stream: ImageStream, source: Path, channels: int, channel: int) -> ExplainedImage:
    """Look an image up.

    Args:
        wanted: its name in the stream, its position there, or an image file.
        stream: the images.
        source: where they lie.
        channels: how many channels images are read with.
        channel: the one that is to be followed.

    Raises:
        UserError: if there is no such image, it cannot be read, or has no such channel.
    """
    names = [stream.name(position) for position in range(len(stream))]
    position = next((names.index(one) for one in (wanted, _below(source, wanted)) if one in names), None)
    if position is None and wanted.isascii() and wanted.isdigit() and int(wanted) < len(names):
        position = int(wanted)
    if position is not None:
        name, file = names[position], figure_name(position, names)
    elif Path(wanted).is_file() and Path(wanted).suffix.lower() in SUFFIXES:
        stream, position, name = open_stream(Path(wanted)), 0, wanted
        file = figure_name(len(names), [*names, wanted])
    else:
        near = difflib.get_close_matches(wanted, names[:_LONGEST_SEARCH], n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise UserError(
            f"--explain {wanted}: {source} has no image of this name, and there is no such file.{hint} "
            f"Give a name as in names.txt, a number from 0 to {len(names) - 1}, or an image file."
        )
    (image,) = stream.read([position], channels, 1)
    if isinstance(image, Unreadable):
        raise UserError(f"--explain: {name} cannot be read ({image.why}).")
    if channel >= len(image):
        raise UserError(f"--channel {channel}: {name} has channels 0 to {len(image) - 1}.")
    return ExplainedImage(image, file)


def _below(source: Path, wanted: str) -> str:
    """A path as the source would name it, if it lies in there."""
    folder = (source if source.is_dir() else source.parent).resolve()
    path = Path(wanted).resolve()
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else wanted


def figure_name(place: int, names: list[str]) -> str:
    """The shortest of four names for the figure of one of ``names`` that no other of them may have as well."""
    forms: tuple[Callable[[str], str], ...] = (
        lambda one: one if "[" in one else Path(one).stem,
        lambda one: one if "[" in one else Path(one).with_suffix("").as_posix(),
        str,
    )

    def written(form: Callable[[str], str], name: str) -> str:
        return re.sub(r"[^A-Za-z0-9_.-]+", "-", form(name)).strip("-")

    # Others may be called by any of their forms; some file systems take capitals for small letters.
    others = [name for position, name in enumerate(names) if position != place]
    taken = {written(form, other).lower() for other in others for form in forms}
    shortest = [written(form, names[place]) for form in forms]
    free = next((one for one in shortest if one and one.lower() not in taken), f"{shortest[-1]}-{place}".strip("-"))
    return f"explain-{free}.png"
