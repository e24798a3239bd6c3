"""Data sets as folders of image files, one folder a class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from persistill.data.sources.base import ImageRows, IntArray, Source, part_of
from persistill.errors import UserError, unknown
from persistill.utils.image_files import image_names, is_image_name
from persistill.utils.image_reader import SUFFIXES, open_image


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

    Class folders are searched at any depth; hidden files and files that are no images by name are passed over.
    Classes are sorted by name.

    Raises:
        UserError: if there are no images, none for a class, or images outside the class folders.
    """
    folders = subfolders(folder)
    parts = {path: part_of(path.name) for path in folders if subfolders(path)}
    if "train" in parts.values():
        roots: dict[str, Path] = {}
        for path, part in parts.items():
            if part in roots:
                raise UserError(f"{roots[part]} and {path} are both the {part} part of {folder}. Keep one of them.")
            if part is not None:
                roots[part] = path
        strays = [path for path in folders if path not in roots.values() and image_files(path)]
        if strays:
            raise UserError(
                f"{strays[0]} has no place beside {roots['train']}: next to a training folder, "
                "only validation and test, with folders of the same classes, can hold images."
            )
    else:
        roots = {"train": folder}
    classes = tuple(path.name for path in subfolders(roots["train"]))
    if not classes:
        raise UserError(
            f"{roots['train']} holds no class folders and no Parquet files: put the images of each class into a "
            "folder of their own."
        )
    rows: dict[str, ImageRows] = {}
    for part, root in roots.items():
        files: list[Path] = []
        targets: list[int] = []
        loose = [path for path in root.iterdir() if is_image_name(path.name) and path.is_file()]
        if loose:
            raise UserError(f"{loose[0]} lies outside of the class folders of {root}, so that its class is not known.")
        for path in subfolders(root):
            if path.name not in classes:
                raise unknown(f"class folder in {root}:", path.name, classes)
            found = image_files(path)
            if not found:
                raise UserError(
                    f"the class folder {path} holds no images ({', '.join(sorted(SUFFIXES))}). Add some, or remove it."
                )
            files.extend(found)
            targets.extend([classes.index(path.name)] * len(found))
        rows[part] = FolderRows(folder, files, np.array(targets, dtype=np.int64))
    return Source(classes, rows)


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder that are not hidden, sorted."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def image_files(folder: Path) -> list[Path]:
    """The image files in a folder, at any depth, sorted; hidden ones are passed over."""
    return sorted(folder / name for name in image_names(folder))
