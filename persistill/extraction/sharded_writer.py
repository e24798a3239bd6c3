"""Results in shards, which any number of processes make, and which go on where they stopped."""

import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

from persistill.errors import UserError
from persistill.extraction.outputs import Output
from persistill.extraction.reading import ImageReader
from persistill.extraction.result_folder import INDEX, Reached, ResultFolder
from persistill.extraction.shards import (
    Shard,
    ShardRecord,
    make_shard,
    ranges,
    record_path,
    records,
    shard_path,
)
from persistill.extraction.task_pool import TaskPool
from persistill.utils.atomic_io import read_json, sweep, write_json
from persistill.utils.progress import Progress


class ShardedWriter:
    """Writes results into a folder, in shards, and goes on where it stopped; a context manager.

    Nothing is written before ``fill``.

    Attributes:
        folder: where.
        reached: how far the results are; told when they are whole.
        damaged: shards that were there, differed from their record, and were made again: what was wrong of each.

    Args:
        folder: where; made if need be.
        parameters: all that the results depend on but the images, plain JSON, the number of images of a shard included.
        output: what images become.
        total: how many images there are.
        images: how many a shard holds.

    Raises:
        UserError: if the folder holds something else, or results of other parameters, or is written to by another
            process.
    """

    def __init__(self, folder: Path, parameters: Mapping[str, Any], output: Output, total: int, images: int) -> None:
        self.folder = folder
        self.damaged: list[str] = []
        self._output = output
        self._parts = ranges(total, images)
        self._results = ResultFolder(folder, parameters)
        self._records = dict(records(folder, output.result))
        self.reached = self._results.noted or Reached.nothing()
        whole = self._results.complete
        if whole or self._records:
            self._results.require_parameters()
        if whole:
            self._records = dict(_indexed(folder))
        if whole and self._results.writable:
            self._tidy()  # stopped behind the settings

    @property
    def shards(self) -> int:
        """How many there are."""
        return len(self._parts)

    @property
    def complete(self) -> bool:
        """Whether the results are whole, by the sizes of their files."""
        return self._results.complete and not self._lacking()

    def require_same_images(self, reader: ImageReader, source: Path) -> None:
        """Raise a UserError unless what is there belongs to the images of a source."""
        marks = {number: reader.mark("", part) for number, part in enumerate(self._parts)}
        same = all(marks.get(number) == record.mark for number, record in self._records.items())
        if not same or (self._results.complete and self.reached.mark != _joined(marks)):
            raise UserError(
                f"{self.folder} holds results of other images than {source}: names, contents or number of images "
                "differ. Nothing was changed. Give another --out, or move that folder away."
            )

    def fill(self, pool: TaskPool, part: Callable[[range], Shard], progress: Progress) -> None:
        """Make the shards that are not there yet.

        Those that are there are compared with their hashes, and made again where they differ.

        Args:
            pool: who makes them.
            part: the shard of the images at these positions, without path and record.
            progress: told how many images were dealt with.

        Raises:
            UserError: if an image cannot be read, or none can.
        """
        self._results.make()
        if not self._results.complete:
            self._results.note(Reached.nothing())
        place = shard_path(self.folder, self._output.result, 0).parent
        place.mkdir(exist_ok=True)
        sweep(place)
        wanted = self._lacking() if self._results.complete else list(range(len(self._parts)))
        images = sum(len(self._parts[number]) for number in wanted)
        total = self._parts[-1].stop
        progress.start(self._output.title, total, total - images)
        shards = (self._shard(number, part(self._parts[number])) for number in wanted)
        with contextlib.closing(pool.run(make_shard, shards)) as done:
            for shard, made in done:
                self._records[int(shard.path.stem)] = made.record
                if made.damage:
                    self.damaged.append(f"{shard.path.relative_to(self.folder.absolute())}: {made.damage}")
                progress.advance(made.record.images)
        progress.finish()
        self.reached = self._sum()

    def finish(self, more: Mapping[str, Any]) -> None:
        """Write ``index.json`` and ``settings.json``: from here on the results are whole.

        Args:
            more: what the settings tell beside parameters and progress.
        """
        shards = [
            {"file": self._path(number).relative_to(self.folder).as_posix(), **asdict(self._records[number])}
            for number in range(len(self._parts))
        ]
        write_json(self.folder / INDEX, {"shape": self._output.shape(self.reached.rows), "shards": shards})
        self._results.finish(self.reached, more)
        self._tidy()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._results.close()

    def _path(self, number: int) -> Path:
        return shard_path(self.folder, self._output.result, number)

    def _shard(self, number: int, shard: Shard) -> Shard:
        return replace(shard, path=self._path(number).absolute(), record=self._records.get(number))

    def _lacking(self) -> list[int]:
        """Numbers of the shards that are not there, or of another size."""

        def there(number: int) -> bool:
            path, record = self._path(number), self._records.get(number)
            return record is not None and path.is_file() and path.stat().st_size == record.size

        return [number for number in range(len(self._parts)) if not there(number)]

    def _sum(self) -> Reached:
        """How far results of all shards are."""
        found = [self._records[number] for number in range(len(self._parts))]
        return Reached(
            position=sum(one.images for one in found),
            rows=sum(one.rows for one in found),
            mark=_joined({number: one.mark for number, one in enumerate(found)}),
            skipped=[skipped for one in found for skipped in one.skipped],
            tally=dict(sum((Counter(one.tally) for one in found), Counter[str]())),
            sizes={},
        )

    def _tidy(self) -> None:
        for number in range(len(self._parts)):
            record_path(self._path(number)).unlink(missing_ok=True)
        self._results.tidy()


def _joined(marks: Mapping[int, str]) -> str:
    return hashlib.sha256("\n".join(marks[number] for number in sorted(marks)).encode()).hexdigest()


def _indexed(folder: Path) -> Iterator[tuple[int, ShardRecord]]:
    for number, shard in enumerate(read_json(folder / INDEX)["shards"]):
        yield number, ShardRecord(**{name: value for name, value in shard.items() if name != "file"})
