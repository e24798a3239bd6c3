"""What is exported answers as what was trained; what does not is refused."""

import copy
import json
import logging
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors import safe_open

from persistill.errors import UserError
from persistill.export import TOLERANCE, delivery, export_student, load_student
from persistill.models import build, save


def by_hand(network, about, pictures):
    """Logits of the checkpoint, normalised with numpy."""
    mean, std = (np.array(about[name], np.float32)[:, None, None] for name in ("mean", "std"))
    images = (pictures.numpy().astype(np.float32) / 255 - mean) / std
    with torch.no_grad():
        return copy.deepcopy(network).eval()(torch.from_numpy(images)).logits.numpy()


def in_onnx_runtime(path, images):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [x.name for x in session.get_inputs()] == ["image"]
    assert [x.name for x in session.get_outputs()] == ["logits"]
    return session.run(None, {"image": images})[0]


@pytest.fixture
def exported(student, about, pictures, tmp_path):
    return export_student(student, about, pictures, tmp_path)


def test_three_files_and_nothing_else(exported, tmp_path):
    assert exported["files"] == {"safetensors": "model.safetensors", "config": "model.json", "onnx": "model.onnx"}
    assert {path.name for path in tmp_path.iterdir()} == set(exported["files"].values())
    assert exported["bytes"] == {kind: (tmp_path / name).stat().st_size for kind, name in exported["files"].items()}
    assert exported["left_out"] == {}
    json.dumps(exported, allow_nan=False)


def test_both_files_answer_as_the_checkpoint(exported, student, about, pictures, tmp_path):
    expected = by_hand(student, about, pictures)
    scale = float(np.abs(expected).max())
    images = pictures.numpy().astype(np.float32) / 255
    with torch.no_grad():
        delivered = load_student(tmp_path)(torch.from_numpy(images)).numpy()
    assert np.abs(delivered - expected).max() <= 1e-5 * scale
    found = in_onnx_runtime(tmp_path / "model.onnx", images)
    assert np.abs(found - expected).max() <= TOLERANCE * scale
    assert exported["difference"]["onnx"] == pytest.approx(float(np.abs(found - expected).max()), abs=1e-5 * scale)
    assert exported["difference"]["safetensors"] <= 1e-6 * scale
    assert exported["agreement"] == {"safetensors": 1.0, "onnx": 1.0}
    assert exported["pictures"] == 9
    assert exported["parameters"] == sum(p.numel() for p in student.parameters())
    assert exported["seconds"] > 0


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_onnx_takes_any_batch_size(exported, student, about, pictures, tmp_path, batch):
    images = pictures[:batch].numpy().astype(np.float32) / 255
    found = in_onnx_runtime(tmp_path / "model.onnx", images)
    assert found.shape == (batch, 10)
    assert found == pytest.approx(by_hand(student, about, pictures[:batch]), abs=1e-3)


def test_the_student_is_left_as_it_was(student, about, pictures, tmp_path):
    before = copy.deepcopy(student.state_dict())
    export_student(student, about, pictures, tmp_path)
    assert student.training
    assert all(module.training for module in student.modules())
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_only_the_student_is_in_the_files(exported, student, tmp_path):
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert set(file.keys()) == set(student.state_dict())
    model = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    stored = sum(np.prod(tensor.dims) for tensor in model.graph.initializer)
    everything = sum(tensor.numel() for tensor in student.state_dict().values())
    assert stored <= everything + 50


def test_onnx_names_no_file_of_this_machine(exported, tmp_path):
    content = (tmp_path / "model.onnx").read_bytes()
    assert b"stack_trace" not in content
    assert b".py" not in content


def test_preprocessing_travels_with_each_file(exported, about, tmp_path):
    config = json.loads((tmp_path / "model.json").read_text())
    assert config["model"] == "wrn-10-1"
    assert config["classes"] == about["classes"]
    assert config["input"]["shape"] == ["batch", 1, 8, 8]
    assert config["input"]["range"] == [0.0, 1.0]
    assert config["output"]["shape"] == ["batch", 10]
    assert (config["normalisation"]["mean"], config["normalisation"]["std"]) == ([0.31], [0.38])
    assert config["files"] == {"safetensors": "model.safetensors", "onnx": "model.onnx"}
    model = onnx.load(tmp_path / "model.onnx")
    stored = json.loads({entry.key: entry.value for entry in model.metadata_props}["persistill"])
    assert stored == {name: value for name, value in config.items() if name != "files"}
    assert [entry.version for entry in model.opset_import if not entry.domain] == [18]


def test_export_is_quiet(student, about, pictures, tmp_path, capfd, caplog):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        export_student(student, about, pictures, tmp_path)
    assert heard == []
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.levelno >= logging.INFO] == []


def test_colour_pictures_of_another_size(tmp_path):
    torch.manual_seed(1)
    network = build("wrn-16-1", 3, 7)
    about = {"classes": list("abcdefg"), "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3], "shape": [3, 20, 27]}
    pictures = torch.randint(256, (4, 3, 20, 27), dtype=torch.uint8)
    assert export_student(network, about, pictures, tmp_path)["agreement"] == {"safetensors": 1.0, "onnx": 1.0}
    images = pictures.numpy().astype(np.float32) / 255
    expected = by_hand(network, about, pictures)
    found = in_onnx_runtime(tmp_path / "model.onnx", images)
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


def test_one_picture_is_enough(student, about, pictures, tmp_path):
    assert export_student(student, about, pictures[:1], tmp_path)["pictures"] == 1


def test_without_the_onnx_packages_the_rest_is_written(student, about, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(delivery, "_PACKAGES", ("onnx", "no_such_package"))
    result = export_student(student, about, pictures, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors", "model.json"}
    assert result["files"] == {"safetensors": "model.safetensors", "config": "model.json"}
    assert "no_such_package cannot be imported" in result["left_out"]["onnx"]
    assert 'pip install "persistill[onnx]"' in result["left_out"]["onnx"]
    assert set(result["difference"]) == {"safetensors"}


@pytest.mark.parametrize("wrong", ["answers", "nan"])
def test_a_file_that_answers_differently_is_not_kept(student, about, pictures, tmp_path, monkeypatch, wrong):
    from persistill.export import onnx_file

    right = onnx_file.run

    def disturbed(path, batches):
        logits = right(path, batches)
        logits[4, 2] += float("nan") if wrong == "nan" else 2 * TOLERANCE * float(logits.abs().max())
        return logits

    monkeypatch.setattr(onnx_file, "run", disturbed)
    with pytest.raises(RuntimeError, match=r"model\.onnx does not answer as the checkpoint does.*9 pictures"):
        export_student(student, about, pictures, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors"}


def test_a_wrong_normalisation_would_be_noticed(student, about, pictures, tmp_path, monkeypatch):
    from persistill.export.student import Student

    forward = Student.forward
    monkeypatch.setattr(Student, "forward", lambda self, image: forward(self, image * 1.01))
    with pytest.raises(RuntimeError, match=r"model\.safetensors does not answer"):
        export_student(student, about, pictures, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_export_is_repeated(student, about, pictures, tmp_path):
    first = export_student(student, about, pictures, tmp_path)
    (tmp_path / "model.json").unlink()
    (tmp_path / "model.onnx").unlink()
    second = export_student(student, about, pictures, tmp_path)
    assert second["files"] == first["files"]
    assert (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize("kept", ["model.safetensors", "model.json", "model.onnx"])
def test_another_model_is_not_overwritten(exported, about, pictures, tmp_path, kept):
    for path in tmp_path.iterdir():
        if path.name != kept:
            path.unlink()
    before = (tmp_path / kept).read_bytes()
    with pytest.raises(UserError, match=rf"holds another model \({kept}\)\. Nothing was changed"):
        export_student(build("wrn-10-1", 1, 10), about, pictures, tmp_path)
    assert (tmp_path / kept).read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mean": None}, "without its mean"),
        ({"classes": None, "shape": None}, "without its classes, shape"),
        ({"classes": ["a", "b"]}, "1 channels and 10 classes; given were 2 classes"),
        ({"mean": [0.1, 0.2, 0.3]}, "3 means"),
        ({"shape": [3, 8, 8]}, r"pictures of shape \(3, 8, 8\)"),
        ({"shape": [1, 8]}, r"pictures of shape \(1, 8\)"),
    ],
)
def test_settings_that_do_not_fit_the_student(student, about, pictures, tmp_path, change, said):
    given = {name: value for name, value in {**about, **change}.items() if value is not None}
    with pytest.raises(UserError, match=said):
        export_student(student, given, pictures, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", [lambda p: p.float() / 255, lambda p: p[:0], lambda p: p[:, :, :7], lambda p: p[0]])
def test_pictures_that_do_not_fit_the_student(student, about, pictures, tmp_path, make):
    with pytest.raises(UserError, match=r"must be uint8 of shape \(N, 1, 8, 8\), at least one"):
        export_student(student, about, make(pictures), tmp_path)


def test_a_file_that_is_no_export_cannot_be_loaded(student, tmp_path):
    with pytest.raises(UserError, match="there is no weights file"):
        load_student(tmp_path)
    save(student, tmp_path / "model.safetensors", {"classes": []})
    with pytest.raises(UserError, match="does not say how pictures are normalised"):
        load_student(tmp_path)


def test_the_loaded_student_is_ready_to_answer(exported, tmp_path):
    loaded = load_student(tmp_path)
    assert not any(module.training for module in loaded.modules())
    assert loaded(torch.zeros(3, 1, 8, 8)).shape == (3, 10)
