"""What a TGD step costs beside a plain one, by the way in which its teachers are asked.

    python benchmarks/training.py [--quick] [--device cpu]

CIFAR-10 shapes: WRN-16-3 teachers, one on 3x32x32 images, one on 6x50x50 persistence images; WRN-16-1 student; batch
128. Images are whole: both teachers inside the graph, as in the published code; frozen teachers, asked at every step
about stored persistence images; stored features, in float16 and float32. Or they are cropped and flipped anew at every
step, and so are the persistence images: the time to make them is in the step, though a training makes them on another
thread. Medians over the steps, ratios within each turn, all ways in turn, in one run. With one thread, time is
processor time, so that other work on the machine is not in it; with more, or on a GPU, it is wall time.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from topology import real_images
from torch import Tensor, nn

from persistill.data import OnlineView, PersistenceView, augment, open_features, write_features
from persistill.data.views.online import ViewTransform
from persistill.losses import TGD
from persistill.models import build
from persistill.structures import Batch, ModelOutput, OutputField
from persistill.tasks import Classification
from persistill.training import Criterion, Frozen
from persistill.utils.units import counted

BATCH, IMAGES, ROUND = 128, 2048, 256
READS: frozenset[OutputField] = frozenset({"logits", "feature_maps"})
VIEWS = {
    "published": PersistenceView(),
    "small": PersistenceView(pixels=(32, 32), births=(0.0, 0.8), persistences=(0.0, 0.6), grid="tiled"),
}


class ImageDataset:
    """Images with their persistence images, in order, and any batch of them, as it is or augmented."""

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels
        self.target = torch.arange(len(pixels), device=pixels.device) % 10
        sample = pixels[:1].cpu().numpy()
        self.online = {
            name: OnlineView(ViewTransform(view, view.fit(sample), 1.0), (0.05,) * 6, (0.125,) * 6)
            for name, view in VIEWS.items()
        }
        self.stored = torch.cat([self.online["published"].compute(part) for part in pixels.split(ROUND)])
        self.generator = torch.Generator().manual_seed(0)

    def __len__(self) -> int:
        return len(self.pixels) // ROUND

    def epoch(self, number: int, start: int = 0):
        for index in torch.arange(len(self.pixels)).split(ROUND)[start:]:
            yield self.whole(index)

    def whole(self, index: Tensor) -> Batch:
        views = {"image": self.pixels[index] / 255 - 0.5, "published": (self.stored[index] - 0.05) / 0.125}
        return Batch(views, self.target[index], index)

    def moved(self, index: Tensor, *views: str) -> Batch:
        pixels, target = augment(self.pixels[index], self.target[index], ("crop", "flip"), 4, self.generator)
        online = {view: (self.online[view].compute(pixels) - 0.05) / 0.125 for view in views}
        return Batch({"image": pixels / 255 - 0.5, **online}, target, index)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="5 steps instead of 20")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    steps, device = 5 if options.quick else 20, torch.device(options.device)
    torch.manual_seed(0)
    pixels, source = real_images(IMAGES, "train")
    images = ImageDataset(torch.from_numpy(pixels).to(device))

    def teacher(name: str, channels: int) -> nn.Module:
        return build(name, channels, 10).to(device)

    live = [teacher("wrn-16-3", 3), teacher("wrn-16-3", 6)]
    image, topology, small = (
        Frozen(teacher(name, channels)) for name, channels in (("wrn-16-3", 3), ("wrn-16-3", 6), ("wrn-16-1", 6))
    )
    tgd, plain = (
        Criterion([TGD.published()], cross_entropy=0.1, task=Classification()),
        Criterion(task=Classification()),
    )
    student = build("wrn-16-1", 3, 10).to(device)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.01, momentum=0.9)

    def step(loss: Criterion, batch: Batch, taught: Sequence[ModelOutput] = ()) -> None:
        terms = loss.terms(student(batch.inputs["image"]), taught, batch)
        optimizer.zero_grad()
        loss.total(terms).backward()
        optimizer.step()

    def asked(batch: Batch, view: str, second: nn.Module) -> None:
        step(tgd, batch, [image(batch.inputs["image"]), second(batch.inputs[view])])

    with tempfile.TemporaryDirectory() as folder:
        stored, size = {}, {}
        for precision in ("half", "exact"):
            stored[precision], size[precision] = [], 0.0
            for view, network in (("image", image), ("published", topology)):
                place = Path(folder) / f"{precision}-{view}"
                place.mkdir()
                result = write_features(
                    place, images, IMAGES, lambda b, v=view, n=network: n(b.inputs[v]), READS, precision
                )
                stored[precision].append(open_features(place, result, device))
                size[precision] += result["bytes"] / IMAGES / 1000

        def read(index: Tensor, precision: str) -> None:
            step(tgd, images.whole(index), [features.fetch(index) for features in stored[precision]])

        def inside_the_graph(index: Tensor) -> None:
            batch = images.whole(index)
            step(tgd, batch, [live[0](batch.inputs["image"]), live[1](batch.inputs["published"])])

        ways: dict[str, Callable[[Tensor], object]] = {
            "plain step, no teacher": lambda i: step(plain, images.whole(i)),
            "TGD, teachers inside the graph (as published)": inside_the_graph,
            "TGD, frozen teachers": lambda i: asked(images.whole(i), "published", topology),
            "TGD, stored in float16": lambda i: read(i, "half"),
            "TGD, stored in float32": lambda i: read(i, "exact"),
            "plain step on crops and flips": lambda i: step(plain, images.moved(i)),
            "crops, flips and persistence images alone": lambda i: images.moved(i, "published"),
            "TGD on crops and flips": lambda i: asked(images.moved(i, "published"), "published", topology),
            "TGD on crops and flips, a small topology teacher": lambda i: asked(
                images.moved(i, "small"), "small", small
            ),
            "crops, flips and the image teacher's answer alone": lambda i: image(images.moved(i).inputs["image"]),
        }
        one = device.type == "cpu" and torch.get_num_threads() == 1
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(steps + 1):
            index = torch.randint(IMAGES, (BATCH,))
            for way, run in ways.items():
                began = time.process_time() if one else time.perf_counter()
                run(index)
                if device.type == "cuda":
                    torch.cuda.synchronize()
                if number > 0:  # the first round warms up
                    seconds[way].append((time.process_time() if one else time.perf_counter()) - began)
    base = seconds["plain step, no teacher"]
    kind = "processor time" if one else "wall time"
    threads = counted(torch.get_num_threads(), "thread")
    print(f"torch {torch.__version__}, {device}, {threads}, {kind}, median of {steps} steps")
    print(f"{source}; the small topology teacher is WRN-16-1 on 6x32x32\n")
    print("| step | ms | ratio to plain | stored an image |\n|---|---:|---:|---:|")
    for way, times in seconds.items():
        ratio = statistics.median(mine / plain for mine, plain in zip(times, base, strict=True))
        kilobytes = next((f"{size[p]:.0f} kB" for p, name in _NAMES.items() if way.endswith(name)), "")
        print(f"| {way} | {1000 * statistics.median(times):.0f} | {ratio:.2f} | {kilobytes} |")


_NAMES = {"half": "float16", "exact": "float32"}

if __name__ == "__main__":
    main()
