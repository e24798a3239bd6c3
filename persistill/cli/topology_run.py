"""From a source of images to a folder of persistence images, diagrams or Betti curves."""

import itertools
from collections.abc import Container, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from persistill.cli.contact_sheets import draw_explanation, draw_sheet
from persistill.cli.topology_explanation import ExplainedImage, find_image
from persistill.cli.topology_wishes import Outcome, Wishes
from persistill.data.streaming.base import ImageStream, Unreadable
from persistill.errors import UserError
from persistill.extraction.outputs import (
    BettiCurveOutput,
    DiagramOutput,
    Output,
    PersistenceImageOutput,
    ScanConfig,
)
from persistill.extraction.reading import ImageReader
from persistill.extraction.result_folder import INDEX, SETTINGS, Reached, noted_parameters, require_ours
from persistill.extraction.resumable_writer import ResumableWriter
from persistill.extraction.sharded_writer import ShardedWriter
from persistill.extraction.shards import Shard, default_images
from persistill.extraction.surveying import survey_images
from persistill.extraction.task_pool import TaskPool
from persistill.extraction.window import WindowSample, fit_window, measure_share, take_sample
from persistill.topology import PersistenceImageConfig
from persistill.topology.persistence_image.fields import MIN_PERSISTENCE
from persistill.utils.atomic_io import atomic
from persistill.utils.output_folder import require_no_url
from persistill.utils.progress import Progress
from persistill.version import __version__

SHEET_IMAGES = 10
"""Images on the contact sheet."""


class Extraction:
    """One source, one folder.

    Args:
        stream: the images.
        source: where they lie.
        folder: where results are written, or the explanation alone.
        wishes: what to make.
        pool: who makes shards, if there are to be any.
        progress: told how far it is.

    Raises:
        UserError: if images of the source cannot be read.
    """

    def __init__(
        self, stream: ImageStream, source: Path, folder: Path, wishes: Wishes, pool: TaskPool, progress: Progress
    ) -> None:
        self._source = source
        self._folder = folder
        self._wishes = wishes
        self._pool = pool
        self._progress = progress
        self._stream = stream
        self._survey = survey_images(stream, pool, progress, grayscale=wishes.grayscale, threads=wishes.threads)
        self._reader = ImageReader(
            stream,
            self._survey,
            str(source),
            len(stream),
            threads=wishes.threads,
            skip_unreadable=wishes.skip_unreadable,
        )
        self._scan_config = ScanConfig(wishes.scans, self._survey.channels, wishes.threads)

    def run(self) -> Outcome:
        """Make what is not there yet, and write it.

        Raises:
            UserError: if an image cannot be read, the folder holds results of other parameters or images, or the
                image to be explained is not found.
        """
        sample = self._sample()
        settings, output = self._settings(sample)
        images = self._images_per_shard()
        parameters = self._parameters(output) | ({} if images is None else {"images_per_shard": images})
        total = len(self._stream)
        damaged: Sequence[str] = ()
        writer: ResumableWriter | ShardedWriter
        if images is None:
            with ResumableWriter(self._folder, parameters, output.files) as writer:
                before = writer.complete
                mark = self._require_same_images(writer)
                explained = self._explained()
                if not before:
                    self._extract(output, writer, mark)
                    writer.close()
                    output.finish(writer)
                    about = self._describe(output, settings, writer.reached)
                    writer.finish(output.keep, about)
            shards = 0
        else:
            with ShardedWriter(self._folder, parameters, output, total, images) as writer:
                before = writer.complete
                writer.require_same_images(self._reader, self._source)
                explained = self._explained()
                if not before:
                    writer.fill(self._pool, partial(self._shard, output), self._progress)
                    self._require_any(writer.reached)
                    writer.finish(self._describe(output, settings, writer.reached))
            damaged, shards = writer.damaged, writer.shards
        reached = writer.reached
        points = f", {reached.tally['points']:,} points" if "points" in reached.tally else ""
        what = " x ".join(map(str, output.shape(reached.rows))) + points
        result = self._folder / output.result
        files = [
            *([(result, what)] if not shards else [(result.with_suffix(""), f"{what}, in {shards:,} files")]),
            *([(self._folder / INDEX, "the files of results, with their hashes")] if shards else []),
            (self._folder / "names.txt", f"{reached.rows:,} names, one a line"),
            (self._folder / "contact_sheet.png", "the first images"),
            (self._folder / SETTINGS, "all parameters"),
        ]
        if explained is not None:
            files.append((self._explain(explained, settings), "one image explained"))
        skipped = [(name, why) for name, why in reached.skipped]
        return self._outcome(files, sample, settings, skipped=skipped, damaged=damaged, before=before)

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
        damaged: Sequence[str] = (),
        before: bool = False,
    ) -> Outcome:
        return Outcome(
            files=tuple(files),
            images=len(self._stream),
            channels=self._scan_config.channels,
            gray=self._survey.gray,
            skipped=tuple(skipped),
            damaged=tuple(damaged),
            before=before,
            values=(sample.low, sample.high),
            floats=self._stream.dtype.kind == "f",
            settings=settings,
            share=measure_share(sample, settings) if self._wishes.to == "images" else None,
        )

    def _sample(self) -> WindowSample:
        least = self._wishes.given.get("min_persistence", MIN_PERSISTENCE.default)
        return take_sample(self._reader.read, self._survey, self._scan_config, least, self._progress)

    def _settings(self, sample: WindowSample) -> tuple[PersistenceImageConfig, Output]:
        wishes, config = self._wishes, self._scan_config._replace(threads=self._pool.threads)
        if wishes.to == "images":
            settings = (
                fit_window(sample, self._source, **wishes.given)
                if wishes.preset == "fitted"
                else PersistenceImageConfig(**wishes.given)
            )
            return settings, PersistenceImageOutput(config, settings, wishes.dtype)
        try:
            settings = fit_window(sample, self._source)
        except UserError:  # for the contact sheet alone, whose persistence images may be blank
            settings = PersistenceImageConfig()
        if wishes.to == "curves":
            return settings, BettiCurveOutput(config, wishes.levels, wishes.min_persistence)
        return settings, DiagramOutput(config, self._stream.dtype, wishes.min_persistence)

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

    def _images_per_shard(self) -> int | None:
        """How many images a shard holds: as asked for, or as in what is there already; None for results in one file."""
        if self._wishes.images_per_shard is not None:
            return self._wishes.images_per_shard
        there = (noted_parameters(self._folder) or {}).get("images_per_shard")
        if there is None and self._wishes.sharded:
            return default_images(len(self._stream))
        return there

    def _shard(self, output: Output, positions: range) -> Shard:
        return Shard(
            path=Path(),
            stream=self._stream.part(positions),
            survey=self._survey.part(positions),
            output=output,
            source=str(self._source),
            total=len(self._stream),
            threads=self._pool.threads,
            skip_unreadable=self._wishes.skip_unreadable,
        )

    def _require_same_images(self, writer: ResumableWriter) -> str:
        """Raise unless the results are of these images; gives the mark of those that were dealt with."""
        position, total = writer.reached.position, len(self._stream)
        mark = self._reader.mark("", range(min(position, total)))
        enough = position == total if writer.complete else position <= total
        if position and not (enough and mark == writer.reached.mark):
            which = f"{position} images" if writer.complete else f"the first {position} images"
            raise UserError(
                f"{self._folder} holds results of other images than {self._source}: names, contents or number of "
                f"{which} differ. Nothing was changed. Give another --out, or move that folder away."
            )
        return mark

    def _extract(self, output: Output, writer: ResumableWriter, mark: str) -> None:
        start = writer.reached.position
        self._progress.start(output.title, len(self._stream), start)
        for chunk in self._reader.chunks(output, start):
            tally = output.write(chunk.images, writer)
            mark = self._reader.mark(mark, chunk.positions)
            rows = writer.reached.rows + len(chunk.images)
            writer.advance(chunk.positions.stop, rows, mark, chunk.skipped, tally)
            self._progress.advance(len(chunk.positions))
        self._require_any(writer.reached)
        self._progress.finish()

    def _require_any(self, reached: Reached) -> None:
        if reached.rows == 0:
            raise UserError(f"none of the {len(self._stream)} images of {self._source} can be read.")

    def _describe(self, output: Output, settings: PersistenceImageConfig, reached: Reached) -> dict[str, Any]:
        """Write names and contact sheet; gives what the settings tell beside parameters and progress."""
        skipped = {name for name, _ in reached.skipped}
        shown = list(itertools.islice(self._kept(skipped), SHEET_IMAGES))
        images = [one for one in self._reader.read(shown) if not isinstance(one, Unreadable)]
        names = [self._stream.name(position) for position in shown]
        draw_sheet(self._folder / "contact_sheet.png", images, names, settings, self._scan_config)
        with (
            atomic(self._folder / "names.txt") as temporary,
            temporary.open("w", encoding="utf-8", newline="\n", errors="surrogateescape") as file,
        ):
            for position in self._kept(skipped):
                file.write(self._stream.name(position).replace("\n", "\\n") + "\n")
        about: dict[str, Any] = {
            "source": str(self._source.resolve()),
            "result": output.result,
            "shape": list(output.shape(reached.rows)),
        }
        return about if self._wishes.to == "images" else about | {"sheet": settings.to_json()}

    def _kept(self, skipped: Container[str]) -> Iterator[int]:
        """Positions of the images that have results, in order."""
        return (position for position in range(len(self._stream)) if self._stream.name(position) not in skipped)

    def _explained(self) -> ExplainedImage | None:
        return None if self._wishes.explain is None else self._find(self._wishes.explain)

    def _find(self, wanted: str) -> ExplainedImage:
        return find_image(wanted, self._stream, self._source, self._scan_config.channels, self._wishes.channel)

    def _explain(self, image: ExplainedImage, settings: PersistenceImageConfig) -> Path:
        path = self._folder / image.file
        draw_explanation(path, image.pixels, settings, self._scan_config.scans[0], self._wishes.channel)
        return path


def require_folder(folder: Path, source: Path) -> None:
    """Raise a UserError unless results of a source may be written into a folder."""
    require_no_url(folder, "--out")
    require_ours(folder)
    if source.is_dir() and folder.resolve().is_relative_to(source.resolve()):
        raise UserError(
            f"{folder} lies inside of {source}: its contact sheet would count as an image the next time. "
            "Give an --out outside of it."
        )
