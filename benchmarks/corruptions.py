"""What a corrupted image costs, beside what a small network costs that looks at it, as a Markdown table.

    python benchmarks/corruptions.py            # about a minute
    python benchmarks/corruptions.py --quick    # some seconds, at 32 x 32 only

Milliseconds of processor time an image, one thread: the mean of the five severities, each the median of three turns.
Images are the two that ship with scikit-learn.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor
from torch.nn import functional as F

from persistill.models import build
from persistill.perturbations.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES, corrupt

TURNS = 3


def photographs(side: int, count: int) -> Tensor:
    images = torch.from_numpy(np.stack(load_sample_images().images)).permute(0, 3, 1, 2).float() / 255
    small = F.interpolate(images, size=(side, side), mode="area")
    return ((small * 255).round() / 255).repeat(count // 2, 1, 1, 1)


def milliseconds(work: Callable[[], object], count: int) -> float:
    work()
    taken = []
    for _ in range(TURNS):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return statistics.median(taken) / count * 1e3


def measured(name: str, images: Tensor) -> float:
    index = torch.arange(len(images))
    return statistics.mean(
        milliseconds(lambda severity=severity: corrupt(images, name, severity, 0, index), len(images))  # type: ignore[misc]
        for severity in SEVERITIES
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="at 32 x 32 only")
    torch.set_num_threads(1)
    sizes = {32: 100} if parser.parse_args().quick else {32: 500, 224: 2}
    images = {side: photographs(side, count) for side, count in sizes.items()}
    print("| corruption |" + "".join(f" {side} x {side} |" for side in sizes))
    print("|---|" + "---:|" * len(sizes))
    names = (*CORRUPTIONS, *EXTRA_CORRUPTIONS)
    costs = {name: [measured(name, of) for of in images.values()] for name in names}
    for name, row in costs.items():
        print(f"| {name} |" + "".join(f" {cost:.3f} |" for cost in row), flush=True)
    print(
        "| mean of all |" + "".join(f" {statistics.mean(column):.3f} |" for column in zip(*costs.values(), strict=True))
    )
    network = build("wrn-16-1", 3, 10, (32, 32)).eval()
    with torch.inference_mode():
        looked = milliseconds(lambda: network(images[32]), len(images[32]))
    print(f"| WRN-16-1, forward | {looked:.3f} |" + " |" * (len(sizes) - 1))


if __name__ == "__main__":
    main()
