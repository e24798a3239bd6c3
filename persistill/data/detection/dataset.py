"""A split of images with boxes: decoded in memory on the device, or decoded on demand."""

import hashlib
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from persistill.data.dataset import InMemoryDataset, StreamedImages, hash_images
from persistill.data.detection.box_source import RawObjects
from persistill.data.detection.checked_source import CheckedRows
from persistill.data.detection.frame import frame_objects
from persistill.data.sources.base import IntArray
from persistill.structures import Objects, pack_objects
from persistill.utils.preprocessing import Preprocessing


def to_objects(raw: RawObjects) -> Objects:
    """Objects as tensors."""
    boxes, *others = (torch.from_numpy(field) for field in raw)
    return Objects(boxes.float(), *others)


class InMemoryBoxDataset(InMemoryDataset):
    """Images and boxes that are held, on the device. The fingerprint covers both.

    Args:
        pixels: (N, C, H, W) uint8.
        targets: (N, M, 7) of ``pack_objects``, in pixels of these images.
    """

    @cached_property
    def fingerprint(self) -> str:
        """A SHA-256 hash of shape, boxes and pixels, in order."""
        digest = hashlib.sha256(repr((self.shape, tuple(self.targets.shape))).encode())
        return hash_images(digest, self.targets, self._pixels)


class StreamedBoxDataset(StreamedImages[CheckedRows]):
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
        super().__init__(source, rows, shape, device, preprocessing)
        self.targets = targets.to(self.device)

    @cached_property
    def fingerprint(self) -> str:
        """A SHA-256 hash of shape and boxes, and of the names and encoded lengths of the images, in order."""
        digest = hashlib.sha256(repr((self.shape, tuple(self.targets.shape))).encode())
        digest.update(self.targets.cpu().numpy().data)
        return self.hash_names(digest)

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
