"""Images a second in training, by the settings that make a device compute faster: a table of ratios to none of them.

    OMP_NUM_THREADS=1 python benchmarks/training_throughput.py [--quick]
    python benchmarks/training_throughput.py --device cuda [--batch 128] [--arms alone,kd] [--ways compile,bf16]
    python benchmarks/training_throughput.py --device cuda --processes 4     # as many trainings on one device

CIFAR-10 shapes: WRN-16-1 student on 3x32x32 images; WRN-16-3 teachers, one on images and, for TGD, one on 6x50x50
persistence images. A training is run as a recipe runs it, by ``fit``, on random images that are on the device already;
its first steps are left out, and of them the table says only how long they took, most of it for compilation. Each way
is measured between two trainings without it, to whose mean its ratio is. With one thread, time is processor time, so
that other work on the machine is not in it; with more, or on a GPU, it is wall time.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from persistill.config import Train
from persistill.losses import AT, KD, TGD, DistillationLoss
from persistill.models import build
from persistill.run_folder import RunFolder
from persistill.structures import Batch
from persistill.tasks import Classification
from persistill.training import Criterion, Frozen, OnlineTeacher, fit, make_fabric

ARMS: dict[str, tuple[Callable[[], DistillationLoss] | None, int]] = {
    "alone": (None, 0),
    "kd": (KD, 1),
    "at": (AT, 1),
    "tgd": (TGD.published, 2),
}
"""Arm -> its method, and how many of the teachers it has."""

LAST, HALF = {"channels_last": True}, {"precision": "bf16"}
WAYS: dict[str, Mapping[str, Any]] = {
    "channels_last": LAST,
    "bf16": HALF,
    "compile": {"compile": "default"},
    "channels_last compile": {**LAST, "compile": "default"},
    "bf16 channels_last": {**LAST, **HALF},
    "bf16 channels_last compile": {**LAST, **HALF, "compile": "default"},
    "compile=reduce-overhead": {"compile": "reduce-overhead"},
    "bf16 channels_last compile=reduce-overhead": {**LAST, **HALF, "compile": "reduce-overhead"},
    "bf16 channels_last compile=max-autotune": {**LAST, **HALF, "compile": "max-autotune"},
}
"""Way -> changed settings; modes with CUDA graphs are for GPUs alone."""
NAMES = "images/s", "ratio", "until step 4, s"


class Measured(NamedTuple):
    """Of one training.

    Attributes:
        step: seconds.
        first: wall seconds of the steps that are left out.
    """

    step: float
    first: float


class Timed:
    """The same batch again and again, and what was on the clock before each."""

    def __init__(self, batch: Batch, steps: int, skipped: int, device: torch.device) -> None:
        self.batch, self.steps, self.skipped, self.device = batch, steps, skipped, device
        self.cpu_time = device.type == "cpu" and torch.get_num_threads() == 1
        self.times: list[float] = []
        self.walls: list[float] = []

    def __len__(self) -> int:
        return self.steps + self.skipped

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        for step in range(len(self)):
            if step in (0, self.skipped) or self.device.type == "cpu":
                self._note()
            yield self.batch
        self._note()

    def _note(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.times.append(time.process_time() if self.cpu_time else time.perf_counter())
        self.walls.append(time.perf_counter())

    def measured(self) -> Measured:
        if self.device.type == "cuda":  # a wait at every step would be in the time
            return Measured((self.times[2] - self.times[1]) / self.steps, self.walls[1] - self.walls[0])
        each = [after - before for before, after in zip(self.times, self.times[1:], strict=False)]
        return Measured(statistics.median(each[self.skipped :]), self.walls[self.skipped] - self.walls[0])


def train(arm: str, changes: Mapping[str, Any], batch: Batch, device: str, steps: int) -> Measured:
    method, count = ARMS[arm]
    settings = Train(epochs=1, lr=0.01, batch_size=len(batch.target), schedule="constant", **changes)
    fabric = make_fabric(device, settings)
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    teachers = []
    for view, channels in (("image", 3), ("persistence", 6))[:count]:
        network = build("wrn-16-3", channels, 10).to(device=fabric.device, memory_format=layout)
        teachers.append(OnlineTeacher(Frozen(network), view))
    timed = Timed(batch, steps, 3, fabric.device)
    with tempfile.TemporaryDirectory() as folder:
        fit(
            build("wrn-16-1", 3, 10),
            timed,
            criterion=Criterion([method()] if method else [], task=Classification()),
            settings=settings,
            folder=RunFolder.create(Path(folder), "student", arm, {}),
            fabric=fabric,
            teachers=teachers,
        )
    return timed.measured()


def table(arm: str, ways: list[str], size: int, device: str, steps: int) -> None:
    placed = make_fabric(device, Train()).device
    torch.manual_seed(0)
    inputs = {
        "image": torch.randn(size, 3, 32, 32, device=placed),
        "persistence": torch.randn(size, 6, 50, 50, device=placed),
    }
    batch = Batch(inputs, torch.randint(10, (size,), device=placed), torch.arange(size, device=placed))
    print(f"\n### {arm}, batches of {size}\n\n| way | {' | '.join(NAMES)} |\n|---|{'---:|' * len(NAMES)}")
    before = train(arm, {}, batch, device, steps)
    print(f"| plain | {size / before.step:,.0f} | 1 | {before.first:.1f} |", flush=True)
    for way in ways:
        found = train(arm, WAYS[way], batch, device, steps)
        after = train(arm, {}, batch, device, steps)
        ratio = (before.step + after.step) / 2 / found.step
        print(f"| {way} | {size / found.step:,.0f} | {ratio:.2f} | {found.first:.1f} |", flush=True)
        before = after


def shared(arguments: list[str], processes: int) -> None:
    """The same tables by several processes at the same time, and their sums."""
    command = [sys.executable, __file__, *arguments]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    said = [process.communicate()[0] for process in started]
    rows = [[line.split(" | ") for line in one.splitlines() if line.startswith("| ")] for one in said]
    print(f"\n### {processes} processes on one device\n\n| way | images/s, all | each |\n|---|---:|---:|")
    for same in zip(*rows, strict=True):
        if same[0][1] != NAMES[0]:
            each = [float(row[1].replace(",", "")) for row in same]
            print(f"{same[0][0]} | {sum(each):,.0f} | {', '.join(f'{one:,.0f}' for one in each)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer steps")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--ways", help="of these: " + ", ".join(WAYS))
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    if options.processes > 1:
        given = ["--device", options.device, "--batch", str(options.batch), "--arms", options.arms]
        given += ["--ways", options.ways or "", *(["--quick"] if options.quick else [])]
        shared(given, options.processes)
        return
    on_gpu = options.device.startswith("cuda")
    ways = [way for way in WAYS if on_gpu or "=" not in way]
    if options.ways is not None:
        ways = [way for way in options.ways.split(",") if way]
    steps = (10 if options.quick else 100) if on_gpu else (4 if options.quick else 12)
    where = torch.cuda.get_device_name() if on_gpu else f"{torch.get_num_threads()} thread(s)"
    print(f"torch {torch.__version__}, {options.device}, {where}; {steps} steps each.")
    for arm in options.arms.split(","):
        table(arm, ways, options.batch, options.device, steps)


if __name__ == "__main__":
    main()
