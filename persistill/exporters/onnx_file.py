"""The student as ONNX. Needs the packages of the extra "onnx"."""

import json
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import onnxruntime
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from persistill.exporters.failure import root_cause

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
    student: nn.Module,
    shape: tuple[int, int, int],
    config: Mapping[str, Any],
    program: ExportedProgram | None = None,
    outputs: Sequence[str] = ("logits",),
) -> OnnxFile:
    """``student`` as one ONNX file: input "image" (batch, C, H, W), output "logits" (batch, K, *) or others.

    Where torch's newer exporter fails, which follows the code, its older one is tried, which records one pass.

    Args:
        student: on the CPU, in evaluation mode.
        shape: (C, H, W) of the images.
        config: stored as JSON in the model's metadata, under "persistill".
        program: the student as a program, so that its code need not be followed again; None if there is none.
        outputs: names of what the student returns.

    Raises:
        RuntimeError: if both exporters fail, with what each said.
    """
    # Two images, for one would be a constant.
    images, note = torch.zeros(2, *shape), ""
    try:
        # The newer exporter of torch 2.5 cannot write a view with a free batch size.
        model = (
            _by_recording(student, images, outputs)
            if torch.__version__ < "2.6"
            else _by_following(program or student, images, outputs)
        )
    except Exception as error:  # noqa: BLE001 - exporters raise whatever comes to hand
        first = root_cause(error)
        try:
            model = _by_recording(student, images, outputs)
        except Exception as other:  # noqa: BLE001 - likewise
            raise RuntimeError(f"torch's exporter said {first!r}, and its older one {root_cause(other)!r}") from None
        note = f"model.onnx was written by torch's older exporter, because the newer one failed ({first})."
    return OnnxFile(_finished(model, config), note)


def to_onnx_of_one_image(
    student: nn.Module, shape: tuple[int, int, int], config: Mapping[str, Any], outputs: Sequence[str]
) -> bytes:
    """``student`` as an ONNX file for one image: input "image" (1, C, H, W), outputs of any length.

    By torch's older exporter, which records one pass. The newer one cannot follow code whose shapes depend on what is
    in an image.

    Args:
        student: on the CPU, in evaluation mode.
        shape: (C, H, W) of the image.
        config: stored as JSON in the model's metadata, under "persistill".
        outputs: names of what the student returns.
    """
    free = {name: {0: "objects"} for name in outputs}
    return _finished(_recorded(student, torch.zeros(1, *shape), outputs, free), config)


def _finished(model: onnx.ModelProto, config: Mapping[str, Any]) -> bytes:
    _forget_origin(model)
    onnx.helper.set_model_props(model, {"persistill": json.dumps(config)})
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def _by_following(student: nn.Module | ExportedProgram, images: Tensor, outputs: Sequence[str]) -> onnx.ModelProto:
    with warnings.catch_warnings():
        # The exporter uses parts of torch and onnxscript that are on their way out; no caller can do anything
        # about it. Other warnings pass.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        free = {"image": {0: torch.export.Dim("batch")}}
        written = torch.onnx.export(
            student,
            (images,),
            dynamo=True,
            dynamic_shapes=free,
            verbose=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=list(outputs),
        )
    assert written is not None
    return written.model_proto


def _by_recording(student: nn.Module, images: Tensor, outputs: Sequence[str]) -> onnx.ModelProto:
    return _recorded(student, images, outputs, {name: {0: "batch"} for name in ("image", *outputs)})


def _recorded(
    student: nn.Module, images: Tensor, outputs: Sequence[str], free: Mapping[str, Mapping[int, str]]
) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # It warns of all that it holds for a constant; the file is compared with the student afterwards.
        warnings.simplefilter("ignore")
        path = Path(folder) / "exported.onnx"
        torch.onnx.export(
            student,
            (images,),
            str(path),
            dynamo=False,
            dynamic_axes=free,
            opset_version=OPSET,
            input_names=["image"],
            output_names=list(outputs),
        )
        return onnx.load(path)


def open_session(path: Path) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """The model in a file, in ONNX Runtime on one thread of the CPU.

    Returns:
        A function of images (B, C, H, W) in [0, 1] that gives the file's outputs in order.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # Errors only; they are raised as well.
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: tuple(map(torch.from_numpy, session.run(None, {"image": images.numpy()})))


def _forget_origin(model: onnx.ModelProto) -> None:
    """Drop the stack traces that the exporter leaves at each node: they name files of this machine."""
    graph = model.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, graph):
        del part.metadata_props[:]
