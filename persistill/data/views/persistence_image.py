"""Persistence images of a data set: their settings in a recipe, making them once, opening them again."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, model_validator
from torch import Tensor

from persistill.data.dataset import ImageDataset
from persistill.data.splits_reader import Splits
from persistill.data.views.memmap import Shape, StoredView, measure, open_array, unit, write_array
from persistill.data.views.online import Drawing, DrawnView
from persistill.errors import UserError
from persistill.settings import Settings
from persistill.topology import PersistenceImages, columns, persistence_images, rows, sublevel_persistence
from persistill.utils.atomic_io import atomic
from persistill.utils.progress import Progress, Silent

FIT_IMAGES = 1000
"""Training images, evenly spaced, on which a window, a scale and the largest intensity are measured ..."""
FIT_SAMPLES = 2**24
"""... or fewer, of large images: so many samples of their signals."""
GALLERY_IMAGES = 12

_CHUNK = 256  # images
_SCANS = {"rows": rows, "columns": columns}
_SPLITS = ("train", "validation", "test")
_SILENT = Silent()

Side = Annotated[int, Field(ge=1)]


class _Scanned(Settings, ABC):
    """What both kinds of persistence views share."""

    scans: Annotated[tuple[Literal["rows", "columns"], ...], Field(min_length=1)] = ("rows", "columns")
    dtype: Literal["uint8", "float16"] = "uint8"

    def shape(self, image: Shape) -> Shape:
        """(C, H, W) of the view of images of shape (C, H, W)."""
        pixels: tuple[int, int] = self.pixels  # type: ignore[attr-defined]
        return len(self.scans) * image[0], pixels[0], pixels[1]

    @abstractmethod
    def images(self, images: npt.NDArray[np.uint8], threads: int | None) -> PersistenceImages:
        """The settings of the vectorization, fitted to training images (n, C, H, W) where they need be."""


class PersistenceView(_Scanned):
    """Persistence images with a window of your choice; the defaults are those of the TGD paper's code.

    Every channel of an image is read as a signal along its rows, and once more along its columns; the sublevel
    persistence (H0) of each signal becomes one channel of the view, all channels of the first scan first.
    The fields are those of ``topology.PersistenceImages`` (Jeon et al., 2024, arXiv 2407.05316), and:

    Attributes:
        scans: how images are read.
        dtype: of the stored values: "uint8" keeps floor(255 * value) as the published code does, "float16" 11 bits.
    """

    pixels: tuple[Side, Side] = (50, 50)
    bandwidth: float = 0.01
    births: tuple[float, float] = (0.0, 0.3)
    persistences: tuple[float, float] = (0.0, 0.3)
    min_persistence: float = 0.02
    weight: Literal["linear", "constant"] = "linear"
    grid: Literal["published", "tiled"] = "published"
    scaling: Literal["max", "log", "none"] = "max"
    scale: float = 1.0

    @model_validator(mode="after")
    def _allowed(self) -> Self:
        self._images()
        return self

    def _images(self) -> PersistenceImages:
        return PersistenceImages(**{name: getattr(self, name) for name in PersistenceImages.__dataclass_fields__})

    def images(self, images: npt.NDArray[np.uint8], threads: int | None) -> PersistenceImages:  # noqa: ARG002
        """The settings as they stand; nothing is fitted."""
        return self._images()


class FittedPersistenceView(_Scanned):
    """Persistence images whose window, bandwidth and scale are fitted to training images.

    See ``topology.PersistenceImages.fit`` for the fields that are not told here.

    Attributes:
        scans: how images are read, as in ``PersistenceView``.
        dtype: of the stored values, as in ``PersistenceView``.
    """

    pixels: tuple[Side, Side] = (32, 32)
    quantile: Annotated[float, Field(gt=0.5, le=1)] = 0.99
    bandwidth: Annotated[float, Field(gt=0)] | None = None
    min_persistence: Annotated[float, Field(ge=0)] = 0.02
    weight: Literal["linear", "constant"] = "linear"
    scaling: Literal["max", "log", "none"] = "log"

    def images(self, images: npt.NDArray[np.uint8], threads: int | None) -> PersistenceImages:
        """The fitted settings.

        Raises:
            UserError: if the images hold nothing to fit to.
        """
        try:
            return PersistenceImages.fit(
                sublevel_persistence(_signals(images, self.scans), threads=threads),
                pixels=self.pixels,
                quantile=self.quantile,
                bandwidth=self.bandwidth,
                min_persistence=self.min_persistence,
                weight=self.weight,
                scaling=self.scaling,
            )
        except ValueError as error:
            raise UserError(f"the view cannot be fitted to the training images: {error}") from error


def make_view(
    view: Settings, splits: Splits, folder: Path, progress: Progress = _SILENT, threads: int | None = None
) -> dict[str, Any]:
    """Compute the persistence images of all images, once.

    Writes ``train.npy``, ``validation.npy`` and ``test.npy`` ((N, C, H, W), each whole or not at all; those that are
    there already are kept) and ``gallery.npz`` (a few validation images with diagrams and images, to be looked at).
    Intensities that are not divided by each image's own maximum (scaling "log" and "none") are divided by the largest
    one among up to ``FIT_IMAGES`` training images, and cut at 1.

    Args:
        view: a ``PersistenceView`` or ``FittedPersistenceView``.
        splits: the images.
        folder: an existing folder, where files are written.
        progress: told how many images are done.
        threads: how many threads; None for torch's number.

    Returns:
        The result of the view's run folder, plain JSON: shape, mean and std per channel (of training images), scans,
        settings (with what was fitted, and the largest intensity as "peak"), range, count, fingerprint, seconds.

    Raises:
        UserError: if the view cannot be fitted, a file cannot be written, or one that is there does not belong here.
    """
    begun = time.monotonic()
    if not isinstance(view, _Scanned):
        raise UserError(
            f"a view must be a PersistenceView or a FittedPersistenceView; {type(view).__name__} was given."
        )
    shape = view.shape(splits.train.shape)
    sample = _sample(splits.train, len(view.scans))
    settings = view.images(sample, threads)
    drawing = Drawing(settings, view.scans, _peak(settings, sample, view, threads), view.dtype, threads)
    images = {name: getattr(splits, name) for name in _SPLITS}
    there = {name for name in _SPLITS if (folder / f"{name}.npy").exists()}
    progress.start("persistence images", sum(map(len, images.values())), sum(len(images[name]) for name in there))

    def draw(split: ImageDataset) -> Iterator[npt.NDArray[Any]]:
        for start in range(0, len(split), _CHUNK):
            pixels = split.fetch(torch.arange(start, min(start + _CHUNK, len(split)))).cpu()
            yield drawing(pixels).numpy()
            progress.advance(len(pixels))

    arrays = {}
    for name, split in images.items():
        file, full = folder / f"{name}.npy", (len(split), *shape)
        if name not in there:
            write_array(file, draw(split), full, view.dtype)
        arrays[name] = open_array(file, full, view.dtype)
    mean, std = measure(arrays["train"])
    _write_gallery(folder / "gallery.npz", splits.validation, arrays["validation"], view.scans)
    progress.finish()
    return {
        "shape": list(shape),
        "mean": list(mean),
        "std": list(std),
        "scans": list(view.scans),
        "settings": {**settings.to_json(), "peak": drawing.peak, "dtype": view.dtype},
        "range": {"births": list(settings.births), "persistences": list(settings.persistences)},
        "count": {name: len(split) for name, split in images.items()},
        "fingerprint": splits.fingerprint,
        "seconds": round(time.monotonic() - begun, 3),
    }


@dataclass(frozen=True)
class OpenView:
    """A view that was made.

    Attributes:
        shape: (C, H, W).
        mean: per channel, measured on training images, values in [0, 1].
        std: likewise.
        drawn: the view of images that are not stored, as augmented ones are.
    """

    shape: Shape
    mean: tuple[float, ...]
    std: tuple[float, ...]
    drawn: DrawnView
    _splits: Mapping[str, StoredView]

    def split(self, name: str) -> StoredView:
        """The stored view of one split: "train", "validation" or "test"."""
        return self._splits[name]

    def fetch(self, split: str, index: Tensor) -> Tensor:
        """(B, C, H, W) float32 in [0, 1], on the CPU, of the images at ``index`` of a split."""
        return self._splits[split].fetch(index)


def open_view(folder: Path, result: Mapping[str, Any], splits: Splits) -> OpenView:
    """Open what ``make_view`` wrote.

    Args:
        folder: where it wrote.
        result: what it returned.
        splits: the images that the view must be of.

    Raises:
        UserError: if the view is of other images, or its files are damaged.
    """
    if result["fingerprint"] != splits.fingerprint:
        raise UserError(
            f"the view in {folder} is stale: it was made from other images than these (or another split of them). "
            "Move that folder away and run the recipe again."
        )
    shape: Shape = tuple(result["shape"])
    mean, std = tuple(result["mean"]), tuple(result["std"])
    settings = dict(result["settings"])
    peak, dtype = settings.pop("peak"), settings.pop("dtype")
    opened = {}
    for name in _SPLITS:
        full = (len(getattr(splits, name)), *shape)
        opened[name] = StoredView(open_array(folder / f"{name}.npy", full, dtype), mean, std)
    drawing = Drawing(PersistenceImages.from_json(settings), tuple(result["scans"]), peak, dtype)
    return OpenView(shape, mean, std, DrawnView(drawing, mean, std), opened)


def _sample(images: ImageDataset, scans: int) -> npt.NDArray[np.uint8]:
    affordable = max(1, FIT_SAMPLES // (scans * math.prod(images.shape)))
    count = min(len(images), FIT_IMAGES, affordable)
    pixels: npt.NDArray[np.uint8] = images.fetch(torch.arange(count) * len(images) // count).cpu().numpy()
    return pixels


def _peak(images: PersistenceImages, sample: npt.NDArray[np.uint8], view: _Scanned, threads: int | None) -> float:
    if images.scaling == "max":
        return 1.0
    peak = 0.0
    for start in range(0, len(sample), _CHUNK):
        part = sample[start : start + _CHUNK]
        peak = max(peak, float(persistence_images(part, images, scans=view.scans, threads=threads).max()))
    return peak or 1.0


def _signals(images: npt.NDArray[np.uint8], scans: tuple[str, ...]) -> npt.NDArray[np.uint8]:
    """(n, C, H, W) -> (n, scans, C, H * W)."""
    return np.stack([_SCANS[scan](images) for scan in scans], axis=1)


def _write_gallery(file: Path, images: ImageDataset, array: npt.NDArray[Any], scans: tuple[str, ...]) -> None:
    """The first validation image of each class, up to ``GALLERY_IMAGES``, with diagrams and images."""
    _, first = np.unique(images.targets.cpu().numpy(), return_index=True)
    index = first[:GALLERY_IMAGES]
    pixels = images.fetch(torch.from_numpy(index)).cpu().numpy()
    diagrams = sublevel_persistence(_signals(pixels, scans))
    with atomic(file) as temporary, temporary.open("wb") as out:
        np.savez(
            out,
            images=pixels,
            target=images.targets.cpu().numpy()[index],
            persistence_images=unit(torch.from_numpy(array[index])).numpy(),
            values=diagrams.values.astype(np.float32) / np.float32(255),
            offsets=diagrams.offsets,
        )
