"""How much the rules of weighted and learned TGD trust the second of two teachers, from their stored answers.

    python benchmarks/evaluation.py RUNS image topology-fitted

RUNS holds the finished runs of a recipe that stores its teachers (tgd_cifar10_small). The learned rule is trained as
there: 12 epochs of batches of 128, SGD at 0.1 with momentum 0.9 and weight decay 5e-4.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from persistill.config import Data
from persistill.data import load
from persistill.losses import confidence_weights, mixture_cross_entropy
from persistill.losses.tgd.learned_tgd import LearnedTGD, Trust
from persistill.run_folder import RunFolder, find

ALPHAS = ((0.5, 0.5), (0.9, 0.1))


def learned(logits: list[Tensor], target: Tensor, alphas: tuple[float, float]) -> Trust:
    """The rule after its training."""
    torch.manual_seed(0)
    trust, anchor = Trust(alphas), LearnedTGD().anchor
    optimizer = torch.optim.SGD(trust.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    for _ in range(12):
        for chosen in torch.randperm(len(target)).split(128):
            log_weights = trust([z[chosen] for z in logits])
            loss = mixture_cross_entropy([z[chosen] for z in logits], target[chosen], log_weights)
            loss = loss + anchor * (trust.prior * (trust.prior.log() - log_weights)).sum(0).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return trust


def row(rule: str, alphas: tuple[float, float], weights: Tensor) -> str:
    """A line of the table."""
    low, high = weights.quantile(torch.tensor([0.1, 0.9])).tolist()
    return f"| {rule} | {alphas} | {weights.mean().item():.3f} | {low:.3f} to {high:.3f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("teachers", nargs=2)
    options = parser.parse_args()
    folders: list[RunFolder] = []
    for name in options.teachers:
        folders += find(options.runs, lambda run, name=name: run.kind == "features" and run.name == name)[-1:]
    if len(folders) != 2:
        parser.error(f"{options.runs} holds no stored answers of {' or '.join(options.teachers)}")
    target = load(Data.from_json(folders[0].about["context"]["recipe"]["data"])).train.targets
    logits = [torch.from_numpy(np.load(folder.file("logits.npy"))).float() for folder in folders]
    right = [(z.argmax(1) == target).float().mean().item() for z in logits]
    print(f"{len(target)} training images; right: {', '.join(f'{100 * share:.1f} %' for share in right)}")
    print()
    print(f"| rule | alphas | weight of {options.teachers[1]}, mean | 10 % to 90 % of images |")
    print("|---|---|--:|--:|")
    for alphas in ALPHAS:
        for temperature in (1.0, 4.0):
            weights = confidence_weights(logits, target, alphas, temperature)[1]
            print(row(f"confidence at {temperature:g}", alphas, weights))
        trust = learned(logits, target, alphas)
        with torch.no_grad():
            print(row(f"learned, s = {trust.slope.item():.2f}", alphas, trust(logits).exp()[1]))


if __name__ == "__main__":
    main()
