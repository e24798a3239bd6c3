"""Point clouds: minimum spanning trees, H0 and H1, beside the alternatives, as Markdown tables.

    python benchmarks/vietoris_rips.py            # some minutes
    python benchmarks/vietoris_rips.py --quick    # half a minute: fewer and smaller clouds
    python benchmarks/vietoris_rips.py --device cuda

Inputs are clouds of class clusters behind a ReLU, as embeddings are, float32 and all different: a single input,
repeated, trains the branch predictor and flatters everybody. Times are processor times of one core, medians of rounds
in which every contender takes its turn, so that a busy machine hurts all of them alike.
"""

import argparse
import itertools
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import gudhi
import numpy as np
import torch
from gudhi.sklearn import RipsPersistence
from numpy.typing import NDArray
from ripser import ripser
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import pdist, squareform
from torch import Tensor, nn

from persistill.topology import mst_lengths, rips_persistence

Clouds = NDArray[np.float32]
Job = Callable[[Clouds], object]


def clouds(count: int, n: int, d: int, seed: int) -> Clouds:
    random = np.random.default_rng(seed)
    centers = random.normal(size=(count, 10, d))
    points = np.take_along_axis(centers, random.integers(0, 10, (count, n, 1)), 1)
    return np.maximum(points + 0.5 * random.normal(size=(count, n, d)), 0).astype(np.float32)


class RipsNet(nn.Module):
    """A network with the layers and widths of TopKD's, which imitates persistence images of 20 x 20."""

    def __init__(self, d: int) -> None:
        super().__init__()
        widths = {64: [64, 32, 32], 256: [256, 128, 128], 512: [512, 256, 256]}[d]
        layers: list[nn.Module] = []
        for i, o in itertools.pairwise([d, *widths]):
            layers += [nn.Linear(i, o), nn.ReLU()]
        self.points = nn.Sequential(*layers)
        layers = []
        for i, o in itertools.pairwise([widths[-1], 50, 100, 200]):
            layers += [nn.Linear(i, o, bias=False), nn.ReLU()]
        self.image = nn.Sequential(*layers, nn.Linear(200, 400, bias=False), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 400) of clouds (B, n, d)."""
        image: Tensor = self.image(self.points(x).mean(1))
        return image


def rips_complex(dimension: int) -> Job:
    def job(batch: Clouds) -> None:
        for cloud in batch:
            tree = gudhi.RipsComplex(points=cloud).create_simplex_tree(max_dimension=dimension + 1)
            tree.persistence()
            tree.persistence_intervals_in_dimension(dimension)

    return job


def rips_binding(dimension: int) -> Job:
    transform = RipsPersistence(homology_dimensions=list(range(dimension + 1)))
    return lambda batch: transform.fit_transform(list(batch.astype(np.float64)))


def ripser_job(dimension: int) -> Job:
    return lambda batch: [ripser(cloud, maxdim=dimension) for cloud in batch]


def scipy_tree(batch: Clouds) -> object:
    return [np.sort(minimum_spanning_tree(squareform(pdist(cloud))).data) for cloud in batch]


def backward(function: Callable[[Tensor], Tensor]) -> Job:
    def job(batch: Clouds) -> None:
        points = torch.from_numpy(batch).requires_grad_()
        function(points).square().sum().backward()

    return job


def forward(function: Callable[[Tensor], object]) -> Job:
    def job(batch: Clouds) -> None:
        with torch.no_grad():
            function(torch.from_numpy(batch))

    return job


def measure(jobs: dict[str, tuple[Job, int]], batches: list[Clouds], rounds: int) -> dict[str, float]:
    """Milliseconds per cloud of each job; a job takes that many clouds of every batch."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for job, _ in jobs.values():
        job(batches[0][:1])
    for _ in range(rounds):
        for batch in batches:
            for name, (job, share) in jobs.items():
                part = batch[:share]
                start = time.process_time()
                job(part)
                times[name].append((time.process_time() - start) / len(part) * 1e3)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def table(head: list[str], rows: list[list[str]]) -> None:
    print("|" + "|".join(f" {cell} " for cell in head) + "|")
    print("|---" + "|---:" * (len(head) - 1) + "|")
    for row in rows:
        print("|" + "|".join(f" {cell} " for cell in row) + "|")
    print()


def compared(
    title: str,
    sizes: list[tuple[int, int, int]],
    jobs: Callable[[int, int, int], dict[str, tuple[Job, int]]],
    rounds: int,
    base: str,
) -> None:
    """One column per size (n, d, clouds in a batch); times, and in brackets how many times as long as ``base``."""
    results = []
    for n, d, count in sizes:
        batches = [clouds(count, n, d, seed) for seed in range(8 if n < 200 else 3)]
        results.append(measure(jobs(n, d, count), batches, rounds))
    print(f"### {title}\n")
    names = list(dict.fromkeys(name for result in results for name in result))
    rows = [
        [name, *(f"{r[name]:.4g} ({r[name] / r[base]:.3g})" if name in r else "-" for r in results)] for name in names
    ]
    table(["ms a cloud (ratio)", *(f"{n} points, {d} dimensions" for n, d, _ in sizes)], rows)


def trees(n: int, d: int, count: int) -> dict[str, tuple[Job, int]]:
    network = RipsNet(d)
    few = 4 if n < 200 else 1
    return {
        "**persistill**, forward": (forward(mst_lengths), count),
        "**persistill**, forward and backward": (backward(mst_lengths), count),
        "persistill, `rips_persistence`": (forward(rips_persistence), count),
        "RipsNet, forward": (forward(network), count),
        "RipsNet, forward and backward": (backward(network), count),
        "GUDHI RipsComplex (TopKD)": (rips_complex(0), few),
        "GUDHI RipsPersistence": (rips_binding(0), few),
        "ripser": (ripser_job(0), few),
        "SciPy pdist + minimum_spanning_tree": (scipy_tree, few),
    }


def loops(n: int, _: int, count: int) -> dict[str, tuple[Job, int]]:
    ours = "**persistill**, H1 with indices"
    jobs: dict[str, tuple[Job, int]] = {
        ours: (forward(lambda x: rips_persistence(x, dimension=1)), count),
        ours + ", forward and backward": (backward(lambda x: rips_persistence(x, dimension=1).values), count),
        "GUDHI RipsPersistence, H0 and H1": (rips_binding(1), max(1, count // 4)),
        "ripser, H0 and H1": (ripser_job(1), max(1, count // 8)),
    }
    if n <= 64:
        jobs["GUDHI RipsComplex (TopKD), H0 and H1"] = rips_complex(1), 1
    return jobs


def scaling(sizes: list[int]) -> None:
    print("### Scaling, 64 dimensions\n")
    rows = []
    for n in sizes:
        count = max(1, (256 // n) ** 2)
        jobs = {"H0": (forward(mst_lengths), count)}
        if n <= 512:
            jobs["H1"] = forward(lambda x: rips_persistence(x, dimension=1)), count
        found = measure(jobs, [clouds(count, n, 64, seed) for seed in range(4)], 2)
        h1 = found.get("H1")
        rows.append([
            str(n), f"{found['H0']:.4g}", f"{found['H0'] * 1e6 / n**2:.2f}",
            *([f"{h1:.4g}", f"{h1 * 1e6 / n**3:.3f}"] if h1 else ["-", "-"]),
        ])  # fmt: skip
    table(["points", "H0, ms", "H0, ns per n^2", "H1, ms", "H1, ns per n^3"], rows)


def memory() -> None:
    """Peak memory of one call beyond what is held before it, on Linux."""
    batch = clouds(4000, 64, 64, 0)
    mst_lengths(batch[:64])

    def status(name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name))

    try:
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
        before = status("VmRSS")
    except OSError:
        return
    lengths = mst_lengths(batch)
    used = status("VmHWM") - before - lengths.nbytes / 1024
    print(f"Memory beyond input and output, 4,000 clouds of 64 points at once: {used / 1024:.1f} MB.\n")


def on_device(device: str, rounds: int) -> None:
    """64 clouds of 64 points forward and backward on a GPU: device time, and how long the host is busy."""
    points = torch.from_numpy(clouds(64, 64, 64, 0)).to(device).requires_grad_()

    def step() -> None:
        points.grad = None
        mst_lengths(points).square().sum().backward()

    step()
    torch.cuda.synchronize()
    queued, finished = [], []
    torch.cuda.set_sync_debug_mode("error")
    for _ in range(rounds):
        start = time.perf_counter()
        step()
        queued.append(time.perf_counter() - start)
        torch.cuda.set_sync_debug_mode("default")
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        finished.append(time.perf_counter() - start)
    torch.cuda.set_sync_debug_mode("default")
    print(f"### {torch.cuda.get_device_name()}: 64 clouds of 64 points, forward and backward\n")
    times = [f"{statistics.median(values) * 1e3:.3g}" for values in (queued, finished)]
    table(["", "ms until queued", "ms until finished"], [["persistill, `mst_lengths`", *times]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and smaller clouds")
    parser.add_argument("--device", default="cpu", help="a CUDA device, for the time on it alone")
    options = parser.parse_args()
    if options.device != "cpu":
        on_device(options.device, 200)
        return
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "The input matrix is square")  # ripser, of 64 points in 64 dimensions
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numba", "gudhi", "ripser", "scipy"))
    print(f"{platform.processor() or platform.machine()}, one core; {packages}.\n")
    sizes = (
        [(64, 64, 64), (128, 64, 64)] if options.quick else [(64, 64, 64), (128, 64, 64), (256, 256, 16), (512, 512, 4)]
    )
    rounds = 1 if options.quick else 3
    compared("Minimum spanning trees, the deaths of H0", sizes, trees, rounds, "**persistill**, forward")
    sizes = (
        [(64, 64, 32), (128, 64, 8)] if options.quick else [(64, 64, 32), (128, 64, 8), (256, 256, 4), (512, 512, 1)]
    )
    compared("H1", sizes, loops, rounds, "**persistill**, H1 with indices")
    scaling([16, 64, 256] if options.quick else [16, 32, 64, 128, 256, 512, 1024, 2048])
    memory()


if __name__ == "__main__":
    main()
