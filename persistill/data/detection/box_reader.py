"""How encoded images with boxes become images of one shape."""

import numpy as np
import torch

from persistill.config import Data
from persistill.data.dataset import ImageDataset
from persistill.data.detection.checked_source import CheckedSource
from persistill.data.detection.dataset import InMemoryBoxDataset, StreamedBoxDataset, framed_targets
from persistill.data.row_reader import Decoded, Each, decode_images
from persistill.data.sources.base import IntArray
from persistill.data.sources.known_headers import header_of, keep_headers
from persistill.utils.image_reader import Header
from persistill.utils.preprocessing import Preprocessing


class BoxReader:
    """Reads images with boxes."""

    def __init__(self, source: CheckedSource, settings: Data) -> None:
        self._parts = source.parts
        self._range_known = settings.range != "full"
        self.classes = source.classes

    def header(self, part: str, row: int) -> Header:
        """Of an image, once it was seen that its boxes make sense."""
        rows = self._parts[part]
        rows.objects(row)
        return header_of(rows.headers, row, rows.open, range_known=self._range_known)

    def keep_headers(self) -> None:
        """Of all parts."""
        keep_headers(self._parts)

    def bytes_per_image(self, shape: tuple[int, int, int]) -> int:
        """Of its pixels."""
        return int(np.prod(shape))

    def decoded(
        self, part: str, rows: IntArray, shape: tuple[int, int, int], preprocessing: Preprocessing, each: Each
    ) -> Decoded:
        """The images that can be decoded, with their boxes."""
        pixels, rows = decode_images(self._parts, part, rows, shape, preprocessing, each)
        targets = framed_targets(self._parts[part], rows, shape, preprocessing) if len(rows) else torch.empty(0, 0, 7)
        return Decoded(InMemoryBoxDataset(pixels, targets), rows)

    def streamed(
        self, part: str, rows: IntArray, shape: tuple[int, int, int], preprocessing: Preprocessing
    ) -> ImageDataset:
        """The images, with their boxes."""
        targets = framed_targets(self._parts[part], rows, shape, preprocessing)
        return StreamedBoxDataset(self._parts[part], rows, targets, shape, preprocessing)
