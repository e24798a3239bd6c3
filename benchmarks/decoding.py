"""Photographs to batches of 224 x 224: images a second, beside torchvision's DataLoader and timm's.

    python benchmarks/decoding.py [--quick]

Real photographs (Pascal VOC) are enlarged to two sizes, that of most of ImageNet's and that of a telephone's, and saved
as JPEG in class folders. All readers do the same: decode, scale until the shorter side is 224 (bicubic, antialiased),
crop the center, and normalize batches of 64. persistill decodes in as many threads as the machine has cores, the
others in as many processes. The same images are read from tar files, from Parquet files in place, and from the cache
of decoded ones (data.cache=resized). Readers take turns in one run, each an epoch after one that is not counted;
figures are medians, and ratios are medians of the ratios within a turn, in wall-clock time.

Then ways to decode alone, with one thread: Pillow, Pillow's draft mode, which decodes JPEG at a half, a quarter or an
eighth of its size where that still covers the frame, and torchvision's decode_jpeg, with how far their pixels are from
Pillow's after the same resizing.
"""

import argparse
import io
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image, ImageOps
from timm.data import create_dataset, create_loader
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.io import decode_jpeg
from torchvision.transforms import InterpolationMode

from persistill.config import Data
from persistill.data import Loader, Splits, keep_resized, load, splits_reader
from persistill.utils.progress import Silent

SHARED = Path(os.environ.get("PERSISTILL_SHARED", Path(__file__).resolve().parents[2] / "shared"))
SIDE, BATCH = 224, 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WORKERS = os.cpu_count() or 1


def photographs(count: int, longest: int) -> Iterator[bytes]:
    """Photographs as JPEG, their longer side as long as asked for."""
    for batch in pq.ParquetFile(SHARED / "data" / "voc07" / "train.parquet").iter_batches(count, columns=["img"]):
        for row in batch.column(0).to_pylist():
            image = Image.open(io.BytesIO(row["bytes"])).convert("RGB")
            scale = longest / max(image.size)
            out = io.BytesIO()
            image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC).save(
                out, "JPEG", quality=90
            )
            yield out.getvalue()
        return


def write(root: Path, images: Sequence[bytes]) -> None:
    """The same images as class folders, tar files and Parquet."""
    for name in ("a", "b"):
        (root / "folder" / name).mkdir(parents=True)
    (root / "tar").mkdir()
    (root / "parquet").mkdir()
    with tarfile.open(root / "tar" / "train-000.tar", "w") as archive:
        for i, data in enumerate(images):
            (root / "folder" / "ab"[i % 2] / f"{i:05d}.jpg").write_bytes(data)
            for ending, content in (("jpg", data), ("cls", b"01"[i % 2 : i % 2 + 1])):
                member = tarfile.TarInfo(f"{i:05d}.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    layout = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    column = pa.array([{"bytes": data, "path": None} for data in images], layout)
    table = pa.table({"image": column, "label": [i % 2 for i in range(len(images))]})
    pq.write_table(table, root / "parquet" / "train-000.parquet", row_group_size=100)


def ours(splits: Splits) -> Callable[[], int]:
    """An epoch of a loader of persistill."""
    loader = Loader(splits.train, {}, batch_size=BATCH, mean=MEAN, std=STD, shuffle_seed=0)
    epochs = iter(range(1, 1000))
    return lambda: sum(len(batch.target) for batch in loader.epoch(next(epochs)))


def theirs(loader: DataLoader) -> Callable[[], int]:
    """An epoch of a loader of (uint8 images, classes)."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))

    def epoch() -> int:
        count = 0
        for images, _ in loader:
            count += len((images.float() / 255 - mean) / std)
        return count

    return epoch


def readers(root: Path) -> dict[str, Callable[[], int]]:
    """All readers of one set, by name."""
    resize = transforms.Resize(SIDE, InterpolationMode.BICUBIC, antialias=True)
    transform = transforms.Compose([resize, transforms.CenterCrop(SIDE), transforms.PILToTensor()])
    options = {"batch_size": BATCH, "num_workers": WORKERS, "shuffle": True, "persistent_workers": True}
    splits_reader.MEMORY_LIMIT = 0
    settings = {"size": (SIDE, SIDE), "validation": 2, "test": 2}
    folder = load(Data(source=str(root / "folder"), **settings))
    dataset = create_dataset("", str(root / "folder"))
    timm_loader = create_loader(
        dataset, (3, SIDE, SIDE), BATCH, use_prefetcher=False, interpolation="bicubic", crop_pct=1.0, mean=MEAN,
        std=STD, num_workers=WORKERS, persistent_workers=True,
    )  # fmt: skip
    return {
        "torchvision ImageFolder, DataLoader": theirs(
            DataLoader(ImageFolder(str(root / "folder"), transform), **options)
        ),
        "timm create_loader": lambda: sum(len(images) for images, _ in timm_loader),
        "persistill, folder": ours(folder),
        "persistill, tar files": ours(load(Data(source=str(root / "tar"), **settings))),
        "persistill, Parquet in place": ours(load(Data(source=str(root / "parquet"), parquet="in_place", **settings))),
        "persistill, data.cache=resized": ours(keep_resized(folder, root, Silent())),
    }


def compare(title: str, images: Sequence[bytes], turns: int) -> None:
    """Print images a second of all readers."""
    size = Image.open(io.BytesIO(images[0])).size
    print(f"\n{title}: {len(images)} JPEG images of about {size[0]} x {size[1]}, {WORKERS} threads or processes\n")
    with tempfile.TemporaryDirectory() as root:
        write(Path(root), images)
        epochs = readers(Path(root))
        speeds: dict[str, list[float]] = {name: [] for name in epochs}
        for turn in range(turns + 1):
            for name, epoch in epochs.items():
                begun = time.perf_counter()
                count = epoch()
                if turn:
                    speeds[name].append(count / (time.perf_counter() - begun))
        first = next(iter(speeds.values()))
        print("| reader | images a second | to torchvision's |\n|---|---:|---:|")
        for name, found in speeds.items():
            ratio = statistics.median(one / other for one, other in zip(found, first, strict=True))
            print(f"| {name} | {statistics.median(found):,.0f} | {ratio:.2f} |")


def pillow(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def drafted(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    scale = SIDE / min(image.size)
    image.draft("RGB", (round(image.width * scale), round(image.height * scale)))
    return image.convert("RGB")


def torchvision_jpeg(data: bytes) -> Image.Image:
    tensor = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    return Image.fromarray(tensor.permute(1, 2, 0).numpy())


def decoders(title: str, images: Sequence[bytes], turns: int) -> None:
    """Print what ways of decoding take, resizing included, and how their pixels differ."""
    torch.set_num_threads(1)
    ways = {"Pillow": pillow, "Pillow, draft mode": drafted, "torchvision.io.decode_jpeg": torchvision_jpeg}
    times: dict[str, list[float]] = {name: [] for name in ways}
    pixels: dict[str, np.ndarray] = {}
    for _ in range(turns):
        for name, decode in ways.items():
            begun = time.thread_time()
            framed = [ImageOps.fit(decode(data), (SIDE, SIDE), Image.Resampling.BICUBIC) for data in images]
            times[name].append((time.thread_time() - begun) / len(images))
            pixels[name] = np.stack([np.asarray(image) for image in framed]).astype(int)
    print(f"\n{title}, one thread, processor time\n")
    print("| decoder | ms an image | speed | mean difference of 8-bit values | largest |\n|---|---:|---:|---:|---:|")
    for name, found in times.items():
        ratio = statistics.median(one / other for one, other in zip(times["Pillow"], found, strict=True))
        off = np.abs(pixels[name] - pixels["Pillow"])
        print(f"| {name} | {1000 * statistics.median(found):.2f} | {ratio:.2f} | {off.mean():.2f} | {off.max()} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer images, one turn")
    quick = parser.parse_args().quick
    turns = 1 if quick else 3
    for title, longest, count in (("ImageNet's size", 500, 600), ("A telephone's size", 3000, 64)):
        images = list(photographs(count // 4 if quick else count, longest))
        compare(title, images, turns)
        decoders(title, images[: 16 if quick else 64], turns)


if __name__ == "__main__":
    main()
