"""Files that were changed since they were written: each is read, or refused with a sentence; never a fault.

Each function changes one file of a finished run, an export or a folder of images, and reads it as the commands do.
"""

import contextlib
import io
import json
import random
import shutil
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from mutations import dumped, mutated, mutated_bytes, sign
from PIL import Image

from persistill import models
from persistill.config import Data
from persistill.data.sources.registry import open_source
from persistill.errors import UserError
from persistill.inference import load
from persistill.inference.image_files import UnreadableImage, read_file
from persistill.run_folder import RunFolder
from persistill.utils.preprocessing import DEFAULT
from persistill.utils.strict_json import decode_json

_ABOUT = {"classes": list("abc"), "mean": [0.5], "std": [0.25], "shape": [1, 8, 8], "view": "image"}
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")


@contextlib.contextmanager
def _refused_by_name(path: Path) -> Iterator[None]:
    """What a user's error inside says names the path; anything else that is raised is a fault."""
    try:
        yield
    except UserError as error:
        assert str(path) in str(error), error


def json_text(draw: random.Random, place: Path) -> int:
    """Bytes that may be JSON."""
    content = draw.choice(_TEXTS)
    try:
        decode_json(mutated_bytes(content, draw) if draw.random() < 0.8 else bytes(draw.choices(range(256), k=9)))
    except ValueError as error:
        assert str(error)
    return 1


_TEXTS = (
    b'{"a": [1, 2.5, null, true, "x\\u00e9"], "b": {"c": -1e-3}}',
    b"[" * 50 + b"]" * 50,
    b'{"k": "\\ud83d\\ude00"}',
)


def run_folders(draw: random.Random, place: Path) -> int:
    """Any JSON file of a finished run, with its hashes right again or not: opened, its result, its log, its files."""
    source = draw.choice(_json_files(place / "runs"))
    folder = place / "changed" / source.parent.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("run.json", "done.json", "files.json", "log.jsonl"):
        if (source.parent / name).is_file():
            shutil.copyfile(source.parent / name, folder / name)
    path = folder / source.name
    if path.suffix == ".jsonl":
        lines = path.read_bytes().splitlines()
        number = draw.randrange(len(lines))
        lines[number] = dumped(mutated(json.loads(lines[number]), draw)).replace(b"\n", b"")
        path.write_bytes(b"\n".join(lines))
    elif draw.random() < 0.85:
        path.write_bytes(dumped(mutated(json.loads(path.read_bytes()), draw)))
    else:
        path.write_bytes(mutated_bytes(path.read_bytes(), draw))
    if draw.random() < 0.8:
        sign(folder)
    with _refused_by_name(folder):
        run = RunFolder.open(folder)
        for read in (run.result, run.records, run.digest, run.built_on, run.verify):
            with _refused_by_name(folder):
                json.dumps(read(), allow_nan=False)
    return 1


@cache
def _json_files(root: Path) -> list[Path]:
    return sorted(
        [*root.glob("*/run.json"), *root.glob("*/done.json"), *root.glob("*/files.json"), *root.glob("*/*.jsonl")]
    )


def weights(draw: random.Random, place: Path) -> int:
    """``model.safetensors``: its header as JSON, or its bytes."""
    content = _weights()
    path = place / "changed.safetensors"
    if draw.random() < 0.6:
        size = int.from_bytes(content[:8], "little")
        whole = json.loads(content[8 : 8 + size])
        inner = json.loads(whole["__metadata__"]["persistill"])
        if draw.random() < 0.8:
            whole["__metadata__"]["persistill"] = dumped(mutated(inner, draw)).decode("utf-8", "surrogatepass")
        else:
            whole = mutated(whole, draw)
        header = dumped(whole)
        path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + size :])
    else:
        path.write_bytes(mutated_bytes(content, draw))
    with _refused_by_name(path):
        student = load(path)
        student.predict_pixels(np.zeros((1, *student.shape), np.uint8))
    return 1


@cache
def _weights() -> bytes:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        network = models.build("resnet-8", 1, 3)
    target = io.BytesIO()

    class Memory:
        """As much of a path as ``save`` needs."""

        def write_bytes(self, content: bytes) -> None:
            target.write(content)

    memory: Any = Memory()
    models.save(network, memory, {**_ABOUT, "temperature": 1.5})
    return target.getvalue()


def onnx_metadata(draw: random.Random, place: Path) -> int:
    """The metadata of ``model.onnx``. (Its graph is ONNX Runtime's to read.)"""
    import onnx

    config = json.loads((_export(place / "runs") / "model.json").read_bytes())
    model = onnx.ModelProto.FromString((_export(place / "runs") / "model.onnx").read_bytes())
    text = dumped(mutated(config, draw)) if draw.random() < 0.85 else mutated_bytes(dumped(config), draw)
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = "persistill", text.decode("utf-8", "replace")
    path = place / "changed.onnx"
    path.write_bytes(model.SerializeToString())
    with _refused_by_name(path):
        student = load(path)
        student.predict_pixels(np.zeros((1, *student.shape), np.uint8))
    return 1


@cache
def _export(root: Path) -> Path:
    return min(root.glob("export-*"))


def images(draw: random.Random, place: Path) -> int:
    """An image file of any format that is read, changed: pixels, or why not."""
    path = place / "changed.img"
    path.write_bytes(mutated_bytes(_image(draw.choice(_FORMATS), draw.choice(("L", "RGB"))), draw))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = read_file([path], (3, 6, 6), DEFAULT, 0)
    assert found.reason if isinstance(found, UnreadableImage) else found[0].shape == (3, 6, 6)
    return 1


@cache
def _image(kind: str, mode: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    target = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(target, kind)
    return target.getvalue()


def tables(draw: random.Random, place: Path) -> int:
    """A Parquet table of images, changed in its bytes or in its columns: a source, or a sentence."""
    folder = place / "table"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path = folder / "train.parquet"
    if draw.random() < 0.5:
        path.write_bytes(mutated_bytes(_table(), draw))
    else:
        rows = draw.randint(0, 5)
        png = _image("PNG", "L")
        image = draw.choice(
            ([{"bytes": png, "path": None}], [{"bytes": None, "path": "../x"}], [png], [None], ["a.png"])
        )
        label = draw.choice(([0, 1], [-1, 0], ["a", "b"], [None, 1], [0.5, 1.5], [True, False], [[0], [1]], [2**40, 0]))
        name = draw.choice(("label", "class", "image", ""))
        columns = {"image": (image * 5)[:rows], name: (label * 3)[:rows]}
        table = pa.table({key: pa.array(value) for key, value in columns.items()})
        metadata = draw.choice((b"{", b'{"info": 3}', b'{"info": {"features": {"label": {"names": ["a", "a"]}}}}'))
        pq.write_table(table.replace_schema_metadata({b"huggingface": metadata}), path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _refused_by_name(folder):
            open_source(Data(source=str(folder)))
    return 1


@cache
def _table() -> bytes:
    target = io.BytesIO()
    rows = [{"bytes": _image("PNG", "L"), "path": None}] * 6
    pq.write_table(pa.table({"image": pa.array(rows), "label": pa.array([0, 1, 0, 1, 0, 1])}), target)
    return target.getvalue()


CASES = {
    "JSON": json_text,
    "run folders": run_folders,
    "weights": weights,
    "ONNX metadata": onnx_metadata,
    "images": images,
    "Parquet": tables,
}
