"""The script beside an export reads images of every kind as training does."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from persistill.exporters import CLASSIFY
from persistill.inference import load
from persistill.utils.preprocessing import Preprocessing

CLASSES = 7


def linear(path, shape, preprocessing):
    """A file whose logits depend on every pixel."""
    weight = np.random.default_rng(0).normal(size=(int(np.prod(shape)), CLASSES)).astype(np.float32)
    nodes = [helper.make_node("Flatten", ["image"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["logits"])]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    about = {
        "classes": [f"c{i}" for i in range(CLASSES)],
        "input": {"shape": ["batch", *shape], "preprocessing": preprocessing.to_json()},
        "temperature": 2.0,
    }
    helper.set_model_props(model, {"persistill": json.dumps(about)})
    onnx.save(model, path)


def kinds(folder):
    """An image of every kind that people have, of another size than the network's."""
    draw = np.random.default_rng(1)
    small = draw.integers(0, 256, (5, 7, 4), dtype=np.uint8)
    color = Image.fromarray(small).resize((34, 21), Image.Resampling.BICUBIC)
    deep = Image.fromarray(np.asarray(color.convert("L")).astype(np.uint16) * 16)
    palette = color.convert("RGB").quantize(16)
    images = {mode: color.convert(mode) for mode in ("RGB", "L", "LA", "RGBA", "1")}
    files = [folder / f"{mode}.png" for mode in images]
    for mode, image in images.items():
        image.save(folder / f"{mode}.png")
    deep.save(folder / "I;16.png")
    palette.save(folder / "P.png", transparency=3)
    color.convert("CMYK").save(folder / "CMYK.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    color.convert("RGB").save(folder / "turned.jpg", exif=exif)
    return [*files, *(folder / name for name in ("I;16.png", "P.png", "CMYK.jpg", "turned.jpg"))]


@pytest.mark.parametrize(
    ("shape", "preprocessing"),
    [
        ((3, 16, 16), Preprocessing()),
        ((1, 12, 20), Preprocessing("letterbox", (0.0, 4095.0))),
    ],
    ids=["color", "gray"],
)
def test_the_script_answers_as_predict_does_for_every_kind_of_image(tmp_path, shape, preprocessing):
    linear(tmp_path / "model.onnx", shape, preprocessing)
    (tmp_path / "classify.py").write_text(CLASSIFY.script_text)
    files = kinds(tmp_path)
    found = subprocess.run(
        [sys.executable, "-W", "error", tmp_path / "classify.py", *files], capture_output=True, text=True, check=True
    )
    expected = load(tmp_path).predict(files)
    lines = [line.rsplit(maxsplit=2) for line in found.stdout.splitlines()]
    assert [file for file, _, _ in lines] == [str(file) for file in files]
    assert [name for _, name, _ in lines] == [one.name for one in expected]
    assert [float(share.rstrip("%")) / 100 for _, _, share in lines] == pytest.approx(
        [one.confidence for one in expected], abs=1e-3
    )
    assert len({one.confidence for one in expected}) >= 8  # the kinds differ


@pytest.fixture
def script(tmp_path):
    """Call the script with some arguments, in the folder of its files."""
    linear(tmp_path / "model.onnx", (3, 8, 8), Preprocessing())
    (tmp_path / "classify.py").write_text(CLASSIFY.script_text)
    Image.new("RGB", (9, 8), "red").save(tmp_path / "red.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "red.png").read_bytes()[:40])

    def call(*arguments):
        return subprocess.run(  # noqa: PLW1510 - tests look at the exit code
            [sys.executable, "-W", "error", "classify.py", *arguments], cwd=tmp_path, capture_output=True, text=True
        )

    return call


def test_the_script_says_how_it_is_used(script):
    bare, asked = script(), script("--help")
    assert (bare.returncode, bare.stdout, bare.stderr) == (2, "", "usage: python classify.py IMAGE...\n")
    assert (asked.returncode, asked.stdout, asked.stderr) == (0, bare.stderr, "")


def test_the_script_names_what_it_cannot_read_and_goes_on(script):
    found = script("broken.png", "nowhere.png", "red.png")
    assert found.returncode == 3
    assert [line.split()[0] for line in found.stdout.splitlines()] == ["red.png"]
    assert [line.split(" (")[0] for line in found.stderr.splitlines()] == [
        "Left out: broken.png",
        "Left out: nowhere.png",
    ]
    assert script("nowhere.png").returncode == 2


def test_the_script_contains_the_code_of_training_and_nothing_of_this_package():
    assert "Image.alpha_composite" in CLASSIFY.script_text
    assert CLASSIFY.script_text.count("persistill") == 1  # the key of the metadata
    compile(CLASSIFY.script_text, "classify.py", "exec")
