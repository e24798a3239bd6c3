"""Images with boxes by the settings of a recipe: found, checked, split and read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from persistill.config import Data
from persistill.data.detection.box_source import BoxSource
from persistill.data.detection.check_objects import ObjectCounts
from persistill.data.detection.checked_source import check_source
from persistill.data.detection.coco import is_coco, read_coco
from persistill.data.detection.table import BoxFormat, read_box_hub, read_box_parquet, read_boxes_in_place
from persistill.data.detection.voc import is_voc, read_voc
from persistill.data.detection.yolo import is_yolo, read_yolo
from persistill.data.sources.remote_source import RemoteFiles, find_on_hub, find_remote
from persistill.data.sources.shard_file import local_shards
from persistill.data.sources.shards import shard_files
from persistill.data.splits import draw_splits
from persistill.data.splits_reader import Splits, read_splits
from persistill.errors import UserError
from persistill.utils.progress import Progress
from persistill.utils.remote_filesystem import is_url
from persistill.utils.units import counted

FORMATS = {"COCO": (is_coco, read_coco), "Pascal VOC": (is_voc, read_voc), "YOLO": (is_yolo, read_yolo)}
"""Layout of a folder -> whether a folder has it, and its reader."""


@dataclass(frozen=True)
class BoxSplits:
    """Images with boxes, and what is in them.

    Attributes:
        splits: the images. Targets are those of ``structures.pack_objects``, in pixels of the images as they are read.
        counts: "train", "validation" and "test" -> what a split holds, and what was odd in it.
    """

    splits: Splits
    counts: Mapping[str, ObjectCounts]

    @property
    def missing(self) -> Mapping[str, tuple[str, ...]]:
        """Split -> classes of which it holds no object. No AP is measured of them there."""
        names = self.splits.classes
        return {
            split: tuple(name for name, count in zip(names, counts.by_class, strict=True) if not count)
            for split, counts in self.counts.items()
        }


def open_box_source(place: str, box_format: BoxFormat | None = None, *, in_place: bool = False) -> BoxSource:
    """Find images with boxes, without decoding any.

    Args:
        place: a folder in the layout of COCO, Pascal VOC or YOLO, a folder of Parquet files in the Hugging Face layout,
            the name of such a data set on the hub ("owner/name"), or the URL of Parquet files.
        box_format: what the four numbers of a box are in Parquet files and on the hub, where nothing tells it.
        in_place: whether Parquet files are read where they lie, without a copy; those behind URLs always are.

    Raises:
        UserError: if there is no such place, or it has none of these layouts.
    """
    if is_url(place):
        return _read_remote(find_remote(place), box_format)
    folder = Path(place).expanduser()
    if folder.is_dir():
        if files := shard_files(folder, ".parquet"):
            if in_place:
                return read_boxes_in_place(str(folder), local_shards(folder, files), box_format)
            return read_box_parquet(folder, files, box_format)
        if in_place:
            raise UserError(
                f"data.parquet=in_place says how Parquet files are read, and {place} has none. Leave data.parquet out."
            )
        for fits, read in FORMATS.values():
            if fits(folder):
                return read(folder)
        raise UserError(
            f"{folder} has no layout of images with boxes that is known: COCO (annotations/instances_train.json), "
            "Pascal VOC (Annotations and JPEGImages), YOLO (images and labels, with classes.txt or data.yaml), and "
            "Parquet files with a column objects."
        )
    if folder.exists() or place.startswith((".", "/", "~")) or place.count("/") != 1:
        raise UserError(f"there is no folder {place}, and it is no name of the hub (owner/name) either.")
    return _read_remote(find_on_hub(place, ()), box_format) if in_place else read_box_hub(place, box_format)


def _read_remote(found: RemoteFiles, box_format: BoxFormat | None) -> BoxSource:
    if found.are_tar:
        raise UserError(
            f"{found.where} names tar files, and images with boxes are read from Parquet files behind URLs."
        )
    source = read_boxes_in_place(found.where, found.files, box_format)
    return source._replace(notes=(*found.notes, *source.notes))


def load_boxes(settings: Data, progress: Progress, box_format: BoxFormat | None = None) -> BoxSplits:
    """Find, check, split and read images with boxes.

    Splits are drawn as ``splits.draw_splits`` does it, but so that the objects of every class are shared out evenly.
    Boxes that reach out of their image are clipped, those without area or wholly outside are left out, and all are
    counted. An image whose boxes make no sense counts as one that cannot be read.

    Args:
        settings: source, splits, size and what is done about images that cannot be read.
        progress: told what is read.
        box_format: as of ``open_box_source``.

    Raises:
        UserError: if there is no such source, a class has objects and none of them is in training, images differ in
            size without ``settings.size``, or images cannot be read without ``settings.skip_unreadable``.
    """
    if not isinstance(settings.source, str):
        raise UserError(
            f"data.source must name a folder or a data set of the hub, with boxes; {settings.where} is neither."
        )
    if settings.labels is not None:
        raise UserError(
            f"data.labels={settings.labels!r} is a CSV file of the classes of whole images, and images with boxes are "
            "read here. Leave data.labels out."
        )
    in_place = settings.parquet == "in_place"
    source = check_source(open_box_source(settings.source, box_format, in_place=in_place), progress)
    counts = {part: rows.class_counts for part, rows in source.parts.items()}
    drawn = draw_splits(counts, settings, source.classes)
    splits = read_splits(source, drawn, settings, progress)
    held = {part: counts[split.part][split.rows].sum(0) for part, split in drawn.items()}
    unseen = np.flatnonzero((held["train"] == 0) & (held["validation"] + held["test"] > 0))
    if len(unseen):
        raise UserError(
            f"{settings.where} has objects of the class {source.classes[unseen[0]]!r} in validation or test and "
            f"none in training ({counted(len(unseen), 'such class', 'such classes')}), so that it cannot be learned. "
            "Add images of it, or draw other splits (data.split_seed)."
        )
    return BoxSplits(splits, {name: source.parts[split.part].counts(split.rows) for name, split in drawn.items()})
