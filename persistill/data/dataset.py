"""A split of a data set: decoded in memory on the device, or decoded on demand; with a class an image, or a pixel."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import ClassVar, Generic, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from persistill.data.sources.base import Blocks, EncodedRows, ImageRows, IntArray, MaskRows, in_blocks, threads_of
from persistill.errors import UserError
from persistill.structures import IGNORE_INDEX
from persistill.utils.image_reader import IGNORED, read_mask
from persistill.utils.preprocessing import DEFAULT, Preprocessing, read_pixels
from persistill.utils.threads import in_threads

_CHUNK = 4096  # images
Rows = TypeVar("Rows", bound=EncodedRows)
"""The encoded images of a split, with what its targets are read from."""


class ImageDataset(ABC):
    """Images of one size, with their classes.

    Attributes:
        dense: whether every pixel has a class, and not every image.
        targets: (N,) int64 class numbers, on ``device``; absent where every pixel has a class; (N, M, 7) of
            ``structures.pack_objects`` where images have boxes.
        shape: (C, H, W) of every image.
        device: where ``fetch`` puts images.
    """

    dense: ClassVar[bool] = False
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
    def blocks(self) -> Blocks | None:
        """Which images are read together, where single ones cannot be; the order of training goes by them."""
        return None

    def expect(self, index: Tensor) -> None:  # noqa: B027 - most have nothing to do
        """Fetch meanwhile what images that are asked for next need, where they are far away.

        Args:
            index: (n,) int64 positions, those asked for now included, in this order, on the CPU.
        """

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

    def fetch_targets(self, index: Tensor) -> Tensor:
        """The targets of some images.

        Args:
            index: (B,) int64 positions, on any device.

        Returns:
            (B,) int64 class numbers, (B, H, W) of pixels, with ``IGNORE_INDEX`` where a pixel has no class, or
            (B, M, 7) of ``structures.pack_objects``; on ``device``.
        """
        return self.targets[index.to(self.device)]

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
        return hash_images(_digest(self), self._pixels)

    def fetch(self, index: Tensor) -> Tensor:
        """(B, C, H, W) uint8 images at ``index`` ((B,) int64)."""
        return self._pixels[index.to(self.device)]

    def subset(self, index: Tensor) -> Self:
        """The images at ``index`` ((n,) int64), in that order."""
        return type(self)(self.fetch(index), self.targets[index.to(self.device)])

    def to(self, device: torch.device | str) -> Self:
        """The same images on another device."""
        return type(self)(self._pixels.to(device), self.targets)


class StreamedImages(ImageDataset, Generic[Rows]):
    """The images of a split that are decoded when they are asked for, in threads, whatever their targets are.

    Args:
        source: the encoded images.
        rows: (N,) int64 positions in ``source``.
        shape: (C, H, W) to which images are brought.
        device: where ``fetch`` puts them.
        preprocessing: how.
    """

    def __init__(
        self,
        source: Rows,
        rows: IntArray,
        shape: tuple[int, int, int],
        device: torch.device | str,
        preprocessing: Preprocessing,
    ) -> None:
        self._source = source
        self._rows = rows
        self._preprocessing = preprocessing
        self.shape = shape
        self.device = torch.device(device)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def in_memory(self) -> bool:
        """False."""
        return False

    @property
    def blocks(self) -> Blocks | None:
        """Those of the source, if it is read in blocks."""
        source = in_blocks(self._source)
        return None if source is None else source.blocks(self._rows)

    def expect(self, index: Tensor) -> None:
        """Fetch meanwhile what images at ``index`` need."""
        if (source := in_blocks(self._source)) is not None:
            source.expect(self._rows[index.numpy()])

    def hash_names(self, digest: "hashlib._Hash") -> str:
        """The hash, hexadecimal, of what ``digest`` holds and of the images' names and encoded lengths, in order.

        Blocks are hashed too, for the order of training goes by them.
        """
        for row in self._rows.tolist():
            digest.update(f"{self._source.name(row)}\0{self._source.length(row)}\n".encode())
        if self.blocks is not None:
            digest.update(repr(self.blocks.window).encode())
            digest.update(self.blocks.numbers.data)
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


class StreamedDataset(StreamedImages[ImageRows]):
    """Images that are decoded when they are asked for, in threads.

    The fingerprint covers name and encoded length of every image, its class, and ``shape``, because reading a large
    set only to hash it would take as long as an epoch: an image replaced by another of the same name and length is
    not noticed.

    Args:
        source: the encoded images.
        rows: (N,) int64 positions in ``source``.
        shape: (C, H, W) to which images are brought.
        device: where ``fetch`` puts them.
        preprocessing: how.
    """

    def __init__(
        self,
        source: ImageRows,
        rows: IntArray,
        shape: tuple[int, int, int],
        device: torch.device | str = "cpu",
        preprocessing: Preprocessing = DEFAULT,
    ) -> None:
        super().__init__(source, rows, shape, device, preprocessing)
        self.targets = torch.from_numpy(source.targets[rows]).to(self.device)

    @cached_property
    def fingerprint(self) -> str:
        """A SHA-256 hash of shape and classes, and of the names and encoded lengths of the images, in order."""
        return self.hash_names(_digest(self))

    def subset(self, index: Tensor) -> "StreamedDataset":
        """The images at ``index`` ((n,) int64), in that order."""
        return StreamedDataset(
            self._source, self._rows[index.cpu().numpy()], self.shape, self.device, self._preprocessing
        )

    def to(self, device: torch.device | str) -> "StreamedDataset":
        """The same images on another device."""
        return StreamedDataset(self._source, self._rows, self.shape, device, self._preprocessing)


class InMemoryMaskDataset(ImageDataset):
    """Images and masks that are held decoded, on the device. The fingerprint covers both.

    Args:
        pixels: (N, C, H, W) uint8.
        masks: (N, H, W) uint8 as ``image_reader.read_mask`` gives them.
    """

    dense = True

    def __init__(self, pixels: Tensor, masks: Tensor) -> None:
        if not pixels.dtype == masks.dtype == torch.uint8 or masks.shape != (len(pixels), *pixels.shape[2:]):
            raise ValueError(
                f"pixels must be (N, C, H, W) uint8 and masks (N, H, W) uint8; {tuple(pixels.shape)} {pixels.dtype} "
                f"and {tuple(masks.shape)} {masks.dtype} were given."
            )
        self._pixels = pixels
        self._masks = masks.to(pixels.device)
        self.shape = (pixels.shape[1], pixels.shape[2], pixels.shape[3])
        self.device = pixels.device

    def __len__(self) -> int:
        return len(self._pixels)

    @property
    def in_memory(self) -> bool:
        """True."""
        return True

    @cached_property
    def fingerprint(self) -> str:
        """A SHA-256 hash of shape, masks and pixels, in order."""
        return hash_images(hashlib.sha256(repr(self.shape).encode()), self._masks, self._pixels)

    def fetch(self, index: Tensor) -> Tensor:
        """(B, C, H, W) uint8 images at ``index`` ((B,) int64)."""
        return self._pixels[index.to(self.device)]

    def fetch_targets(self, index: Tensor) -> Tensor:
        """(B, H, W) int64 classes of the pixels of the images at ``index`` ((B,) int64)."""
        return with_ignore_index(self._masks[index.to(self.device)])

    def subset(self, index: Tensor) -> "InMemoryMaskDataset":
        """The images at ``index`` ((n,) int64), in that order."""
        return InMemoryMaskDataset(self.fetch(index), self._masks[index.to(self.device)])

    def to(self, device: torch.device | str) -> "InMemoryMaskDataset":
        """The same images on another device."""
        return InMemoryMaskDataset(self._pixels.to(device), self._masks)


class StreamedMaskDataset(StreamedImages[MaskRows]):
    """Images and masks that are decoded when they are asked for, in threads.

    The fingerprint covers names and encoded lengths, as that of ``StreamedDataset`` does.

    Args:
        source: the encoded images and masks.
        rows: (N,) int64 positions in ``source``.
        shape: (C, H, W) to which images are brought, and masks likewise.
        classes: how many there are.
        ignore: the value of pixels without a class, in the files.
        device: where both are put.
        preprocessing: how they are brought to ``shape``.
    """

    dense = True

    def __init__(
        self,
        source: MaskRows,
        rows: IntArray,
        shape: tuple[int, int, int],
        classes: int,
        ignore: int,
        device: torch.device | str = "cpu",
        preprocessing: Preprocessing = DEFAULT,
    ) -> None:
        super().__init__(source, rows, shape, device, preprocessing)
        self._classes = classes
        self._ignore = ignore

    @cached_property
    def fingerprint(self) -> str:
        """A SHA-256 hash of shape and ignored value, and of the names and encoded lengths of the images, in order."""
        return self.hash_names(hashlib.sha256(repr((self.shape, self._ignore)).encode()))

    def fetch_targets(self, index: Tensor) -> Tensor:
        """(B, H, W) int64 classes of the pixels of the images at ``index`` ((B,) int64).

        Raises:
            UserError: naming an image whose mask cannot be decoded, or holds a number that is no class.
        """
        rows = self._rows[index.cpu().numpy()].tolist()
        masks = np.empty((len(rows), *self.shape[1:]), dtype=np.uint8)

        def decode(position: int) -> None:
            with self._source.open_mask(rows[position]) as mask:
                masks[position] = read_mask(mask, self.shape[1:], self._classes, self._ignore, self._preprocessing)

        decode_all(decode, self._source, rows)
        return with_ignore_index(torch.from_numpy(masks).to(self.device))

    def subset(self, index: Tensor) -> "StreamedMaskDataset":
        """The images at ``index`` ((n,) int64), in that order."""
        return self._changed(self._rows[index.cpu().numpy()], self.device)

    def to(self, device: torch.device | str) -> "StreamedMaskDataset":
        """The same images on another device."""
        return self._changed(self._rows, device)

    def _changed(self, rows: IntArray, device: torch.device | str) -> "StreamedMaskDataset":
        return StreamedMaskDataset(
            self._source, rows, self.shape, self._classes, self._ignore, device, self._preprocessing
        )


def hash_images(digest: "hashlib._Hash", *parts: Tensor) -> str:
    """The hash, hexadecimal, of what ``digest`` holds and of tensors, the first axis of which counts images."""
    for part in parts:
        for start in range(0, len(part), _CHUNK):
            digest.update(part[start : start + _CHUNK].cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _digest(images: ImageDataset) -> "hashlib._Hash":
    digest = hashlib.sha256(repr(images.shape).encode())
    digest.update(images.targets.cpu().numpy().data)
    return digest


def with_ignore_index(masks: Tensor) -> Tensor:
    """Masks as ``image_reader.read_mask`` gives them (uint8) as targets, int64, with ``IGNORE_INDEX``."""
    target = masks.long()
    return target.masked_fill_(target == IGNORED, IGNORE_INDEX)


def decode_all(decode: Callable[[int], None], source: EncodedRows, rows: Sequence[int]) -> None:
    """Call ``decode`` with every position in ``rows``, in threads; name the image where it fails."""

    def one(position: int) -> None:
        try:
            decode(position)
        except Exception as error:
            raise UserError(
                f"{source.name(rows[position])} cannot be decoded ({error}). Mend it or move it away, and run again."
            ) from error

    in_threads(one, len(rows), threads=threads_of(source))
