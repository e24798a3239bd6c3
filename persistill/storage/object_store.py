"""Files below a URL, through fsspec: the few things that are done to them, and what is said where they fail."""

import contextlib
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from persistill.errors import UserError, first_line
from persistill.utils.remote_filesystem import files_below, open_filesystem

_Result = TypeVar("_Result")
_PAUSES = (1.0, 5.0)
"""Seconds until what failed is tried again. Libraries of object stores have tries of their own before."""
_FINAL = (
    FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError, NotImplementedError
)  # fmt: skip


class ObjectStore:
    """Files below a URL. All names are relative to it, with slashes.

    Args:
        url: of a kind that fsspec knows, without a slash at its end.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        system, root = open_filesystem(self.url, "out")
        return system, root.rstrip("/")

    def sizes(self, folder: str) -> dict[str, int]:
        """Name -> bytes of all files below a folder, relative to it; none where there is no such folder."""
        system, _ = self._opened
        path = self._path(folder)

        def look() -> dict[str, int]:
            try:
                found = files_below(system, path)
            except FileNotFoundError:
                return {}
            return {name.removeprefix(path).lstrip("/"): int(about["size"]) for name, about in found.items()}

        return self._tried(f"list {folder}", look)

    def folders(self) -> list[str]:
        """Names of the folders directly below the URL, sorted."""
        system, root = self._opened

        def look() -> list[str]:
            try:
                found = system.ls(root, detail=True)
            except FileNotFoundError:
                return []
            return sorted(entry["name"].rstrip("/").rpartition("/")[2] for entry in found if entry["type"] != "file")

        return self._tried("list it", look)

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if there is none."""
        system, _ = self._opened
        with contextlib.suppress(FileNotFoundError):
            content: bytes = self._tried(f"read {name}", lambda: system.cat_file(self._path(name)), missing=True)
            return content
        return None

    def write(self, name: str, content: bytes, *, new: bool = False) -> bool:
        """Write a file whole.

        Args:
            name: of the file.
            content: of it.
            new: only if there is none yet, as far as the store can tell.

        Returns:
            Whether it was written.
        """
        system, _ = self._opened
        path = self._path(name)

        def write() -> None:
            if new:
                try:
                    system.pipe_file(path, content, mode="create")
                except (TypeError, NotImplementedError):  # a store, or its library, that knows no such way to write
                    if system.exists(path):
                        raise FileExistsError(path) from None
                else:
                    return
            system.pipe_file(path, content)

        with contextlib.suppress(FileExistsError):
            self._written(name, write)
            return True
        return False

    def upload(self, path: Path, name: str) -> None:
        """Write a file of this machine."""
        system, _ = self._opened
        self._written(name, lambda: system.put_file(str(path), self._path(name)))

    def download(self, name: str, path: Path) -> None:
        """Read a file onto this machine, into a folder that exists."""
        system, _ = self._opened
        self._tried(f"read {name}", lambda: system.get_file(self._path(name), str(path)))

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        system, _ = self._opened
        with contextlib.suppress(FileNotFoundError):
            self._tried(f"remove {name}", lambda: system.rm_file(self._path(name)), missing=True)

    def _path(self, name: str) -> str:
        return f"{self._opened[1]}/{name}" if name else self._opened[1]

    def _written(self, name: str, write: Callable[[], None]) -> None:
        def attempt() -> None:
            try:
                write()
            except FileNotFoundError:
                self._make_folders(name)
                write()

        self._tried(f"write {name}", attempt)

    def _make_folders(self, name: str) -> None:
        """Make the folders of a file, below the URL alone. No bucket is made: a name may be mistyped."""
        system, root = self._opened
        parts = name.split("/")[:-1]
        for count in range(len(parts) + 1):
            folder = "/".join([root, *parts[:count]])
            if "/" in folder.strip("/"):
                with contextlib.suppress(FileExistsError):
                    system.mkdir(folder, create_parents=False)

    def _tried(self, doing: str, work: Callable[[], _Result], *, missing: bool = False) -> _Result:
        """Try something a few times.

        Raises:
            UserError: in the end, with what failed.
            FileNotFoundError: at once, if ``missing`` says that it may be so.
            FileExistsError: at once.
        """
        for pause in (*_PAUSES, None):
            try:
                return work()
            except FileExistsError:
                raise
            except Exception as error:
                if missing and isinstance(error, FileNotFoundError):
                    raise
                if pause is None or isinstance(error, _FINAL):
                    raise self._error(doing, error) from error
                time.sleep(pause)
        raise AssertionError

    def _error(self, doing: str, error: Exception) -> UserError:
        said = f"{type(error).__name__}: {first_line(error)}"
        if isinstance(error, NotADirectoryError):
            advice = "There is a file where a folder is needed: name another place"
        elif isinstance(error, FileNotFoundError):
            advice = "See that the bucket, or the folder that it is to be made in, exists"
        elif isinstance(error, PermissionError) or "redential" in said:
            advice = "See that your credentials are found and may read, write, list and remove there"
        else:
            advice = "See that the place can be reached"
        return UserError(
            f"{self.url}: could not {doing} ({said}). {advice}; then run the same command again: what was finished is "
            "whole, and nothing of it is computed anew."
        )
