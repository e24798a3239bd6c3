"""Names of numbered classes, in a file beside the images."""

from pathlib import Path

from persistill.errors import UserError

CLASS_NAMES = "classes.txt"


def read_class_names(folder: Path) -> tuple[str, ...] | None:
    """The lines of ``classes.txt`` in a folder: class 0 is the first. None if there is no such file.

    Raises:
        UserError: if it is no text in UTF-8, or does not hold two or more names, each once.
    """
    file = folder / CLASS_NAMES
    return parse_class_names(file.read_bytes(), str(file)) if file.exists() else None


def parse_class_names(data: bytes, file: str) -> tuple[str, ...]:
    """The lines of such a file.

    Args:
        data: what it holds.
        file: what to call it.

    Raises:
        UserError: as of ``read_class_names``.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{file} is no text in UTF-8: save it so, with the name of one class a line.") from None
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(names) < 2 or len(set(names)) < len(names):
        raise UserError(f"{file} must hold two or more names of classes, one a line, each once; it holds {names}.")
    return names
