"""What a stream of images tells before and while it is read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from persistill.utils.progress import Progress

Pixels = npt.NDArray[Any]


class Unreadable(NamedTuple):
    """In place of an image that cannot be read: why."""

    why: str


@dataclass(frozen=True)
class Survey:
    """What is known of the images of a stream before they are decoded.

    Attributes:
        channels: of the images as they will be read: 1, or 3 if any image has color; of arrays what they have.
        sizes: (N, 2) int32, height and width; zeros where an image cannot be read.
        marks: (N,) int64, what tells an image from another of the same name: bytes of the encoded image; of an
            array the time of its last change.
        gray: how many images have no color, if ``channels`` is 3: they are read as RGB like the others.
        problems: position -> why the image cannot be read. Damage behind the header shows only in its turn.
    """

    channels: int
    sizes: npt.NDArray[np.int32]
    marks: npt.NDArray[np.int64]
    gray: int
    problems: dict[int, str]

    def __len__(self) -> int:
        return len(self.sizes)

    def part(self, positions: range) -> "Survey":
        """What is known of some images, whose positions then begin at 0; ``channels`` stay those of all."""
        return replace(
            self,
            sizes=self.sizes[positions.start : positions.stop],
            marks=self.marks[positions.start : positions.stop],
            problems={at - positions.start: self.problems[at] for at in positions if at in self.problems},
        )

    def chunk(self, start: int, samples: int, images: int) -> range:
        """The positions from ``start`` on that are read in one go.

        Args:
            start: the first of them.
            samples: at most so many samples (channels x height x width) ...
            images: ... of at most so many images; always at least one.
        """
        sizes = self.sizes[start : start + images].astype(np.int64)
        heaped = np.cumsum(self.channels * sizes[:, 0] * sizes[:, 1])
        return range(start, start + max(1, int(np.searchsorted(heaped, samples, side="right"))))


class ImageStream(Protocol):
    """Images of any number and any sizes, read a few at a time."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the images: uint8, or float32 or float64 of arrays that are so."""

    def __len__(self) -> int:
        """How many images there are, readable or not."""

    def name(self, position: int) -> str:
        """What to call an image; no two have one name."""

    def survey(self, progress: Progress, *, grayscale: bool, threads: int) -> Survey:
        """Look at all images without decoding them.

        Args:
            progress: told how many images were looked at.
            grayscale: whether all will be read with one channel.
            threads: how many threads.

        Raises:
            UserError: if the source is damaged, or its channels cannot become gray.
        """

    def read(self, positions: Sequence[int], channels: int, threads: int) -> list[Pixels | Unreadable]:
        """Decode images.

        Args:
            positions: which, in rising order; all are held in memory at once.
            channels: as the survey told.
            threads: how many threads.

        Returns:
            For each position (C, H, W) of ``dtype``, contiguous.

        Raises:
            UserError: if the source itself is damaged.
        """

    def part(self, positions: range) -> "ImageStream":
        """Some of the images, with the names that they have here; a copy for another process, which reads no others."""

    def close(self) -> None:
        """Close the files that are open; they are opened again when they are needed."""


def join_surveys(parts: Sequence[Survey]) -> Survey:
    """The survey of all images from those of its parts, in order; at least one."""
    channels = max(part.channels for part in parts)
    starts = np.cumsum([0, *map(len, parts)]).tolist()
    # A part without any color counts no gray images: there they are as they are read.
    gray = (part.gray if part.channels == channels else len(part) - len(part.problems) for part in parts)
    return Survey(
        channels=channels,
        sizes=np.concatenate([part.sizes for part in parts]),
        marks=np.concatenate([part.marks for part in parts]),
        gray=sum(gray),
        problems={
            start + at: why for start, part in zip(starts, parts, strict=False) for at, why in part.problems.items()
        },
    )
