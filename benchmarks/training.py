"""What a TGD step costs beside a plain one, by the way in which its teachers are asked.

    python benchmarks/training.py [--quick] [--device cpu]

CIFAR-10 shapes: WRN-16-3 teachers, one on 3x32x32 pictures, one on 6x50x50 persistence images; WRN-16-1 student; batch
128. The ways: both teachers inside the graph, as in the published code; frozen teachers, asked at every step; stored
features, in float16 and float32. Medians over the steps, all ways in turn, step by step, in one run.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from persistill.data import StoredFeatures, open_features, write_features
from persistill.methods import TGD
from persistill.models import build
from persistill.training import Frozen, Objective
from persistill.types import Batch, Features, Part

BATCH, PICTURES = 128, 2048
READS: frozenset[Part] = frozenset({"logits", "maps"})


class Pictures:
    """Random pictures and persistence images, in order."""

    def __init__(self, device: torch.device) -> None:
        self.views = {
            "image": torch.randn(PICTURES, 3, 32, 32, device=device),
            "persistence": torch.randn(PICTURES, 6, 50, 50, device=device),
        }
        self.target = torch.randint(10, (PICTURES,), device=device)

    def __len__(self) -> int:
        return PICTURES // BATCH

    def epoch(self, number: int, start: int = 0):
        for index in torch.arange(PICTURES).split(BATCH)[start:]:
            yield self.at(index)

    def at(self, index: Tensor) -> Batch:
        return Batch({name: view[index] for name, view in self.views.items()}, self.target[index], index)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="5 steps instead of 20")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    steps = 5 if options.quick else 20
    device = torch.device(options.device)
    torch.manual_seed(0)
    pictures = Pictures(device)
    teachers = {"image": build("wrn-16-3", 3, 10).to(device), "persistence": build("wrn-16-3", 6, 10).to(device)}
    frozen = {
        view: Frozen(build("wrn-16-3", view_channels, 10).to(device)) for view, view_channels in _CHANNELS.items()
    }
    objective, plain = Objective([TGD.published()], cross_entropy=0.1), Objective()
    student = build("wrn-16-1", 3, 10).to(device)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.01, momentum=0.9)

    def step(loss: Objective, taught: Callable[[Batch], Sequence[Features]], batch: Batch) -> None:
        terms = loss.terms(student(batch.views["image"]), taught(batch), batch)
        optimizer.zero_grad()
        loss.total(terms).backward()
        optimizer.step()

    with tempfile.TemporaryDirectory() as folder:
        stored: dict[str, list[StoredFeatures]] = {"half": [], "exact": []}
        size: dict[str, float] = {"half": 0.0, "exact": 0.0}
        for precision, found in stored.items():
            for view, network in frozen.items():
                place = Path(folder) / f"{precision}-{view}"
                place.mkdir()
                result = write_features(
                    place, pictures, PICTURES, lambda b, v=view, n=network: n(b.views[v]), READS, precision
                )
                found.append(open_features(place, result, device))
                size[precision] += result["bytes"] / PICTURES
        ways: dict[str, Callable[[Batch], None]] = {
            "plain step, no teacher": lambda b: step(plain, lambda _: [], b),
            "TGD, teachers inside the graph (as published)": lambda b: step(
                objective, lambda b: [teachers[v](b.views[v]) for v in teachers], b
            ),
            "TGD, frozen teachers": lambda b: step(objective, lambda b: [frozen[v](b.views[v]) for v in frozen], b),
            "TGD, stored in float16": lambda b: step(
                objective, lambda b: [f.fetch(b.index) for f in stored["half"]], b
            ),
            "TGD, stored in float32": lambda b: step(
                objective, lambda b: [f.fetch(b.index) for f in stored["exact"]], b
            ),
        }
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(steps + 1):
            batch = pictures.at(torch.randint(PICTURES, (BATCH,)))
            for way, run in ways.items():
                began = time.perf_counter()
                run(batch)
                if device.type == "cuda":
                    torch.cuda.synchronize()
                if number > 0:  # the first round warms up
                    seconds[way].append(time.perf_counter() - began)
    base = statistics.median(seconds["plain step, no teacher"])
    print(f"torch {torch.__version__}, {device}, {torch.get_num_threads()} threads, median of {steps} steps\n")
    print("| step | ms | ratio to plain | stored a picture |\n|---|---:|---:|---:|")
    for way, times in seconds.items():
        median = statistics.median(times)
        kilobytes = next((f"{size[p] / 1000:.0f} kB" for p, n in _NAMES.items() if way.endswith(n)), "")
        print(f"| {way} | {1000 * median:.0f} | {median / base:.2f} | {kilobytes} |")


_CHANNELS = {"image": 3, "persistence": 6}
_NAMES = {"half": "float16", "exact": "float32"}

if __name__ == "__main__":
    main()
