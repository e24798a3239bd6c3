"""An exported ONNX file is asked without torch, and answers bit for bit as with it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from persistill.config import Data
from persistill.data import load
from persistill.exporters import FORMATS, export_student
from persistill.exporters.onnx_file import open_session
from persistill.inference import Predictor, predictor
from persistill.models import build

HEAVY = {"torch", "torchvision", "timm", "numba", "matplotlib", "sklearn", "datasets"}
MODES = {"L": "png", "RGB": "png", "RGBA": "png", "P": "png", "I;16": "png", "LA": "png", "JPEG": "jpg"}


@pytest.fixture(scope="module", params=[1, 3], ids=["gray", "color"])
def exported(request, tmp_path_factory) -> Path:
    """A student of images of 8 x 12 with one or three channels."""
    folder = tmp_path_factory.mktemp("student")
    torch.manual_seed(3)
    channels = request.param
    images = torch.randint(256, (4, channels, 8, 12), dtype=torch.uint8)
    about = {"classes": ["x", "y", "z"], "mean": [0.4] * channels, "std": [0.3] * channels, "shape": [channels, 8, 12]}
    export_student(build("wrn-10-1", channels, 3), {**about, "temperature": 1.7}, images, folder, formats=("onnx",))
    return folder


def made_up(mode: str, size: tuple[int, int]) -> Image.Image:
    random = np.random.default_rng(len(mode) + size[0])
    depth = {"RGB": 3, "JPEG": 3, "RGBA": 4, "LA": 2}.get(mode)
    if mode == "I;16":
        return Image.fromarray(random.integers(0, 65536, size[::-1], dtype=np.uint16))
    levels = random.integers(0, 256, (*size[::-1], *([] if depth is None else [depth])), dtype=np.uint8)
    image = Image.fromarray(levels)
    return image.convert("RGB").convert("P") if mode == "P" else image


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(12, 8), (31, 17)], ids=["same size", "other size"])
def test_answers_are_those_of_the_torch_path_bit_for_bit(exported, mode, size, tmp_path):
    student = Predictor.load(exported)
    assert student.file.name == "model.onnx"
    # Training reads a folder of class folders; all three splits hold the image that is asked about.
    for part in ("train", "validation", "test"):
        for name in ("x", "y"):
            folder = tmp_path / "images" / part / name
            folder.mkdir(parents=True)
            for number in range(2):
                file = folder / f"{number}.{MODES[mode]}"
                made_up(mode, size).save(file)
    channels, *sides = student.shape
    splits = load(Data(source=str(tmp_path / "images"), size=tuple(sides), grayscale=channels == 1))
    pixels = splits.test.fetch(torch.tensor([0]))
    if channels == 3 and pixels.shape[1] == 1:  # a folder of gray images alone is read as gray
        pixels = pixels.expand(-1, 3, -1, -1)
    seen = predictor.read_image(file, student.shape, student.preprocessing)
    assert np.array_equal(seen, pixels[0].numpy())
    (logits,) = open_session(exported / "model.onnx")(pixels.float() / 255)
    (given,) = student._outputs(seen[None].astype(np.float32) / np.float32(255))
    assert np.array_equal(given, logits.numpy())
    shares = (logits.double() / 1.7).softmax(1)[0]
    answer = student.predict(file, top=3)
    assert [guess.name for guess in answer.guesses] == ["xyz"[k] for k in shares.argsort(descending=True)]
    assert [guess.confidence for guess in answer.guesses] == pytest.approx(
        shares.sort(descending=True).values.tolist(), rel=1e-14
    )


@pytest.mark.parametrize("place", ["", "model.onnx"])
def test_the_command_imports_no_torch(exported, place, tmp_path):
    made_up("RGB", (30, 20)).save(tmp_path / "image.png")
    code = f"""
import sys
from persistill.cli import main
try:
    main(["predict", {str(exported / place)!r}, "image.png"])
except SystemExit as stop:
    assert stop.code == 0
print(sorted(set(sys.modules) & {HEAVY!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    answer, imported = done.stdout.splitlines()
    assert answer.startswith("image.png  ")
    assert imported == "[]"


def test_python_imports_no_torch(exported, tmp_path):
    made_up("RGB", (30, 20)).save(tmp_path / "image.png")
    code = f"""
import sys
import persistill
student = persistill.load({str(exported)!r})
assert persistill.predict(student, "image.png")[0].prediction == student.predict("image.png")
print(sorted(set(sys.modules) & {HEAVY!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_files_are_those_that_are_exported():
    assert tuple(FORMATS[name].file for name in ("safetensors", "onnx", "int8")) == (
        predictor.WEIGHTS,
        predictor.ONNX,
        predictor.INT8,
    )


def test_without_onnx_runtime_the_weights_answer(exported, monkeypatch):
    monkeypatch.setattr("persistill.inference.onnx_model.installed", lambda: False)
    assert Predictor.load(exported).file.name == "model.safetensors"
    with pytest.raises(Exception, match="needs ONNX Runtime"):
        Predictor.load(exported / "model.onnx")
