"""The int8 file answers alike on processors that add products in 16 bits and in 32."""

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from persistill.exporters import int8_file, onnx_file, processor
from persistill.exporters.saturation import LARGEST_WEIGHT, saturates, saturating_layers
from persistill.exporters.student import Student
from persistill.models import build

bytes_ = st.integers(-128, 127)


def vpmaddubsw(activations, weights):
    """What the instruction does with two pairs, by Intel's manual."""
    total = int(activations[0]) * int(weights[0]) + int(activations[1]) * int(weights[1])
    return max(-32768, min(32767, total))


@given(st.lists(bytes_, min_size=1, max_size=5))
@example([127, 1]).via("the last pair that fits")
@example([127, 2]).via("the first that does not")
@example([-128])
@example([-128, -1])
@example([-127, -1])
@example([-127, -2])
@example([127, -128])
def test_weights_saturate_where_some_pair_is_cut_off(weights):
    pairs = list(itertools.permutations(weights, 2)) or [(weights[0], 0)]
    cut = any(
        vpmaddubsw(activations, pair) != activations[0] * pair[0] + activations[1] * pair[1]
        for pair in pairs
        for activations in itertools.product((0, 1, 255), repeat=2)
    )
    assert saturates(np.array([weights], np.int8)) is cut


def test_pairs_are_those_of_one_output_channel():
    assert not saturates(np.array([[127, 0, 0], [127, -127, 1]], np.int8))
    assert saturates(np.array([[0, 0, 0], [90, 0, 90]], np.int8))
    assert saturates(np.full((1, 4, 3, 3), 65, np.int8))
    assert not saturates(np.full((1, 4, 3, 3), LARGEST_WEIGHT, np.int8))
    assert not saturates(np.full((1, 4, 3, 3), -LARGEST_WEIGHT, np.int8))
    assert not saturates(np.full((3, 3), 255, np.uint8))
    assert not saturates(np.zeros((0, 3), np.int8))


@pytest.mark.parametrize("kind", ["Gemm", "transposed Gemm", "MatMul", "Conv", "ConvTranspose"])
def test_layers_that_saturate_are_named(kind, tmp_path):
    """One output channel has the large weights in the second layer, and two share them in the first."""
    split, whole = np.array([[120, 0], [0, 120]], np.int8), np.array([[120, 120], [0, 0]], np.int8)
    operator, transposed = kind.split()[-1], {"transB": 1} if kind.startswith("transposed") else {}
    nodes, stored = [], [numpy_helper.from_array(np.float32(0.1), "scale"), numpy_helper.from_array(np.int8(0), "zero")]
    for name, rows in (("first", split), ("second", whole)):
        weight = rows.T if kind in ("Gemm", "MatMul", "ConvTranspose") else rows
        weight = np.ascontiguousarray(weight).reshape((2, 2, 1, 1) if "Conv" in kind else (2, 2))
        stored.append(numpy_helper.from_array(weight, f"{name}.weight"))
        nodes += [
            helper.make_node("DequantizeLinear", [f"{name}.weight", "scale", "zero"], [f"{name}.float"]),
            helper.make_node(operator, ["x", f"{name}.float"], [name], name=name, **transposed),
        ]
    shape = [1, 2, 4, 4] if "Conv" in kind else [1, 2]
    graph = helper.make_graph(
        nodes,
        "layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("first", "second")],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    onnx.save(model, tmp_path / "model.onnx")
    assert saturating_layers(tmp_path / "model.onnx") == ["second"]


@pytest.mark.parametrize("name", ["wrn-10-1", "mobilenet-v2-half"])
def test_integers_and_floats_answer_alike_on_this_processor(name, tmp_path):
    """Without optimization, ONNX Runtime rounds as the file says and adds in float32; with it, it adds integers."""
    torch.manual_seed(0)
    network = build(name, 3, 10)
    images = torch.randint(256, (64, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        for _ in range(10):
            network((images / 255 - 0.5) / 0.25)
    student = Student(network.eval(), [0.5] * 3, [0.25] * 3).eval()
    path = tmp_path / "int8.onnx"
    int8_file.write(onnx_file.to_onnx(student, (3, 32, 32), {}).content, {}, images, path)
    assert saturating_layers(path) == []
    weights = [
        numpy_helper.to_array(tensor)
        for tensor in onnx.load(path).graph.initializer
        if tensor.data_type == TensorProto.INT8 and len(tensor.dims) > 1
    ]
    assert max(int(np.abs(weight.astype(int)).max()) for weight in weights) == LARGEST_WEIGHT
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    images = images.float() / 255
    (in_floats,) = plain.run(["logits"], {"image": images.numpy()})
    in_integers = onnx_file.open_session(path)(images)[0].numpy()
    assert np.abs(in_integers - in_floats).mean() < 0.01 * in_floats.std()


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"avx2": True, "avx512bw": True, "avx512vnni": True}, "avx512_vnni"),
        ({"avx2": True, "avxvnni": True, "avx512vnni": False}, "avx_vnni"),
        ({"avx2": True, "avx512bw": True}, "avx512"),
        ({"avx2": True}, "avx2"),
        ({"dotprod": True}, "dotprod"),
        ({"sse2": True}, "other"),
    ],
)
def test_the_best_instructions_of_the_processor_are_named(features, expected, monkeypatch):
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", lambda: features)
    assert processor.instructions() == expected


def test_a_processor_that_llvm_does_not_know_has_other_instructions(monkeypatch):
    def unknown():
        raise RuntimeError("failed to get host cpu features")

    monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", unknown)
    assert processor.instructions() == "other"
