"""From the data settings of a recipe to three splits of images."""

import difflib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from persistill.config import Data
from persistill.data.sources.base import MaskSource, Source
from persistill.data.sources.class_names import read_class_names
from persistill.data.sources.digits import read_digits
from persistill.data.sources.image_folder import has_class_folders, read_folder
from persistill.data.sources.label_table import TABLE_SUFFIXES, label_tables, read_label_table
from persistill.data.sources.mask_folder import read_mask_folder
from persistill.data.sources.mask_parquet import read_mask_hub, read_mask_parquet, read_masks_in_place
from persistill.data.sources.medmnist import read_npz
from persistill.data.sources.parquet import read_hub, read_parquet
from persistill.data.sources.parquet_in_place import read_parquet_in_place
from persistill.data.sources.remote_source import RemoteFiles, find_on_hub, find_remote
from persistill.data.sources.shard_file import local_shards
from persistill.data.sources.shards import shard_files
from persistill.data.sources.tar_shards import TAR, read_tar_shards, shard_pattern
from persistill.data.splits import draw_splits
from persistill.data.splits_reader import Splits, read_splits
from persistill.errors import UserError, unknown
from persistill.utils.progress import Progress, Silent
from persistill.utils.registry import Registry, is_own_code, named
from persistill.utils.remote_filesystem import is_url

Found = TypeVar("Found", Source, MaskSource)

_SILENT = Silent()


def load(settings: Data, progress: Progress = _SILENT, *, masks: bool = False) -> Splits:
    """Read the images of a recipe, on the CPU.

    Only images that the splits need are decoded.

    Args:
        settings: where the images are, and how they are split and read.
        progress: told how many images were read.
        masks: whether every pixel has a class, and not every image: the target of an image is its mask.

    Returns:
        The three splits, in memory if they take up to ``reading.MEMORY_LIMIT`` bytes decoded, otherwise streamed.

    Raises:
        UserError: if the source is unknown, empty or damaged, has too few images, images of different sizes
            without ``settings.size``, or images that cannot be read without ``settings.skip_unreadable``.
    """
    if masks:
        masked = open_mask_source(settings)
        # All images count as of one class, so that they are drawn evenly.
        of_one = {part: np.zeros(len(rows), dtype=np.int64) for part, rows in masked.parts.items()}
        return read_splits(masked, draw_splits(of_one, settings, ("image",)), settings, progress)
    source = open_source(settings)
    drawn = draw_splits({part: rows.targets for part, rows in source.parts.items()}, settings, source.classes)
    return read_splits(source, drawn, settings, progress)


SOURCES: Registry[Callable[[], Any]] = Registry(
    "data source",
    {"digits": read_digits},
    contract="A source of one's own is called without arguments and returns a persistill.data.Source.",
)
"""``data.source`` holds one of these names, a path, a name on the hub, or a function or settings of one's own that are
called without arguments and return a ``Source`` (or, with masks, a ``MaskSource``): in the recipe file, or by
"package.module:Name"."""

_HERE = Path()
_HUB_NAMES = ("uoft-cs/cifar10", "uoft-cs/cifar100", "ylecun/mnist", "zalando-datasets/fashion_mnist")  # for hints only


def open_source(settings: Data) -> Source:
    """Find the images of a recipe, without reading any.

    Raises:
        UserError: if the source is unknown, empty or damaged.
    """
    if _is_registered(settings.source):
        _no_label(settings)
        _no_labels(settings)
        _no_parquet(settings)
        return _made(settings.source, Source)
    name, known = settings.source, (*SOURCES, *_HUB_NAMES)
    if is_url(name):
        _no_labels(settings)
        return _read_remote(find_remote(name), settings)
    folder = Path(name).expanduser()
    if folder.is_file() and folder.suffix.lower() in TABLE_SUFFIXES and settings.labels is None:
        _no_parquet(settings)
        return read_label_table(folder.parent, folder, settings.label)
    if folder.is_dir():
        if (table := _label_table(folder, settings)) is not None:
            _no_parquet(settings)
            return read_label_table(folder, table, settings.label)
        files = shard_files(folder, ".parquet")
        if files:
            if settings.parquet == "in_place":
                return read_parquet_in_place(str(folder), local_shards(folder, files), settings.label)
            return read_parquet(folder, files, settings.label)
        _no_parquet(settings)
        if (shards := shard_files(folder, TAR)) and not has_class_folders(folder):
            return read_tar_shards(local_shards(folder, shards), read_class_names(folder), settings.label, name)
        _no_label(settings)
        return read_folder(folder)
    _no_labels(settings)
    if (named_shards := shard_pattern(name)) is not None:
        _no_parquet(settings)
        place, shards = named_shards
        return read_tar_shards(local_shards(place, shards), read_class_names(place), settings.label, name)
    if folder.is_file() and folder.suffix.lower() == ".npz":
        _no_parquet(settings)
        _no_label(settings)
        return read_npz(folder)
    _look_for(
        name, folder, known, "an .npz file, a folder of Parquet files or of class folders, tar files, or a CSV file"
    )
    if settings.parquet == "in_place":
        return _read_remote(find_on_hub(name, known), settings)
    return read_hub(name, settings.label, known)


def _read_remote(found: RemoteFiles, settings: Data) -> Source:
    """Images with classes behind a URL."""
    if found.are_tar:
        _no_parquet(settings)
        source = read_tar_shards(found.files, found.class_names(), settings.label, found.where)
    else:
        source = read_parquet_in_place(found.where, found.files, settings.label)
    return source._replace(notes=(*found.notes, *source.notes))


def _read_remote_masks(found: RemoteFiles, settings: Data) -> MaskSource:
    """Images with masks behind a URL.

    Raises:
        UserError: if they are tar files.
    """
    if found.are_tar:
        raise UserError(
            f"{found.where} names tar files, and images with masks are read from Parquet files behind URLs."
        )
    source = read_masks_in_place(found.where, found.files, settings.label)
    return source._replace(notes=(*found.notes, *source.notes))


def open_mask_source(settings: Data) -> MaskSource:
    """Find the images and masks of a recipe, without reading any.

    Raises:
        UserError: if the source is unknown, empty or damaged, or has no masks.
    """
    _no_labels(settings)
    if _is_registered(settings.source):
        _no_label(settings)
        _no_parquet(settings)
        return _made(settings.source, MaskSource)
    name = settings.source
    if is_url(name):
        return _read_remote_masks(find_remote(name), settings)
    folder = Path(name).expanduser()
    if folder.is_dir():
        files = shard_files(folder, ".parquet")
        if files and settings.parquet == "in_place":
            return read_masks_in_place(str(folder), local_shards(folder, files), settings.label)
        if files:
            return read_mask_parquet(folder, files, settings.label)
        _no_label(settings)
        _no_parquet(settings)
        return read_mask_folder(folder)
    _look_for(name, folder, (), "a folder of Parquet files, or of the folders images and masks")
    if settings.parquet == "in_place":
        return _read_remote_masks(find_on_hub(name, ()), settings)
    return read_mask_hub(name, settings.label)


def _is_registered(given: object) -> bool:
    """Whether a source is one of the package's by name, or the user's own code, and no path or name on the hub."""
    return given in SOURCES or (is_own_code(given) and not (isinstance(given, str) and Path(given).exists()))


def _made(given: object, kind: type[Found]) -> Found:
    """What a source of one's own or of the package returns.

    Raises:
        UserError: if it is none, or returns something else.
    """
    found = SOURCES.find(given)()
    if isinstance(found, kind):
        return found
    if isinstance(found, Source | MaskSource):
        has, wanted = ("a class for each image and no masks", "a source with masks")
        if isinstance(found, MaskSource):
            has, wanted = ("masks and no class for an image", "a source with a class for each image")
        raise UserError(f"{named(given)} has {has}: data.source must name {wanted}.")
    raise UserError(
        f"the data source {named(given)} must return a persistill.data.{kind.__name__}; it returned a "
        f"{type(found).__name__}."
    )


def _look_for(name: str, folder: Path, known: Sequence[str], layout: str) -> None:
    """See that a name may be one on the hub.

    Raises:
        UserError: if it is none, with what it may be meant for.
    """
    if folder.exists():
        raise UserError(
            f"{folder} is a file; data.source names the folder that holds it, or an .npz file in the layout of "
            "MedMNIST."
        )
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or ("/" in name and Path(name).parts[0] in _folders()):
        raise UserError(f"there is no folder {name}.{_near(folder)} data.source names one that holds the images.")
    if not re.fullmatch(r"\w[\w.-]*/[\w.-]+", name):
        raise unknown("data source", name, known, f"Or the path of {layout}.{_near(folder)}")


def _near(folder: Path) -> str:
    """Of a folder that is not there, what is: names like its own, where the last part of its path that exists ends."""
    missing = folder
    while not missing.parent.is_dir():
        missing = missing.parent
    names = _folders(missing.parent)
    near = difflib.get_close_matches(missing.name, names, n=3, cutoff=0.5)
    where = "here" if missing.parent == Path() else f"in {missing.parent}"
    if near:
        return f" Did you mean {' or '.join(str(missing.parent / one) for one in near)}?"
    few = f"{', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
    return f" The folders {where} are {few}." if names else f" There are no folders {where}."


def _folders(place: Path = _HERE) -> list[str]:
    return sorted(path.name for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))


def _label_table(folder: Path, settings: Data) -> Path | None:
    """The CSV file that says of which class the images of a folder are; None if their folders do.

    Raises:
        UserError: if there is no such file, or several could be meant.
    """
    if settings.labels is not None:
        stated = Path(settings.labels).expanduser()
        for path in (folder / stated, stated):
            if path.is_file():
                return path
        known = [path.name for path in label_tables(folder)]
        raise unknown("CSV file (data.labels)", settings.labels, known, f"These are the ones in {folder}.")
    tables = label_tables(folder)
    if not tables or shard_files(folder, ".parquet") or has_class_folders(folder):
        return None
    if len(tables) > 1:
        raise UserError(
            f"{folder} has no class folders and {len(tables)} tables, {', '.join(path.name for path in tables)}. Say "
            f"which of them holds file names and classes: --set data.labels={tables[0].name}"
        )
    return tables[0]


def _no_label(settings: Data) -> None:
    if settings.label is not None:
        raise UserError(
            f"data.label={settings.label!r} names a column, and {settings.where} has none: its classes are known. "
            "Leave data.label out."
        )


def _no_labels(settings: Data) -> None:
    if settings.labels is not None:
        raise UserError(
            f"data.labels={settings.labels!r} is a CSV file of file names and classes, which goes with a folder of "
            f"image files; {settings.where} is none, or is read with masks. Leave data.labels out."
        )


def _no_parquet(settings: Data) -> None:
    if settings.parquet != "copied":
        raise UserError(
            f"data.parquet={settings.parquet} says how a folder of Parquet files is read, and {settings.where} is none."
            " Leave data.parquet out."
        )
