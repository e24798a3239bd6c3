"""Data sets as folders of image files, one folder a class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from persistill.data.sources.base import ImageRows, IntArray, Source, part_of
from persistill.errors import UserError, unknown
from persistill.utils.image_files import (
    ImageFiles,
    find_image_files,
    is_image_name,
    join_image_files,
    leads_back,
    not_taken,
)
from persistill.utils.image_reader import SUFFIXES, open_image
from persistill.utils.units import first_few

_NO_CLASS = ("images", "image", "imgs", "img", "data", "photos", "pictures")
"""Names of folders that hold images of all classes."""


class FolderRows:
    """The images of one part of a folder.

    Args:
        root: the folder that names are told from.
        files: (N) image files.
        targets: (N,) class numbers.
    """

    def __init__(self, root: Path, files: Sequence[Path], targets: IntArray) -> None:
        self._root = root
        self._files = files
        self.targets = targets

    def open(self, row: int) -> Image.Image:
        """Open an image."""
        return open_image(self._files[row])

    def name(self, row: int) -> str:
        """The file's path inside the folder, with / on every system."""
        return self._files[row].relative_to(self._root).as_posix()

    def length(self, row: int) -> int:
        """Bytes of the file."""
        return self._files[row].stat().st_size


def read_folder(folder: Path) -> Source:
    """Find the images in a folder of class folders, or of train, validation (val, dev) and test with class folders.

    Class folders are searched at any depth; hidden files and folders, and files that are no images by name, are passed
    over. Classes are sorted by name. Images of a validation or test folder without class folders have no class, and are
    not used.

    Raises:
        UserError: if there are no images, none for a class, or images outside the class folders.
    """
    roots, notes = _parts(folder)
    classes = tuple(path.name for path in subfolders(roots["train"]))
    if not classes:
        raise UserError(
            f"{roots['train']} holds no class folders and no Parquet files: put the images of each class into a "
            "folder of their own, or list files and classes in a CSV file, data.labels."
        )
    if all(part_of(name) for name in classes):
        raise UserError(
            f"{' and '.join(classes)} in {roots['train']} are names of parts of a data set, and hold images without "
            "class folders, so that no class is known. Put the images of each class into a folder of their own, "
            f"{roots['train'] / classes[-1]}/CLASS, or list files and classes in a CSV file: --set data.labels=FILE"
        )
    rows: dict[str, ImageRows] = {}
    searched: list[tuple[str, ImageFiles]] = []
    for part, root in roots.items():
        files: list[Path] = []
        targets: list[int] = []
        if loose := loose_images(root):
            raise UserError(f"{loose[0]} lies outside of the class folders of {root}, so that its class is not known.")
        for path in subfolders(root):
            if path.name not in classes:
                raise unknown(f"class folder in {root}:", path.name, classes)
            found = find_image_files(path, linked=path.is_symlink() or root.is_symlink())
            searched.append((f"{path.relative_to(folder).as_posix()}/", found))
            if not found.names:
                others = ", ".join(f"{count:,} {ending}" for ending, count in sorted(found.other_formats.items()))
                raise UserError(
                    f"the class folder {path} holds no images ({', '.join(sorted(SUFFIXES))})"
                    f"{f', but {others}' if others else ''}. Add some, or remove it."
                )
            files.extend(path / name for name in found.names)
            targets.extend([classes.index(path.name)] * len(found.names))
        rows[part] = FolderRows(folder, files, np.array(targets, dtype=np.int64))
    taken = join_image_files(searched)
    back = [path for root in roots.values() for path in root.iterdir() if path.is_dir() and leads_back(path)]
    taken = taken._replace(links_back=(*taken.links_back, *(path.relative_to(folder).as_posix() for path in back)))
    notes += not_taken(taken, str(folder))
    if twice := _same_files(folder, taken):
        notes.append(f"{first_few(twice)}: by links one file in two class folders or parts; both are taken.")
    return Source(classes, rows, {part: str(root) for part, root in roots.items()}, tuple(notes))


def has_class_folders(folder: Path) -> bool:
    """Whether a folder can be read without a table: it has class folders, or a training folder with class folders."""
    folders = subfolders(folder)
    if any(part_of(path.name) == "train" and subfolders(path) for path in folders):
        return True
    named = [path for path in folders if part_of(path.name) is None and path.name not in _NO_CLASS]
    return len(named) >= 2 and not loose_images(folder) and any(find_image_files(path).names for path in named)


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, that are not hidden and no links to a folder that holds them."""
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".") and not leads_back(path)
    )


def loose_images(folder: Path) -> list[Path]:
    """The image files in a folder itself, sorted."""
    return sorted(path for path in folder.iterdir() if is_image_name(path.name) and path.is_file())


def _same_files(folder: Path, files: ImageFiles) -> list[str]:
    """Names that are one file, "a = b" each, where links lead to it; what hard links share is not looked for."""
    linked = set(files.linked)
    if not linked:
        return []
    first = {(folder / name).resolve(): name for name in files.names if name not in linked}
    pairs = []
    for name in files.linked:
        other = first.setdefault((folder / name).resolve(), name)
        if other != name:
            pairs.append(f"{name} = {other}")
    return pairs


def _parts(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """The folders of the parts, and what a user should know of them."""
    folders = subfolders(folder)
    parts = {path: part_of(path.name) for path in folders}
    roots: dict[str, Path] = {}
    for path, part in parts.items():
        if part is None or not subfolders(path):
            continue
        if part in roots:
            raise UserError(f"{roots[part]} and {path} are both the {part} part of {folder}. Keep one of them.")
        roots[part] = path
    if "train" not in roots:
        return {"train": folder}, []
    notes = []
    for path in folders:
        if path in roots.values() or not (found := find_image_files(path).names):
            continue
        if parts[path] is None or parts[path] == "train":
            raise UserError(
                f"{path} has no place beside {roots['train']}: next to a training folder, "
                "only validation and test, with folders of the same classes, can hold images."
            )
        notes.append(
            f"The {len(found):,} images of {path} lie in no class folders, so that their classes are not known: no "
            f"figure is measured on them. The {parts[path]} images are taken from {roots['train']} instead."
        )
    return roots, notes
