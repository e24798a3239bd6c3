"""What images with boxes a source holds, found out before anything is decoded."""

import contextlib
from collections import Counter
from pathlib import Path

from persistill.config import Data
from persistill.data.detection.checked_source import check_source
from persistill.data.detection.load import FORMATS, open_box_source
from persistill.data.sources.inspect import Outline, read_headers
from persistill.data.sources.parquet import read_schema
from persistill.data.sources.shard_file import LocalShard, ShardFile
from persistill.data.sources.shards import shard_files
from persistill.data.splits import draw_splits
from persistill.errors import UserError
from persistill.utils.progress import Silent

_SHARES = (0.1, 0.2, 0.3)
_ENOUGH = 20
"""Validation images without which a tenth of the training images is too few: AP of a handful tells nothing."""


def box_layout(folder: Path) -> str | None:
    """The layout of a folder of images with boxes, "COCO" and the like; None for a folder that has none of them."""
    if not folder.is_dir():
        return None
    if files := shard_files(folder, ".parquet"):
        return table_layout(LocalShard(files[0], folder))
    return next((name for name, (fits, _) in FORMATS.items() if fits(folder)), None)


def table_layout(file: ShardFile) -> str | None:
    """The layout of a Parquet file with boxes; None for one that has none."""
    with contextlib.suppress(UserError):  # of a damaged file, whose reader says so
        return "Hugging Face" if "objects" in read_schema(file)[0].names else None
    return None


def outline_boxes(settings: Data) -> Outline:
    """Look at a source of images with boxes: at all boxes, and at the headers of all images.

    Args:
        settings: where the images are; its ``validation`` and ``test`` are not used.

    Raises:
        UserError: if there is no such source, or it holds too few images.
    """
    if not isinstance(settings.source, str):
        raise UserError(f"{settings.where} is code of your own, and no folder or data set of the hub with boxes.")
    source = check_source(open_box_source(settings.source, in_place=settings.parquet == "in_place"), Silent())
    parts = {part: rows.class_counts for part, rows in source.parts.items()}
    for share in _SHARES:
        drawn = draw_splits(parts, settings.model_copy(update={"validation": share, "test": None}), source.classes)
        if len(drawn["validation"].rows) >= _ENOUGH:
            break
    rows = source.parts["train"]
    sizes = Counter(size for size in map(rows.size, range(len(rows))) if min(size) > 0)
    if not sizes:
        raise UserError(f"none of the {len(rows)} training images of {settings.where} can be read.")
    objects = int(parts["train"][drawn["train"].rows].sum())
    layout = box_layout(Path(settings.source).expanduser()) or "Hugging Face"
    images = len(drawn["train"].rows)
    note = (
        f"Boxes are read in the layout of {layout}: {objects:,} objects of {len(source.classes)} "
        f"class{'es' * (len(source.classes) > 1)} to train on, {objects / max(1, images):.1f} in an image."
    )
    return Outline(
        classes=source.classes,
        train=images,
        validation=share,
        test=None,
        sizes=sizes,
        gray=all(header.gray for header in read_headers(settings, rows, len(rows))),
        resize=settings.resize,
        notes=(note,),
    )
