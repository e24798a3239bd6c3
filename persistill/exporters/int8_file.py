"""The student as ONNX in 8 bits: static quantization, ranges measured on training images. Needs the extra "onnx"."""

import contextlib
import io
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor

_BATCH = 32
_LEAST_RANGE = 1e-4
"""Of an activation. Without one, that of a unit that is always 0 would get a range around 0, and the quantizer, which
takes the ends of the range for the ReLU before it, would let through what the ReLU cuts off."""


class _Images(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, images: Tensor) -> None:
        whole = images[: len(images) // _BATCH * _BATCH] if len(images) > _BATCH else images
        self._batches: Iterator[Tensor] = iter(torch.split(whole, _BATCH))  # all of one size, as histograms want them

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"image": (batch.float() / 255).numpy()}


def write(
    model: bytes, config: Mapping[str, Any], calibration: Tensor, path: Path, *, float_tail: bool = False
) -> None:
    """Write a student as an int8 ONNX file of the same input and output as the float one.

    Weights are quantized by output channel to -64 ... 64, activations by tensor to -128 ... 127, in ONNX's QDQ form,
    which runtimes on servers and phones know. With 7 bits for the weights no sum of two products leaves 16 bits, so
    that results are equal on processors with and without VNNI (``saturation``). The range of an activation covers
    99.999 % of its values on the calibration images, so that single outliers do not reduce the resolution of all
    others. Normalization and logits stay in float32.

    Args:
        model: the content of the float file.
        config: stored as JSON in the model's metadata, under "persistill".
        calibration: (n, C, H, W) uint8 training images, a few hundred.
        path: the file. It is written in place.
        float_tail: leave the last convolutions, and all that follows them, in float32: what they compute are numbers
            that one asks for, such as corners of boxes in pixels, and no features.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        whole, prepared = Path(folder) / "float.onnx", Path(folder) / "prepared.onnx"
        whole.write_bytes(model)
        # Folds constants and batch norms. Shapes by sympy would find nothing more in such networks.
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        excluded = _tail(onnx.load(prepared).graph) if float_tail else []
        try:
            _quantize(prepared, path, calibration, CalibrationMethod.Percentile, excluded)
        except ValueError:
            # Histograms have no room between activations that are all alike but for a rounding.
            _quantize(prepared, path, calibration, CalibrationMethod.MinMax, excluded)
    quantized = onnx.load(path)
    # The optimizer declares domains of its own whether it used them or not, and other runtimes know none of them.
    used = {node.domain for node in quantized.graph.node}
    declared = [entry for entry in quantized.opset_import if entry.domain in used]
    del quantized.opset_import[:]
    quantized.opset_import.extend(declared)
    onnx.helper.set_model_props(quantized, {"persistill": json.dumps(config)})
    path.write_bytes(quantized.SerializeToString())


def _tail(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes from which no convolution is reached any more, the last convolutions among them."""
    before_convolution: set[str] = set()  # tensors
    tail = []
    for node in reversed(graph.node):
        if before_convolution.isdisjoint(node.output):
            tail.append(node.name)
        if node.op_type == "Conv" or not before_convolution.isdisjoint(node.output):
            before_convolution.update(node.input)
    return tail


def _quantize(
    prepared: Path, path: Path, calibration: Tensor, method: CalibrationMethod, excluded: Sequence[str]
) -> None:
    quantize_static(
        prepared,
        path,
        _Images(calibration),
        nodes_to_exclude=list(excluded),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        reduce_range=True,  # of the weights alone
        calibrate_method=method,
        extra_options={
            # Logits leave in float32: to round them costs digits, and saves nothing that can be measured.
            "OpTypesToExcludeOutputQuantization": ["Gemm"],
            "MinimumRealRange": _LEAST_RANGE,
        },
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantizer prints its progress, and advises to do what was just done."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
