"""Folders in the layout of Pascal VOC: one XML file an image (Everingham et al. 2010)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

from PIL import Image

from persistill.data.detection.box_source import BoxRows, BoxSource, RawObjects, raw_objects
from persistill.data.sources.base import part_of
from persistill.data.sources.image_folder import subfolders
from persistill.errors import UserError
from persistill.utils.image_reader import SUFFIXES, open_image

ANNOTATIONS, IMAGES = "Annotations", "JPEGImages"
_YEARS = "VOC2*"


class _Pair(NamedTuple):
    """An image and its XML file."""

    image: Path
    annotation: Path


class VOCRows:
    """One part of such a folder.

    Args:
        root: the folder that names are told from.
        pairs: images and XML files.
        annotations: the parsed files, one an image.
        numbers: class name -> number.
    """

    def __init__(
        self,
        root: Path,
        pairs: Sequence[_Pair],
        annotations: Sequence[ET.Element],
        numbers: Mapping[str, int],
    ) -> None:
        self._root, self._pairs, self._numbers = root, pairs, numbers
        self._annotations = annotations

    def __len__(self) -> int:
        return len(self._pairs)

    def open(self, row: int) -> Image.Image:
        """Open an image."""
        return open_image(self._pairs[row].image)

    def objects(self, row: int, size: tuple[int, int]) -> RawObjects:  # noqa: ARG002 - of other formats
        """The boxes of an image; VOC counts pixels from 1 and names the last one of a box."""
        boxes, labels, difficult = [], [], []
        for found in self._annotations[row].iter("object"):
            name = _class_name(found)
            if name not in self._numbers:
                raise ValueError(f"it has an object of the class {name!r}, which no training image has")
            corners = [found.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
            x1, y1, x2, y2 = (float(corner or "nan") for corner in corners)
            boxes.append((x1 - 1, y1 - 1, x2, y2))
            labels.append(self._numbers[name])
            difficult.append((found.findtext("difficult") or "0").strip() == "1")
        return raw_objects(boxes, labels, difficult)

    def name(self, row: int) -> str:
        """The image's path inside the folder, with / on every system."""
        return self._pairs[row].image.relative_to(self._root).as_posix()

    def length(self, row: int) -> int:
        """Bytes of the image file and of its XML file."""
        return sum(path.stat().st_size for path in self._pairs[row])


def is_voc(folder: Path) -> bool:
    """Whether a folder looks like it: ``Annotations``, or folders of years or parts with it, or XML files in parts."""
    return bool(_roots(folder))


def read_voc(folder: Path) -> BoxSource:
    """Find images and boxes in a folder of the layout of Pascal VOC.

    * ``Annotations`` and ``JPEGImages``, with lists in ``ImageSets/Main`` where there are: ``train`` (or
      ``trainval``), ``val`` and ``test``; without lists all images are training images.
    * ``VOCdevkit``: folders ``VOC2007``, ``VOC2012`` of that form. As the papers do it, their ``trainval`` lists
      together are the training images, and the ``test`` lists that are there the test images.
    * Folders of parts (train, valid, test), each of that form, or with image and XML files side by side.

    Classes are those of the training images, by name.

    Raises:
        UserError: if an image is missing or an XML file is damaged.
    """
    roots = _roots(folder)
    pairs: dict[str, list[_Pair]] = {}
    for root, part in roots:
        for name, found in _parts(root, part, whole=len(roots) > 1 and part is None).items():
            pairs.setdefault(name, []).extend(found)
    if not pairs.get("train"):
        raise UserError(f"{folder} has no training images with an XML file each.")
    parsed = {part: [_parse(pair.annotation) for pair in found] for part, found in pairs.items()}
    names = sorted({_class_name(found) for tree in parsed["train"] for found in tree.iter("object")})
    numbers = {name: number for number, name in enumerate(names)}
    rows: dict[str, BoxRows] = {
        part: VOCRows(folder, found, parsed[part], numbers) for part, found in pairs.items() if found
    }
    origins = {part: ", ".join(sorted({str(pair.image.parent) for pair in found})) for part, found in pairs.items()}
    return BoxSource(tuple(names), rows, origins)


def _roots(folder: Path) -> list[tuple[Path, str | None]]:
    """Folders that hold annotations, each with the part that its name tells of."""
    if (folder / ANNOTATIONS).is_dir():
        return [(folder, None)]
    years = [path for path in sorted(folder.glob(_YEARS)) if (path / ANNOTATIONS).is_dir()]
    if years:
        return [(year, None) for year in years]
    parts = [(path, part_of(path.name)) for path in subfolders(folder)]
    return [
        (path, part)
        for path, part in parts
        if part is not None and ((path / ANNOTATIONS).is_dir() or any(path.glob("*.xml")))
    ]


def _parts(root: Path, part: str | None, *, whole: bool) -> dict[str, list[_Pair]]:
    """The images of one root by part; with ``whole`` training and validation together."""
    beside = not (root / ANNOTATIONS).is_dir()
    annotations = root if beside else root / ANNOTATIONS
    images = root if beside else root / IMAGES
    if not images.is_dir():
        raise UserError(f"{annotations} holds boxes, and there is no folder {images} with the images.")
    files = {path.stem: path for path in images.iterdir() if path.suffix.lower() in SUFFIXES}
    stems = {path.stem: path for path in sorted(annotations.glob("*.xml"))}
    lists = {path.stem: path for path in (root / "ImageSets" / "Main").glob("*.txt")}
    wanted: dict[str, list[str]] = {}
    first = "trainval" if whole or "train" not in lists else "train"
    for name in (first, *(() if first == "trainval" else ("val",)), "test"):
        if part is None and name in lists:
            listed = [line.split()[0] for line in lists[name].read_text(encoding="utf-8").splitlines() if line.strip()]
            wanted[part_of(name) or name] = listed
    if not wanted:
        wanted = {part or "train": [*stems]}
    found: dict[str, list[_Pair]] = {}
    for name, listed in wanted.items():
        for stem in listed:
            if stem not in stems or stem not in files:
                what = "XML file" if stem not in stems else "image"
                raise UserError(f"there is no {what} for {stem!r} of the {name} part in {root}.")
        found[name] = [_Pair(files[stem], stems[stem]) for stem in listed]
    return found


def _parse(path: Path) -> ET.Element:
    try:
        return ET.parse(path).getroot()  # noqa: S314  expat bounds the growth of entities since 2.4
    except (ET.ParseError, OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as XML ({error}).") from None


def _class_name(found: ET.Element) -> str:
    return (found.findtext("name") or "").strip()
