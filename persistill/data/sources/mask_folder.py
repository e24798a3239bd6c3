"""Data sets as a folder of image files and a folder of mask files."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from PIL import Image

from persistill.data.sources.base import MaskRows, MaskSource, part_of
from persistill.data.sources.class_names import read_class_names
from persistill.data.sources.image_folder import subfolders
from persistill.errors import UserError
from persistill.utils.image_files import ImageFiles, find_image_files, not_taken
from persistill.utils.image_reader import open_image


class MaskFolderRows:
    """The images and masks of one part of a folder.

    Args:
        root: the folder that names are told from.
        images: (N) image files.
        masks: (N) files, in the same order.
    """

    def __init__(self, root: Path, images: Sequence[Path], masks: Sequence[Path]) -> None:
        self._root = root
        self._images = images
        self._masks = masks

    def __len__(self) -> int:
        return len(self._images)

    def open(self, row: int) -> Image.Image:
        """Open an image."""
        return open_image(self._images[row])

    def open_mask(self, row: int) -> Image.Image:
        """Open the mask of an image."""
        return open_image(self._masks[row])

    def name(self, row: int) -> str:
        """The image's path inside the folder, with / on every system."""
        return self._images[row].relative_to(self._root).as_posix()

    def length(self, row: int) -> int:
        """Bytes of the image file and the mask file."""
        return self._images[row].stat().st_size + self._masks[row].stat().st_size


def read_mask_folder(folder: Path) -> MaskSource:
    """Find images and masks: ``images`` and ``masks`` in a folder, or in its train, validation (val, dev) and test.

    An image and its mask have one path below ``images`` and ``masks``, but for the ending. The names of the classes
    stand in ``classes.txt`` in the folder, one a line; without it, the classes are numbered.

    Raises:
        UserError: if there are no images, or an image without a mask or a mask without an image.
    """
    parts = {path: part_of(path.name) for path in subfolders(folder) if (path / "images").is_dir()}
    roots: dict[str, Path] = {}
    for path, part in parts.items():
        if part in roots:
            raise UserError(f"{roots[part]} and {path} are both the {part} part of {folder}. Keep one of them.")
        if part is None:
            raise UserError(
                f"{path} holds images, and its name says no part of {folder}: call it train, validation or test."
            )
        roots[part] = path
    if not roots:
        roots = {"train": folder}
    rows: dict[str, MaskRows] = {}
    notes: list[str] = []
    for part, root in roots.items():
        for name in ("images", "masks"):
            if not (root / name).is_dir():
                raise UserError(
                    f"there is no folder {root / name}: segmentation reads images from a folder images and masks, of "
                    "the same names, from a folder masks beside it."
                )
        found = {name: find_image_files(root / name) for name in ("images", "masks")}
        for name, files in found.items():
            # Several images may share the file of one mask by links.
            notes += not_taken(files._replace(repeated=()), str(root / name))
        rows[part] = MaskFolderRows(folder, *_pairs(root, found))
    origins = {part: str(root) for part, root in roots.items()}
    return MaskSource(read_class_names(folder), rows, origins, tuple(notes))


def _pairs(root: Path, files: Mapping[str, ImageFiles]) -> tuple[list[Path], list[Path]]:
    """Image files and mask files, sorted, each pair in one place."""
    found = [_by_stem(root / name, sorted(files[name].names + files[name].repeated)) for name in ("images", "masks")]
    if not found[0]:
        raise UserError(f"{root / 'images'} holds no images.")
    for one, other, what in ((0, 1, "mask"), (1, 0, "image")):
        alone = [path for stem, path in found[one].items() if stem not in found[other]]
        if alone:
            more = f", and {len(alone) - 1} more" if len(alone) > 1 else ""
            raise UserError(
                f"there is no {what} for {alone[0]}{more}: {root / 'images'} and {root / 'masks'} must hold files of "
                "the same names, but for the ending."
            )
    return list(found[0].values()), [found[1][stem] for stem in found[0]]


def _by_stem(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    stems: defaultdict[str, list[Path]] = defaultdict(list)
    for name in names:
        stems[PurePosixPath(name).with_suffix("").as_posix()].append(folder / name)
    for paths in stems.values():
        if len(paths) > 1:
            raise UserError(f"{paths[0]} and {paths[1]} differ in their ending only. Keep one of them.")
    return {stem: paths[0] for stem, paths in stems.items()}
