"""Training rounds as the int8 file does, and that file alone comes of the copy that was trained for it."""

import copy
import hashlib
import json
import types

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from persistill.errors import UserError
from persistill.exporters import export_student, int8_file, onnx_file
from persistill.exporters.student import Student
from persistill.models import build
from persistill.training.qat import FakeInput, fake_quantize, fake_quantized


class Chain(nn.Module):
    """Convolutions, batch norms and ReLUs in one line: all that the file rounds goes into a layer, or is a logit."""

    def __init__(self) -> None:
        super().__init__()
        layers = []
        for before, after, groups in ((3, 12, 1), (12, 12, 12), (12, 20, 1)):
            layers += [nn.Conv2d(before, after, 3, 1, 1, groups=groups, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(20, 7)

    def forward(self, images):
        return types.SimpleNamespace(logits=self.head(self.body(images).mean((2, 3))))


def ranges(path):
    """Name of a layer -> the range of its input, as the file states it."""
    graph = onnx.load(path).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made = {name: node for node in graph.node for name in node.output}
    found = {}
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            given, weight = (made[name] for name in node.input[:2])
            scale, zero = float(stored[given.input[1]]), int(stored[given.input[2]])
            layer = weight.input[0].removesuffix(".weight_quantized").removeprefix("network.")
            found[layer] = ((-128 - zero) * scale, (127 - zero) * scale)
    assert made["logits"].op_type == "Gemm"  # and so are not rounded
    return found


by_name = pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6), reason="the exporter of torch 2.5 renames weights"
)


@by_name
def test_a_network_rounds_in_training_as_its_int8_file_does(tmp_path):
    torch.manual_seed(0)
    chain = Chain()
    with torch.no_grad():
        for _ in range(30):  # statistics of batch norms, and factors that make channels differ
            chain(torch.rand(32, 3, 8, 8) * 4 - 2)
        for module in chain.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.copy_(torch.randn(len(module.weight)) * 2)
                module.bias.normal_()
    chain.eval()
    images = torch.randint(256, (300, 3, 8, 8), dtype=torch.uint8)
    student = Student(chain, [0.5] * 3, [0.25] * 3).eval()
    int8_file.write(onnx_file.to_onnx(student, (3, 8, 8), {}).content, {}, images[:200], tmp_path / "int8.onnx")
    found = ranges(tmp_path / "int8.onnx")
    assert set(found) == {"body.0", "body.3", "body.6", "head"}
    inputs = images[200:].float() / 255
    from_file = onnx_file.open_session(tmp_path / "int8.onnx")(inputs)[0]
    with torch.no_grad(), fake_quantized(chain):
        for name, (low, high) in found.items():
            layer = chain.get_submodule(name).fake_quantized_input
            layer.low.fill_(low)
            layer.high.fill_(high)
            layer.started.fill_(True)
        imitated = student(inputs)
    with torch.no_grad():
        in_float = student(inputs)
    off = (from_file - imitated).abs()
    step = (from_file.max() - from_file.min()) / 255
    assert off.max() <= 2 * step
    assert (off < step / 2).float().mean() > 0.7  # elsewhere a value fell on the other side of a step on its way
    assert off.mean() < 0.5 * (from_file - in_float).abs().mean()


@by_name
def test_ranges_of_training_are_near_those_that_the_file_measures(trained, digits, tmp_path):
    images = digits[0]
    student = Student(copy.deepcopy(trained), [0.31], [0.38]).eval()
    int8_file.write(onnx_file.to_onnx(student, (1, 8, 8), {}).content, {}, images, tmp_path / "int8.onnx")
    found = ranges(tmp_path / "int8.onnx")
    with torch.no_grad(), fake_quantized(student.network):
        for module in student.modules():
            if isinstance(module, FakeInput):
                module.train()
        for _ in range(3):
            for batch in images.split(50):
                student(batch.float() / 255)
        for name, expected in found.items():
            layer = student.network.get_submodule(name).fake_quantized_input
            assert (layer.low.item(), layer.high.item()) == pytest.approx(
                expected, abs=0.2 * (expected[1] - expected[0])
            )


@pytest.mark.parametrize(("scale", "zero"), [(0.037, -128), (0.25, 3), (1.7, 127)])
def test_rounding_is_that_of_onnx(scale, zero):
    """By onnx's reference of its operators."""
    torch.manual_seed(0)
    values = torch.cat([torch.randn(200) * 40 * scale, torch.arange(-8, 8) * scale / 2])
    constants = {"scale": np.float32(scale), "zero": np.int8(zero)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "rounding",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None])],
        [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()],
    )
    (expected,) = ReferenceEvaluator(helper.make_model(graph)).run(None, {"x": values.numpy()})
    found = fake_quantize(values, torch.tensor(scale), torch.tensor(float(zero)), -128, 127)
    assert found.numpy() == pytest.approx(expected, rel=1e-6, abs=1e-7)


FORMATS = ("onnx", "int8", "program")


@pytest.fixture(scope="module")
def both(trained, digits, settings, tmp_path_factory):
    """The student exported alone, and with a copy that was moved as far as a short training does."""
    torch.manual_seed(5)
    moved = copy.deepcopy(trained)
    with torch.no_grad():
        for parameter in moved.parameters():
            parameter.add_(0.03 * parameter.std(correction=0) * torch.randn_like(parameter))
    images, targets = digits[0][:64], digits[1][:64]
    found = {}
    for name, for_int8 in (("static", None), ("trained", moved), ("moved", None)):
        folder = tmp_path_factory.mktemp(name)
        network = moved if name == "moved" else trained
        result = export_student(
            network,
            settings,
            images,
            folder,
            targets=targets,
            calibration=digits[0][64:],
            for_int8=for_int8,
            formats=FORMATS,
        )
        found[name] = folder, result
    return found


def hashed(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_int8_file_comes_of_the_copy_and_the_others_of_the_student(both):
    folders = {name: folder for name, (folder, _) in both.items()}
    for file in ("model.safetensors", "model.onnx", "classify.py"):
        assert hashed(folders["trained"] / file) == hashed(folders["static"] / file), file
    images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    int8 = {name: onnx_file.open_session(folder / "model.int8.onnx") for name, folder in folders.items()}
    answers = {name: session(images)[0] for name, session in int8.items()}
    assert torch.equal(answers["trained"], answers["moved"])
    assert not torch.equal(answers["trained"], answers["static"])


def test_the_result_says_which_kind_it_is_and_what_the_other_would_be(both):
    (_, static), (folder, trained), _ = both.values()
    assert static["int8"] == {"made": "by static quantization", "saturating": []}
    assert trained["int8"]["saturating"] == []
    assert trained["int8"]["made"] == "by static quantization after quantization-aware training"
    assert json.loads((folder / "model.json").read_text())["int8"] == trained["int8"]["made"]
    without = trained["int8"]["static"]
    assert set(without) == {"difference", "agreement", "accuracy"}
    for what, value in without.items():
        assert value == pytest.approx(static[what]["int8"])
    assert trained["difference"]["int8"] != without["difference"]
    assert trained["difference"]["onnx"] < 1e-3  # compared with the student, as everything is
    assert set(trained["milliseconds"]) == {"safetensors", *FORMATS}


def test_the_copy_is_left_as_it_was(student, about, images, tmp_path):
    moved = copy.deepcopy(student).train()
    before = copy.deepcopy(moved.state_dict())
    export_student(student, about, images, tmp_path, calibration=images, for_int8=moved, formats=("int8",))
    assert moved.training
    assert all(torch.equal(value, before[name]) for name, value in moved.state_dict().items())


def test_no_int8_file_has_no_kind(student, about, images, tmp_path):
    result = export_student(student, about, images, tmp_path, for_int8=copy.deepcopy(student), formats=("onnx",))
    assert result["int8"] == {}
    assert "int8" not in json.loads((tmp_path / "model.json").read_text())


@pytest.mark.parametrize("other", [("wrn-16-1", 10), ("wrn-10-1", 3)])
def test_another_network_is_refused(student, about, images, tmp_path, other):
    said = f"int8 file of 'wrn-10-1' cannot be made of '{other[0]}'"
    with pytest.raises(UserError, match=said):
        export_student(student, about, images, tmp_path, for_int8=build(other[0], 1, other[1]))
    assert list(tmp_path.iterdir()) == []
