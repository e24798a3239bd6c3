"""What is exported answers as what was trained; what does not is refused."""

import copy
import dataclasses
import json
import logging
import re
import shutil
import subprocess
import sys
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from PIL import Image
from safetensors import safe_open

from persistill.errors import UserError
from persistill.exporters import FORMATS, TOLERANCE, export_student, load_student
from persistill.models import build, save


def by_hand(network, about, images):
    """Logits of the checkpoint, normalized with numpy."""
    mean, std = (np.array(about[name], np.float32)[:, None, None] for name in ("mean", "std"))
    inputs = (images.numpy().astype(np.float32) / 255 - mean) / std
    with torch.no_grad():
        return copy.deepcopy(network).eval()(torch.from_numpy(inputs)).logits.numpy()


def in_onnx_runtime(path, images):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [x.name for x in session.get_inputs()] == ["image"]
    assert [x.name for x in session.get_outputs()] == ["logits"]
    return session.run(None, {"image": images})[0]


HERE = ("safetensors", "onnx", "int8", "program")
"""Formats whose packages the tests have; ExecuTorch has a test of its own."""


class Delivered:
    """A student in all formats. Tests only read it."""

    def __init__(self, folder, student, about, digits):
        self.folder, self.student, self.about = folder, student, about
        self.images, self.targets = digits[0][:9], digits[1][:9]
        self.followed = []
        follow = torch.export.export
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                torch.export, "export", lambda *a, **options: self.followed.append(a) or follow(*a, **options)
            )
            self.result = export_student(
                student, about, self.images, folder, targets=self.targets, calibration=digits[0][9:], formats=HERE
            )

    def path(self, kind):
        return self.folder / self.result["files"][kind]


@pytest.fixture(scope="session")
def delivered(trained, digits, settings, tmp_path_factory):
    return Delivered(tmp_path_factory.mktemp("delivered"), trained, settings, digits)


def test_code_is_followed_once_for_all_files(delivered):
    assert len(delivered.followed) == 1


def test_all_files_and_nothing_else(delivered):
    result = delivered.result
    assert result["files"] == {
        "safetensors": "model.safetensors",
        "onnx": "model.onnx",
        "int8": "model.int8.onnx",
        "program": "model.pt2",
        "config": "model.json",
        "example": "classify.py",
    }
    assert {path.name for path in delivered.folder.iterdir()} == set(result["files"].values())
    assert result["bytes"] == {kind: delivered.path(kind).stat().st_size for kind in result["files"]}
    assert result["bytes"]["int8"] < 0.5 * result["bytes"]["onnx"]
    assert (result["left_out"], result["failed"], result["notes"]) == ({}, {}, {})
    for times in result["milliseconds"].values():
        assert set(times) == {"1", "64"}
        assert all(time > 0 for time in times.values())
    json.dumps(result, allow_nan=False)


def test_the_files_answer_as_the_checkpoint(delivered):
    expected = by_hand(delivered.student, delivered.about, delivered.images)
    scale = float(np.abs(expected).max())
    images = delivered.images.numpy().astype(np.float32) / 255
    with torch.no_grad():
        loaded = load_student(delivered.folder)(torch.from_numpy(images)).numpy()
        program = torch.export.load(delivered.path("program")).module()(torch.from_numpy(images)).numpy()
    found = {
        "safetensors": loaded,
        "program": program,
        "onnx": in_onnx_runtime(delivered.path("onnx"), images),
        "int8": in_onnx_runtime(delivered.path("int8"), images),
    }
    result, target = delivered.result, delivered.targets.numpy()
    for kind, logits in found.items():
        # int8 rounds: other sizes of batch may fall on the other side of a step
        slack = 0.05 * scale if kind == "int8" else 1e-5 * scale
        assert result["difference"][kind] == pytest.approx(float(np.abs(logits - expected).max()), abs=slack)
        assert result["agreement"][kind] == pytest.approx((logits.argmax(1) == expected.argmax(1)).mean())
        assert result["accuracy"][kind] == pytest.approx((logits.argmax(1) == target).mean())
        assert FORMATS[kind].exact == (result["difference"][kind] <= TOLERANCE * scale)
    assert result["accuracy"]["checkpoint"] == pytest.approx((expected.argmax(1) == target).mean())
    assert result["agreement"]["int8"] > 0.8
    assert result["parameters"] == sum(p.numel() for p in delivered.student.parameters())
    assert (result["images"], result["seconds"] > 0) == (9, True)


def test_int8_computes_in_eight_bits_and_keeps_its_preprocessing(delivered):
    model = onnx.load(delivered.path("int8"))
    kinds = {numpy_helper.to_array(tensor).dtype for tensor in model.graph.initializer if len(tensor.dims) == 4}
    assert kinds == {np.dtype("int8")}
    assert {entry.domain for entry in model.opset_import} == {""}
    stored = json.loads({entry.key: entry.value for entry in model.metadata_props}["persistill"])
    assert stored["normalization"]["mean"] == [0.31]


def test_the_script_beside_the_model_runs_without_persistill(delivered, tmp_path):
    for number, pixels in enumerate(delivered.images[:3, 0].numpy()):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    names = [str(tmp_path / f"{number}.png") for number in range(3)]
    script = delivered.path("example")
    assert "persistill" not in re.sub(r'\["persistill"\]', "", script.read_text())
    answer = subprocess.run(
        [sys.executable, "-W", "error", script, *names], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    expected = by_hand(delivered.student, delivered.about, delivered.images)[:3]
    confidence = np.exp(expected / 1.5) / np.exp(expected / 1.5).sum(1, keepdims=True)
    lines = answer.stdout.splitlines()
    assert [line.split()[1] for line in lines] == [str(digit) for digit in expected.argmax(1)]
    shares = [float(line.split()[2].rstrip("%")) for line in lines]
    assert shares == pytest.approx(100 * confidence.max(1), abs=0.11)


@pytest.mark.filterwarnings("default")  # the package warns of itself, on import and while it lowers
def test_executorch(student, about, images, tmp_path):
    pytest.importorskip("executorch", reason='needs pip install "persistill[executorch]"')
    result = export_student(student, about, images, tmp_path, formats=("executorch",))
    assert result["files"]["executorch"] == "model.pte"
    assert result["agreement"]["executorch"] == 1.0
    assert set(result["milliseconds"]["executorch"]) == {"1"}

    # The runtime reads the weights where they lie and does not keep them: other memory must not take their place.
    answer = FORMATS["executorch"].open(tmp_path / "model.pte", student.name)
    (tmp_path / "model.pte").unlink()
    others = [b"\xff" * 200_000 for _ in range(50)]
    answers = np.concatenate([answer(image[None].float() / 255)[0].numpy() for image in images])
    assert np.abs(answers - by_hand(student, about, images)).max() < 1e-4
    del others


def test_times_are_of_one_thread_and_leave_the_others_be(student, about, images, tmp_path, monkeypatch):
    threads = []
    safetensors = FORMATS["safetensors"]

    def opened(path, name):
        answer = safetensors.open(path, name)
        return lambda inputs: threads.append(torch.get_num_threads()) or answer(inputs)

    monkeypatch.setitem(FORMATS, "safetensors", dataclasses.replace(safetensors, open=opened))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        export_student(student, about, images, tmp_path, formats=())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert threads[:2] == [2, 2]  # the comparison: an image alone, and the others
    assert set(threads[2:]) == {1}


def test_an_unknown_format_is_named(student, about, images, tmp_path):
    with pytest.raises(UserError, match="Did you mean 'onnx'"):
        export_student(student, about, images, tmp_path, formats=("onxx",))


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_onnx_takes_any_batch_size(delivered, batch):
    images = delivered.images[:batch]
    found = in_onnx_runtime(delivered.path("onnx"), images.numpy().astype(np.float32) / 255)
    assert found.shape == (batch, 10)
    assert found == pytest.approx(by_hand(delivered.student, delivered.about, images), abs=1e-3)


def test_the_student_is_left_as_it_was(student, about, images, tmp_path):
    before = copy.deepcopy(student.state_dict())
    export_student(student, about, images, tmp_path, calibration=images, formats=HERE)
    assert student.training
    assert all(module.training for module in student.modules())
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_only_the_student_is_in_the_files(delivered):
    student = delivered.student
    with safe_open(delivered.path("safetensors"), "pt") as file:
        assert set(file.keys()) == set(student.state_dict())
    model = onnx.load(delivered.path("onnx"), load_external_data=False)
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    stored = sum(np.prod(tensor.dims) for tensor in model.graph.initializer)
    everything = sum(tensor.numel() for tensor in student.state_dict().values())
    assert stored <= everything + 50


@pytest.mark.parametrize("kind", ["onnx", "int8"])
def test_onnx_names_no_file_of_this_machine(delivered, kind):
    content = delivered.path(kind).read_bytes()
    assert b"stack_trace" not in content
    assert b".py" not in content


def test_preprocessing_travels_with_each_file(delivered):
    about, config = delivered.about, json.loads(delivered.path("config").read_text())
    assert config["model"] == "wrn-10-1"
    assert config["classes"] == about["classes"]
    assert config["input"]["shape"] == ["batch", 1, 8, 8]
    assert config["input"]["range"] == [0.0, 1.0]
    assert config["input"]["color"] == "gray"
    assert "laid on white" in config["input"]["read"]
    assert "mean (0.31) and divide by the standard deviation (0.38)" in config["input"]["in_words"]
    assert config["output"]["shape"] == ["batch", 10]
    assert (config["normalization"]["mean"], config["normalization"]["std"]) == ([0.31], [0.38])
    assert config["files"] == {kind: delivered.path(kind).name for kind in HERE}
    assert config["temperature"] == 1.5
    model = onnx.load(delivered.path("onnx"))
    stored = json.loads({entry.key: entry.value for entry in model.metadata_props}["persistill"])
    assert config["int8"] == "by static quantization"
    assert stored == {name: value for name, value in config.items() if name not in ("files", "int8", "script")}
    assert [entry.version for entry in model.opset_import if not entry.domain] == [18]


def test_export_is_quiet(student, about, images, tmp_path, capfd, caplog):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        export_student(student, about, images, tmp_path, calibration=images, formats=HERE)
    assert heard == []
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.levelno >= logging.INFO] == []


def test_color_images_of_another_size(tmp_path):
    torch.manual_seed(1)
    network = build("wrn-16-1", 3, 7)
    about = {"classes": list("abcdefg"), "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3], "shape": [3, 20, 27]}
    images = torch.randint(256, (4, 3, 20, 27), dtype=torch.uint8)
    result = export_student(network, about, images, tmp_path, formats=("onnx",))
    assert result["agreement"] == {"safetensors": 1.0, "onnx": 1.0}
    inputs = images.numpy().astype(np.float32) / 255
    expected = by_hand(network, about, images)
    found = in_onnx_runtime(tmp_path / "model.onnx", inputs)
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


def test_one_image_is_enough(student, about, images, tmp_path):
    assert export_student(student, about, images[:1], tmp_path, formats=("onnx", "program"))["images"] == 1


def test_without_the_onnx_packages_the_rest_is_written(student, about, images, tmp_path, monkeypatch):
    without = dataclasses.replace(FORMATS["onnx"], packages=("onnx", "no_such_package"))
    monkeypatch.setitem(FORMATS, "onnx", without)
    result = export_student(student, about, images, tmp_path, formats=("onnx", "int8"))
    assert "no training images were given" in result["left_out"]["int8"]
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors", "model.json"}
    assert result["files"] == {"safetensors": "model.safetensors", "config": "model.json"}
    assert "no_such_package cannot be imported" in result["left_out"]["onnx"]
    assert 'pip install "persistill[onnx]"' in result["left_out"]["onnx"]
    assert set(result["difference"]) == {"safetensors"}


@pytest.mark.parametrize("wrong", ["answers", "nan"])
def test_a_file_that_answers_differently_is_not_kept(student, about, images, tmp_path, monkeypatch, wrong):
    whole = FORMATS["onnx"]

    def disturbed(path, model):
        answer = whole.open(path, model)

        def wrongly(inputs):
            (logits,) = answer(inputs)
            logits[-1, 2] += float("nan") if wrong == "nan" else 2 * TOLERANCE * float(logits.abs().max())
            return (logits,)

        return wrongly

    monkeypatch.setitem(FORMATS, "onnx", dataclasses.replace(whole, open=disturbed))
    result = export_student(student, about, images, tmp_path, formats=("onnx",))
    assert re.search(r"model\.onnx does not answer as the checkpoint does.*9 images", result["failed"]["onnx"])
    assert result["files"] == {"safetensors": "model.safetensors", "config": "model.json"}
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors", "model.json"}


def test_a_wrong_normalization_would_be_noticed(student, about, images, tmp_path, monkeypatch):
    from persistill.exporters.student import Student

    forward = Student.forward
    monkeypatch.setattr(Student, "forward", lambda self, image: forward(self, image * 1.01))
    with pytest.raises(RuntimeError, match=r"model\.safetensors does not answer"):
        export_student(student, about, images, tmp_path, formats=())
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_export_is_repeated(student, about, images, tmp_path):
    first = export_student(student, about, images, tmp_path, formats=("onnx",))
    (tmp_path / "model.json").unlink()
    (tmp_path / "model.onnx").unlink()
    second = export_student(student, about, images, tmp_path, formats=("onnx",))
    assert second["files"] == first["files"]
    assert (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize("kept", ["model.safetensors", "model.json", "model.onnx", "model.pt2"])
def test_another_model_is_not_overwritten(delivered, about, images, tmp_path, kept):
    shutil.copy(delivered.folder / kept, tmp_path)
    before = (tmp_path / kept).read_bytes()
    with pytest.raises(UserError, match=rf"holds another model \({kept}\)\. Nothing was changed"):
        export_student(build("wrn-10-1", 1, 10), about, images, tmp_path)
    assert (tmp_path / kept).read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mean": None}, "without its mean"),
        ({"classes": None, "shape": None}, "without its classes, shape"),
        ({"classes": ["a", "b"]}, "1 channels and 10 classes; given were 2 classes"),
        ({"mean": [0.1, 0.2, 0.3]}, "3 means"),
        ({"shape": [3, 8, 8]}, r"images of shape \(3, 8, 8\)"),
        ({"shape": [1, 8]}, r"images of shape \(1, 8\)"),
    ],
)
def test_settings_that_do_not_fit_the_student(student, about, images, tmp_path, change, said):
    given = {name: value for name, value in {**about, **change}.items() if value is not None}
    with pytest.raises(UserError, match=said):
        export_student(student, given, images, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", [lambda p: p.float() / 255, lambda p: p[:0], lambda p: p[:, :, :7], lambda p: p[0]])
def test_images_that_do_not_fit_the_student(student, about, images, tmp_path, make):
    with pytest.raises(UserError, match=r"must be uint8 of shape \(N, 1, 8, 8\), at least one"):
        export_student(student, about, make(images), tmp_path)


def test_a_file_that_is_no_export_cannot_be_loaded(student, tmp_path):
    with pytest.raises(UserError, match="there is no weights file"):
        load_student(tmp_path)
    save(student, tmp_path / "model.safetensors", {})
    with pytest.raises(UserError, match="does not say how images are normalized"):
        load_student(tmp_path)


def test_the_loaded_student_is_ready_to_answer(delivered):
    loaded = load_student(delivered.folder)
    assert not any(module.training for module in loaded.modules())
    assert loaded(torch.zeros(3, 1, 8, 8)).shape == (3, 10)
