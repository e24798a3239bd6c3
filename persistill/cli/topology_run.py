"""From a source of images to a folder of persistence images, diagrams or Betti curves."""

import difflib
import hashlib
import itertools
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from persistill.cli.contact_sheets import draw_explanation, draw_sheet
from persistill.cli.topology_outputs import (
    BettiCurveOutput,
    DiagramOutput,
    Output,
    PersistenceImageOutput,
    Pixels,
    ScanConfig,
)
from persistill.cli.topology_writer import SETTINGS, ResumableWriter, require_ours
from persistill.data.streaming.base import ImageStream, Survey, Unreadable
from persistill.data.streaming.files import open_stream
from persistill.errors import UserError
from persistill.topology import Diagrams, PersistenceImageConfig, fit_persistence_images
from persistill.topology.persistence_image.fields import MIN_PERSISTENCE, SCANS, Scan
from persistill.utils.atomic_io import atomic
from persistill.utils.image_reader import SUFFIXES
from persistill.utils.progress import Progress
from persistill.version import __version__

FIT_IMAGES = 1000
"""Settings are fitted to so many images, evenly spaced ..."""
FIT_SAMPLES = 1 << 24
"""... or fewer, of large images: so many samples of their signals."""
SHEET_IMAGES = 10
"""Images on the contact sheet."""

_BLOCK = 1 << 22  # samples of signals that are fitted to at once
_LONGEST_SEARCH = 10_000  # names among which near ones are looked for


@dataclass(frozen=True)
class Wishes:
    """What the user asked for.

    Attributes:
        to: what images become.
        scans: how they are read.
        preset: "tgd" takes the settings of persistence images as they are, "fitted" fits window, bandwidth and scale.
        given: settings that differ from the preset's, by their names in ``PersistenceImageConfig``.
        dtype: of stored persistence images.
        levels: (low, high, count) of Betti curves.
        min_persistence: of diagrams and curves.
        grayscale: read images with one channel.
        skip_unreadable: go on without images that cannot be read.
        explain: an image to draw with its bars, diagram and persistence image.
        channel: its channel.
        threads: how many threads.
    """

    to: Literal["images", "diagrams", "curves"] = "images"
    scans: tuple[Scan, ...] = SCANS.default
    preset: Literal["tgd", "fitted"] = "tgd"
    given: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    levels: tuple[float, float, int] = (0.0, 1.0, 64)
    min_persistence: float = 0.0
    grayscale: bool = False
    skip_unreadable: bool = False
    explain: str | None = None
    channel: int = 0
    threads: int = 1


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        files: what was written, the result first.
        shape: of the result.
        gray: how many of the images were read as RGB though they have no color.
        skipped: (name, why) of images left out.
        tally: counts that the output gives.
        before: whether the result was there already.
    """

    files: tuple[Path, ...]
    shape: tuple[int, ...]
    gray: int
    skipped: tuple[tuple[str, str], ...]
    tally: Mapping[str, int]
    before: bool


class Extraction:
    """One source, one folder.

    Args:
        stream: the images.
        source: where they lie.
        folder: where results are written.
        wishes: what to make.
        progress: told how far it is.

    Raises:
        UserError: if the source or the folder does not serve.
    """

    def __init__(self, stream: ImageStream, source: Path, folder: Path, wishes: Wishes, progress: Progress) -> None:
        require_ours(folder)
        if source.is_dir() and folder.resolve().is_relative_to(source.resolve()):
            raise UserError(
                f"{folder} lies inside of {source}: its contact sheet would count as an image the next time. "
                "Give an --output outside of it."
            )
        self._source = source
        self._folder = folder
        self._wishes = wishes
        self._progress = progress
        self._stream = stream
        self._survey: Survey = stream.survey(progress, grayscale=wishes.grayscale, threads=wishes.threads)
        self._require_readable(self._survey.problems)
        self._scan_config = ScanConfig(wishes.scans, self._survey.channels, wishes.threads)

    def run(self) -> Outcome:
        """Make what is not there yet, and write it.

        Raises:
            UserError: if an image cannot be read, the folder holds results of other parameters or images, or the
                image to be explained is not found.
        """
        settings, output = self._settings()
        with ResumableWriter(self._folder, self._parameters(output), output.files) as writer:
            before = writer.complete
            mark = self._require_same_images(writer)
            explained = None if self._wishes.explain is None else self._find(self._wishes.explain)
            if not before:
                self._extract(output, writer, mark)
                self._finish(output, writer, settings)
        files = [self._folder / name for name in (output.result, "names.txt", "contact_sheet.png", SETTINGS)]
        if explained is not None:
            files.append(self._explain(*explained, settings))
        reached = writer.reached
        return Outcome(
            files=tuple(files),
            shape=output.shape(reached.rows),
            gray=self._survey.gray,
            skipped=tuple((name, why) for name, why in reached.skipped),
            tally=reached.tally,
            before=before,
        )

    def _settings(self) -> tuple[PersistenceImageConfig, Output]:
        wishes = self._wishes
        if wishes.to == "images":
            settings = (
                self._fit(**wishes.given) if wishes.preset == "fitted" else PersistenceImageConfig(**wishes.given)
            )
            return settings, PersistenceImageOutput(self._scan_config, settings, wishes.dtype)
        try:
            settings = self._fit()
        except UserError:  # for the contact sheet alone, whose persistence images may be blank
            settings = PersistenceImageConfig()
        if wishes.to == "curves":
            return settings, BettiCurveOutput(self._scan_config, wishes.levels, wishes.min_persistence)
        return settings, DiagramOutput(self._scan_config, self._stream.dtype, wishes.min_persistence)

    def _parameters(self, output: Output) -> dict[str, Any]:
        images = {"channels": self._scan_config.channels, "dtype": self._stream.dtype.name}
        return {
            "persistill": __version__,
            "to": self._wishes.to,
            "scans": list(self._wishes.scans),
            "grayscale": self._wishes.grayscale,
            **output.parameters(),
            "images": images,
        }

    def _fit(self, **given: Any) -> PersistenceImageConfig:
        survey = self._survey
        good = np.flatnonzero(survey.sizes[:, 0])
        samples = self._scan_config.signals * survey.sizes[good].astype(np.int64).prod(1).mean()
        count = max(1, min(len(good), FIT_IMAGES, int(FIT_SAMPLES / samples)))
        positions = good[np.arange(count) * len(good) // count].tolist()
        least = given.get("min_persistence", MIN_PERSISTENCE.default)
        step = max(1, int(_BLOCK / samples))
        self._progress.start("fitting the window", count)
        parts: list[Pixels] = []
        for start in range(0, count, step):
            block = positions[start : start + step]
            for image in self._read(block):
                if not isinstance(image, Unreadable):
                    parts.extend(self._scan_config.diagrams(image[None], least))
            self._progress.advance(len(block))
        self._progress.finish()
        try:
            return fit_persistence_images(Diagrams.from_list(parts), **given)
        except ValueError as error:
            raise UserError(f"the settings cannot be fitted to the images of {self._source}: {error}") from error

    def _read(self, positions: Sequence[int]) -> list[Pixels | Unreadable]:
        """Images; those that cannot be read are an error unless they were to be left out."""
        found = self._stream.read(positions, self._scan_config.channels, self._scan_config.threads)
        self._require_readable(
            {position: one.why for position, one in zip(positions, found, strict=True) if isinstance(one, Unreadable)}
        )
        return found

    def _require_readable(self, problems: Mapping[int, str]) -> None:
        total = len(self._stream)
        if not problems or (self._wishes.skip_unreadable and len(problems) < total):
            return
        first = "; ".join(f"{self._stream.name(position)} ({problems[position]})" for position in sorted(problems)[:3])
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        advice = "" if self._wishes.skip_unreadable else " Mend or remove them, or leave them out: --skip-unreadable"
        raise UserError(f"{len(problems)} of {total} images of {self._source} cannot be read: {first}{more}.{advice}")

    def _require_same_images(self, writer: ResumableWriter) -> str:
        """Raise unless the results are of these images; gives the mark of those that were dealt with."""
        position, total = writer.reached.position, len(self._stream)
        mark = self._marked("", range(min(position, total)))
        enough = position == total if writer.complete else position <= total
        if position and not (enough and mark == writer.reached.mark):
            which = f"{position} images" if writer.complete else f"the first {position} images"
            raise UserError(
                f"{self._folder} holds results of other images than {self._source}: names, contents or number of "
                f"{which} differ. Nothing was changed. Give another --output, or move that folder away."
            )
        return mark

    def _marked(self, mark: str, positions: range) -> str:
        """A hash of all images up to the last of ``positions``, ``mark`` being that of those before."""
        for position in positions:
            text = f"{mark}\n{self._stream.name(position)}\n{self._survey.marks[position]}"
            mark = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
        return mark

    def _extract(self, output: Output, writer: ResumableWriter, mark: str) -> None:
        total, position = len(self._stream), writer.reached.position
        self._progress.start(output.title, total, position)
        while position < total:
            chunk = self._survey.chunk(position, output.samples, output.images)
            found = self._read(chunk)
            good = [one for one in found if not isinstance(one, Unreadable)]
            skipped = [
                [self._stream.name(place), one.why]
                for place, one in zip(chunk, found, strict=True)
                if isinstance(one, Unreadable)
            ]
            tally = output.write(good, writer)
            position = chunk.stop
            mark = self._marked(mark, chunk)
            writer.advance(position, writer.reached.rows + len(good), mark, skipped, tally)
            self._progress.advance(len(chunk))
        if writer.reached.rows == 0:
            raise UserError(f"none of the {total} images of {self._source} can be read.")
        self._progress.finish()

    def _finish(self, output: Output, writer: ResumableWriter, settings: PersistenceImageConfig) -> None:
        writer.close()
        output.finish(writer)
        skipped = {name for name, _ in writer.reached.skipped}
        shown = list(itertools.islice(self._kept(skipped), SHEET_IMAGES))
        images = [one for one in self._read(shown) if not isinstance(one, Unreadable)]
        names = [self._stream.name(position) for position in shown]
        draw_sheet(writer.folder / "contact_sheet.png", images, names, settings, self._scan_config)
        with (
            atomic(writer.folder / "names.txt") as temporary,
            temporary.open("w", encoding="utf-8", newline="\n", errors="surrogateescape") as file,
        ):
            for position in self._kept(skipped):
                file.write(self._stream.name(position).replace("\n", "\\n") + "\n")
        about: dict[str, Any] = {
            "source": str(self._source.resolve()),
            "result": output.result,
            "shape": list(output.shape(writer.reached.rows)),
        }
        if self._wishes.to != "images":
            about["sheet"] = settings.to_json()
        writer.finish(output.keep, about)

    def _kept(self, skipped: Container[str]) -> Iterator[int]:
        """Positions of the images that have results, in order."""
        return (position for position in range(len(self._stream)) if self._stream.name(position) not in skipped)

    def _find(self, wanted: str) -> tuple[str, Pixels]:
        """The image to be explained, and what to call it: one of the source by name or number, or an image file."""
        names = map(self._stream.name, range(len(self._stream)))
        position = next((position for position, name in enumerate(names) if name == wanted), None)
        if position is None and wanted.isascii() and wanted.isdigit() and int(wanted) < len(self._stream):
            position = int(wanted)
        stream = self._stream
        if position is None and Path(wanted).is_file() and Path(wanted).suffix.lower() in SUFFIXES:
            stream, position = open_stream(Path(wanted)), 0
        if position is None:
            few = map(self._stream.name, range(min(len(self._stream), _LONGEST_SEARCH)))
            near = difflib.get_close_matches(wanted, few, n=3, cutoff=0.5)
            hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise UserError(
                f"--explain {wanted}: {self._source} has no image of this name, and there is no such file.{hint} "
                f"Give a name as in names.txt, a number from 0 to {len(self._stream) - 1}, or an image file."
            )
        name = stream.name(position)
        (image,) = stream.read([position], self._scan_config.channels, 1)
        if isinstance(image, Unreadable):
            raise UserError(f"--explain: {name} cannot be read ({image.why}).")
        if self._wishes.channel >= len(image):
            raise UserError(f"--channel {self._wishes.channel}: {name} has channels 0 to {len(image) - 1}.")
        return name, image

    def _explain(self, name: str, image: Pixels, settings: PersistenceImageConfig) -> Path:
        stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(name).with_suffix("").name if "[" not in name else name)
        path = self._folder / f"explain-{stem.strip('-')}.png"
        draw_explanation(path, image, settings, self._scan_config.scans[0], self._wishes.channel)
        return path
