"""The student as ONNX. Needs the packages of the extra "onnx"."""

import json
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from torch import Tensor

from persistill.exporters.student import Student

OPSET = 18
"""Of the operators. Old enough for the runtimes of phones; the first that torch's exporter writes by itself."""


def to_onnx(student: Student, shape: tuple[int, int, int], config: Mapping[str, Any]) -> bytes:
    """``student`` as one ONNX file: input "image" (batch, C, H, W), output "logits" (batch, K).

    Args:
        student: on the CPU, in evaluation mode.
        shape: (C, H, W) of the images.
        config: stored as JSON in the model's metadata, under "persistill".
    """
    with tempfile.TemporaryDirectory() as folder:
        model = _exported(student, torch.zeros(2, *shape), Path(folder) / "exported.onnx")
    _forget_origin(model)
    onnx.helper.set_model_props(model, {"persistill": json.dumps(config)})
    onnx.checker.check_model(model, full_check=True)
    written: bytes = model.SerializeToString()
    return written


def _exported(student: Student, images: Tensor, path: Path) -> onnx.ModelProto:
    """The model by torch's exporter, with a free batch size; ``images`` are two, for one would be a constant."""
    names: dict[str, Any] = {"input_names": ["image"], "output_names": ["logits"], "opset_version": OPSET}
    with warnings.catch_warnings():
        # The exporter uses parts of torch and onnxscript that are on their way out; no caller can do anything
        # about it. Other warnings pass.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        if torch.__version__ < "2.6":
            # The new exporter of torch 2.5 cannot write a view with a free batch size; the old one can.
            free = {"image": {0: "batch"}, "logits": {0: "batch"}}
            torch.onnx.export(student, (images,), str(path), dynamo=False, dynamic_axes=free, **names)
            return onnx.load(path)
        free_batch = {"image": {0: torch.export.Dim("batch")}}
        program = torch.onnx.export(student, (images,), dynamo=True, dynamic_shapes=free_batch, verbose=False, **names)
    assert program is not None
    return program.model_proto


def open_session(path: Path) -> Callable[[Tensor], Tensor]:
    """The model in a file, in ONNX Runtime on one thread of the CPU.

    Returns:
        A function of images (B, C, H, W) in [0, 1] that gives logits (B, K).
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # Errors only; they are raised as well.
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"image": images.numpy()})[0])


def _forget_origin(model: onnx.ModelProto) -> None:
    """Drop the stack traces that the exporter leaves at each node: they name files of this machine."""
    graph = model.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, graph):
        del part.metadata_props[:]
