"""TopKD: what each form costs a step, and what becomes of it when embeddings differ in scale, as Markdown tables.

    python benchmarks/topkd.py     # a minute
    python benchmarks/topkd.py --edges RUNS/teacher-image-KEY RUNS/student-alone-seed0-KEY

Clouds are class clusters behind a ReLU, as embeddings are, all different. Times are processor times of one core,
medians of rounds in which every contender takes its turn. Set OMP_NUM_THREADS=1.

With --edges: how long the edges of the minimum spanning trees of trained networks' embeddings are, and those of a new
network of the last one's kind, over eight batches of 128 training images.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from clouds import clouds, table
from torch import Tensor, nn
from torch.nn import functional as F

from persistill.config import Data
from persistill.data import Loader, load
from persistill.losses import topology_loss
from persistill.losses.topkd.persistence_images import CloudImages
from persistill.losses.topkd.ripsnet import RipsNet
from persistill.models import build
from persistill.models import load as load_network
from persistill.run_folder import RunFolder
from persistill.topology import mst_lengths

WIDTH, ROUNDS = 64, 60
SCALES = (0.01, 0.1, 0.3, 0.5, 1.0, 2.0, 3.0, 10.0)
Loss = Callable[[Tensor, Tensor], Tensor]


def forms(images: CloudImages, loops: CloudImages, network: RipsNet) -> dict[str, Loss]:
    def published(student: Tensor, teacher: Tensor) -> Tensor:
        return F.mse_loss(network(student), network(teacher))

    return {
        "exact, images": lambda student, teacher: topology_loss(student, teacher, images=images),
        "exact, images fitted to each batch": topology_loss,
        "exact, lifetimes": lambda student, teacher: topology_loss(student, teacher, compare="lifetimes"),
        "exact, Wasserstein": lambda student, teacher: topology_loss(student, teacher, compare="wasserstein"),
        "exact, images of loops (H1)": lambda student, teacher: topology_loss(student, teacher, images=loops),
        "published, RipsNet": published,
    }


def some(count: int, points: int, seed: int) -> Tensor:
    return torch.from_numpy(clouds(count, points, WIDTH, seed))


def prepared(points: int) -> dict[str, Loss]:
    shown = [some(32, points, 0)]
    network = RipsNet(WIDTH).requires_grad_(False)
    return forms(CloudImages.fit(shown), CloudImages.fit(shown, 1), network)


def costs(points: int) -> dict[str, float]:
    """Milliseconds of a step's forward and backward pass."""
    losses, times = prepared(points), dict[str, list[float]]()
    for one, teacher in zip(some(ROUNDS, points, 1), some(ROUNDS, points, 2), strict=True):
        for name, loss in losses.items():
            student = one.clone().requires_grad_()
            start = time.process_time()
            loss(student, teacher).backward()
            times.setdefault(name, []).append((time.process_time() - start) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def scaled(points: int, factor: float) -> dict[str, str]:
    """Value, and how fast it falls or rises with the logarithm of the student's scale; means over pairs of clouds."""
    losses, found = prepared(points), dict[str, list[tuple[float, float]]]()
    for one, teacher in zip(some(8, points, 1), some(8, points, 2), strict=True):
        for name, loss in losses.items():
            student = (factor * one).requires_grad_()
            value = loss(student, teacher)
            (gradient,) = torch.autograd.grad(value, student)
            found.setdefault(name, []).append((value.item(), (gradient * student).sum().abs().item()))
    means = {name: [statistics.mean(part) for part in zip(*values, strict=True)] for name, values in found.items()}
    return {name: f"{value:.2g} ({slope:.1g})" for name, (value, slope) in means.items()}


def edges(networks: dict[str, nn.Module], loader: Loader) -> None:
    rows = []
    for name, network in networks.items():
        with torch.no_grad():
            seen = [network(batch.inputs["image"]).embedding for batch in itertools.islice(loader.epoch(0), 8)]
        parts = mst_lengths(torch.stack(seen)).flatten().quantile(torch.tensor([0.0, 0.05, 0.5, 0.95, 1.0])).tolist()
        rows.append([name, str(seen[0].shape[1]), *(f"{part:.2f}" for part in parts)])
    table(["edges", "numbers", "shortest", "5 %", "median", "95 %", "longest"], rows)


def trained(folders: list[Path]) -> None:
    runs = [RunFolder.open(folder) for folder in folders]
    networks: dict[str, nn.Module] = {run.path.name: load_network(run.file("model.safetensors"))[0] for run in runs}
    last, splits = runs[-1], load(Data.from_json(runs[-1].about["context"]["recipe"]["data"]))
    torch.manual_seed(0)
    model = last.inputs["model"]
    networks[f"a new {model}"] = build(model, splits.train.shape[0], len(splits.classes)).train()
    mean, std = tuple(last.inputs["mean"]), tuple(last.inputs["std"])
    edges(networks, Loader(splits.train, {}, batch_size=128, mean=mean, std=std, shuffle_seed=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--edges", type=Path, nargs="+", metavar="RUN")
    options = parser.parse_args()
    if options.edges:
        trained(options.edges)
        return
    print(f"## Cost of a step, forward and backward, {WIDTH} numbers an embedding\n")
    measured = {points: costs(points) for points in (64, 128)}
    rows = [[name, *(f"{measured[points][name]:.2f}" for points in measured)] for name in measured[64]]
    table(["ms", *(f"{points} embeddings" for points in measured)], rows)
    print("## A student whose embeddings are scaled: value, and in brackets |d value / d log scale|\n")
    by_scale = {factor: scaled(64, factor) for factor in SCALES}
    names = [name for name in by_scale[1.0] if "RipsNet" not in name]  # which would not be fitted to anything
    table(
        ["", *(f"x {factor:g}" for factor in SCALES)], [[name, *(by_scale[f][name] for f in SCALES)] for name in names]
    )


if __name__ == "__main__":
    main()
