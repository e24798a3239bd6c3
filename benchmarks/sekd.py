"""What SEKD adds to a step as channels grow, beside a plain step of a student with that many.

    python benchmarks/sekd.py [--batch 128] [--device cpu]
    python benchmarks/sekd.py --masks RUNS/teacher-image-KEY

32x32 images. The terms are computed on random maps of the teacher's last stage, forward and backward down to the
student's map; the plain step is that of the student in its row. Median of five in turns; processor time on a CPU, wall
time on a GPU. Memory is what the terms keep for their backward pass.

With --masks: on how many channels of a trained teacher's last map the attention masks lie, on one batch of its recipe's
training images.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from persistill.config import Data
from persistill.data import Loader, load
from persistill.losses import SEKD, MethodContext, attention_masks
from persistill.models import build
from persistill.models import load as load_network
from persistill.run_folder import RunFolder
from persistill.structures import Batch, ModelOutput
from persistill.tasks import Classification
from persistill.training import Criterion
from persistill.utils.units import counted

PAIRS = (("wrn-16-1", 128), ("resnet-8x4", 256), ("vgg-8", 512))
VARIANTS = (
    ("mean graph", SEKD()),
    ("heat", SEKD(form="heat")),
    ("projector", SEKD(form="projector")),
    ("graph of each", SEKD(spectral_graph="each")),
)
CLASSES = 10


def masks(folder: Path, batch_size: int) -> None:
    """Print how far both kinds of masks spread."""
    run = RunFolder.open(folder)
    teacher, _ = load_network(run.file("model.safetensors"))
    loader = Loader(
        load(Data.from_json(run.about["context"]["recipe"]["data"])).train,
        {},
        batch_size=batch_size,
        mean=tuple(run.inputs["mean"]),
        std=tuple(run.inputs["std"]),
        shuffle_seed=0,
        device=torch.device("cpu"),
    )
    with torch.no_grad():
        maps = list(teacher.eval()(next(iter(loader.epoch(0))).inputs["image"]).feature_maps.values())[-1]
    for relative in (False, True):
        shares = attention_masks(maps, relative=relative).channels / maps.shape[1]
        count = (1 / shares.square().sum(1)).mean().item()
        print(
            f"{'relative' if relative else 'fgd'}: as if on {count:.1f} of {maps.shape[1]} channels, "
            f"largest weight {shares.max().item() * maps.shape[1]:.0f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--masks", type=Path, metavar="TEACHER")
    options = parser.parse_args()
    if options.masks:
        masks(options.masks, options.batch)
        return
    device = torch.device(options.device)
    target = torch.arange(options.batch, device=device) % CLASSES
    batch = Batch({}, target, torch.arange(options.batch, device=device))

    def now() -> float:
        if device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize(device)
        return time.perf_counter()

    def plain(student: torch.nn.Module, images: torch.Tensor) -> float:
        begun = now()
        F.cross_entropy(student(images).logits, target).backward()
        return now() - begun

    def loss_of(criterion: Criterion, seen: ModelOutput, taught: ModelOutput) -> tuple[float, int]:
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        begun = now()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            total = criterion(seen, [taught], batch).total
        total.backward()
        return now() - begun, sum(kept.values())

    threads = counted(torch.get_num_threads(), "thread")
    print(f"torch {torch.__version__}, {options.device}, {threads}, batch {options.batch}")
    print()
    names = " | ".join(name for name, _ in VARIANTS)
    print(f"| student, plain step | channels of the teacher | {names} | memory, mean graph |")
    print("|---|--:|" + "--:|" * (len(VARIANTS) + 1))
    for name, channels in PAIRS:
        torch.manual_seed(0)
        student = build(name, 3, CLASSES).to(device).train()
        images = torch.randn(options.batch, 3, 32, 32, device=device)
        with torch.no_grad():
            features = student(images)
        last = list(features.feature_maps)[-1]
        shape = features.feature_maps[last].shape
        taught = ModelOutput(
            features.logits, features.embedding, {last: torch.randn(shape[0], channels, *shape[2:], device=device)}
        )
        seen = features._replace(feature_maps={last: features.feature_maps[last].detach().requires_grad_()})
        context = MethodContext(seen, [taught], target)
        criteria = [
            Criterion([loss], cross_entropy=0.0, contexts=[context], task=Classification()).to(device)
            for _, loss in VARIANTS
        ]
        steps, times, memory = list[float](), [list[float]() for _ in VARIANTS], [0 for _ in VARIANTS]
        for number in range(6):
            taken = [plain(student, images)]
            for position, criterion in enumerate(criteria):
                seconds, memory[position] = loss_of(criterion, seen, taught)
                taken.append(seconds)
            if number:  # the first is warm-up
                for series, seconds in zip([steps, *times], taken, strict=True):
                    series.append(seconds)
        step = statistics.median(steps)
        cells = " | ".join(
            f"{1e3 * statistics.median(series):.0f} ms, {100 * statistics.median(series) / step:.0f} %"
            for series in times
        )
        print(f"| {name}, {1e3 * step:.0f} ms | {channels} | {cells} | {memory[0] / 1e6:.0f} MB |", flush=True)


if __name__ == "__main__":
    main()
