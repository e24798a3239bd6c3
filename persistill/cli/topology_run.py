"""From a source of images to a folder of persistence images, diagrams or Betti curves."""

import hashlib
import itertools
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from persistill.cli.contact_sheets import draw_explanation, draw_sheet
from persistill.cli.topology_explanation import ExplainedImage, find_image
from persistill.cli.topology_outputs import (
    BettiCurveOutput,
    DiagramOutput,
    Output,
    PersistenceImageOutput,
    Pixels,
    ScanConfig,
)
from persistill.cli.topology_window import WindowSample, WindowShare, fit_window, measure_share, take_sample
from persistill.cli.topology_writer import SETTINGS, ResumableWriter, require_ours
from persistill.data.streaming.base import ImageStream, Survey, Unreadable
from persistill.errors import UserError
from persistill.topology import PersistenceImageConfig
from persistill.topology.persistence_image.fields import MIN_PERSISTENCE, SCANS, Scan
from persistill.utils.atomic_io import atomic
from persistill.utils.progress import Progress
from persistill.version import __version__

SHEET_IMAGES = 10
"""Images on the contact sheet."""


@dataclass(frozen=True)
class Wishes:
    """What the user asked for.

    Attributes:
        to: what images become.
        scans: how they are read.
        preset: "fitted" fits window, bandwidth and scale to the images, "tgd" takes those of the TGD paper's code.
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
    preset: Literal["fitted", "tgd"] = "fitted"
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
        files: what was written and what each is, the result first.
        images: how many images the source has.
        channels: of each.
        gray: how many of them were read as RGB though they have no color.
        skipped: (name, why) of images left out.
        before: whether the result was there already.
        values: the least and the largest value of the images that were looked at, as they are stored.
        floats: whether these are floating point numbers.
        settings: of the persistence images.
        share: how much of the bars their window holds; None for diagrams and curves.
    """

    files: tuple[tuple[Path, str], ...]
    images: int
    channels: int
    gray: int
    skipped: tuple[tuple[str, str], ...]
    before: bool
    values: tuple[float, float]
    floats: bool
    settings: PersistenceImageConfig
    share: WindowShare | None


class Extraction:
    """One source, one folder.

    Args:
        stream: the images.
        source: where they lie.
        folder: where results are written, or the explanation alone.
        wishes: what to make.
        progress: told how far it is.

    Raises:
        UserError: if images of the source cannot be read.
    """

    def __init__(self, stream: ImageStream, source: Path, folder: Path, wishes: Wishes, progress: Progress) -> None:
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
        sample = self._sample()
        settings, output = self._settings(sample)
        with ResumableWriter(self._folder, self._parameters(output), output.files) as writer:
            before = writer.complete
            mark = self._require_same_images(writer)
            explained = None if self._wishes.explain is None else self._find(self._wishes.explain)
            if not before:
                self._extract(output, writer, mark)
                self._finish(output, writer, settings)
        reached = writer.reached
        points = f", {reached.tally['points']:,} points" if "points" in reached.tally else ""
        files = [
            (self._folder / output.result, " x ".join(map(str, output.shape(reached.rows))) + points),
            (self._folder / "names.txt", f"{reached.rows:,} names, one a line"),
            (self._folder / "contact_sheet.png", "the first images"),
            (self._folder / SETTINGS, "all parameters"),
        ]
        if explained is not None:
            files.append((self._explain(explained, settings), "one image explained"))
        skipped = [(name, why) for name, why in reached.skipped]
        return self._outcome(files, sample, settings, skipped=skipped, before=before)

    def explain_alone(self, wanted: str) -> Outcome:
        """Write the figure of one image, with the settings that all images of the source would get.

        Args:
            wanted: a name of the source, a number, or an image file.

        Raises:
            UserError: if the image is not found, or no window can be fitted.
        """
        explained = self._find(wanted)
        sample = self._sample()
        settings, _ = self._settings(sample)
        return self._outcome([(self._explain(explained, settings), "one image explained")], sample, settings)

    def _outcome(
        self,
        files: Sequence[tuple[Path, str]],
        sample: WindowSample,
        settings: PersistenceImageConfig,
        *,
        skipped: Sequence[tuple[str, str]] = (),
        before: bool = False,
    ) -> Outcome:
        return Outcome(
            files=tuple(files),
            images=len(self._stream),
            channels=self._scan_config.channels,
            gray=self._survey.gray,
            skipped=tuple(skipped),
            before=before,
            values=(sample.low, sample.high),
            floats=self._stream.dtype.kind == "f",
            settings=settings,
            share=measure_share(sample, settings) if self._wishes.to == "images" else None,
        )

    def _sample(self) -> WindowSample:
        least = self._wishes.given.get("min_persistence", MIN_PERSISTENCE.default)
        return take_sample(self._read, self._survey, self._scan_config, least, self._progress)

    def _settings(self, sample: WindowSample) -> tuple[PersistenceImageConfig, Output]:
        wishes = self._wishes
        if wishes.to == "images":
            settings = (
                fit_window(sample, self._source, **wishes.given)
                if wishes.preset == "fitted"
                else PersistenceImageConfig(**wishes.given)
            )
            return settings, PersistenceImageOutput(self._scan_config, settings, wishes.dtype)
        try:
            settings = fit_window(sample, self._source)
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
                f"{which} differ. Nothing was changed. Give another --out, or move that folder away."
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

    def _find(self, wanted: str) -> ExplainedImage:
        return find_image(wanted, self._stream, self._source, self._scan_config.channels, self._wishes.channel)

    def _explain(self, image: ExplainedImage, settings: PersistenceImageConfig) -> Path:
        path = self._folder / image.file
        draw_explanation(path, image.pixels, settings, self._scan_config.scans[0], self._wishes.channel)
        return path


def require_folder(folder: Path, source: Path) -> None:
    """Raise a UserError unless results of a source may be written into a folder."""
    require_ours(folder)
    if source.is_dir() and folder.resolve().is_relative_to(source.resolve()):
        raise UserError(
            f"{folder} lies inside of {source}: its contact sheet would count as an image the next time. "
            "Give an --out outside of it."
        )
