"""Cubical persistence of images, H0 and H1, beside GUDHI, as Markdown tables.

    python benchmarks/cubical.py            # two minutes
    python benchmarks/cubical.py --quick    # twenty seconds: fewer and smaller images

Images are channels of images, all different (one image, repeated, trains the branch predictor and flatters all),
put together to mosaics or enlarged: a mosaic keeps the grain of an image, an enlarged one is smooth. Times are
processor times of one core, save where threads are named; medians over turns in which every contender takes its own
images, and medians of the ratios within a turn, so that a busy machine hurts all of them alike.
"""

import argparse
import os
import platform
import resource
import time
from collections.abc import Callable
from typing import Any

import gudhi
import numpy as np
import torch
from gudhi.sklearn.cubical_persistence import _persistence_on_rectangle_from_top_cells
from numpy.typing import NDArray
from PIL import Image
from topology import real_images, table

import persistill
from persistill.topology import cubical_persistence

Images = NDArray[np.uint8]
Job = Callable[[Images], object]


def mosaics(tiles: Images, side: int, count: int) -> Images:
    """(count, side, side) of (n, 32, 32), different choices of them."""
    rng = np.random.default_rng(side)
    across = -(-side // 32)
    chosen = tiles[rng.integers(0, len(tiles), (count, across, across))]
    return np.ascontiguousarray(chosen.swapaxes(2, 3).reshape(count, across * 32, across * 32)[:, :side, :side])


def enlarged(tiles: Images, side: int, count: int) -> Images:
    """(count, side, side) of (n, 32, 32), bicubic."""
    chosen = tiles[np.arange(count) % len(tiles)]
    return np.stack([np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC)) for one in chosen])


def complexes(images: Images) -> None:
    for image in images:
        complex_ = gudhi.CubicalComplex(top_dimensional_cells=image)
        complex_.compute_persistence()
        complex_.persistence_intervals_in_dimension(0)
        complex_.persistence_intervals_in_dimension(1)


def complexes_with_indices(images: Images) -> None:
    for image in images:
        complex_ = gudhi.CubicalComplex(top_dimensional_cells=image)
        complex_.compute_persistence()
        complex_.cofaces_of_persistence_pairs()


def rectangles(images: Images) -> None:
    for image in images:
        _persistence_on_rectangle_from_top_cells(image, 0.0)


def as_doubles(images: Images) -> NDArray[np.float64]:
    """What GUDHI wants; not part of its time."""
    return images.astype(np.float64)


for theirs in (complexes, complexes_with_indices, rectangles):
    theirs.prepared = as_doubles  # type: ignore[attr-defined]


def ours(dtype: Any = np.uint8, **settings: Any) -> Job:
    """A batch in one call; floats are in [0, 1] and none are equal."""
    noise = np.random.default_rng(0)

    def prepared(images: Images) -> NDArray[Any]:
        if dtype == np.uint8:
            return images
        return ((images + noise.random(images.shape)) / 256).astype(dtype)

    def job(images: NDArray[Any]) -> None:
        cubical_persistence(images, threads=1, **settings)

    job.prepared = prepared  # type: ignore[attr-defined]
    return job


def one_by_one(images: Images) -> None:
    for image in images:
        cubical_persistence(image, threads=1)


def backward(images: Images) -> None:
    leaf = torch.from_numpy(images).float().requires_grad_()
    sum(one.persistences.square().sum() for one in cubical_persistence(leaf, threads=1)).backward()


def measure(jobs: dict[str, tuple[Job, int]], images: Images, turns: int) -> dict[str, NDArray[np.float64]]:
    """Microseconds per image of every turn; each job has its own number of images in a turn."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(turns + 1):
        for name, (job, share) in jobs.items():
            part = images[(np.arange(share) + turn * share) % len(images)]
            part = getattr(job, "prepared", lambda x: x)(part)
            start = time.process_time()
            job(part)
            if turn:  # the first one compiles
                times[name].append((time.process_time() - start) / share * 1e6)
    return {name: np.array(each) for name, each in times.items()}


def contenders(batch: int, few: int) -> dict[str, tuple[Job, int]]:
    return {
        "**persistill**, 8-bit, with indices": (ours(), batch),
        "persistill, H0 only": (ours(dimensions=(0,)), batch),
        "persistill, pixels as vertices": (ours(construction="vertices"), batch),
        "persistill, float32": (ours(np.float32), batch),
        "persistill, float64": (ours(np.float64), batch),
        "persistill, one image a call": (one_by_one, batch),
        "persistill, torch float32, forward and backward": (backward, batch),
        "GUDHI's rectangle path (private, no indices)": (rectangles, batch),
        "GUDHI CubicalComplex": (complexes, few),
        "GUDHI CubicalComplex with indices": (complexes_with_indices, few),
    }


def compared(kinds: dict[str, tuple[Images, int, int]], turns: int) -> None:
    results = [measure(contenders(batch, few), images, turns) for images, batch, few in kinds.values()]
    base = next(iter(results[0]))
    table(
        "H0 and H1, pixels as top cells, microseconds an image (times the first row)",
        ["", *(f"{name}, batches of {batch}" for name, (_, batch, _) in kinds.items())],
        [
            [name, *(f"{np.median(r[name]):,.4g} ({np.median(r[name] / r[base]):.3g})" for r in results)]
            for name in results[0]
        ],
    )


def scaling(tiles: Images, sides: list[int], turns: int) -> None:
    """Time a pixel of larger and larger images; in brackets that of enlarged, smooth ones."""
    body = []
    for side in sides:
        batch = max(1, 2**18 // side**2)
        jobs: dict[str, tuple[Job, int]] = {
            "8-bit": (ours(), batch),
            "float32": (ours(np.float32), batch),
            "float64": (ours(np.float64), batch),
            "rectangle": (rectangles, batch),
        }
        found = []
        for make in (mosaics, enlarged):
            times = measure(jobs, make(tiles, side, min(300, 4 * batch)), turns)
            ratio = np.median(times["rectangle"] / times["8-bit"])
            found.append([*(np.median(each) * 1e3 / side**2 for each in times.values()), ratio])
        body.append(
            [f"{side} x {side}", *(f"{rough:.2f} ({smooth:.2f})" for rough, smooth in zip(*found, strict=True))]
        )
    table(
        "Scaling: ns a pixel of mosaics (of enlarged images)",
        ["", "8-bit", "float32", "float64", "GUDHI's rectangle path", "rectangle / 8-bit"],
        body,
    )


def threads_and_memory(images: Images) -> None:
    cubical_persistence(images[:64])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = {}
    output = 0
    for threads in sorted({1, os.cpu_count() or 1}):
        start = time.perf_counter()
        found = cubical_persistence(images, threads=threads)
        seconds[threads] = time.perf_counter() - start
        output = sum(one.values.nbytes + one.indices.nbytes + one.offsets.nbytes for one in found)
    used = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"\n{len(images):,} images of {images.shape[1]} x {images.shape[2]} in one call, wall time:")
    print("; ".join(f"threads: {n}: {s:.2f} s, {s / len(images) * 1e6:.2f} us an image" for n, s in seconds.items()))
    print(f"Memory: {used:,.0f} MB on top of the input, of which the output is {output / 2**20:,.0f} MB.")


def agreement(images: Images) -> None:
    same = 0
    for image in images:
        theirs = _persistence_on_rectangle_from_top_cells(image.astype(np.float64), 0.0)
        for mine, other in zip(cubical_persistence(image), theirs, strict=True):
            expected = other[np.isfinite(other[:, 1])]
            found = mine.values.astype(np.float64)
            same += found.shape == expected.shape and bool(
                (found[np.lexsort(found.T)] == expected[np.lexsort(expected.T)]).all()
            )
    print(f"\n{same} of {2 * len(images)} diagrams equal GUDHI's.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and smaller images")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    images, source = real_images(1000 if quick else 6000, "test")
    tiles = images.reshape(-1, 32, 32)
    start = time.perf_counter()
    cubical_persistence(tiles[0])
    first = time.perf_counter() - start
    print(f"## Cubical persistence of {source}\n")
    print(
        f"{platform.machine()}, {os.cpu_count()} cores; Python {platform.python_version()}, NumPy {np.__version__}, "
        f"GUDHI {gudhi.__version__}, persistill {persistill.__version__}. First call {first:.1f} s."
    )
    kinds = {
        "32 x 32": (tiles, 256, 2),
        "224 x 224 mosaic": (mosaics(tiles, 224, 40 if quick else 300), 5, 1),
        "224 x 224 enlarged": (enlarged(tiles, 224, 40 if quick else 300), 5, 1),
    }
    compared(kinds, 5 if quick else 40)
    scaling(tiles, [32, 64, 128, 224] if quick else [32, 64, 128, 224, 448, 1024], 3 if quick else 15)
    agreement(tiles[:: len(tiles) // 500])
    threads_and_memory(tiles)


if __name__ == "__main__":
    main()
