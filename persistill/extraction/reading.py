"""The images of a source as they are asked for: what cannot be read is an error, or left out and named."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from persistill.data.streaming.base import ImageStream, Pixels, Survey, Unreadable
from persistill.errors import UserError
from persistill.extraction.outputs import Output

_NAMED = 3  # unreadable images


class Chunk(NamedTuple):
    """Images that are dealt with in one go.

    Attributes:
        positions: in the stream.
        images: those that could be read.
        skipped: [name, why] of the others.
    """

    positions: range
    images: list[Pixels]
    skipped: list[list[str]]


class ImageReader:
    """Reads the images of a stream.

    Attributes:
        survey: of the stream.

    Args:
        stream: the images.
        survey: of them.
        source: where they lie, for messages.
        total: how many images lie there; the stream may be a part of them.
        threads: how many threads.
        skip_unreadable: whether images that cannot be read are left out.

    Raises:
        UserError: if images cannot be read by what their headers tell, unless they were to be left out.
    """

    def __init__(
        self,
        stream: ImageStream,
        survey: Survey,
        source: str,
        total: int,
        *,
        threads: int,
        skip_unreadable: bool,
    ) -> None:
        self.survey = survey
        self._stream = stream
        self._source = source
        self._total = total
        self._threads = threads
        self._skip_unreadable = skip_unreadable
        self._require_readable(survey.problems)

    def read(self, positions: Sequence[int]) -> list[Pixels | Unreadable]:
        """Decode images.

        Raises:
            UserError: if one cannot be read, unless it was to be left out.
        """
        found = self._stream.read(positions, self.survey.channels, self._threads)
        self._require_readable(
            {position: one.why for position, one in zip(positions, found, strict=True) if isinstance(one, Unreadable)}
        )
        return found

    def chunks(self, output: Output, start: int = 0) -> Iterator[Chunk]:
        """All images from a position on, as many at a time as an output deals with."""
        while start < len(self._stream):
            positions = self.survey.chunk(start, output.samples, output.images)
            found = self.read(positions)
            good = [one for one in found if not isinstance(one, Unreadable)]
            skipped = [
                [self._stream.name(position), one.why]
                for position, one in zip(positions, found, strict=True)
                if isinstance(one, Unreadable)
            ]
            yield Chunk(positions, good, skipped)
            start = positions.stop

    def mark(self, before: str, positions: range) -> str:
        """A hash of all images up to the last of ``positions``, ``before`` being that of those before."""
        for position in positions:
            text = f"{before}\n{self._stream.name(position)}\n{self.survey.marks[position]}"
            before = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
        return before

    def _require_readable(self, problems: Mapping[int, str]) -> None:
        if not problems or (self._skip_unreadable and len(problems) < self._total):
            return
        named = [f"{self._stream.name(position)} ({problems[position]})" for position in sorted(problems)[:_NAMED]]
        more = f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
        advice = "" if self._skip_unreadable else " Mend or remove them, or leave them out: --skip-unreadable"
        raise UserError(
            f"{len(problems)} of {self._total} images of {self._source} cannot be read: "
            f"{'; '.join(named)}{more}.{advice}"
        )
