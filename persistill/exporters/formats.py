"""The files in which a student is delivered: for each, how it is written, and how it is asked again."""

import importlib.util
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from persistill import models
from persistill.exporters.student import WEIGHTS, read
from persistill.models import Network

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from persistill.exporters.onnx_file import OnnxFile

Outputs = tuple[Tensor, ...]
"""What a file answers, in order: the logits (B, K, *) alone, in most tasks."""
OutputsFunction = Callable[[Tensor], Outputs]
"""Images (B, C, H, W) in [0, 1] -> outputs."""


@dataclass(frozen=True)
class ExportSource:
    """What a file is made from.

    Attributes:
        network: the student, on the CPU, in evaluation mode.
        about: classes, mean, std, shape, for the header of the weights.
        config: the content of model.json.
        calibration: (n, C, H, W) uint8 training images on which int8 ranges are measured; None for none.
        make_student: network and about -> the network with its normalization in front, and its outputs alone behind.
        outputs: names of these.
        float_tail: whether int8 leaves the last convolutions, and what follows them, in float32.
    """

    network: Network
    about: Mapping[str, Any]
    config: Mapping[str, Any]
    calibration: Tensor | None
    make_student: Callable[[Network, Mapping[str, Any]], nn.Module]
    outputs: tuple[str, ...]
    float_tail: bool = False

    @property
    def student(self) -> nn.Module:
        """The network with its normalization in front, and its outputs alone behind."""
        return self.make_student(self.network, self.about)

    @cached_property
    def _program(self) -> "ExportedProgram | Exception":
        from persistill.exporters import program_file  # noqa: PLC0415

        try:
            return program_file.to_program(self.student, self.shape)
        except Exception as error:  # noqa: BLE001 - as below
            return error

    @property
    def program(self) -> "ExportedProgram":
        """The student as a program, its code followed once for all files that are made from it.

        Raises:
            Exception: if it cannot be.
        """
        if isinstance(self._program, Exception):
            raise self._program
        return self._program

    @cached_property
    def _onnx(self) -> "OnnxFile | Exception":
        # The packages of extras are imported where they are needed, and not at the top of the file.
        from persistill.exporters import onnx_file  # noqa: PLC0415

        try:
            program = None if isinstance(self._program, Exception) else self._program
            return onnx_file.to_onnx(self.student, self.shape, self.config, program, self.outputs)
        except Exception as error:  # noqa: BLE001 - of other people's exporters; whoever asks next is told the same
            return error

    @property
    def onnx(self) -> bytes:
        """The student as an ONNX file, exported once for all files that are made from it.

        Raises:
            Exception: if it cannot be exported.
        """
        if isinstance(self._onnx, Exception):
            raise self._onnx
        return self._onnx.content

    def notes(self) -> dict[str, str]:
        """Format -> how else than usual it was written, as far as anything was."""
        made = self.__dict__.get("_onnx")
        return {} if made is None or isinstance(made, Exception) or not made.note else {"onnx": made.note}

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images."""
        channels, height, width = self.about["shape"]
        return channels, height, width


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes:
        file: the file's name.
        what: a description.
        packages: that it needs, as they are imported.
        extra: the extra of persistill that installs them.
        exact: whether its outputs equal the checkpoint's up to rounding.
        batches: whether it takes any batch size, or one image at a time.
        write: writes the file in place.
        open: loads it, for one thread. It takes the network's name, without which no user code is run.
    """

    file: str
    what: str
    packages: tuple[str, ...]
    extra: str
    exact: bool
    batches: bool
    write: Callable[[ExportSource, Path], None]
    open: Callable[[Path, str], OutputsFunction]

    def missing(self) -> list[str]:
        """The packages that are not installed."""
        return [name for name in self.packages if importlib.util.find_spec(name) is None]


def run_batches(model: OutputsFunction, batches: Iterable[Tensor], *, one_by_one: bool = False) -> list[Outputs]:
    """The outputs for batches of images, a call each."""
    inputs = (part for batch in batches for part in (torch.split(batch, 1) if one_by_one else [batch]))
    return [model(images) for images in inputs]


def _write_weights(source: ExportSource, path: Path) -> None:
    models.save(source.network, path, source.about)


def _open_weights(path: Path, model: str) -> OutputsFunction:
    return inferring(read(path, model))


def _write_onnx(source: ExportSource, path: Path) -> None:
    path.write_bytes(source.onnx)


def _open_onnx(path: Path, _: str) -> OutputsFunction:
    from persistill.exporters import onnx_file  # noqa: PLC0415

    return onnx_file.open_session(path)


def _write_int8(source: ExportSource, path: Path) -> None:
    from persistill.exporters import int8_file  # noqa: PLC0415

    assert source.calibration is not None
    int8_file.write(source.onnx, source.config, source.calibration, path, float_tail=source.float_tail)


def _write_program(source: ExportSource, path: Path) -> None:
    from persistill.exporters import program_file  # noqa: PLC0415

    program_file.write(source.program, path)


def _open_program(path: Path, _: str) -> OutputsFunction:
    from persistill.exporters import program_file  # noqa: PLC0415

    return inferring(program_file.open_program(path))


def _write_executorch(source: ExportSource, path: Path) -> None:
    from persistill.exporters import executorch_file  # noqa: PLC0415

    executorch_file.write(source.student, source.shape, path)


def _open_executorch(path: Path, _: str) -> OutputsFunction:
    from persistill.exporters import executorch_file  # noqa: PLC0415

    return executorch_file.open_program(path)


def inferring(module: nn.Module) -> OutputsFunction:
    """A module that returns a tensor or several, without gradients."""

    def answer(images: Tensor) -> Outputs:
        with torch.inference_mode():
            return as_outputs(module(images))

    return answer


def as_outputs(returned: Tensor | Iterable[Tensor]) -> Outputs:
    """What a module returned, as a tuple."""
    return (returned,) if isinstance(returned, Tensor) else tuple(returned)


_ONNX = ("onnx", "onnxruntime", "onnxscript")

FORMATS: dict[str, Format] = {
    "safetensors": Format(WEIGHTS, "weights", (), "", True, True, _write_weights, _open_weights),
    "onnx": Format("model.onnx", "ONNX", _ONNX, "onnx", True, True, _write_onnx, _open_onnx),
    "int8": Format(
        "model.int8.onnx", "ONNX in 8 bits", (*_ONNX, "sympy"), "onnx", False, True, _write_int8, _open_onnx
    ),
    "program": Format("model.pt2", "torch.export program", (), "", True, True, _write_program, _open_program),
    "executorch": Format(
        "model.pte", "ExecuTorch", ("executorch",), "executorch", True, False, _write_executorch, _open_executorch
    ),
}
"""Name -> format, in the order in which they are written."""
