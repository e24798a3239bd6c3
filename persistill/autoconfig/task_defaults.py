"""What ``persistill distill`` chooses differently for each task, and how it tells the task from the data."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from persistill.autoconfig.level_methods import Suggest, level_methods
from persistill.autoconfig.method_defaults import all_methods
from persistill.autoconfig.train_defaults import choose_batch_size
from persistill.config import CLASSIFICATION, Data
from persistill.data.detection.outline import box_layout, outline_boxes, table_layout
from persistill.data.sources.inspect import Outline, outline, outline_masks
from persistill.data.sources.parquet import read_schema
from persistill.data.sources.remote_source import find_remote
from persistill.data.sources.shard_file import LocalShard, ShardFile
from persistill.data.sources.shards import shard_files
from persistill.errors import UserError, unknown
from persistill.losses import CWD, KD, Suggestion
from persistill.utils.preprocessing import Resize
from persistill.utils.remote_filesystem import is_url

Size = tuple[int, int]

_LARGEST_OWN_SIZE = 256
_USUAL_LARGE = 224
_LONGEST = 512
"""Of images with boxes or masks, whose small objects are lost where they are made smaller."""
_STEP = 32
"""Most networks halve images five times."""
_DENSE_BATCH = 16


@dataclass(frozen=True)
class TaskDefaults:
    """Choices for a task.

    Attributes:
        task: its name.
        outline: looks at the images.
        methods: name in lower case -> how a method is used.
        choose_size: (height, width) -> how many images have it -> to which size all are brought.
        resize: how.
        augment: of color images, and of gray ones.
        batch_size: number of training images and their size -> images in a batch.
        own_rates: whether persistill's own networks are trained by SGD, with the rates that they have in papers.
        stores_answers: whether teachers' answers may be stored.
        tries_teacher: whether a teacher with weights of its own is asked about validation images first.
    """

    task: str
    outline: Callable[[Data], Outline]
    methods: Callable[[], Mapping[str, Suggest]]
    choose_size: Callable[[Mapping[Size, int]], Size]
    resize: Resize
    augment: tuple[tuple[str, ...], tuple[str, ...]]
    batch_size: Callable[[int, Size], int] = choose_batch_size
    own_rates: bool = True
    stores_answers: bool = True
    tries_teacher: bool = True


def choose_size(sizes: Mapping[Size, int]) -> Size:
    """The size to which images of one class are brought if nobody says one.

    Their own, if they have one and it is not large; 224 x 224 for large ones; otherwise the medians of heights and
    widths, in steps of eight.
    """
    one = next(iter(sizes))
    if len(sizes) == 1 and max(one) <= _LARGEST_OWN_SIZE:
        return one
    middle = _medians(sizes)
    if min(middle) >= _USUAL_LARGE or max(middle) > _LARGEST_OWN_SIZE:
        return _USUAL_LARGE, _USUAL_LARGE
    return max(8, middle[0] // 8 * 8), max(8, middle[1] // 8 * 8)


def choose_large_size(sizes: Mapping[Size, int]) -> Size:
    """The size to which images with boxes or masks are brought if nobody says one.

    Their own, if they have one of up to 512 pixels; otherwise the medians of heights and widths, made smaller to 512
    pixels where they are longer, in steps of 32.
    """
    one = next(iter(sizes))
    if len(sizes) == 1 and max(one) <= _LONGEST:
        return one
    height, width = _medians(sizes)
    scale = min(1.0, _LONGEST / max(height, width))
    return tuple(max(_STEP, round(scale * side / _STEP) * _STEP) for side in (height, width))  # type: ignore[return-value]


def _medians(sizes: Mapping[Size, int]) -> Size:
    heights, widths = ([size[axis] for size, count in sizes.items() for _ in range(count)] for axis in (0, 1))
    return int(median(heights)), int(median(widths))


def _small_batch(images: int, size: Size) -> int:
    return min(_DENSE_BATCH, choose_batch_size(images, size))


def _pixel_methods() -> dict[str, Suggest]:
    """All of images; KD and CWD as they are used on pixels."""
    return {
        **all_methods(),
        "kd": lambda _: Suggestion(KD(weight=10.0, temperature=1.0)),
        "cwd": lambda _: Suggestion(CWD(on="logits", weight=3.0, temperature=4.0)),
    }


_DEFAULTS: Mapping[str, TaskDefaults] = {
    defaults.task: defaults
    for defaults in (
        TaskDefaults(CLASSIFICATION, outline, all_methods, choose_size, "crop", (("crop", "flip"), ("crop",))),
        TaskDefaults(
            "segmentation",
            outline_masks,
            _pixel_methods,
            choose_large_size,
            "crop",
            (("crop", "flip"), ("crop", "flip")),
            _small_batch,
            own_rates=False,
            tries_teacher=False,
        ),
        TaskDefaults(
            "detection",
            outline_boxes,
            level_methods,
            choose_large_size,
            "letterbox",
            (("flip", "scale"), ("flip", "scale")),
            _small_batch,
            own_rates=False,
            stores_answers=False,
            tries_teacher=False,
        ),
    )
}


def defaults_of(task: str) -> TaskDefaults:
    """What is chosen for a task.

    Raises:
        UserError: if ``persistill distill`` knows none of that name.
    """
    if task not in _DEFAULTS:
        raise unknown("task (--task):", task, _DEFAULTS, "Tasks of your own need a recipe.")
    return _DEFAULTS[task]


def guess_task(data: str) -> tuple[str, str]:
    """The task that the layout of a folder speaks for, here or behind a URL, and why; classification where none does.

    Args:
        data: as ``Data.source``.

    Returns:
        The name of the task, and a sentence, empty for classification.

    Raises:
        UserError: if nothing can be read behind a URL.
    """
    if is_url(data):
        found = find_remote(data)
        layout, masks = (None, False) if found.are_tar else (table_layout(found.files[0]), _two_images(found.files[0]))
    else:
        folder = Path(data).expanduser()
        layout, masks = box_layout(folder), _has_masks(folder)
    why: dict[str, Any] = {}
    if layout:
        why["detection"] = f"the images of {data} have boxes (layout of {layout})"
    if masks:
        why["segmentation"] = f"the images of {data} have masks"
    if len(why) != 1:
        return CLASSIFICATION, ""
    ((task, reason),) = why.items()
    return task, f"The task is {task}, because {reason}; --task names another."


def _has_masks(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    if files := shard_files(folder, ".parquet"):
        return _two_images(LocalShard(files[0], folder))
    roots = [folder, *(path for path in folder.iterdir() if path.is_dir())]
    return any((root / "images").is_dir() and (root / "masks").is_dir() for root in roots)


def _two_images(file: ShardFile) -> bool:
    """Whether a Parquet file has two columns of images, of which one must be of masks."""
    with contextlib.suppress(UserError):  # of a damaged file, whose reader says so
        return sum("bytes" in str(field.type) for field in read_schema(file)[0]) == 2
    return False
