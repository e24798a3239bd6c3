"""Folders in the layout of MS COCO: one JSON file a part (Lin et al. 2014)."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from persistill.data.detection.box_source import BoxRows, BoxSource, RawObjects, raw_objects
from persistill.data.sources.base import part_of
from persistill.errors import UserError
from persistill.utils.image_reader import open_image

_PREFIX = "instances_"
_BESIDE = "_annotations.coco.json"


class COCORows:
    """One part of such a data set.

    Args:
        folder: which holds the images.
        images: entries of "images" in the file.
        objects: id of an image -> its entries of "annotations".
        numbers: id of a category -> class number.
    """

    def __init__(
        self,
        folder: Path,
        images: Sequence[Mapping[str, Any]],
        objects: Mapping[Any, Sequence[Mapping[str, Any]]],
        numbers: Mapping[Any, int],
    ) -> None:
        self._folder, self._images, self._objects, self._numbers = folder, images, objects, numbers

    def __len__(self) -> int:
        return len(self._images)

    def open(self, row: int) -> Image.Image:
        """Open an image."""
        return open_image(self._folder / self._images[row]["file_name"])

    def objects(self, row: int, size: tuple[int, int]) -> RawObjects:
        """The boxes of an image; COCO states corner, width and height."""
        image = self._images[row]
        stated = (image.get("height", size[0]), image.get("width", size[1]))
        if stated != size:
            said = f"{stated[0]} x {stated[1]}"
            raise ValueError(f"it is {size[0]} x {size[1]} (height x width), and its entry says {said}")
        found = self._objects.get(image["id"], ())
        boxes = []
        for entry in found:
            box = entry.get("bbox")
            if not isinstance(box, list) or len(box) != 4:
                raise ValueError(f"an annotation has the bbox {box!r}, and not x, y, width and height")
            if entry.get("category_id") not in self._numbers:
                raise ValueError(f"an annotation has the category {entry.get('category_id')!r}, which is not listed")
            x, y, width, height = map(float, box)
            boxes.append((x, y, x + width, y + height))
        labels = [self._numbers[entry["category_id"]] for entry in found]
        return raw_objects(boxes, labels, None, [bool(entry.get("iscrowd", 0)) for entry in found])

    def name(self, row: int) -> str:
        """The file's name as the JSON file states it."""
        return str(self._images[row]["file_name"])

    def length(self, row: int) -> int:
        """Bytes of the image file."""
        return Path(self._folder, self._images[row]["file_name"]).stat().st_size


def is_coco(folder: Path) -> bool:
    """Whether a folder looks like it: ``annotations/*.json``, or a JSON file with annotations in folders of parts."""
    return bool(_files(folder))


def read_coco(folder: Path) -> BoxSource:
    """Find images and boxes: ``annotations/instances_PART.json`` with images in PART, ``images/PART`` or ``images``.

    Or folders of parts (train, valid, test) that hold ``_annotations.coco.json`` and the images. Classes are the
    categories of the training file in the order of their ids; the other files must list the same.

    Raises:
        UserError: if a file is damaged, files disagree, or the images are not found.
    """
    rows: dict[str, BoxRows] = {}
    classes: tuple[str, ...] = ()
    files = _files(folder)
    if "train" not in files:
        raise UserError(
            f"{folder} has no training part: a file annotations/instances_train*.json; found: "
            f"{', '.join(str(path.relative_to(folder)) for path in files.values())}."
        )
    for part, path in sorted(files.items(), key=lambda item: item[0] != "train"):
        content = _content(path)
        categories = sorted(content["categories"], key=lambda category: category["id"])
        names = tuple(str(category["name"]) for category in categories)
        if part != "train" and names != classes:
            odd = sorted({*names} ^ {*classes})
            listed = ", ".join(odd[:5]) or "in another order"
            raise UserError(f"{path} and {files['train']} list different categories: {listed}.")
        classes = names
        objects = defaultdict(list)
        for entry in content["annotations"]:
            objects[entry.get("image_id")].append(entry)
        images = sorted(content["images"], key=lambda image: str(image["file_name"]))
        numbers = {category["id"]: number for number, category in enumerate(categories)}
        rows[part] = COCORows(_image_folder(path, images), images, objects, numbers)
    return BoxSource(classes, rows, {part: str(path) for part, path in files.items()})


def _files(folder: Path) -> dict[str, Path]:
    """Part -> its JSON file. Beside files of instances, others are captions and keypoints of the same images."""
    every = sorted((folder / "annotations").glob("*.json"))
    inside = [path for path in every if path.stem.startswith(_PREFIX)] or every
    named = [(path, part_of(path.stem.removeprefix(_PREFIX))) for path in inside]
    if not inside:
        named = [(path, part_of(path.parent.name)) for path in sorted(folder.glob(f"*/{_BESIDE}"))]
    found: dict[str, Path] = {}
    for path, part in named:
        if part in found:
            raise UserError(f"{found[part]} and {path} are both the {part} part of {folder}. Keep one of them.")
        if part is not None:
            found[part] = path
    return found


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}).") from None
    wanted = ("images", "annotations", "categories")
    if not isinstance(content, dict) or any(not isinstance(content.get(key), list) for key in wanted):
        raise UserError(f"{path} must hold the lists images, annotations and categories, as COCO's instances do.")
    if not content["images"] or not all({"id", "file_name"} <= image.keys() for image in content["images"]):
        raise UserError(f"{path} must list images, each with id and file_name.")
    if not all({"id", "name"} <= category.keys() for category in content["categories"]):
        raise UserError(f"{path} must list categories with id and name.")
    return content


def _image_folder(path: Path, images: Sequence[Mapping[str, Any]]) -> Path:
    """Where the images of a file lie: the first place that has the first of them."""
    part, above = path.stem.removeprefix(_PREFIX), path.parent.parent
    places = [path.parent, above / part, above / "images" / part, above / "images", above]
    for place in places:
        if (place / images[0]["file_name"]).is_file():
            return place
    raise UserError(
        f"the image {images[0]['file_name']} of {path} is in none of {', '.join(str(place) for place in places)}."
    )
