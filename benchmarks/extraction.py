"""What `persistill topology` does in a second of one core: persistence images and diagrams of photographs.

Photographs of Pascal VOC, cropped and resized to squares and kept as JPEG (quality 90), become shards on disk,
decoding, hashes and writing included, by processes of one thread, with the published window. Then parts of it and
alternatives by themselves, of decoded images. Times are of processors, so that what else runs on the machine counts
little; only the last column of the second table, which compares one process with two at a time, is by the clock.
"""

import argparse
import importlib
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import gudhi
import numpy as np
import pyarrow.parquet as pq
from gudhi._pers_cub_low_dim_ext import _persistence_on_a_line
from gudhi.sklearn.cubical_persistence import _persistence_on_rectangle_from_top_cells
from PIL import Image, ImageOps

from persistill.data.streaming.base import ImageStream, Survey
from persistill.data.streaming.files import open_stream
from persistill.extraction.outputs import DiagramOutput, Output, PersistenceImageOutput, ScanConfig
from persistill.extraction.process_pool import ProcessPool
from persistill.extraction.shards import Shard, make_shard
from persistill.topology import PersistenceImageConfig, columns, cubical_persistence, rows, sublevel_persistence
from persistill.utils.progress import Silent

SHARED = Path(os.environ.get("PERSISTILL_SHARED", Path(__file__).resolve().parents[2] / "shared"))
IMAGENET = 1_280_000
CORES = (16, 256)
SCANS = ("rows", "columns")


@dataclass(frozen=True)
class Timed:
    """A shard, made and removed, so that it can be made again."""

    shard: Shard
    turn: int


def timed(task: Timed, stopped: Callable[[], bool]) -> float:
    """Seconds of processor time that an image of a shard takes."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        make_shard(replace(task.shard, path=Path(folder) / task.shard.path.name), stopped)
        return (time.process_time() - begun) / len(task.shard.stream)


def write_photographs(folder: Path, count: int, side: int, mode: str) -> None:
    """Write ``count`` square photographs."""
    folder.mkdir()
    number = 0
    for batch in pq.ParquetFile(SHARED / "data" / "voc07" / "train.parquet").iter_batches(50, columns=["img"]):
        for row in batch.column(0).to_pylist():
            image = Image.open(io.BytesIO(row["bytes"])).convert(mode)
            ImageOps.fit(image, (side, side)).save(folder / f"{number:05d}.jpg", quality=90)
            number += 1
            if number == count:
                return


def shards(stream: ImageStream, survey: Survey, output: Output, size: int) -> list[Shard]:
    """All images of a stream in shards of ``size``."""
    suffix = Path(output.result).suffix
    found = []
    for start in range(0, len(stream), size):
        part = range(start, min(start + size, len(stream)))
        place = stream.part(part), survey.part(part), output, "photographs", len(stream)
        found.append(Shard(Path(f"0{suffix}"), *place, threads=1, skip_unreadable=False))
    return found


def seconds(work: Callable[[], object], turns: int) -> float:
    """The least processor time of a call."""
    found = []
    for _ in range(turns):
        begun = time.process_time()
        work()
        found.append(time.process_time() - begun)
    return min(found)


def alternatives(pixels: np.ndarray) -> Iterator[tuple[str, Callable[[], object]]]:
    """Diagrams of decoded images (B, C, H, W) by others, and ours of the same complexes."""
    planes = pixels.reshape(-1, *pixels.shape[2:])
    signals = np.concatenate([scan(planes) for scan in (rows, columns)])

    def gudhi_lines() -> None:
        for signal in signals:
            _persistence_on_a_line(signal.astype(np.float32))

    def gudhi_rectangles() -> None:
        for plane in planes:
            _persistence_on_rectangle_from_top_cells(plane.astype(np.float64), 0.0)

    def gudhi_complexes() -> None:
        for plane in planes:
            complex_ = gudhi.CubicalComplex(top_dimensional_cells=plane.astype(np.float64))
            complex_.compute_persistence()

    yield "GUDHI, line path: diagrams of channels along rows and columns", gudhi_lines
    yield "persistill: diagrams of channels along rows and columns", lambda: sublevel_persistence(signals, threads=1)
    yield "GUDHI, rectangle path: H0 and H1 of channels in 2-D", gudhi_rectangles
    yield "GUDHI, CubicalComplex: H0 and H1 of channels in 2-D", gudhi_complexes
    yield "persistill: H0 and H1 of channels in 2-D", lambda: cubical_persistence(planes, threads=1)
    try:
        cripser = importlib.import_module("cripser")
    except ImportError:
        return

    def by_cripser() -> None:
        for plane in planes:
            cripser.computePH(plane.astype(np.float64), maxdim=1)

    yield "cripser: H0 and H1 of channels in 2-D", by_cripser


def measure(title: str, count: int, side: int, mode: str, size: int, turns: int, few_images: int) -> None:
    """Print the tables of one kind of photographs."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "photographs"
        write_photographs(folder, count, side, mode)
        stream = open_stream(folder)
        survey = stream.survey(Silent(), grayscale=False, threads=1)
        config, settings = ScanConfig(SCANS, survey.channels, 1), PersistenceImageConfig()
        outputs: dict[str, Output] = {
            f"persistence images, {settings.pixels[0]}x{settings.pixels[1]}, float32": PersistenceImageOutput(
                config, settings, "float32"
            ),
            "diagrams": DiagramOutput(config, np.dtype(np.uint8), 0.0),
        }
        made = {name: shards(stream, survey, output, size) for name, output in outputs.items()}

        def run(name: str, processes: int) -> tuple[float, float]:
            """Processor seconds of an image, and wall-clock seconds of all."""
            with ProcessPool(processes, 1) as pool:
                list(pool.run(timed, [Timed(made[name][0], 0)] * (2 * processes)))  # imports, kernels
                begun = time.perf_counter()
                found = [spent for _, spent in pool.run(timed, [Timed(s, t) for t in range(turns) for s in made[name]])]
                return statistics.median(found), (time.perf_counter() - begun) / turns

        one = {name: run(name, 1) for name in outputs}
        two = {name: run(name, 2) for name in outputs}
        looking = seconds(lambda: stream.survey(Silent(), grayscale=False, threads=1), turns) / count
        some = range(min(count, size))
        decoding = seconds(lambda: stream.read(some, survey.channels, 1), turns) / len(some)
        few = np.stack(stream.read(range(min(count, few_images)), survey.channels, 1))  # type: ignore[arg-type]

        print(f"\n{title}: {count} photographs, one thread a process\n")
        print("| result of an image | ms of a core | images a second and core |\n|---|---:|---:|")
        for name, (spent, _) in one.items():
            print(f"| {name} | {1000 * spent:.2f} | {1 / spent:,.0f} |")
        print(f"| of that, decoding | {1000 * decoding:.2f} | {1 / decoding:,.0f} |")
        print(f"| before, its header and file | {1000 * looking:.3f} | {1 / looking:,.0f} |")
        for name, work in alternatives(few):
            spent = seconds(work, 2) / len(few)
            print(f"| {name} | {1000 * spent:.2f} | {1 / spent:,.0f} |")
        print("\n| result | ms of a core in each of two processes | to one alone | images a second of both, to one |")
        print("|---|---:|---:|---:|")
        for name in outputs:
            ratio = two[name][0] / one[name][0]
            print(f"| {name} | {1000 * two[name][0]:.2f} | {ratio:.2f} | {one[name][1] / two[name][1]:.2f} |")
        print(f"\nBy arithmetic, {IMAGENET:,} such images take\n")
        print(
            "| result | core seconds | " + " | ".join(f"{cores} cores" for cores in CORES) + " |\n|---|---:|---:|---:|"
        )
        for name in outputs:
            total = IMAGENET * (two[name][0] + looking)
            times = " | ".join(f"{total / cores:,.0f} s" for cores in CORES)
            print(f"| {name} | {total:,.0f} | {times} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer images, fewer turns")
    quick = parser.parse_args().quick
    turns = 2 if quick else 5
    measure("224 x 224, colored", 128 if quick else 512, 224, "RGB", 64, turns, 16)
    measure("1,000 x 1,000, gray", 16 if quick else 64, 1000, "L", 16, turns, 4)


if __name__ == "__main__":
    main()
