"""Vectorizations of persistence diagrams and distances between them, beside GUDHI and persim, as Markdown tables.

    python benchmarks/vectorization.py            # about a minute
    python benchmarks/vectorization.py --quick    # twenty seconds

Diagrams are random and all different: lifetimes spread exponentially, births normally, or all 0 as in the Rips H0 of a
cloud of 64 points. Ours are float32, as in training; the others compute in float64 and get their lists ready made.
Times are processor times of one core, medians over turns in which every contender takes its own diagrams; ratios are
medians of the ratios within a turn, so that a busy machine hurts all of them alike.
"""

import argparse
import os
import platform
import resource
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gudhi
import numpy as np
import persim
import torch
from gudhi import representations
from gudhi.hera import wasserstein_distance as hera
from numpy.typing import NDArray
from persim.persistent_entropy import persistent_entropy
from topology import table

import persistill
from persistill.topology import (
    Diagrams,
    betti_curves,
    bottleneck,
    landscapes,
    persistence_entropy,
    point_persistence_images,
    silhouettes,
    sliced_wasserstein,
    sorted_lifetimes,
    total_persistence,
    wasserstein,
)

GRID = np.linspace(0, 1, 100)
Batch = list[NDArray[np.float64]]


@dataclass(frozen=True)
class Job:
    """A function of batches of ``Diagrams`` and what others offer for it, functions of lists of arrays."""

    ours: Callable[..., Any]
    others: dict[str, Callable[..., Any]]
    pairs: bool = False
    differentiable: bool = True


def random_diagrams(count: int, bars: int, seed: int, *, births: bool = True) -> Batch:
    rng = np.random.default_rng(seed)
    born = rng.normal(0.3, 0.15, (count, bars)).clip(0) if births else np.zeros((count, bars))
    return list(np.stack([born, born + rng.exponential(0.15, (count, bars))], 2))


def topkd_images() -> Job:
    window = {"births": (0.0, 0.8), "persistences": (0.0, 0.8)}
    theirs = representations.PersistenceImage(
        bandwidth=0.05,
        weight=lambda point: 10 * np.tanh(point[1]) + 10 * np.log(100 * point[0] + 1),
        resolution=[20, 20],
        im_range=[0.0, 0.8, 0.0, 0.8],
    ).fit([np.zeros((1, 2))])
    return Job(
        lambda diagrams: point_persistence_images(diagrams, bandwidth=0.05, weight="topkd", **window),
        {"GUDHI": theirs.transform},
    )


def vectorizations() -> dict[str, Job]:
    span = {"resolution": 100, "sample_range": [0.0, 1.0]}
    nothing = [np.array([[0.0, 1.0]])]
    theirs = {
        "landscapes": representations.Landscape(num_landscapes=5, **span).fit(nothing),
        "silhouettes": representations.Silhouette(weight=lambda point: point[1] - point[0], **span).fit(nothing),
        "betti": representations.BettiCurve(predefined_grid=GRID).fit(nothing),
        "entropy": representations.Entropy().fit(nothing),
    }

    def persim_landscapes(batch: Batch) -> None:
        for diagram in batch:
            persim.PersLandscapeApprox(dgms=[diagram], hom_deg=0, start=0, stop=1, num_steps=100)

    return {
        "landscapes, 5 levels, 100 values": Job(
            lambda diagrams: landscapes(diagrams, GRID, threads=1),
            {"GUDHI": theirs["landscapes"].transform, "persim": persim_landscapes},
        ),
        "silhouettes, 100 values": Job(
            lambda diagrams: silhouettes(diagrams, GRID), {"GUDHI": theirs["silhouettes"].transform}
        ),
        "Betti curves, 100 values": Job(
            lambda diagrams: betti_curves(diagrams, GRID), {"GUDHI": theirs["betti"].transform}, differentiable=False
        ),
        "means of Betti curves, 99 cells": Job(lambda diagrams: betti_curves(diagrams, GRID, mean=True), {}),
        "persistence entropy": Job(
            persistence_entropy, {"GUDHI": theirs["entropy"].transform, "persim": persistent_entropy}
        ),
        "total persistence": Job(total_persistence, {}),
        "20 longest lifetimes": Job(lambda diagrams: sorted_lifetimes(diagrams, 20), {}),
    }


def each(distance: Callable[..., Any]) -> Callable[[Batch, Batch], None]:
    def all_of_them(first: Batch, second: Batch) -> None:
        for pair in zip(first, second, strict=True):
            distance(*pair)

    return all_of_them


def distances() -> dict[str, Job]:
    sliced = representations.SlicedWassersteinDistance(num_directions=50)
    return {
        "sliced Wasserstein, 50 directions": Job(
            sliced_wasserstein, {"GUDHI": each(sliced), "persim": each(persim.sliced_wasserstein)}, pairs=True
        ),
        "Wasserstein, p = 1": Job(
            lambda first, second: wasserstein(first, second, threads=1),
            {"GUDHI": each(hera), "persim": each(persim.wasserstein)},
            pairs=True,
        ),
        "Wasserstein, p = 2": Job(
            lambda first, second: wasserstein(first, second, order=2, threads=1),
            {"GUDHI": each(lambda first, second: hera(first, second, order=2))},
            pairs=True,
        ),
        "bottleneck": Job(
            lambda first, second: bottleneck(first, second, threads=1),
            {"GUDHI": each(gudhi.bottleneck_distance), "persim": each(persim.bottleneck)},
            pairs=True,
        ),
    }


def backward(job: Job) -> Callable[..., None]:
    def forward_and_backward(*sides: Diagrams[Any]) -> None:
        tensors = [Diagrams(one.torch().values.detach().requires_grad_(), one.torch().offsets) for one in sides]
        job.ours(*tensors).square().sum().backward()

    return forward_and_backward


def one_by_one(job: Job) -> Callable[..., None]:
    def calls(*sides: Diagrams[Any]) -> None:
        for parts in zip(*sides, strict=True):
            job.ours(*(Diagrams.from_list([part]) for part in parts))

    return calls


def measure(job: Job, diagrams: Batch, batch: int, turns: int) -> dict[str, NDArray[np.float64]]:
    """Microseconds per diagram (or pair) of every turn; slow contenders take fewer diagrams in a turn."""
    sides = [diagrams[: len(diagrams) // 2], diagrams[len(diagrams) // 2 :]] if job.pairs else [diagrams]
    contenders: dict[str, Callable[..., Any]] = {"ours": job.ours, "alone": one_by_one(job)}
    if job.differentiable:
        contenders["backward"] = backward(job)
    contenders |= job.others
    shares = {
        name: {"GUDHI": min(batch, 32), "persim": min(batch, 2), "alone": 8}.get(name, batch) for name in contenders
    }
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(turns + 1):
        for name, run in contenders.items():
            share = shares[name]
            chosen = (np.arange(share) + turn * share) % len(sides[0])
            part: list[Any] = [[side[i] for i in chosen] for side in sides]
            if name not in job.others:
                part = [Diagrams.from_list([one.astype(np.float32) for one in side]) for side in part]
            begun = time.process_time()
            run(*part)
            if turn:  # the first one compiles and warms up
                times[name].append((time.process_time() - begun) / share * 1e6)
    return {name: np.array(found) for name, found in times.items()}


def compared(title: str, jobs: dict[str, tuple[Job, Batch]], batch: int, turns: int) -> None:
    body = []
    for name, (job, diagrams) in jobs.items():
        times = measure(job, diagrams, batch, turns)

        def cell(kind: str, times: dict[str, NDArray[np.float64]] = times) -> str:
            return f"{np.median(times[kind]):,.4g}" if kind in times else ""

        def ratio(kind: str, times: dict[str, NDArray[np.float64]] = times) -> str:
            return f"{cell(kind)} ({np.median(times[kind] / times['ours']):,.3g})" if kind in times else ""

        body.append([name, cell("ours"), cell("backward"), cell("alone"), ratio("GUDHI"), ratio("persim")])
    head = ["", f"batches of {batch}", "with backward", "one a call", "GUDHI (times ours)", "persim (times ours)"]
    table(title, head, body)


def memory(diagrams: Batch) -> None:
    """Print how far the peak rises above what the output takes; wants a process that has done little before."""
    batch = Diagrams.from_list([one.astype(np.float32) for one in diagrams])
    few = Diagrams.from_list([one.astype(np.float32) for one in diagrams[:64]])
    images = topkd_images().ours
    for name, call in {
        "silhouettes": lambda diagrams: silhouettes(diagrams, GRID),
        "landscapes": lambda diagrams: landscapes(diagrams, GRID),
        "images": images,
    }.items():
        call(few)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        output = call(batch).nbytes / 2**20
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(
            f"{name} of {len(batch):,} diagrams: {output:,.0f} MB of output, peak {grown:,.0f} MB higher than before."
        )


def agreement(diagrams: Batch) -> None:
    first, second = diagrams[: len(diagrams) // 2], diagrams[len(diagrams) // 2 :]
    sides = Diagrams.from_list(first), Diagrams.from_list(second)
    theirs = topkd_images().others["GUDHI"](diagrams).reshape(-1, 20, 20)[:, ::-1]
    single = Diagrams.from_list([one.astype(np.float32) for one in diagrams])
    gap = np.abs(topkd_images().ours(single) - theirs).max() / theirs.max()
    print(f"\nLargest difference from GUDHI: images (float32) {gap:.1e} of the maximum; ", end="")
    exact = np.array([gudhi.bottleneck_distance(*pair, 0) for pair in zip(first, second, strict=True)])
    print(f"bottleneck {np.abs(bottleneck(*sides) / exact - 1).max():.1e}; ", end="")
    exact = np.array([hera(*pair, delta=1e-9) for pair in zip(first, second, strict=True)])
    print(f"Wasserstein {np.abs(wasserstein(*sides) / exact - 1).max():.1e} (relative).")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer turns and smaller diagrams")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # persim warns of its own deprecated calls
    turns = 5 if quick else 40
    print("## Vectorizations and distances\n")
    print(
        f"{platform.machine()}, {os.cpu_count()} cores; Python {platform.python_version()}, NumPy {np.__version__}, "
        f"torch {torch.__version__}, GUDHI {gudhi.__version__}, persistill {persistill.__version__}. "
        "Microseconds a diagram, or a pair of diagrams."
    )
    spread = random_diagrams(1024, 63, 0)
    memory(spread * (2 if quick else 32))
    level = random_diagrams(1024, 63, 1, births=False)
    images = {"H0: all births are 0": (topkd_images(), level), "any births": (topkd_images(), spread)}
    for batch in (64, 512):
        compared("TopKD's persistence images, 20 x 20, 63 bars", images, batch, turns)
    compared("Vectors, 63 bars", {name: (job, spread) for name, job in vectorizations().items()}, 64, turns)
    for bars in (20, 63) if quick else (20, 63, 150, 300):
        jobs = {name: (job, random_diagrams(512, bars, 2)) for name, job in distances().items()}
        compared(f"Distances, {bars} bars", jobs, max(16, 4096 // bars), max(2, turns * 20 // bars // 3))
    agreement(spread[:64])


if __name__ == "__main__":
    main()
