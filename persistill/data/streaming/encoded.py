"""What streams of encoded images share: headers are read and pixels decoded in threads, a few images at a time."""

import itertools
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image

from persistill.data.streaming.base import Pixels, Survey, Unreadable
from persistill.utils.image_reader import Header, open_image, read_header
from persistill.utils.preprocessing import DEFAULT, read_pixels, require_range
from persistill.utils.progress import Progress

_TASK = 16  # images that a thread takes at once
_AHEAD = 2  # tasks a thread that may wait, with the bytes of their images

Result = TypeVar("Result")


class Encoded(NamedTuple):
    """An image before it is decoded: how to open it, and its bytes."""

    open: Callable[[], Image.Image]
    length: Callable[[], int]


class EncodedStream(ABC):
    """What folders and Parquet files share."""

    dtype = np.dtype(np.uint8)

    @abstractmethod
    def __len__(self) -> int:
        pass

    @abstractmethod
    def name(self, position: int) -> str:
        """What to call an image."""

    @abstractmethod
    def encoded(self, positions: Iterable[int]) -> Iterator[Encoded]:
        """The images at rising positions."""

    def survey(self, progress: Progress, *, grayscale: bool, threads: int) -> Survey:
        """Read the headers of all images."""
        sizes = np.zeros((len(self), 2), np.int32)
        marks = np.zeros(len(self), np.int64)
        gray = np.ones(len(self), bool)
        problems: dict[int, str] = {}
        progress.start("looking at images", len(self))
        done = 0
        for position, (length, header) in enumerate(self._each(_look, range(len(self)), threads)):
            marks[position] = length
            if isinstance(header, Unreadable):
                problems[position] = header.why
            else:
                sizes[position] = header.height, header.width
                gray[position] = header.gray
            if position + 1 - done >= _TASK * threads:
                progress.advance(position + 1 - done)
                done = position + 1
        progress.finish()
        color = not grayscale and not gray.all()
        return Survey(
            channels=3 if color else 1,
            sizes=sizes,
            marks=marks,
            gray=int(gray.sum()) - len(problems) if color else 0,
            problems=problems,
        )

    def read(self, positions: Sequence[int], channels: int, threads: int) -> list[Pixels | Unreadable]:
        """Decode images; see ``utils.preprocessing.read_pixels`` for how."""
        return list(self._each(partial(_decode, channels), positions, threads))

    def part(self, positions: range) -> "EncodedStream":
        """Some of the images."""
        return _Part(self, positions)

    @abstractmethod
    def close(self) -> None:
        """Close the files that are open."""

    def _each(self, function: Callable[[Encoded], Result], positions: Iterable[int], threads: int) -> Iterator[Result]:
        """Call ``function`` in threads; only a few images at a time are in memory."""
        tasks: deque[Future[list[Result]]] = deque()
        pool = ThreadPoolExecutor(threads, thread_name_prefix="persistill-decode")
        try:
            for block in _blocks(self.encoded(positions)):
                tasks.append(pool.submit(_all, function, block))
                if len(tasks) >= _AHEAD * threads:
                    yield from tasks.popleft().result()
            while tasks:
                yield from tasks.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


class _Part(EncodedStream):
    """Some of the images of another stream."""

    def __init__(self, stream: EncodedStream, positions: range) -> None:
        self._stream = stream
        self._positions = positions

    def __len__(self) -> int:
        return len(self._positions)

    def name(self, position: int) -> str:
        return self._stream.name(self._positions[position])

    def encoded(self, positions: Iterable[int]) -> Iterator[Encoded]:
        return self._stream.encoded(self._positions[position] for position in positions)

    def close(self) -> None:
        self._stream.close()


def encoded_file(path: Path) -> Encoded:
    """An image that is a file of its own."""
    return Encoded(partial(open_image, path), lambda: path.stat().st_size)


def refused(why: str) -> Encoded:
    """In place of an image that is not opened: why."""
    return Encoded(partial(_refuse, why), lambda: 0)


def _refuse(why: str) -> Image.Image:
    raise ValueError(why)


def _look(encoded: Encoded) -> tuple[int, Header | Unreadable]:
    length = 0
    try:
        length = encoded.length()
        with encoded.open() as image:
            require_range(image, DEFAULT)
            return length, read_header(image)
    except Exception as error:  # noqa: BLE001  decoders raise whatever comes to hand on damaged files
        return length, _unreadable(error)


def _decode(channels: int, encoded: Encoded) -> Pixels | Unreadable:
    try:
        with encoded.open() as image:
            header = read_header(image)
            return np.ascontiguousarray(read_pixels(image, (channels, header.height, header.width)))
    except Exception as error:  # noqa: BLE001
        return _unreadable(error)


def _unreadable(error: Exception) -> Unreadable:
    return Unreadable(" ".join(str(error).split()) or type(error).__name__)


def _all(function: Callable[[Encoded], Result], block: Sequence[Encoded]) -> list[Result]:
    return [function(encoded) for encoded in block]


def _blocks(encoded: Iterator[Encoded]) -> Iterator[list[Encoded]]:
    while block := list(itertools.islice(encoded, _TASK)):
        yield block
