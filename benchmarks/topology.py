"""What persistence images cost, beside the published recipe and the best composition of existing libraries.

    python benchmarks/topology.py            # a few minutes
    python benchmarks/topology.py --quick    # under half a minute

Prints Markdown. Every row of a table was measured in the same run, in turns, on different images; times are medians
over the turns, and ratios are medians of the ratios within each turn, so that a busy machine disturbs them less.
Jobs of one thread are timed by the processor time of the thread, so that waiting for a core is not in it; jobs of
several threads, and the whole job beside a plain fill, by the clock, and want an idle machine. Images are those of
CIFAR-10 below the folder that PERSISTILL_SHARED names (or ../shared), and smooth noise where it is absent, which the
output says.
"""

import argparse
import io
import os
import platform
import resource
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gudhi
import numpy as np
import scipy.sparse
import torch
from gudhi._pers_cub_low_dim_ext import _persistence_on_a_line
from numpy.typing import NDArray
from persim import PersImage
from ripser import ripser

import persistill
from persistill.topology import PersistenceImageConfig, columns, rows, scan_persistence_images, sublevel_persistence

TGD = PersistenceImageConfig.tgd()
Images = NDArray[np.uint8]


def real_images(count: int, split: str) -> tuple[Images, str]:
    """(count, 3, 32, 32) of a split of CIFAR-10, and what they are."""
    root = Path(__file__).resolve().parent.parent
    folder = Path(os.environ.get("PERSISTILL_SHARED", root.parent / "shared"))
    files = sorted((folder / "data" / "cifar10").glob(f"{split}*.parquet"))
    if files:
        import pyarrow.parquet as pq  # noqa: PLC0415
        from PIL import Image  # noqa: PLC0415

        images = np.empty((count, 3, 32, 32), np.uint8)
        encoded = (one["bytes"].as_py() for file in files for one in pq.read_table(file, columns=["img"])["img"])
        for image, data in zip(images, encoded, strict=False):
            image[:] = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).transpose(2, 0, 1)
        return images, f"CIFAR-10 {split} images"
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(count, 3, 32, 32))
    frequency = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.fftfreq(32)[None]) + 1 / 32
    smooth = np.fft.ifft2(np.fft.fft2(noise) / frequency**1.5).real
    smooth /= smooth.std((1, 2, 3), keepdims=True)
    return np.clip(120 + 60 * smooth, 0, 255).astype(np.uint8), "SYNTHETIC images (smooth noise; no CIFAR-10 here)"


def published(images: Images) -> NDArray[np.float64]:
    """The recipe of the TGD paper's code: ripser on a sparse path, persim's PersImage, division by the maximum."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        imager = PersImage(pixels=[50, 50], spread=0.01, specs={"minBD": 0, "maxBD": 0.3}, verbose=False)
        rendered = []
        for signal in _signals(images):
            x = signal / 255
            n, left = len(x), np.arange(len(x) - 1)
            edges = np.concatenate([np.maximum(x[:-1], x[1:]), x])
            matrix = scipy.sparse.coo_matrix(
                (edges, (np.r_[left, np.arange(n)], np.r_[left + 1, np.arange(n)])), shape=(n, n)
            )
            diagram = ripser(matrix, maxdim=0, distance_matrix=True)["dgms"][0]
            diagram = diagram[np.isfinite(diagram[:, 1]) & (diagram[:, 1] - diagram[:, 0] > 0.02)]
            image = imager.transform(diagram.astype(np.float64))
            rendered.append(image / max(image.max(), 1e-300))
    return np.stack(rendered)


class Composition:
    """GUDHI's line path, tables of 256 levels, one float32 matrix product for each persistence image: the fastest one
    we know of.

    Unlike the others it leaves those that consist of tails of far points at 0.
    """

    def __init__(self) -> None:
        levels = np.arange(256)[:, None] / 255
        profiles = []
        for axis in ("births", "persistences"):
            low, high = (torch.from_numpy(edge - levels) / TGD.bandwidth for edge in TGD.edges(axis))
            profiles.append((torch.special.ndtr(high) - torch.special.ndtr(low)).float().numpy())
        self.columns = profiles[0]
        self.rows = np.ascontiguousarray((levels * profiles[1]).astype(np.float32)[:, ::-1])

    def __call__(self, images: Images) -> NDArray[np.float32]:
        """(6 B, 50, 50)."""
        signals = _signals(images)
        rendered = np.empty((len(signals), 50, 50), np.float32)
        for signal, image in zip(signals, rendered, strict=True):
            diagram = _persistence_on_a_line(signal.astype(np.float32))[:-1]
            births, lengths = diagram[:, 0].astype(np.int64), (diagram[:, 1] - diagram[:, 0]).astype(np.int64)
            kept = lengths > 5
            drawn = self.rows[lengths[kept]].T @ self.columns[births[kept]]
            np.divide(drawn, max(drawn.max(), 1e-30), out=image)
        return rendered


def _signals(images: Images) -> NDArray[np.uint8]:
    return np.concatenate([scan(images).reshape(-1, images[0, 0].size) for scan in (rows, columns)])


def measure(jobs: dict[str, tuple[Callable[[Any], Any], NDArray[Any], int]], turns: int) -> list[list[str]]:
    """Rows (name, ms an image, times the first job's speed); jobs come with images, and how many to take a turn."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for job, images, _ in jobs.values():
        job(images[:2])
    for turn in range(turns):
        for name, (job, images, count) in jobs.items():
            chosen = images[(np.arange(count) + turn * count) % len(images)]
            begun = time.thread_time()
            job(chosen)
            times[name].append((time.thread_time() - begun) / count * 1e3)
    first = np.array(next(iter(times.values())))
    return [
        [name, f"{np.median(each):.4g}", f"{np.median(first / each):,.4g}" if k else "1"]
        for k, (name, each) in enumerate(times.items())
    ]


def table(title: str, head: list[str], body: list[list[str]]) -> None:
    """Print a Markdown table."""
    print(f"\n### {title}\n\n| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    for row in body:
        print(f"| {' | '.join(row)} |")


def whole_job(images: Images, turns: int) -> None:
    """All images into each kind of buffer, against the time that it takes to fill the buffer."""
    shape = (len(images), 6, 50, 50)
    warm = np.zeros(shape, np.float32)
    small = np.zeros(shape, np.uint8)
    signals = _signals(images)
    cores = os.cpu_count() or 1
    jobs: dict[str, Callable[[], Any]] = {"plain fill of the same buffer, one thread": lambda: warm.fill(0.5)}
    for threads in sorted({1, cores}):
        jobs[f"into a reused float32 buffer, threads: {threads}"] = lambda t=threads: scan_persistence_images(
            images, TGD, threads=t, out=warm
        )
        jobs[f"into a reused uint8 buffer, threads: {threads}"] = lambda t=threads: scan_persistence_images(
            images, TGD, threads=t, out=small
        )
        jobs[f"into new memory, threads: {threads}"] = lambda t=threads: scan_persistence_images(images, TGD, threads=t)
        jobs[f"diagrams with indices only, threads: {threads}"] = lambda t=threads: sublevel_persistence(
            signals, min_persistence=5, threads=t
        )
        jobs[f"diagrams without indices, threads: {threads}"] = lambda t=threads: sublevel_persistence(
            signals, min_persistence=5, indices=False, threads=t
        )
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(turns):
        for name, job in jobs.items():
            begun = time.perf_counter()
            job()
            times[name].append(time.perf_counter() - begun)
    fill = np.array(next(iter(times.values())))
    table(
        f"{len(images):,} images, {warm.nbytes / 1e6:,.0f} MB of float32 persistence images",
        ["job", "seconds", "times the fill"],
        [[name, f"{np.median(each):.3f}", f"{np.median(each / fill):.2f}"] for name, each in times.items()],
    )


def scaling(images: Images, turns: int) -> None:
    """Time a sample of larger and larger mosaics of real images."""
    body = []
    for side in (32, 64, 128, 224):
        tiles = side // 32
        count = max(1, min(len(images) // tiles**2, 64))
        mosaics = images[: count * tiles**2].reshape(count, tiles, tiles, 3, 32, 32)
        mosaics = np.ascontiguousarray(mosaics.transpose(0, 3, 1, 4, 2, 5)).reshape(count, 3, side, side)
        samples = count * 6 * side * side
        lines = _signals(mosaics[:4]).astype(np.float32)
        unit = (mosaics[:22] / np.float32(255)).astype(np.float32)
        theirs, ours, floats = [], [], []
        scan_persistence_images(mosaics[:1], TGD, threads=1)
        for _ in range(turns):
            begun = time.thread_time()
            scan_persistence_images(mosaics, TGD, threads=1)
            ours.append((time.thread_time() - begun) / samples * 1e9)
            begun = time.thread_time()
            scan_persistence_images(unit, TGD, threads=1)
            floats.append((time.thread_time() - begun) / (len(unit) * 6 * side * side) * 1e9)
            begun = time.thread_time()
            for line in lines:
                _persistence_on_a_line(line)
            theirs.append((time.thread_time() - begun) / lines.size * 1e9)
        ratio = np.median(np.array(theirs) / ours)
        body.append(
            [f"{side} x {side}", *(f"{np.median(each):.2f}" for each in (ours, floats, theirs)), f"{ratio:.1f}"]
        )
    table(
        "Scaling: ns a sample, one thread, mosaics of images",
        [
            "side",
            "8-bit, with persistence image",
            "float32, with persistence image",
            "GUDHI line, diagram only",
            "GUDHI / 8-bit",
        ],
        body,
    )


def agreement(images: Images) -> None:
    """Print how far the results lie from the alternatives'."""
    few = images[:3]
    ours = scan_persistence_images(few, TGD).reshape(3, 2, 3, 50, 50).swapaxes(0, 1).reshape(-1, 50, 50)
    theirs, composed = published(few), Composition()(few)
    near = composed.max((1, 2)) > 0.5
    print(
        f"\nLargest differences on {len(ours)} persistence images: {np.nanmax(abs(ours - theirs)):.1e} from the "
        f"published recipe (ripser rounds to float32), {abs(ours - composed)[near].max():.1e} from the composition "
        "where it is not 0."
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer images and turns")
    quick = parser.parse_args().quick
    images, source = real_images(1000 if quick else 10_000, "test")
    turns = 5 if quick else 15
    torch.set_num_threads(1)
    begun = time.perf_counter()
    scan_persistence_images(images[:1], TGD)
    first = time.perf_counter() - begun
    print(f"## Persistence images of {source}\n")
    print(
        f"{platform.machine()}, {os.cpu_count()} cores; Python {platform.python_version()}, "
        f"NumPy {np.__version__}, GUDHI {gudhi.__version__}, persistill {persistill.__version__}. "
        f"First call {first:.1f} s."
    )
    floats = (images / np.float32(255)).astype(np.float32)

    def ours(chosen: NDArray[Any]) -> NDArray[Any]:
        return scan_persistence_images(chosen, TGD, threads=1)

    jobs: dict[str, tuple[Callable[[Any], Any], NDArray[Any], int]] = {
        "published recipe (ripser, persim)": (published, images, 1 if quick else 3),
        "best composition (GUDHI line, tables, matrix product)": (Composition(), images, 64),
        "persistill, 8-bit": (ours, images, 512),
        "persistill, float32": (ours, floats, 512),
        "persistill, 8-bit, batches of 128": (ours, images, 128),
    }
    table(
        "The TGD recipe: 6 persistence images of 50 x 50 for every image of 32 x 32 x 3",
        ["", "ms an image, one thread", "times the published recipe"],
        measure(jobs, turns),
    )
    agreement(images)
    whole_job(images if quick else real_images(50_000, "train")[0], 5)
    scaling(images, 3 if quick else 7)
    print(f"\nLargest resident memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB.")


if __name__ == "__main__":
    main()
