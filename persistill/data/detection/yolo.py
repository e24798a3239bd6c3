"""Folders in the layout of YOLO: one text file an image, with shares of its sides."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from persistill.data.detection.box_source import BoxRows, BoxSource, RawObjects, raw_objects
from persistill.data.sources.base import part_of
from persistill.data.sources.image_folder import subfolders
from persistill.errors import UserError
from persistill.utils.image_files import DRAWN_BOXES, find_image_files
from persistill.utils.image_reader import open_image

IMAGES, LABELS = "images", "labels"
_CLASSES = "classes.txt"


class YOLORows:
    """One part of such a folder.

    Args:
        root: the folder that names are told from.
        images: image files.
        labels: text files, in the same order; those that are not there stand for images without objects.
    """

    def __init__(self, root: Path, images: Sequence[Path], labels: Sequence[Path]) -> None:
        self._root, self._images, self._labels = root, images, labels

    def __len__(self) -> int:
        return len(self._images)

    def open(self, row: int) -> Image.Image:
        """Open an image."""
        return open_image(self._images[row])

    def objects(self, row: int, size: tuple[int, int]) -> RawObjects:
        """The boxes of an image; a line is a class number, and center and extent as shares of width and height."""
        path = self._labels[row]
        lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
        numbers = []
        for line in lines:
            if not line.strip():
                continue
            fields = line.split()
            if len(fields) != 5:
                raise ValueError(
                    f"{path.name} has a line of {len(fields)} numbers; a line is class, center x, center y, width and "
                    "height"
                )
            numbers.append([float(field) for field in fields])
        values = np.array(numbers, dtype=np.float64).reshape(-1, 5)
        shares = values[:, 1:]
        if (shares > 2).any():  # a box may reach out of its image, but not by the whole of it
            raise ValueError(f"{path.name} holds {shares.max():g}, and boxes are shares of the image, from 0 to 1")
        height, width = size
        center, extent = shares[:, :2] * [width, height], shares[:, 2:] * [width, height]
        return raw_objects(np.hstack([center - extent / 2, center + extent / 2]), values[:, 0])

    def name(self, row: int) -> str:
        """The image's path inside the folder, with / on every system."""
        return self._images[row].relative_to(self._root).as_posix()

    def length(self, row: int) -> int:
        """Bytes of the image file and of its text file."""
        label = self._labels[row]
        return self._images[row].stat().st_size + (label.stat().st_size if label.exists() else 0)


def is_yolo(folder: Path) -> bool:
    """Whether a folder looks like it: folders ``labels``, or a YAML file that names classes.

    A YAML file alone that cannot be read may be about anything.
    """
    if any(folder.glob(LABELS)) or any(folder.glob(f"*/{LABELS}")):
        return True
    with contextlib.suppress(UserError):
        return _yaml(folder) is not None
    return False


def read_yolo(folder: Path) -> BoxSource:
    """Find images and boxes.

    * With a YAML file (``data.yaml``): its ``train``, ``val`` and ``test`` name folders of images, ``names`` the
      classes.
    * Without: ``images`` and ``labels`` in the folder, with folders of parts inside, or in its folders of parts;
      classes in ``classes.txt``, one a line.

    The labels of ``.../images/.../x.jpg`` are ``.../labels/.../x.txt``. Images that ``detect.py`` has drawn beside
    others are passed over: without a text file of their own, they would stand for images without objects.

    Raises:
        UserError: if there are no images, no names of classes, or a folder that is named is not there.
    """
    described = _yaml(folder)
    if described is not None:
        path, content = described
        classes = _names(path, content["names"])
        folders = {part: _named_folder(path, content, key) for key, part in _KEYS.items() if content.get(key)}
    else:
        classes = _class_file(folder)
        folders = _by_name(folder)
    rows: dict[str, BoxRows] = {}
    for part, images in folders.items():
        found = [images / name for name in find_image_files(images).names]
        labeled = [(path, label) for path in found if (label := _label_file(path)).exists() or not _is_drawn(path)]
        if not labeled:
            raise UserError(f"{images} holds no images.")
        rows[part] = YOLORows(folder, *zip(*labeled, strict=True))
    if "train" not in rows:
        raise UserError(f"{folder} has no training images; its parts are: {', '.join(rows) or 'none'}.")
    return BoxSource(classes, rows, {part: str(images) for part, images in folders.items()})


_KEYS = {"train": "train", "val": "validation", "test": "test"}


def _yaml(folder: Path) -> tuple[Path, Mapping[str, Any]] | None:
    """The YAML file that describes the folder, the first that names classes."""
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise UserError(f"{path} cannot be read as YAML ({' '.join(str(error).split())}).") from None
        if isinstance(content, dict) and "names" in content and "train" in content:
            return path, content
    return None


def _names(path: Path, given: Any) -> tuple[str, ...]:
    if isinstance(given, dict) and sorted(given) == [*range(len(given))]:
        given = [given[number] for number in range(len(given))]
    if not isinstance(given, list) or not given or len({*map(str, given)}) < len(given):
        raise UserError(f"names in {path} must list the classes, each once, or number them from 0; it is {given!r}.")
    return tuple(map(str, given))


def _named_folder(path: Path, content: Mapping[str, Any], key: str) -> Path:
    """The folder of images that a YAML file names, from its ``path``, or else from where it lies."""
    given = content[key]
    if not isinstance(given, str) or given.endswith(".txt"):
        raise UserError(f"{key} in {path} must name one folder of images; it is {given!r}.")
    base = path.parent / str(content.get("path", ""))
    places = [base / given, path.parent / given, path.parent / given.removeprefix("../")]
    for place in places:
        if place.is_dir():
            return place if IMAGES in place.parts or not (place / IMAGES).is_dir() else place / IMAGES
    raise UserError(f"{key} in {path} names {given}, and there is no folder {places[0]}.")


def _by_name(folder: Path) -> dict[str, Path]:
    """Folders of images by part, where no YAML file names them."""
    inner = {part: path for path in _folders(folder / IMAGES) if (part := part_of(path.name))}
    outer = {
        part: path / IMAGES for path in _folders(folder) if (part := part_of(path.name)) and (path / IMAGES).is_dir()
    }
    return inner or outer or {"train": folder / IMAGES}


def _folders(folder: Path) -> list[Path]:
    return subfolders(folder) if folder.is_dir() else []


def _class_file(folder: Path) -> tuple[str, ...]:
    places = [folder / _CLASSES, folder / LABELS / _CLASSES]
    for path in places:
        if path.is_file():
            names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
            return _names(path, names)
    raise UserError(f"{folder} says no names of classes: write them into {places[0]}, one a line, or into a data.yaml.")


def _is_drawn(image: Path) -> bool:
    return image.name.endswith(DRAWN_BOXES)


def _label_file(image: Path) -> Path:
    parts = [*image.parts]
    if IMAGES in parts:
        position = len(parts) - 1 - parts[::-1].index(IMAGES)
        parts[position] = LABELS
    return Path(*parts).with_suffix(".txt")
