"""A split of a data set: decoded in memory on the device, or decoded on demand."""

import hashlib
from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from persistill.data.sources.base import IntArray, Rows
from persistill.errors import UserError
from persistill.utils.image_reader import read_pixels
from persistill.utils.threads import in_threads

_CHUNK = 4096  # images


class ImageDataset(ABC):
    """Images of one size, with their classes.

    Attributes:
        targets: (N,) int64 class numbers, on ``device``.
        shape: (C, H, W) of every image.
        device: where ``fetch`` puts images.
    """

    targets: Tensor
    shape: tuple[int, int, int]
    device: torch.device

    def __len__(self) -> int:
        return len(self.targets)

    @property
    @abstractmethod
    def in_memory(self) -> bool:
        """Whether ``fetch`` costs no decoding."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A SHA-256 hash, hexadecimal, that changes with the images, their classes or their order."""

    @abstractmethod
    def fetch(self, index: Tensor) -> Tensor:
        """Some images.

        Args:
            index: (B,) int64 positions, on any device.

        Returns:
            (B, C, H, W) uint8, on ``device``.
        """

    @abstractmethod
    def subset(self, index: Tensor) -> "ImageDataset":
        """The images at ``index`` ((n,) int64), in that order, as a split of their own."""

    @abstractmethod
    def to(self, device: torch.device | str) -> "ImageDataset":
        """The same images on another device."""


class InMemoryDataset(ImageDataset):
    """Images that are held decoded, on the device. The fingerprint covers pixels and classes.

    Args:
        pixels: (N, C, H, W) uint8.
        targets: (N,) int64.
    """

    def __init__(self, pixels: Tensor, targets: Tensor) -> None:
        if pixels.dtype != torch.uint8 or pixels.ndim != 4 or len(pixels) != len(targets):
            raise ValueError(
                f"pixels must be (N, C, H, W) uint8 with N = {len(targets)} as the targets; "
                f"{tuple(pixels.shape)} {pixels.dtype} was given."
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
        """A SHA-256 hash of shape, pixels and classes, in order."""
        digest = _digest(self)
        for start in range(0, len(self), _CHUNK):
            digest.update(self._pixels[start : start + _CHUNK].cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def fetch(self, index: Tensor) -> Tensor:
        """(B, C, H, W) uint8 images at ``index`` ((B,) int64)."""
        return self._pixels[index.to(self.device)]

    def subset(self, index: Tensor) -> "InMemoryDataset":
        """The images at ``index`` ((n,) int64), in that order."""
        return InMemoryDataset(self.fetch(index), self.targets[index.to(self.device)])

    def to(self, device: torch.device | str) -> "InMemoryDataset":
        """The same images on another device."""
        return InMemoryDataset(self._pixels.to(device), self.targets)


class StreamedDataset(ImageDataset):
    """Images that are decoded when they are asked for, in threads.

    The fingerprint covers name and encoded length of every image, its class, and ``shape``, because reading a large
    set only to hash it would take as long as an epoch: an image replaced by another of the same name and length is
    not noticed.

    Args:
        source: the encoded images.
        rows: (N,) int64 positions in ``source``.
        shape: (C, H, W) to which images are brought.
        device: where ``fetch`` puts them.
    """

    def __init__(
        self, source: Rows, rows: IntArray, shape: tuple[int, int, int], device: torch.device | str = "cpu"
    ) -> None:
        self._source = source
        self._rows = rows
        self.shape = shape
        self.device = torch.device(device)
        self.targets = torch.from_numpy(source.targets[rows]).to(self.device)

    @property
    def in_memory(self) -> bool:
        """False."""
        return False

    @cached_property
    def fingerprint(self) -> str:
        """A SHA-256 hash of shape and classes, and of the names and encoded lengths of the images, in order."""
        digest = _digest(self)
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
            try:
                with self._source.open(rows[position]) as image:
                    pixels[position] = read_pixels(image, self.shape)
            except Exception as error:
                raise UserError(
                    f"{self._source.name(rows[position])} cannot be decoded ({error}). "
                    "Mend it or move it away, and run again."
                ) from error

        in_threads(decode, len(rows))
        return torch.from_numpy(pixels).to(self.device)

    def subset(self, index: Tensor) -> "StreamedDataset":
        """The images at ``index`` ((n,) int64), in that order."""
        return StreamedDataset(self._source, self._rows[index.cpu().numpy()], self.shape, self.device)

    def to(self, device: torch.device | str) -> "StreamedDataset":
        """The same images on another device."""
        return StreamedDataset(self._source, self._rows, self.shape, device)


def _digest(images: ImageDataset) -> "hashlib._Hash":
    digest = hashlib.sha256(repr(images.shape).encode())
    digest.update(images.targets.cpu().numpy().data)
    return digest
