"""Whether the sums inside an int8 file stay within the 16 bits in which older processors keep them.

Processors without VNNI multiply 8-bit integers by the instruction ``vpmaddubsw``: it adds the products of two unsigned
activations and two signed weights, and cuts the sum off at -32768 and 32767 (Intel 64 and IA-32 Architectures Software
Developer's Manual, volume 2, PMADDUBSW). ONNX Runtime computes so, after signed activations were shifted to unsigned
ones. Newer processors add the products up in 32 bits. So a file answers the same on both only if no such sum can be
cut off, which its weights alone decide: activations take all values from 0 to 255.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

LARGEST_ACTIVATION = 255
LARGEST_WEIGHT = 64
"""Weights up to this absolute value never leave 16 bits, whichever two meet: 2 x 64 x 255 = 32640."""

_OUTPUT_AXIS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 1, "MatMul": -1}
"""Operator -> the axis of the output channels in its second input."""


def saturates(weight: npt.NDArray[Any]) -> bool:
    """Whether some activations drive the sum of two products out of 16 bits.

    Which two weights of an output channel meet in one sum is up to the kernel, so any two count.

    Args:
        weight: (output channels, ...) int8, with zero at 0. Unsigned weights are multiplied by other instructions, that
            do not saturate.
    """
    if weight.dtype != np.int8 or weight.size == 0:
        return False
    channels = np.sort(weight.reshape(len(weight), -1).astype(np.int64), axis=1)
    limits = np.iinfo(np.int16)
    # An activation of 0 takes a weight of the other sign out of the sum.
    lowest = channels[:, :2].clip(max=0).sum(axis=1) * LARGEST_ACTIVATION
    highest = channels[:, -2:].clip(min=0).sum(axis=1) * LARGEST_ACTIVATION
    return bool((lowest < limits.min).any() or (highest > limits.max).any())


def saturating_layers(path: Path) -> list[str]:
    """The layers of an int8 file in QDQ form that may answer otherwise on processors without VNNI.

    Args:
        path: of the ONNX file.

    Returns:
        Names of the nodes whose weights saturate, in the order of the file; empty if all processors add alike.
    """
    graph = onnx.load(path).graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    integers = {
        node.output[0]: numpy_helper.to_array(stored[node.input[0]])
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in stored
    }
    found = []
    for node in graph.node:
        if node.op_type in _OUTPUT_AXIS and node.input[1] in integers:
            transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
            axis = 0 if transposed else _OUTPUT_AXIS[node.op_type]
            if saturates(np.moveaxis(integers[node.input[1]], axis, 0)):
                found.append(node.name)
    return found
