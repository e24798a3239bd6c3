"""The student as ONNX. Needs the packages of the extra "onnx"."""

import json
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import onnxruntime
import torch
from torch import Tensor
from torch.export import ExportedProgram

from persistill.exporters.failure import root_cause
from persistill.exporters.student import Student

_NAMES: dict[str, Any] = {"input_names": ["image"], "output_names": ["logits"]}
OPSET = 18
"""Of the operators. Old enough for the runtimes of phones; the first that torch's exporter writes by itself."""


class OnnxFile(NamedTuple):
    """A student in ONNX.

    Attributes:
        content: of the file.
        note: a sentence, if it was not torch's newer exporter that wrote it; otherwise empty.
    """

    content: bytes
    note: str


def to_onnx(
    student: Student, shape: tuple[int, int, int], config: Mapping[str, Any], program: ExportedProgram | None = None
) -> OnnxFile:
    """``student`` as one ONNX file: input "image" (batch, C, H, W), output "logits" (batch, K).

    Where torch's newer exporter fails, which follows the code, its older one is tried, which records one pass.

    Args:
        student: on the CPU, in evaluation mode.
        shape: (C, H, W) of the images.
        config: stored as JSON in the model's metadata, under "persistill".
        program: the student as a program, so that its code need not be followed again; None if there is none.

    Raises:
        RuntimeError: if both exporters fail, with what each said.
    """
    # Two images, for one would be a constant.
    images, note = torch.zeros(2, *shape), ""
    try:
        # The newer exporter of torch 2.5 cannot write a view with a free batch size.
        model = (
            _by_recording(student, images) if torch.__version__ < "2.6" else _by_following(program or student, images)
        )
    except Exception as error:  # noqa: BLE001 - exporters raise whatever comes to hand
        first = root_cause(error)
        try:
            model = _by_recording(student, images)
        except Exception as other:  # noqa: BLE001 - likewise
            raise RuntimeError(f"torch's exporter said {first!r}, and its older one {root_cause(other)!r}") from None
        note = f"model.onnx was written by torch's older exporter, because the newer one failed ({first})."
    _forget_origin(model)
    onnx.helper.set_model_props(model, {"persistill": json.dumps(config)})
    onnx.checker.check_model(model, full_check=True)
    return OnnxFile(model.SerializeToString(), note)


def _by_following(student: Student | ExportedProgram, images: Tensor) -> onnx.ModelProto:
    with warnings.catch_warnings():
        # The exporter uses parts of torch and onnxscript that are on their way out; no caller can do anything
        # about it. Other warnings pass.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        free = {"image": {0: torch.export.Dim("batch")}}
        written = torch.onnx.export(
            student, (images,), dynamo=True, dynamic_shapes=free, verbose=False, opset_version=OPSET, **_NAMES
        )
    assert written is not None
    return written.model_proto


def _by_recording(student: Student, images: Tensor) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # It warns of all that it holds for a constant; the file is compared with the student afterwards.
        warnings.simplefilter("ignore")
        path = Path(folder) / "exported.onnx"
        free = {"image": {0: "batch"}, "logits": {0: "batch"}}
        torch.onnx.export(student, (images,), str(path), dynamo=False, dynamic_axes=free, opset_version=OPSET, **_NAMES)
        return onnx.load(path)


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
