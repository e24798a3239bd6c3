"""A split of images with boxes: decoded in memory on the device, or decoded on demand."""

import hashlib
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from persistill.data.dataset import ImageDataset, decode_all
from persistill.data.detection.box_source import IntArray, RawObjects
from persistill.data.detection.checked_source import CheckedRows
from persistill.data.detection.frame import frame_objects
from persistill.structures import Objects, pack_objects
from persistill.utils.preprocessing import Preprocessing, read_pixels

_CHUNK = 4096  # images


def to_objects(raw: RawObjects) -> Objects:
    """Objects as tensors."""
    boxes, *others = (torch.from_numpy(field) for field in raw)
    return Objects(boxes.float(), *others)


class InMemoryBoxDataset(ImageDataset):
    """Images and boxes that are held, on the device. The fingerprint covers both.

    Args:
        pixels: (N, C, H, W) uint8.
        targets: (N, M, 7) of ``pack_objects``, in pixels of these images.
    """

    def __init__(self, pixels: Tensor, targets: Tensor) -> None:
        if pixels.dtype != torch.uint8 or pixels.ndim != 4 or len(pixels) != len(targets):
            raise ValueError(
                f"pixels must be (N, C, H, W) uint8 with N = {len(targets)} as the targets; {tuple(pixels.shape)} "
                f"{pixels.dtype} was given."
            )
        self._pixels = pixels
        self.targets = targets.to(pixels.device)
        self.shape = (pixels.shape[1], pixels.shape[2], pixels.shape[3])
        self.device = pixels.device

    @property
    def in_memory(self) -> bool:
        """True."""
        return True

    @cached_property
    def fingerprint(self) -> str:
        """A SHA-256 hash of shape, boxes and pixels, in order."""
        digest = hashlib.sha256(repr((self.shape, tuple(self.targets.shape))).encode())
        for part in (self.targets, self._pixels):
            for start in range(0, len(self), _CHUNK):
                digest.update(part[start : start + _CHUNK].cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def fetch(self, index: Tensor) -> Tensor:
        """(B, C, H, W) uint8 images at ``index`` ((B,) int64)."""
        return self._pixels[index.to(self.device)]

    def subset(self, index: Tensor) -> "InMemoryBoxDataset":
        """The images at ``index`` ((n,) int64), in that order."""
        return InMemoryBoxDataset(self.fetch(index), self.targets[index.to(self.device)])

    def to(self, device: torch.device | str) -> "InMemoryBoxDataset":
        """The same images on another device."""
        return InMemoryBoxDataset(self._pixels.to(device), self.targets)


class StreamedBoxDataset(ImageDataset):
    """Images that are decoded when they are asked for, in threads, and their boxes, which are held.

    The fingerprint covers boxes, names and encoded lengths, as that of ``StreamedDataset`` does.

    Args:
        source: the encoded images.
        rows: (N,) int64 positions in ``source``.
        targets: (N, M, 7) of ``framed_targets``.
        shape: (C, H, W) to which images are brought.
        preprocessing: how.
        device: where ``fetch`` puts them.
    """

    def __init__(
        self,
        source: CheckedRows,
        rows: IntArray,
        targets: Tensor,
        shape: tuple[int, int, int],
        preprocessing: Preprocessing,
        device: torch.device | str = "cpu",
    ) -> None:
        self._source, self._rows, self._preprocessing = source, rows, preprocessing
        self.shape = shape
        self.device = torch.device(device)
        self.targets = targets.to(self.device)

    @property
    def in_memory(self) -> bool:
        """False."""
        return False

    @cached_property
    def fingerprint(self) -> str:
        """A SHA-256 hash of shape and boxes, and of the names and encoded lengths of the images, in order."""
        digest = hashlib.sha256(repr((self.shape, tuple(self.targets.shape))).encode())
        digest.update(self.targets.cpu().numpy().data)
        for row in self._rows.tolist():
            digest.update(f"{self._source.name(row)}\0{self._source.length(row)}\n".encode())
        return digest.hexdigest()

    def fetch(self, index: Tensor) -> Tensor:
        """(B, C, H, W) uint8 images at ``index`` ((B,) int64).

        Raises:
            UserError: naming an image that cannot be decoded.
        """
        rows = self._rows[index.cpu().numpy()].tolist()
        pixels = np.empty((len(rows), *self.shape), dtype=np.uint8)

        def decode(position: int) -> None:
            with self._source.open(rows[position]) as image:
                pixels[position] = read_pixels(image, self.shape, self._preprocessing)

        decode_all(decode, self._source, rows)
        return torch.from_numpy(pixels).to(self.device)

    def subset(self, index: Tensor) -> "StreamedBoxDataset":
        """The images at ``index`` ((n,) int64), in that order."""
        rows, targets = self._rows[index.cpu().numpy()], self.targets[index.to(self.device)]
        return StreamedBoxDataset(self._source, rows, targets, self.shape, self._preprocessing, self.device)

    def to(self, device: torch.device | str) -> "StreamedBoxDataset":
        """The same images on another device."""
        return StreamedBoxDataset(self._source, self._rows, self.targets, self.shape, self._preprocessing, device)


def framed_targets(
    source: CheckedRows, rows: IntArray, shape: tuple[int, int, int], preprocessing: Preprocessing
) -> Tensor:
    """(N, M, 7) of ``pack_objects``: the boxes of some images in the frame to which they are brought."""
    found: Sequence[Objects] = [
        to_objects(frame_objects(source.objects(row), source.size(row), shape[1:], preprocessing.resize))
        for row in rows.tolist()
    ]
    return pack_objects(found)
