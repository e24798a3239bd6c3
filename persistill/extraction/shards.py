"""Results in shards: which images each holds, and how one is made, whole or not at all."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from persistill.data.streaming.base import ImageStream, Survey
from persistill.extraction.growing_files import GrowingFiles
from persistill.extraction.outputs import Output
from persistill.extraction.reading import ImageReader
from persistill.utils import file_hashes
from persistill.utils.atomic_io import atomic, read_json, write_json

MOST_IMAGES = 1024
"""Images of a shard where their number was not given ..."""
LEAST_IMAGES = 16
_SHARDS = 64
"""... or as many as give so many shards, if that is less, but not less than ``LEAST_IMAGES``."""


class StoppedError(Exception):
    """A shard was given up, because whoever wanted it does not any more."""


@dataclass(frozen=True)
class ShardRecord:
    """What is known of a shard that is whole; kept beside it, as JSON, until all are.

    Attributes:
        images: how many images of the source were dealt with.
        rows: how many of them could be read, and so have results.
        mark: a hash of their names and lengths.
        skipped: [name, why] of those that could not be read.
        tally: numbers that the results are told with.
        size: of the file, in bytes.
        sha256: of the file.
    """

    images: int
    rows: int
    mark: str
    skipped: list[list[str]]
    tally: dict[str, int]
    size: int
    sha256: str


@dataclass(frozen=True)
class Shard:
    """A shard to be made.

    Attributes:
        path: of its file.
        stream: its images.
        survey: of these.
        output: what they become.
        source: where the images lie, for messages.
        total: how many images lie there.
        threads: how many threads.
        skip_unreadable: whether images that cannot be read are left out.
        record: of the shard that is there already.
    """

    path: Path
    stream: ImageStream
    survey: Survey
    output: Output
    source: str
    total: int
    threads: int
    skip_unreadable: bool
    record: ShardRecord | None = None


@dataclass(frozen=True)
class Made:
    """What came of a shard.

    Attributes:
        record: of the shard.
        damage: how the file that was there differed from its record; it was made again.
    """

    record: ShardRecord
    damage: str = ""


def default_images(total: int) -> int:
    """How many images a shard holds of so many in all."""
    return min(MOST_IMAGES, max(LEAST_IMAGES, -(-total // _SHARDS)))


def ranges(total: int, images: int) -> list[range]:
    """The positions of the images of each shard."""
    return [range(start, min(start + images, total)) for start in range(0, total, images)]


def shard_path(folder: Path, result: str, number: int) -> Path:
    """The file of a shard: ``persistence_images.npy`` lies in ``persistence_images/00000.npy``, 00001.npy, ..."""
    name = Path(result)
    return folder / name.stem / f"{number:05d}{name.suffix}"


def record_path(shard: Path) -> Path:
    """The file of a shard's record."""
    return shard.with_suffix(".json")


def records(folder: Path, result: str) -> Iterator[tuple[int, ShardRecord]]:
    """Number and record of all shards that are whole."""
    for path in sorted(shard_path(folder, result, 0).parent.glob("[0-9]*.json")):
        yield int(path.stem), ShardRecord(**read_json(path))


def make_shard(shard: Shard, stopped: Callable[[], bool]) -> Made:
    """Make a shard and its record; pass over it if it is there, as it was written.

    Args:
        shard: which.
        stopped: asked now and then; the shard is given up where it says so.

    Raises:
        UserError: if an image cannot be read.
        StoppedError: if it was given up.
    """
    damage = ""
    if shard.record is not None:
        damage = file_hashes.difference(shard.path, shard.record.size, shard.record.sha256) or ""
        if not damage:
            return Made(shard.record)
    skip = shard.skip_unreadable
    reader = ImageReader(
        shard.stream, shard.survey, shard.source, shard.total, threads=shard.threads, skip_unreadable=skip
    )
    with atomic(shard.path) as temporary:
        writer = GrowingFiles(temporary.parent, shard.output.files)
        for chunk in reader.chunks(shard.output):
            if stopped():
                raise StoppedError
            tally = shard.output.write(chunk.images, writer)
            rows = writer.reached.rows + len(chunk.images)
            mark = reader.mark(writer.reached.mark, chunk.positions)
            writer.advance(chunk.positions.stop, rows, mark, chunk.skipped, tally)
        writer.close()
        shard.output.finish(writer)
        for name in shard.output.keep:
            writer.path(name).replace(writer.folder / name)
        (writer.folder / shard.output.result).replace(temporary)
        size, digest = file_hashes.of_file(temporary)
    reached = writer.reached
    record = ShardRecord(reached.position, reached.rows, reached.mark, reached.skipped, reached.tally, size, digest)
    write_json(record_path(shard.path), asdict(record))
    return Made(record, damage)
