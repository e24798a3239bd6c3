"""How strongly each term of a method pulls at the start, beside the labels: what its weights are chosen by.

    python benchmarks/balance.py RUNS/teacher-image-KEY --student wrn-16-1 --method SEKD [--set masks=none form=heat]

Takes a trained teacher's run folder, with the data of its recipe, and new students of three seeds, in training mode, on
one batch each. Prints the norm of each unweighted term's gradient on the student's last map over that of the
cross-entropy, and the same with the method's weights.
"""

import argparse
import statistics
from pathlib import Path

import torch
from torch import Tensor

from persistill import losses
from persistill.config import Data
from persistill.data import Loader, load
from persistill.losses import MethodContext
from persistill.models import build
from persistill.models import load as load_network
from persistill.run_folder import RunFolder
from persistill.structures import ModelOutput
from persistill.tasks import Classification
from persistill.training import Criterion

SEEDS = (0, 1, 2)


def norms(objective: Criterion, seen: ModelOutput, terms: dict[str, Tensor]) -> dict[str, float]:
    """Each term's gradient norm on the last map over that of the cross-entropy."""
    last = list(seen.feature_maps.values())[-1]
    found = {}
    for name, value in terms.items():
        (gradient,) = torch.autograd.grad(value, last, retain_graph=True, allow_unused=True)
        found[name] = 0.0 if gradient is None else gradient.norm().item()
    return {name: found[name] / found["ce"] for name in objective.weights}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("teacher", type=Path, help="its run folder")
    parser.add_argument("--student", default="wrn-16-1")
    parser.add_argument("--method", default="SEKD")
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--batch", type=int, default=128)
    options = parser.parse_args()
    spec = getattr(losses, options.method)()
    for change in options.set:
        spec = spec.with_value(*change.split("=", 1))
    used = [spec]

    run = RunFolder.open(options.teacher)
    splits = load(Data.from_json(run.about["context"]["recipe"]["data"]))
    teacher, _ = load_network(run.file("model.safetensors"))
    teacher.eval()
    loader = Loader(
        splits.train,
        {},
        batch_size=options.batch,
        mean=tuple(run.inputs["mean"]),
        std=tuple(run.inputs["std"]),
        shuffle_seed=0,
        device=torch.device("cpu"),
    )
    ratios: dict[str, list[float]] = {}
    for seed, batch in zip(SEEDS, loader.epoch(0), strict=False):
        torch.manual_seed(seed)
        images = batch.inputs["image"]
        student = build(options.student, images.shape[1], len(splits.classes), tuple(images.shape[2:])).train()
        with torch.no_grad():
            taught = [teacher(images)]
        seen = student(images)
        criterion = Criterion(used, contexts=[MethodContext(seen, taught, splits.train.targets)], task=Classification())
        for name, ratio in norms(criterion, seen, criterion(seen, taught, batch).terms).items():
            ratios.setdefault(name, []).append(ratio)
    print(f"{run.inputs['model']} -> {options.student}, {spec}")
    print()
    print("| term | gradient, unweighted | weight | weighted |")
    print("|---|--:|--:|--:|")
    for name, values in ratios.items():
        mean, weight = statistics.mean(values), criterion.weights[name]
        print(f"| {name} | {mean:.3g} ({min(values):.3g} to {max(values):.3g}) | {weight:g} | {weight * mean:.2f} |")


if __name__ == "__main__":
    main()
