"""All that is to be measured on a GPU, in one command that ends after ten minutes, most important things first.

    python benchmarks/gpu.py --out measured                          # on an NVIDIA GPU
    python benchmarks/gpu.py --out measured --device cpu --quick     # a rehearsal without one

1. kernels: the Triton kernels beside those of the CPU, then their times (``cuda.py``);
2. throughput: trainings with 16 bits, channels last, ``torch.compile`` and CUDA graphs (``training_throughput.py``);
3. sharing: several trainings on one device at the same time;
4. row: two epochs of every network of ``tgd_cifar10_published``, and by arithmetic how long all of it would take. It is
   trained on as many images as CIFAR-10 has, which are a few of its own, repeated, from below the folder that
   PERSISTILL_SHARED names, or smooth noise: what is timed does not depend on them.

Each part has its time; what one leaves over the next may use. Lines are printed and written as they come: tables to
``PART.md``, their rows also to ``results.jsonl``, an object each, so that a run that is cut short tells what it found.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from topology import real_images

HERE = Path(__file__).resolve().parent
EPOCHS = 2


class Part(NamedTuple):
    """One part.

    Attributes:
        seconds: that it may take.
        commands: one after another, each of arguments to Python.
    """

    seconds: int
    commands: Sequence[Sequence[str]]


class Results:
    """What was found, written at once.

    Args:
        out: the folder.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.table = out, ""

    def note(self, part: str, **found: Any) -> None:
        with (self.out / "results.jsonl").open("a") as file:
            file.write(json.dumps({"part": part, **found}) + "\n")

    def line(self, part: str, line: str) -> None:
        print(line, end="", flush=True)
        with (self.out / f"{part}.md").open("a") as file:
            file.write(line)
        if line.startswith("###"):
            self.table = line.strip("# \n")
        if line.startswith("| "):
            self.note(part, table=self.table, cells=[cell.strip() for cell in line.strip("|\n ").split("|")])


def parts(options: argparse.Namespace, images: Path) -> dict[str, Part]:
    quick = ["--quick"] if options.quick else []
    ways = ["--device", options.device, *quick]
    throughput = str(HERE / "training_throughput.py")
    row = ["-m", "persistill", "run", "tgd_cifar10_published", "--seeds", "0", "--quick", "--device", options.device]
    row += ["--set", f"data.source={images}", "--set", f"train.epochs={EPOCHS}", "--out", str(images.parent / "runs")]
    if options.quick:
        small = ["--arms", "alone", "--batch", "16", "--ways", "channels_last"]
        for field in ("train=256", "validation=64", "test=256"):
            row += ["--set", f"data.{field}"]
        return {
            "kernels": Part(60, [[str(HERE / "cuda.py"), *quick]]),
            "throughput": Part(60, [[throughput, *ways, *small]]),
            "sharing": Part(60, [[throughput, *ways, *small, "--processes", "2"]]),
            "row": Part(300, [row]),
        }
    return {
        "kernels": Part(150, [[str(HERE / "cuda.py"), "--quick"]]),
        "throughput": Part(210, [[throughput, *ways, "--arms", arm] for arm in ("alone", "tgd", "kd", "at")]),
        "sharing": Part(
            60,
            [[throughput, *ways, "--arms", "alone", "--ways", "", "--processes", count] for count in ("4", "8", "2")],
        ),
        "row": Part(150, [row]),
    }


def write_images(path: Path) -> None:
    arrays = {}
    for split, count in (("train", 50_000), ("test", 10_000)):
        few, _ = real_images(1000, split)
        arrays[f"{split}_images"] = np.tile(few, (count // len(few), 1, 1, 1))
        arrays[f"{split}_labels"] = np.arange(count) % 10
    np.savez(path, **arrays)


def work(name: str, part: Part, until: float, results: Results) -> None:
    begun, ended = time.monotonic(), ""
    for command in part.commands:
        left = until - time.monotonic()
        if left <= 0:
            ended = "no time left"
            break
        process = subprocess.Popen(
            [sys.executable, "-u", *command],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{HERE.parent}:{os.environ.get('PYTHONPATH', '')}", "NO_COLOR": "1"},
            start_new_session=True,
        )
        timer = threading.Timer(left, os.killpg, (process.pid, signal.SIGKILL))
        timer.start()
        assert process.stdout is not None
        for line in process.stdout:
            results.line(name, line)
        code = process.wait()
        timer.cancel()
        if code:
            ended = "time over" if time.monotonic() >= until else f"exit code {code}"
            if time.monotonic() >= until:
                break
    results.note(name, seconds=round(time.monotonic() - begun, 1), ended=ended or "complete")
    results.line(name, f"\n{name}: {time.monotonic() - begun:.0f} s, {ended or 'complete'}.\n")


def trainings(runs: Path) -> Iterator[tuple[str, float]]:
    """Each training's kind and name, and the seconds of its last epoch."""
    for log in sorted(runs.glob("*/log.jsonl")):
        records = [json.loads(line) for line in log.read_text().splitlines()]
        seconds = [record["seconds"] for record in records if record.get("type") == "epoch"]
        if len(seconds) == EPOCHS:
            yield log.parent.name.rsplit("-", 1)[0], seconds[-1] - seconds[-2]


def arithmetic(runs: Path, results: Results, *, quick: bool) -> None:
    """How long all of the recipe would take: 200 epochs, three seeds of each arm."""
    results.line("row", f"\n### Epochs of the published row\n\n| network | s an epoch | h in all |\n|{'---|' * 3}\n")
    total, count = 0.0, 0
    for name, seconds in trainings(runs):
        hours = seconds * 200 * (3 if name.startswith("student") else 1) / 3600
        results.line("row", f"| {name} | {seconds:.2f} | {hours:.2f} |\n")
        total, count = total + hours, count + 1
    results.line("row", f"\n{count} of 5 networks were timed: {total:.1f} h in all, by arithmetic.\n")
    if quick:
        results.line("row", "That is of 192 images, as a rehearsal.\n")
    results.note("row", networks=count, hours=round(total, 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a folder for what is found")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="little of everything, as a rehearsal")
    parser.add_argument("--parts", default="kernels,throughput,sharing,row")
    options = parser.parse_args()
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    results, until = Results(options.out), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images.npz"
        plan = parts(options, images)
        for name in options.parts.split(","):
            until += plan[name].seconds
            if name == "row":
                write_images(images)
            work(name, plan[name], until, results)
            if name == "row":
                arithmetic(Path(folder) / "runs", results, quick=options.quick)


if __name__ == "__main__":
    main()
