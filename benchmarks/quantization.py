"""What a training step costs when weights and activations are rounded to 8 bits, beside one in float32.

    OMP_NUM_THREADS=1 python benchmarks/quantization.py [--turns 5]

Students at CIFAR-10 shapes, batch 128, forward and backward with a cross-entropy. Processor time of one thread, so that
other work on the machine is not in it; both in turns, medians of the ratios within each turn.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch.nn import functional as F

from persistill.models import build
from persistill.training import fake_quantized

NETWORKS = ("wrn-16-1", "resnet-20", "mobilenet-v2-half", "shufflenet-v2")
BATCH = 128


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    turns = parser.parse_args().turns
    torch.set_num_threads(1)
    print(f"{'':18} {'float32, ms':>12} {'8 bits, ms':>12} {'ratio':>6}")
    for name in NETWORKS:
        with fake_quantized(rounded := build(name, 3, 10)):
            plain, quantized = step(build(name, 3, 10)), step(rounded)
            times = list(measure(plain, quantized, turns))
        ratio = statistics.median(after / before for before, after in times)
        before, after = (1000 * statistics.median(column) for column in zip(*times, strict=True))
        print(f"{name:18} {before:12.0f} {after:12.0f} {ratio:6.2f}", flush=True)


def step(network: torch.nn.Module) -> Callable[[], None]:
    """A step of a training but for the optimizer."""
    network.to(memory_format=torch.channels_last).train()
    images = torch.rand(BATCH, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    target = torch.arange(BATCH) % 10

    def run() -> None:
        network.zero_grad()
        F.cross_entropy(network(images).logits, target).backward()

    return run


def measure(first: Callable[[], None], second: Callable[[], None], turns: int) -> Iterator[tuple[float, float]]:
    """Seconds of both, turn by turn, after one turn to warm up."""
    for turn in range(turns + 1):
        times = []
        for run in (first, second):
            began = time.process_time()
            run()
            times.append(time.process_time() - began)
        if turn:
            yield times[0], times[1]


if __name__ == "__main__":
    main()
