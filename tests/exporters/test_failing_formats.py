"""A format that fails takes no other with it, and int8 takes activations that are all alike."""

import dataclasses
import json

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from persistill.errors import UserError
from persistill.exporters import FORMATS, export_student, load_student
from persistill.exporters.failure import root_cause
from persistill.models import build


def fail(*_):
    raise ValueError("no such operator\nand pages about where to report it")


@pytest.fixture
def failing(monkeypatch):
    """Make a format fail while it is written."""

    def make(name, write=fail):
        monkeypatch.setitem(FORMATS, name, dataclasses.replace(FORMATS[name], write=write))

    return make


def test_a_format_that_cannot_be_written_fails_alone(student, about, images, tmp_path, failing):
    failing("onnx")
    result = export_student(student, about, images, tmp_path, formats=("onnx", "program"))
    assert result["failed"] == {"onnx": "model.onnx could not be written: ValueError: no such operator."}
    assert result["files"] == {"safetensors": "model.safetensors", "program": "model.pt2", "config": "model.json"}
    assert {path.name for path in tmp_path.iterdir()} == set(result["files"].values())
    assert json.loads((tmp_path / "model.json").read_text())["files"].keys() == {"safetensors", "program"}


def test_weights_that_cannot_be_written_leave_nothing_to_deliver(student, about, images, tmp_path, failing):
    failing("safetensors")
    with pytest.raises(ValueError, match="no such operator"):
        export_student(student, about, images, tmp_path, formats=("program",))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_no_fault_of_a_format(student, about, images, tmp_path, failing):
    def full(*_):
        raise OSError(28, "No space left on device")

    failing("program", full)
    with pytest.raises(OSError, match="No space left"):
        export_student(student, about, images, tmp_path, formats=("program",))


def test_what_the_newer_exporter_cannot_write_the_older_one_does(student, about, images, tmp_path, monkeypatch):
    whole = torch.onnx.export

    def export(*arguments, dynamo, **options):
        if dynamo:  # as it says of timm/test_maxvit
            raise RuntimeError("Failed to decompose") from ValueError("Cannot view a tensor\nWhile executing")
        return whole(*arguments, dynamo=dynamo, **options)

    monkeypatch.setattr(torch.onnx, "export", export)
    result = export_student(student, about, images, tmp_path, formats=("onnx",))
    assert result["failed"] == {}
    assert result["notes"] == {
        "onnx": "model.onnx was written by torch's older exporter, because the newer one failed "
        "(ValueError: Cannot view a tensor)."
    }
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    assert "persistill" in session.get_modelmeta().custom_metadata_map
    inputs = images.numpy().astype(np.float32) / 255
    expected = load_student(tmp_path)(torch.from_numpy(inputs)).detach().numpy()
    for some in (slice(0, 1), slice(0, 5)):  # any size of batch
        (logits,) = session.run(None, {"image": inputs[some]})
        assert logits == pytest.approx(expected[some], abs=1e-3)


def test_where_both_exporters_fail_both_are_quoted_and_asked_once(student, about, images, tmp_path, monkeypatch):
    calls = []

    def export(*_, dynamo, **__):
        calls.append(dynamo)
        raise RuntimeError(f"dynamo is {dynamo}")

    monkeypatch.setattr(torch.onnx, "export", export)
    result = export_student(student, about, images, tmp_path, calibration=images, formats=("onnx", "int8"))
    said = "torch's exporter said 'dynamo is True', and its older one 'dynamo is False'"
    assert result["failed"] == {
        "onnx": f"model.onnx could not be written: {said}.",
        "int8": f"model.int8.onnx could not be written: {said}.",
    }
    assert calls == [True, False]


@pytest.mark.parametrize("bias", [-1.0, 1.0, 1e-40], ids=["always 0", "always 1", "all but 0"])
def test_int8_takes_activations_that_are_all_alike(digits, tmp_path, bias):
    torch.manual_seed(0)
    network = build("resnet-8", 1, 5).eval()
    norm = next(module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    nn.init.zeros_(norm.weight)
    nn.init.constant_(norm.bias, bias)
    nn.init.normal_(network.classifier.bias)  # something to be right about
    about = {"classes": list("abcde"), "mean": [0.3], "std": [0.4], "shape": [1, 8, 8]}
    images = digits[0][:40]
    result = export_student(network, about, images, tmp_path, calibration=images, formats=("int8",))
    assert result["failed"] == {}
    assert result["agreement"]["int8"] == 1.0
    assert result["difference"]["int8"] < 0.1


def test_the_cause_of_a_chain_is_told_in_a_line():
    wrapped = RuntimeError("Failed. Next steps:\n- Create an issue")
    wrapped.__cause__ = ValueError("\x1b[96mstep\x1b[0m 2\nlong story")
    assert root_cause(wrapped) == "ValueError: step 2"
    assert root_cause(ValueError()) == "ValueError: without a message"
    assert root_cause(UserError("give another.")) == "give another."
    assert len(root_cause(ValueError("x" * 1000))) < 350
