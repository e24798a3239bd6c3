"""Images that were decoded once and are kept at the size in which networks see them, on disk."""

import contextlib
import hashlib
import json
import platform
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from persistill.data.dataset import ImageDataset, with_ignore_index
from persistill.data.sources.base import Blocks, IntArray
from persistill.data.splits_reader import Splits
from persistill.data.views.memmap import open_array, write_array
from persistill.errors import UserError
from persistill.structures import IGNORE_INDEX
from persistill.utils import file_hashes
from persistill.utils.atomic_io import read_json, sweep, write_json
from persistill.utils.file_lock import hold
from persistill.utils.image_reader import IGNORED
from persistill.utils.progress import Progress
from persistill.utils.units import file_size

FOLDER = ".resized"
"""Beside the run folders."""

_FORMAT = 1
_CHUNK = 256  # images
_IMAGES, _MASKS, _ABOUT, _CHECKED = "images.npy", "masks.npy", "files.json", "checked.json"
_TRUSTED = 3600
"""Seconds for which a process believes that another one of this machine has read the files through."""

Pixels = npt.NDArray[np.uint8]


class ResizedDataset(ImageDataset):
    """Images that are kept decoded on disk. Everything but ``fetch`` is that of the images themselves.

    Args:
        images: of which they were made.
        pixels: (M, C, H, W), mapped into memory.
        rows: (N,) positions in ``pixels``.
    """

    def __init__(self, images: ImageDataset, pixels: Pixels, rows: IntArray) -> None:
        self._images, self._pixels, self._rows = images, pixels, rows
        self.shape = images.shape
        self.device = images.device
        if not images.dense:
            self.targets = images.targets

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def in_memory(self) -> bool:
        """False: no image is decoded, but it may have to come from a disk."""
        return False

    @property
    def blocks(self) -> Blocks | None:
        """Those of the images: the order of training is the same with a cache and without."""
        return self._images.blocks

    @property
    def fingerprint(self) -> str:
        """That of the images."""
        return self._images.fingerprint

    def fetch(self, index: Tensor) -> Tensor:
        """(B, C, H, W) uint8 images at ``index`` ((B,) int64)."""
        return torch.from_numpy(self._pixels[self._rows[index.cpu().numpy()]]).to(self.device)

    def subset(self, index: Tensor) -> "ResizedDataset":
        """The images at ``index`` ((n,) int64), in that order."""
        return ResizedDataset(self._images.subset(index), self._pixels, self._rows[index.cpu().numpy()])

    def to(self, device: torch.device | str) -> "ResizedDataset":
        """The same images on another device."""
        return ResizedDataset(self._images.to(device), self._pixels, self._rows)


class ResizedMaskDataset(ResizedDataset):
    """Images and masks that are kept decoded on disk.

    Args:
        images: of which they were made.
        pixels: (M, C, H, W), mapped into memory.
        masks: (M, H, W) as ``image_reader.read_mask`` gives them, mapped into memory.
        rows: (N,) positions in both.
    """

    dense = True

    def __init__(self, images: ImageDataset, pixels: Pixels, masks: Pixels, rows: IntArray) -> None:
        super().__init__(images, pixels, rows)
        self._masks = masks

    def fetch_targets(self, index: Tensor) -> Tensor:
        """(B, H, W) int64 classes of the pixels of the images at ``index`` ((B,) int64)."""
        masks = torch.from_numpy(self._masks[self._rows[index.cpu().numpy()]])
        return with_ignore_index(masks.to(self.device))

    def subset(self, index: Tensor) -> "ResizedMaskDataset":
        """The images at ``index`` ((n,) int64), in that order."""
        rows = self._rows[index.cpu().numpy()]
        return ResizedMaskDataset(self._images.subset(index), self._pixels, self._masks, rows)

    def to(self, device: torch.device | str) -> "ResizedMaskDataset":
        """The same images on another device."""
        return ResizedMaskDataset(self._images.to(device), self._pixels, self._masks, self._rows)


def keep_resized(splits: Splits, out: Path, progress: Progress) -> Splits:
    """Decode images that are streamed once, and have them read from a disk from then on.

    What several recipes need alike is kept once: it lies in ``.resized``, under a hash of the images' names, encoded
    lengths and order, of their size and of how they are brought to it. Another process that needs it too waits.

    Args:
        splits: the images. Those in memory stay there.
        out: where the run folders lie.
        progress: told how many were decoded.

    Returns:
        The same images, pixel for pixel, with the same fingerprint.

    Raises:
        UserError: if an image cannot be decoded, or the disk has too little room.
    """
    found: dict[str, ImageDataset] = {}
    for name in ("train", "validation", "test"):
        images: ImageDataset = getattr(splits, name)
        found[name] = images
        if not images.in_memory and not isinstance(images, ResizedDataset):
            about = json.dumps([_FORMAT, images.fingerprint, splits.preprocessing.to_json()])
            key = hashlib.sha256(about.encode()).hexdigest()[:16]
            with hold(out / ".locks" / f"resized-{key}.lock", wait=True):
                found[name] = _kept(images, out / FOLDER / key, name, progress)
    return replace(splits, train=found["train"], validation=found["validation"], test=found["test"])


def _kept(images: ImageDataset, folder: Path, name: str, progress: Progress) -> ResizedDataset:
    """The images of one split as they are kept, made now if need be."""
    count, size = len(images), images.shape[1:]
    shapes: dict[str, tuple[int, ...]] = {_IMAGES: (count, *images.shape)}
    if images.dense:
        shapes[_MASKS] = (count, *size)
    if (problem := _problem(folder)) is not None:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        for file in (_ABOUT, _CHECKED):
            (folder / file).unlink(missing_ok=True)
        _require_room(folder, sum(int(np.prod(shape)) for shape in shapes.values()))
        progress.start(f"bringing {name} images to {size[0]} x {size[1]}{problem}", count * len(shapes))
        for file, shape in shapes.items():
            write_array(folder / file, _decoded(images, masks=file == _MASKS, progress=progress), shape, "uint8")
        write_json(folder / _ABOUT, {file: file_hashes.of_file(folder / file) for file in shapes})
        _note_checked(folder, [*shapes])
        progress.finish()
    arrays = [open_array(folder / file, shape, "uint8") for file, shape in shapes.items()]
    rows = np.arange(count)
    if images.dense:
        return ResizedMaskDataset(images, arrays[0], arrays[1], rows)
    return ResizedDataset(images, arrays[0], rows)


def _problem(folder: Path) -> str | None:
    """Why what is kept is not believed, in words that go on; None if it is."""
    if not (folder / _ABOUT).is_file():
        return ""
    about = read_json(folder / _ABOUT)
    if _was_checked(folder, [*about]):
        return None
    for file, (size, digest) in about.items():
        if (difference := file_hashes.difference(folder / file, size, digest)) is not None:
            return f" again, for {folder.name}/{file} is damaged: {difference}"
    _note_checked(folder, [*about])
    return None


def _note_checked(folder: Path, files: Sequence[str]) -> None:
    """Tell other processes that files are what they were: workers and ranks begin together, and each would hash all."""
    states = {file: _state(folder / file) for file in files}
    with contextlib.suppress(OSError):  # where nothing can be written, each looks for itself
        write_json(folder / _CHECKED, {"machine": platform.node(), "time": time.time(), "states": states})


def _was_checked(folder: Path, files: Sequence[str]) -> bool:
    """Whether a process of this machine has lately found files to be what they were, and nobody wrote to them since."""
    try:
        noted = read_json(folder / _CHECKED)
        lately = noted["machine"] == platform.node() and 0 <= time.time() - noted["time"] < _TRUSTED
        return lately and all(noted["states"][file] == _state(folder / file) for file in files)
    except (UserError, OSError, KeyError, TypeError):
        return False


def _state(file: Path) -> list[int]:
    found = file.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def _decoded(images: ImageDataset, *, masks: bool, progress: Progress) -> Iterator[Pixels]:
    for start in range(0, len(images), _CHUNK):
        index = torch.arange(start, min(start + _CHUNK, len(images)))
        images.expect(torch.arange(start, min(start + 2 * _CHUNK, len(images))))
        if masks:
            targets = images.fetch_targets(index)
            yield targets.masked_fill(targets == IGNORE_INDEX, IGNORED).to(torch.uint8).cpu().numpy()
        else:
            yield images.fetch(index).cpu().numpy()
        progress.advance(len(index))


def _require_room(folder: Path, needed: int) -> None:
    """See that the disk has room, before hours of decoding.

    Raises:
        UserError: if it has not.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"images at their size in training take {file_size(needed)}, and the disk of {folder.parent} has "
            f"{file_size(free)}. Make room, choose another place with --out, or have images decoded in every epoch: "
            "--set data.cache=off"
        )
