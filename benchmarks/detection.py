"""Detection: what losses cost beside a training step, and a small distillation on images with boxes.

    OMP_NUM_THREADS=1 python benchmarks/detection.py cost
    OMP_NUM_THREADS=1 python benchmarks/detection.py train FOLDER --size 96 128 --epochs 12 --seeds 0

FOLDER holds images with boxes in any layout that ``data.load_boxes`` reads, with parts for validation and test or
without. The teacher is trained first, from random weights; then one student for each method and seed, from the weights
of the same seed. Figures are those of the test images after the last epoch.
"""

import argparse
import itertools
import json
import time
from pathlib import Path

import torch
from torch import nn

from persistill import metrics
from persistill.config import Data
from persistill.data import BoxAugmentation, Loader, load_boxes, measure_normalization
from persistill.losses import AT, CWD, ICKD, SEKD, FitNet, MethodContext
from persistill.losses.detection import FGD, MGD, PKD, BoxFeature, DenseKD, OnLevels
from persistill.models import DenseLevel, Detector, build
from persistill.structures import Objects, pack_objects, unpack_objects
from persistill.utils.progress import Silent

METHODS = {
    "alone": (),
    "kd": (DenseKD(),),
    "pkd": (PKD(),),
    "fgd": (FGD(objects=1.6e-3, background=8e-4, attention=8e-4, relation=8e-6, temperature=0.8),),
    "sekd": (OnLevels(loss=SEKD()),),
    "sekd in boxes": (OnLevels(loss=SEKD(), region="objects"),),
    "sekd + kd": (OnLevels(loss=SEKD()), DenseKD()),
}
COSTS = {
    "DenseKD": DenseKD(),
    "BoxFeature": BoxFeature(),
    "PKD": PKD(),
    "FGD": FGD(),
    "MGD": MGD(),
    "CWD": OnLevels(loss=CWD()),
    "AT": OnLevels(loss=AT()),
    "FitNet": OnLevels(loss=FitNet()),
    "ICKD": OnLevels(loss=ICKD()),
    "SEKD": OnLevels(loss=SEKD()),
    "SEKD in boxes": OnLevels(loss=SEKD(), region="objects"),
}


def cost(name: str) -> None:
    """Print the milliseconds of a step of a student, and of each loss on its outputs."""
    torch.manual_seed(0)
    none = torch.zeros(14, dtype=torch.bool)
    corner = 200 * torch.rand(14, 2)
    cells = Objects(torch.cat([corner, corner + 40], 1), torch.zeros(14, dtype=torch.int64), none, none)
    images, targets = torch.randn(4, 3, 240, 320), [cells] * 4
    student = build(name, 3, 3).train()
    with torch.no_grad():
        taught = build(name, 3, 3).eval()(images)

    def step() -> None:
        sum(student(images, targets).losses.values()).backward()

    print(f"{name}: a step takes {best(step):.0f} ms")
    target = pack_objects(targets)
    for label, loss in COSTS.items():
        output = student(images, targets)
        # Cut off from the network, whose own gradient is in the time of the step.
        levels = [
            DenseLevel(*(part.detach().requires_grad_() for part in level[:3]), level[3]) for level in output.levels
        ]
        maps = {name: level.detach().requires_grad_() for name, level in output.feature_maps.items()}
        output = output._replace(feature_maps=maps, levels=levels)
        module = loss.build(MethodContext(output, [taught], target))

        def term(module=module, output=output) -> None:
            module(output, [taught], target).total.backward(retain_graph=True)

        print(f"{label}: {best(term):.0f} ms")


def best(call, repeats: int = 3) -> float:
    """Milliseconds of the fastest of some calls."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return 1000 * min(seconds)


def train(student: Detector, loader: Loader, epochs: int, methods=(), teacher: Detector | None = None) -> float:
    """Train a detector; seconds of a step."""
    first = next(loader.epoch(0))
    with torch.no_grad():
        seen = [network(first.inputs["image"]) for network in (student.eval(), *([teacher] if teacher else ()))]
    student.train()
    context = MethodContext(seen[0], seen[1:], first.target)
    modules = nn.ModuleList(loss.build(context) for loss in methods)
    parameters = [*student.parameters(), *modules.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=1e-4)
    steps = epochs * len(loader)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, steps, pct_start=0.1)
    began = time.perf_counter()
    for batch in itertools.chain.from_iterable(loader.epoch(epoch) for epoch in range(epochs)):
        images = batch.inputs["image"]
        taught = []
        if teacher is not None:
            with torch.no_grad():
                taught = [teacher(images)]
        output = student(images, unpack_objects(batch.target))
        total = sum(output.losses.values())
        for module in modules:
            total = total + module(output, taught, batch).total
        optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(parameters, 10.0)
        optimizer.step()
        schedule.step()
    return (time.perf_counter() - began) / steps


@torch.no_grad()
def measure(detector: Detector, loader: Loader, classes: int) -> metrics.DetectionMatches:
    """Match what a detector finds."""
    detector.eval()
    found, truth = [], []
    for batch in loader.epoch(0):
        found += detector(batch.inputs["image"]).detections
        truth += unpack_objects(batch.target)
    return metrics.match_detections(found, truth, classes)


def distill(options: argparse.Namespace) -> None:
    """Train the teacher and all students; print the table and, as JSON, all figures."""
    size = tuple(options.size)
    read = load_boxes(Data(source=str(options.folder), size=size, resize="letterbox"), Silent())
    splits, classes = read.splits, len(read.splits.classes)
    for name, counts in read.counts.items():
        print(f"{name}: {counts.in_words()}")
    mean, std = measure_normalization(splits.train)
    common = {"batch_size": options.batch, "mean": mean, "std": std}
    test = Loader(splits.test, {}, **common, shuffle_seed=None)

    def batches(seed: int) -> Loader:
        return Loader(
            splits.train, {}, **common, shuffle_seed=seed, augment=(BoxAugmentation("flip", "scale"),), drop_last=True
        )

    torch.manual_seed(1000)
    teacher = build(options.teacher, 3, classes, size).train()
    began = time.perf_counter()
    train(teacher, batches(1000), options.epochs)
    matches = {"teacher": [measure(teacher, test, classes)]}
    report("teacher", 1000, matches["teacher"][0], time.perf_counter() - began)
    teacher.requires_grad_(requires_grad=False)
    results = [{"arm": "teacher", **metrics.coco_figures(matches["teacher"][0])}]
    for seed, (arm, methods) in itertools.product(options.seeds, METHODS.items()):
        if options.arms and arm not in options.arms:
            continue
        torch.manual_seed(seed)
        student = build(options.student, 3, classes, size).train()
        began = time.perf_counter()
        seconds = train(student, batches(seed), options.epochs, methods, teacher if methods else None)
        found = measure(student, test, classes)
        matches.setdefault(arm, []).append(found)
        report(arm, seed, found, time.perf_counter() - began)
        results.append({"arm": arm, "seed": seed, "seconds_per_step": seconds, **metrics.coco_figures(found)})
        if arm != "alone" and len(matches.get("alone", [])) == len(matches[arm]):
            gain = metrics.ap_difference(found, matches["alone"][-1], draws=200)["ap50"]
            value, low, high = (100 * number for number in gain)
            print(f"  AP50 over alone {value:+.1f} ({low:+.1f} to {high:+.1f})", flush=True)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1))


def report(arm: str, seed: int, found: metrics.DetectionMatches, seconds: float) -> None:
    """One line of the table."""
    figures = metrics.coco_figures(found)
    ap, ap50 = 100 * figures["ap"], 100 * figures["ap50"]
    print(f"{arm}, seed {seed}: AP {ap:.1f}, AP50 {ap50:.1f}, {seconds:.0f} s", flush=True)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("cost").add_argument("--student", default="fcos:timm/mobilenetv3_small_100")
    trained = commands.add_parser("train")
    trained.add_argument("folder", type=Path)
    trained.add_argument("--teacher", default="fcos-64:timm/resnet10t")
    trained.add_argument("--student", default="fcos-64:timm/mobilenetv3_small_050")
    trained.add_argument("--size", type=int, nargs=2, default=(120, 160))
    trained.add_argument("--epochs", type=int, default=20)
    trained.add_argument("--batch", type=int, default=8)
    trained.add_argument("--seeds", type=int, nargs="+", default=(0,))
    trained.add_argument("--arms", nargs="+", choices=[*METHODS])
    trained.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.command == "cost":
        cost(options.student)
    else:
        distill(options)


if __name__ == "__main__":
    main()
