"""What is known of all images of a stream before they are decoded, looked at by whoever does tasks."""

from collections.abc import Callable
from dataclasses import dataclass

from persistill.data.streaming.base import ImageStream, Survey, join_surveys
from persistill.extraction.task_pool import LocalPool, TaskPool
from persistill.utils.progress import Progress, Silent

_IMAGES = 4096
"""Of a task."""


@dataclass(frozen=True)
class _Part:
    start: int
    stream: ImageStream
    grayscale: bool
    threads: int


def survey_images(stream: ImageStream, pool: TaskPool, progress: Progress, *, grayscale: bool, threads: int) -> Survey:
    """Look at all images of a stream.

    Args:
        stream: the images.
        pool: who looks, where there are many.
        progress: told how many were looked at.
        grayscale: whether all will be read with one channel.
        threads: of this process.

    Raises:
        UserError: if the source is damaged, or its channels cannot become gray.
    """
    total = len(stream)
    if isinstance(pool, LocalPool) or total <= _IMAGES:
        return stream.survey(progress, grayscale=grayscale, threads=threads)
    progress.start("looking at images", total)
    parts = (
        _Part(start, stream.part(range(start, min(start + _IMAGES, total))), grayscale, pool.threads)
        for start in range(0, total, _IMAGES)
    )
    found: dict[int, Survey] = {}
    for part, survey in pool.run(_survey, parts):
        found[part.start] = survey
        progress.advance(len(survey))
    progress.finish()
    return join_surveys([found[start] for start in sorted(found)])


def _survey(part: _Part, _: Callable[[], bool]) -> Survey:
    return part.stream.survey(Silent(), grayscale=part.grayscale, threads=part.threads)
