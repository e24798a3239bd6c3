"""A trained student, found where it lies, that names what images show and says how sure it is."""

import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from persistill import models
from persistill.errors import UserError
from persistill.exporters.formats import FORMATS
from persistill.exporters.student import WEIGHTS, Student
from persistill.exporters.temperature import fitted_temperature
from persistill.run_folder import RunFolder

_READ = ("safetensors", "onnx", "int8")
"""Formats whose files say by themselves what goes in and comes out; of a folder the first one there is taken."""


class ClassProbability(NamedTuple):
    """A class, and the probability that the student gives it.

    Attributes:
        name: of the class.
        confidence: 0 to 1, ``softmax(logits / temperature)``.
    """

    name: str
    confidence: float


class Prediction(NamedTuple):
    """What a student says of an image.

    Attributes:
        guesses: the most confident first.
    """

    guesses: tuple[ClassProbability, ...]

    @property
    def name(self) -> str:
        """The class."""
        return self.guesses[0].name

    @property
    def confidence(self) -> float:
        """How sure the student is of it."""
        return self.guesses[0].confidence


class Predictor:
    """A student that is asked about images; ``load`` makes one.

    Attributes:
        file: where its weights lie.
        classes: K names.
        shape: (C, H, W) of the images that it sees.
        temperature: that divides its logits; None where none was fitted, and confidences are those of the bare logits.

    Args:
        file: as above.
        about: "classes", "shape" and, if it was fitted, "temperature".
        logits: images (B, C, H, W) in [0, 1] -> logits (B, K).
    """

    def __init__(self, file: Path, about: Mapping[str, Any], logits: Callable[[Tensor], Tensor]) -> None:
        channels, height, width = about["shape"]
        self.file = file
        self.classes = tuple(map(str, about["classes"]))
        self.shape: tuple[int, int, int] = (channels, height, width)
        self.temperature: float | None = about.get("temperature")
        self._logits = logits

    @classmethod
    def load(cls, path: Path) -> Self:
        """Find the student in a folder or file, on the CPU.

        Args:
            path: an export's folder, a student's run folder, or a file in one of them (``model.safetensors``,
                ``model.onnx``, ``model.int8.onnx``). The temperature is in exported files; for a student's run folder
                it is that of the newest evaluation beside it.

        Raises:
            UserError: if there is no student, it is not finished or damaged, does not see images but a view of
                them, or needs packages that are not installed.
        """
        if not path.exists():
            raise UserError(
                f"there is no file or folder {path}. Give an exported student's folder, a student's run folder "
                "(persistill ls), or a model.safetensors or model.onnx."
            )
        file = _in_folder(path) if path.is_dir() else path
        found = _read_onnx(file) if file.suffix == ".onnx" else _read_weights(file, _model(file.parent))
        if (file.parent / "run.json").is_file() and found[0].get("temperature") is None:
            run = RunFolder.open(file.parent)
            if run.kind in ("student", "teacher"):
                found[0]["temperature"] = fitted_temperature(run)
        return cls(file, *found)

    def answer(self, images: Tensor, top: int = 1) -> list[Prediction]:
        """Classify images.

        Args:
            images: (N, C, H, W) uint8, all in memory at once.
            top: so many guesses for each, at most as many as there are classes.

        Raises:
            UserError: if an answer is not finite: the weights are of no use.
            ValueError: if the images are not uint8 of the student's shape.
        """
        if images.dtype != torch.uint8 or tuple(images.shape[1:]) != self.shape:
            raise ValueError(
                f"images must be uint8 of shape (N, {', '.join(map(str, self.shape))}); {images.dtype} of shape "
                f"{tuple(images.shape)} was given."
            )
        if len(images) == 0:
            return []
        logits = self._logits(images.float() / 255).double()
        if not bool(logits.isfinite().all()):
            raise UserError(f"the answers of {self.file} are not finite numbers: its weights are damaged.")
        best = (logits / (self.temperature or 1.0)).softmax(1).topk(min(max(1, top), len(self.classes)), 1)
        return [
            Prediction(tuple(ClassProbability(self.classes[place], share) for share, place in zip(*row, strict=True)))
            for row in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]


def _in_folder(folder: Path) -> Path:
    """The file that holds the student of a folder."""
    if (folder / "run.json").is_file():
        run = RunFolder.open(folder)
        if run.kind not in ("student", "teacher", "quantized", "export"):
            raise UserError(
                f"{folder} is the folder of a run of kind {run.kind!r} and holds no network. Give a student's run "
                "folder or an export's (persistill ls)."
            )
        run.result()  # raises, if the stage has not finished
    for name in _READ:
        if (folder / FORMATS[name].file).is_file():
            return folder / FORMATS[name].file
    raise UserError(
        f"{folder} holds no student: none of {', '.join(FORMATS[name].file for name in _READ)} is there. Give an "
        "exported student's folder or a student's run folder (persistill ls)."
    )


def _model(folder: Path) -> str | None:
    """The network that the run in a folder trained, so that one of somebody's own is made; None if none was."""
    if not (folder / "run.json").is_file():
        return None
    name: str | None = RunFolder.open(folder).inputs.get("model")
    return name


def _read_weights(file: Path, model: str | None) -> tuple[dict[str, Any], Callable[[Tensor], Tensor]]:
    if file.suffix != ".safetensors":
        raise UserError(
            f"{file} is no model that can be read here: give {WEIGHTS}, model.onnx or model.int8.onnx, or the folder "
            "that holds one of them."
        )
    network, about = models.load(file, model)
    if about.get("view", "image") != "image":
        raise UserError(
            f"{file} does not see images but the view {about['view']!r} of them: it is a teacher, and not asked "
            "about images. Give a student."
        )
    if absent := [name for name in ("classes", "mean", "std", "shape") if name not in about]:
        raise UserError(
            f"{file} does not say its {', '.join(absent)}: it is not the weights file of a run or an export. Export "
            "the run of a student that persistill trained."
        )
    student = Student(network, about["mean"], about["std"]).eval()

    def logits(images: Tensor) -> Tensor:
        with torch.inference_mode():
            found: Tensor = student(images)
        return found

    return about, logits


def _read_onnx(file: Path) -> tuple[dict[str, Any], Callable[[Tensor], Tensor]]:
    if importlib.util.find_spec("onnxruntime") is None:
        raise UserError(
            f'{file} needs ONNX Runtime, which is not installed: pip install "persistill[onnx]". Or give {WEIGHTS}.'
        )
    import onnxruntime  # noqa: PLC0415 - of an extra

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised as well
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - its errors have no common class
        raise UserError(f"{file} cannot be read as ONNX; it is damaged or cut short ({error}).") from None
    try:
        config = json.loads(session.get_modelmeta().custom_metadata_map["persistill"])
        about = {"classes": config["classes"], "shape": config["input"]["shape"][1:]}
    except (KeyError, json.JSONDecodeError):
        raise UserError(
            f"{file} is an ONNX file, but not one that persistill wrote: it does not name its classes. Give the "
            "model.onnx of an export."
        ) from None
    if config.get("temperature", 1.0) != 1.0:  # 1 stands for none
        about["temperature"] = config["temperature"]
    return about, lambda images: torch.from_numpy(session.run(["logits"], {"image": images.numpy()})[0])
