"""A view of a whole data set: made once, written into a run folder, opened again."""

import math
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from persistill.data.dataset import ImageDataset
from persistill.data.splits_reader import Splits
from persistill.data.views.base import Shape, View
from persistill.data.views.memmap import StoredView, measure, open_array, unit, write_array
from persistill.data.views.online import OnlineView, ViewTransform
from persistill.errors import UserError
from persistill.ranks import Ranks
from persistill.utils.atomic_io import atomic
from persistill.utils.progress import Progress, Silent

FIT_IMAGES = 1000
"""Training images, evenly spaced, on which a view is fitted and its largest value is measured ..."""
FIT_SAMPLES = 2**24
"""... or fewer, of large images: so many values, once for each group of channels."""
GALLERY_IMAGES = 12

_CHUNK = 256  # images
_SPLITS = ("train", "validation", "test")
_SILENT = Silent()


def make_view(
    view: View, splits: Splits, folder: Path, progress: Progress = _SILENT, ranks: Ranks | None = None
) -> dict[str, Any]:
    """Compute the view of all images, once.

    Writes ``train.npy``, ``validation.npy`` and ``test.npy`` ((N, C, H, W), each whole or not at all; those that are
    there already are kept) and ``gallery.npz`` (a few validation images with their view, and diagrams where there are
    some, to be looked at). Values that do not lie in [0, 1] by themselves are divided by the largest one among up to
    ``FIT_IMAGES`` training images, and cut at 1.

    Args:
        view: its settings.
        splits: the images.
        folder: an existing folder, where files are written.
        progress: told how many images are done.
        ranks: among which the images are shared out, each of which has called this; the first one writes.

    Returns:
        The result of the view's run folder, plain JSON: shape, mean and std per channel (of training images), groups
        of channels, what was fitted, the largest value as "peak", dtype, settings and explanation for the report,
        count, fingerprint, seconds. Nothing for ranks but the first.

    Raises:
        UserError: if the view cannot be fitted, a file cannot be written, or one that is there does not belong here.
    """
    begun, ranks = time.monotonic(), ranks or Ranks()
    shape = view.shape(splits.train.shape)
    images = {name: getattr(splits, name) for name in _SPLITS}
    told: Any = (*_fitted(view, splits.train), _made(folder)) if ranks.leads else None
    fitted, peak, there = ranks.from_leader(told)
    transform = ViewTransform(view, fitted, peak)
    progress.start("computing the view", sum(map(len, images.values())), sum(len(images[name]) for name in there))

    def compute(split: ImageDataset) -> Iterator[npt.NDArray[Any]]:
        starts = range(0, len(split), _CHUNK)

        def computed(numbers: Iterable[int]) -> Iterator[npt.NDArray[Any]]:
            for start in (starts[number] for number in numbers):
                pixels = split.fetch(torch.arange(start, min(start + _CHUNK, len(split)))).cpu()
                yield transform(pixels).numpy()

        for chunk in ranks.share(len(starts), computed):
            yield chunk
            progress.advance(len(chunk))

    for name, split in images.items():
        if name not in there:
            chunks = compute(split)
            if ranks.leads:
                write_array(folder / f"{name}.npy", chunks, (len(split), *shape), view.dtype)
            else:
                deque(chunks, maxlen=0)
    if not ranks.leads:
        return {}
    arrays = {
        name: open_array(folder / f"{name}.npy", (len(split), *shape), view.dtype) for name, split in images.items()
    }
    mean, std = measure(arrays["train"])
    _write_gallery(folder / "gallery.npz", view, splits.validation, arrays["validation"])
    progress.finish()
    return {
        "shape": list(shape),
        "mean": list(mean),
        "std": list(std),
        "groups": list(view.groups),
        "fitted": fitted,
        "peak": peak,
        "dtype": view.dtype,
        "settings": {**view.described(fitted), "peak": peak, "dtype": view.dtype},
        "explanation": view.explanation,
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
    """

    shape: Shape
    mean: tuple[float, ...]
    std: tuple[float, ...]
    _splits: Mapping[str, StoredView]
    _result: Mapping[str, Any]

    def split(self, name: str) -> StoredView:
        """The stored view of one split: "train", "validation" or "test"."""
        return self._splits[name]

    def fetch(self, split: str, index: Tensor) -> Tensor:
        """(B, C, H, W) float32 in [0, 1], on the CPU, of the images at ``index`` of a split."""
        return self._splits[split].fetch(index)

    def online(self, view: View) -> OnlineView:
        """The view of images that are not stored, as augmented ones are, computed by the settings that made it."""
        return OnlineView(ViewTransform(view, self._result["fitted"], self._result["peak"]), self.mean, self.std)


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
    opened = {}
    for name in _SPLITS:
        full = (len(getattr(splits, name)), *shape)
        opened[name] = StoredView(open_array(folder / f"{name}.npy", full, result["dtype"]), mean, std)
    return OpenView(shape, mean, std, opened, result)


def _fitted(view: View, images: ImageDataset) -> tuple[dict[str, Any], float]:
    """What a view measures on training images, and the value that becomes 1."""
    sample = _sample(images, max(1, len(view.groups)))
    fitted = view.fit(sample)
    return fitted, _peak(ViewTransform(view, fitted, 1.0), sample)


def _made(folder: Path) -> set[str]:
    return {name for name in _SPLITS if (folder / f"{name}.npy").exists()}


def _sample(images: ImageDataset, groups: int) -> npt.NDArray[np.uint8]:
    affordable = max(1, FIT_SAMPLES // (groups * math.prod(images.shape)))
    count = min(len(images), FIT_IMAGES, affordable)
    pixels: npt.NDArray[np.uint8] = images.fetch(torch.arange(count) * len(images) // count).cpu().numpy()
    return pixels


def _peak(transform: ViewTransform, sample: npt.NDArray[np.uint8]) -> float:
    if transform.view.in_unit_range:
        return 1.0
    chunks = (torch.from_numpy(sample[start : start + _CHUNK]) for start in range(0, len(sample), _CHUNK))
    return max(float(transform.values(chunk).max()) for chunk in chunks) or 1.0


def _write_gallery(file: Path, view: View, images: ImageDataset, array: npt.NDArray[Any]) -> None:
    """Up to ``GALLERY_IMAGES`` validation images with their view and diagrams.

    They are the first of each class or, where pixels have classes, evenly spaced ones.
    """
    if images.dense:
        count = min(len(images), GALLERY_IMAGES)
        index = np.arange(count) * len(images) // count
        kept = {}
    else:
        targets = images.targets.cpu().numpy()
        index = np.unique(targets, return_index=True)[1][:GALLERY_IMAGES]
        kept = {"target": targets[index]}
    pixels = images.fetch(torch.from_numpy(index)).cpu().numpy()
    kept |= {"images": pixels, "view": unit(torch.from_numpy(array[index])).numpy()}
    diagrams = view.diagrams(pixels)
    if diagrams is not None:
        kept |= {"values": diagrams.values.astype(np.float32) / np.float32(255), "offsets": diagrams.offsets}
    with atomic(file) as temporary, temporary.open("wb") as out:
        np.savez(out, **kept)  # type: ignore[arg-type]
