"""A trained student, found where it lies, that names what images show and says how sure it is."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from persistill.errors import UserError
from persistill.inference import onnx_model
from persistill.inference.found_objects import THRESHOLD, FoundObject, found_boxes
from persistill.inference.onnx_model import Outputs
from persistill.run_folder import RunFolder
from persistill.storage import local_copy
from persistill.utils.image_reader import open_image
from persistill.utils.preprocessing import Preprocessing, read_pixels, restore_boxes

WEIGHTS, ONNX, INT8, NMS = "model.safetensors", "model.onnx", "model.int8.onnx", "model.nms.onnx"
"""The files of an export that say by themselves what goes in and comes out."""


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


ImageLike = str | Path | Image.Image
"""An image file, or an image that Pillow has opened."""


class Predictor:
    """A student that is asked about images; ``persistill.load`` makes one.

    Attributes:
        file: where its weights lie.
        classes: K names.
        shape: (C, H, W) of the images that it sees.
        preprocessing: how images are brought to that shape.
        dense: whether it answers for every pixel: it is asked for masks then, and not for classes of images.
        detects: whether it finds objects: it is asked for boxes then.
        temperature: that divides its logits; None where none was fitted, and confidences are those of the bare logits.

    Args:
        file: as above.
        about: "classes", "shape" and, where they are given, "preprocessing", "temperature", "task" and "selection".
        outputs: float32 images (B, C, H, W) in [0, 1] -> logits (B, K), or others.
    """

    def __init__(self, file: Path, about: Mapping[str, Any], outputs: Outputs) -> None:
        channels, height, width = about["shape"]
        self.file = file
        self.classes = tuple(map(str, about["classes"]))
        self.shape: tuple[int, int, int] = (channels, height, width)
        try:
            self.preprocessing = Preprocessing.from_json(about.get("preprocessing"))
        except ValueError as error:
            raise UserError(f"{file} is damaged, or of another version of persistill: {error}.") from None
        self.dense = about.get("task", "classification") == "segmentation"
        self.detects = about.get("task", "classification") == "detection"
        self._selection: Mapping[str, Any] | None = about.get("selection")
        self.temperature: float | None = about.get("temperature")
        self._outputs = outputs

    @classmethod
    def load(cls, path: str | Path, *, model: str | None = None) -> Self:
        """Find the student in a folder or file, on the CPU.

        Args:
            path: an export's folder, a student's run folder, or a file in one of them (``model.safetensors``,
                ``model.onnx``, ``model.int8.onnx``). Of an export's folder ``model.onnx``, of a detector's
                ``model.nms.onnx``, is taken where ONNX Runtime is installed: it needs no torch, and runs no code of
                somebody's own. The temperature is in exported files; for a student's run folder it is that of the
                newest evaluation beside it. Of a URL it is the folder.
            model: the network's name, which must be given for one of your own ("package.module:function"): that code
                runs.

        Raises:
            UserError: if there is no student, it is not finished or damaged, does not see images but a view of
                them, or needs packages that are not installed.
        """
        path, _ = local_copy(path)
        if not path.exists():
            raise UserError(
                f"there is no file or folder {path}. Give an exported student's folder, a student's run folder "
                "(persistill ls), or a model.safetensors or model.onnx."
            )
        file = _in_folder(path) if path.is_dir() else path
        run = RunFolder.open(file.parent) if (file.parent / "run.json").is_file() else None
        if run is not None:
            run.result()  # of a stage that finished
            run.checked(file.name)
        about, outputs = _open(file, model)
        if run is not None and about.get("temperature") is None and run.kind in ("student", "teacher"):
            from persistill.exporters import fitted_temperature  # noqa: PLC0415 - torch is slow to import

            about["temperature"] = fitted_temperature(run)
        return cls(file, about, outputs)

    @overload  # a string is one file, and no series of them
    def predict(self, images: ImageLike, top: int = 1) -> Prediction: ...  # type: ignore[overload-overlap]
    @overload
    def predict(self, images: Iterable[ImageLike], top: int = 1) -> list[Prediction]: ...

    def predict(self, images: ImageLike | Iterable[ImageLike], top: int = 1) -> Prediction | list[Prediction]:
        """Classify images of any size and format; each is brought to what the student sees, as in training.

        Args:
            images: an image file or an image of Pillow's, or several.
            top: so many guesses for each, at most as many as there are classes.

        Returns:
            What the student says of the image; for several a list.

        Raises:
            UserError: if a file is missing or cannot be read as an image, or the weights are of no use.
        """
        if isinstance(images, ImageLike):
            return self.predict_pixels(read_image(images, self.shape, self.preprocessing)[None], top)[0]
        pixels = [read_image(image, self.shape, self.preprocessing) for image in images]
        return self.predict_pixels(np.stack(pixels), top) if pixels else []

    def predict_pixels(self, images: ArrayLike, top: int = 1) -> list[Prediction]:
        """Classify images that have the student's shape.

        Args:
            images: (N, C, H, W) uint8, an array or a tensor on the CPU.
            top: so many guesses for each, at most as many as there are classes.

        Raises:
            UserError: if an answer is not finite: the weights are of no use; or if the network classifies pixels.
            ValueError: if the images are not uint8 of the student's shape.
        """
        if self.detects:
            raise UserError(
                f"{self.file} finds objects, and does not classify whole images: ask find_objects, or the command "
                "persistill predict."
            )
        if len(pixels := self._checked(images)) == 0:
            return []
        logits = self._answers(pixels)
        if logits.ndim != 2:
            raise UserError(
                f"{self.file} answers with logits of shape {logits.shape}: it classifies pixels, and whole images are "
                "asked about here. predict_masks, and the command persistill predict, give masks."
            )
        shares = _softmax(logits / (self.temperature or 1.0))
        count = min(max(1, top), len(self.classes))
        best = np.argsort(-shares, axis=1, kind="stable")[:, :count]
        return [
            Prediction(tuple(ClassProbability(self.classes[place], float(row[place])) for place in places))
            for row, places in zip(shares, best, strict=True)
        ]

    def predict_masks(self, images: ArrayLike) -> NDArray[np.uint8]:
        """Classify the pixels of images that have the student's shape.

        Args:
            images: (N, C, H, W) uint8, an array or a tensor on the CPU.

        Returns:
            (N, H, W) numbers of the classes.

        Raises:
            UserError: if the student answers for images and not for their pixels, or an answer is not finite.
            ValueError: if the images are not uint8 of the student's shape.
        """
        if not self.dense:
            raise UserError(f"{self.file} classifies whole images, and not their pixels: ask predict.")
        pixels = self._checked(images)
        if len(pixels) == 0:
            return np.zeros((0, *self.shape[1:]), np.uint8)
        logits = self._answers(pixels)
        if logits.shape[2:] != self.shape[1:]:
            raise UserError(
                f"{self.file} answers with logits of shape {logits.shape} where masks are {self.shape[1]} x "
                f"{self.shape[2]}: it was changed since it was written. Export the network again."
            )
        masks: NDArray[np.uint8] = logits.argmax(1).astype(np.uint8)
        return masks

    @overload  # as of predict
    def find_objects(self, images: ImageLike, threshold: float = ...) -> tuple[FoundObject, ...]: ...  # type: ignore[overload-overlap]
    @overload
    def find_objects(self, images: Iterable[ImageLike], threshold: float = ...) -> list[tuple[FoundObject, ...]]: ...

    def find_objects(
        self, images: ImageLike | Iterable[ImageLike], threshold: float = THRESHOLD
    ) -> tuple[FoundObject, ...] | list[tuple[FoundObject, ...]]:
        """Find objects in images of any size and format, in pixels of each image as it is.

        Args:
            images: an image file or an image of Pillow's, or several.
            threshold: least score. Detectors keep nothing below one of their own, 0.05 in most.

        Returns:
            The objects in the image, the highest score first; for several images a list.

        Raises:
            UserError: if a file is missing or cannot be read as an image, or the student is no detector.
        """
        if isinstance(images, ImageLike):
            return self.find_objects([images], threshold)[0]
        read = [_read_with_size(image, self.shape, self.preprocessing) for image in images]
        if not read:
            return []
        return self.objects_in_pixels(np.stack([pixels for pixels, _ in read]), [size for _, size in read], threshold)

    def objects_in_pixels(
        self, images: ArrayLike, sizes: Sequence[tuple[int, int]] | None = None, threshold: float = THRESHOLD
    ) -> list[tuple[FoundObject, ...]]:
        """Find objects in images that have the detector's shape.

        Args:
            images: (N, C, H, W) uint8, an array or a tensor on the CPU.
            sizes: width and height of each image before it was brought to this shape, to which boxes are brought back;
                None for boxes in pixels of ``images``.
            threshold: least score.

        Raises:
            UserError: if the student is no detector, or its answers make no sense.
            ValueError: if the images are not uint8 of the student's shape.
        """
        if not self.detects:
            raise UserError(f"{self.file} is no detector: ask predict, or predict_masks.")
        found, frame = [], (self.shape[2], self.shape[1])
        for pixels, size in zip(self._checked(images), sizes or itertools.repeat(frame), strict=False):
            outputs = self._outputs(pixels[None].astype(np.float32) / np.float32(255))
            boxes, scores, labels = found_boxes(outputs, len(self.classes), self._selection, self.file)
            kept = scores >= threshold
            restored = restore_boxes(boxes[kept], size, frame, self.preprocessing)
            found.append(
                tuple(
                    FoundObject(self.classes[label], float(score), (x1, y1, x2, y2))
                    for label, score, (x1, y1, x2, y2) in zip(
                        labels[kept].tolist(), scores[kept], restored.tolist(), strict=True
                    )
                )
            )
        return found

    def _checked(self, images: ArrayLike) -> NDArray[np.uint8]:
        pixels = np.asarray(images)
        if pixels.dtype != np.uint8 or pixels.shape[1:] != self.shape:
            raise ValueError(
                f"images must be uint8 of shape (N, {', '.join(map(str, self.shape))}); {pixels.dtype} of shape "
                f"{pixels.shape} was given."
            )
        return pixels

    def _answers(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Logits of images of the right shape."""
        logits = self._outputs(pixels.astype(np.float32) / np.float32(255))[0].astype(np.float64)
        if logits.ndim not in (2, 4) or logits.shape[:2] != (len(pixels), len(self.classes)):
            raise UserError(
                f"{self.file} answers {len(pixels)} images with logits of shape {logits.shape}, and names "
                f"{len(self.classes)} classes: it was changed since it was written. Export the network again."
            )
        if not np.isfinite(logits).all():
            raise UserError(f"the answers of {self.file} are not finite numbers: its weights are damaged.")
        return logits

    def __repr__(self) -> str:
        channels, height, width = self.shape
        return f"Predictor({str(self.file)!r}: {len(self.classes)} classes, images of {channels}x{height}x{width})"


def load(path: str | Path, *, model: str | None = None) -> Predictor:
    """A trained student, ready to be asked: ``load("my_student").predict("cat.jpg")``. See ``Predictor.load``."""
    return Predictor.load(path, model=model)


def read_image(image: ImageLike, shape: tuple[int, int, int], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """An image as a student sees it, read as training reads it.

    Args:
        image: a file, or an image of Pillow's.
        shape: (C, H, W) of the answer.
        preprocessing: of the student.

    Raises:
        UserError: if it cannot be read.
    """
    return _read_with_size(image, shape, preprocessing)[0]


def _read_with_size(
    image: ImageLike, shape: tuple[int, int, int], preprocessing: Preprocessing
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """What ``read_image`` gives, and the image's own width and height."""
    if isinstance(image, Image.Image):
        copied = image.copy()
        pixels = read_pixels(copied, shape, preprocessing)
        return pixels, copied.size  # it was turned in place
    path = Path(image)
    if not path.is_file():
        raise UserError(f"there is no file {path}.")
    try:
        with open_image(path) as opened:
            pixels = read_pixels(opened, shape, preprocessing)
            return pixels, opened.size
    except Exception as error:  # decoders raise whatever comes to hand on damaged files
        raise UserError(f"{path} cannot be read as an image ({error}).") from error


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    raised = np.exp(logits - logits.max(1, keepdims=True))
    shares: NDArray[np.float64] = raised / raised.sum(1, keepdims=True)
    return shares


def _open(file: Path, model: str | None) -> tuple[dict[str, Any], Outputs]:
    if file.suffix == ".onnx":
        return onnx_model.open_onnx(file)
    if file.suffix != ".safetensors":
        raise UserError(
            f"{file} is no model that can be read here: give {WEIGHTS}, {ONNX} or {INT8}, or the folder that holds "
            "one of them."
        )
    from persistill.inference.weights import open_weights  # noqa: PLC0415 - torch is slow to import

    return open_weights(file, model)


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
    names = (NMS, ONNX, WEIGHTS, INT8) if onnx_model.installed() else (WEIGHTS, NMS, ONNX, INT8)
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        f"{folder} holds no student: none of {', '.join(names)} is there. Give an exported student's folder or a "
        "student's run folder (persistill ls)."
    )
