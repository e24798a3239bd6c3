"""Small made-up images, alone, in folders, and in Parquet files in the Hugging Face layout."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from persistill.data import StreamedDataset

SUFFIX = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "BMP": "bmp", "TIFF": "tif"}


def make_image(seed: int, size: tuple[int, int] = (6, 5), mode: str = "RGB") -> Image.Image:
    """A random image of (width, height)."""
    random = np.random.default_rng(seed)
    channels = {"L": (), "RGB": (3,), "RGBA": (4,), "LA": (2,)}[mode]
    return Image.fromarray(random.integers(0, 256, (size[1], size[0], *channels), dtype=np.uint8))


def array(image: Image.Image) -> np.ndarray:
    """(C, H, W) of an image."""
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}), **options)
    return buffer.getvalue()


def write_folder(folder: Path, counts: Mapping[str, int], kind: str = "PNG", seed: int = 0, **options: Any) -> Path:
    """``counts``: class (or "train/class") -> number of images."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            seed += 1
            (folder / name / f"{i}.{SUFFIX[kind]}").write_bytes(encoded(make_image(seed, **options), kind))
    return folder


def write_parquet(
    file: Path,
    images: Sequence[bytes | None],
    labels: Mapping[str, Sequence[Any]],
    names: Mapping[str, Sequence[str]] | None = None,
    paths: Sequence[str] | None = None,
) -> Path:
    """``names``: class names of columns; None to leave out what ``datasets`` notes in the schema."""
    file.parent.mkdir(parents=True, exist_ok=True)
    paths = paths or [f"{i}.png" for i in range(len(images))]
    rows = [{"bytes": data, "path": path} for data, path in zip(images, paths, strict=True)]
    layout = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"img": pa.array(rows, layout), **{name: list(values) for name, values in labels.items()}})
    if names is not None:
        features: dict[str, Any] = {"img": {"_type": "Image"}}
        for name in labels:
            features[name] = (
                {"names": list(names[name]), "_type": "ClassLabel"}
                if name in names
                else {"dtype": str(table.schema.field(name).type), "_type": "Value"}
            )
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, file)
    return file


class FileRows:
    """A part of a source, for tests of what reads it."""

    def __init__(self, folder: Path, count: int) -> None:
        self.files = []
        for i in range(count):
            self.files.append(folder / f"{i}.png")
            self.files[-1].write_bytes(encoded(make_image(i)))
        self.targets = np.arange(count) % 3

    def open(self, row: int) -> Image.Image:
        return Image.open(self.files[row])

    def name(self, row: int) -> str:
        return self.files[row].name

    def length(self, row: int) -> int:
        return self.files[row].stat().st_size


def streamed(folder: Path, count: int) -> StreamedDataset:
    return StreamedDataset(FileRows(folder, count), np.arange(count), (3, 5, 6))
