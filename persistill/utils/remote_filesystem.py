"""Files behind URLs, through fsspec: which are meant, what is missing to reach them, and which faults pass."""

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from persistill.errors import UserError, first_line

TRIES = 6
"""How often something is asked for before it is given up."""
FIRST_WAIT = 0.5
"""Seconds before the second try; each wait after it is twice as long."""
PATIENCE = 20
"""Seconds after which nothing is tried again: some clients have tries of their own, which may take long."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(::[A-Za-z][A-Za-z0-9+.-]+)*://")
_SECRET = re.compile(r"://[^/@]*:[^/]*@|https?://[^/]*@|\?", re.IGNORECASE)
_LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ValueError, TypeError, UserError)
_TRY_AGAIN = {408, 425, 429}
"""HTTP statuses from 400 to 499 that pass."""
_NOT_THERE = {404, 410}
_PACKAGES = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "abfss": "adlfs", "az": "adlfs",
    "http": "aiohttp", "https": "aiohttp", "sftp": "paramiko", "ssh": "paramiko", "oss": "ossfs", "webdav": "webdav4",
}  # fmt: skip

Result = TypeVar("Result")


def is_url(given: str) -> bool:
    """Whether something names a place by a URL of fsspec (``s3://bucket/folder``), and not by a path."""
    return _URL.match(given) is not None


def holds_secret(url: str) -> bool:
    """Whether a URL holds a password, a token in the place of a user's name, or parameters, which may be either."""
    return _SECRET.search(url) is not None


def open_filesystem(url: str, field: str) -> tuple[Any, str]:
    """The file system of a URL, and what the URL is called there.

    Nothing is kept of listings: what changes is seen.

    Args:
        url: any that fsspec knows.
        field: what names it, for messages.

    Raises:
        UserError: if the protocol is unknown, its package is not installed, or the URL holds a password or parameters.
    """
    import fsspec  # noqa: PLC0415 - a tenth of a second that others need not pay

    protocol = url.partition("://")[0].rpartition("::")[2].lower()
    if holds_secret(url):
        raise UserError(
            f"{field} holds a password or parameters (?...), which would be written into run folders. Leave them out, "
            f"and give access as clients of {protocol} take it, by their configuration or their environment variables."
        )
    try:
        filesystem, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        package = _PACKAGES.get(protocol)
        advice = f"pip install {package}" if package else first_line(error)
        raise UserError(f"{field}={url} needs a package that is not installed: {advice}") from None
    except ValueError as error:
        if protocol in fsspec.available_protocols():
            raise UserError(f"{field}={url} cannot be opened ({first_line(error)}).") from error
        known = "s3, gs, abfs, https, hf and others that fsspec knows"
        raise UserError(f"{field}={url} has a protocol that is not known, {protocol!r}. Known are {known}.") from None
    except Exception as error:
        raise UserError(f"{field}={url} cannot be opened ({first_line(error)}).") from error
    return filesystem, path


def files_below(filesystem: Any, folder: str, depth: int | None = None) -> dict[str, Mapping[str, Any]]:
    """Name -> what is told of it, of all files below a folder.

    Args:
        filesystem: of fsspec.
        folder: what it is called there.
        depth: how far down, 1 for the folder alone; None for all the way.

    Raises:
        Exception: of fsspec and its libraries, if one of the folders is not there or cannot be listed.
    """
    from fsspec.asyn import AsyncFileSystem  # noqa: PLC0415 - see above
    from fsspec.spec import AbstractFileSystem  # noqa: PLC0415

    kind = type(filesystem)
    found: dict[str, Mapping[str, Any]] = {}
    if getattr(kind, "_find", kind.find) not in (AsyncFileSystem._find, AbstractFileSystem.find):  # noqa: SLF001
        found.update(filesystem.find(folder, maxdepth=depth, detail=True))
        return found

    # What fsspec has for all other stores passes over folders that it cannot list, as if they were empty.
    def collect(place: str, left: int | None) -> None:
        for about in filesystem.ls(place, detail=True):
            if about["type"] != "directory":
                found[about["name"]] = about
            elif about["name"].rstrip("/") != place.rstrip("/") and left != 1:
                collect(about["name"].rstrip("/"), None if left is None else left - 1)

    collect(folder, depth)
    return found


def asked_again(ask: Callable[[], Result], what: str, sleep: Callable[[float], None] = time.sleep) -> Result:
    """Ask for something behind a network, and ask again while faults may pass, for about ``PATIENCE`` seconds.

    Args:
        ask: is called until it answers.
        what: is asked for, a URL, for messages.
        sleep: waits for some seconds.

    Raises:
        UserError: if it is not there, may not be read, or cannot be reached after ``TRIES`` tries.
    """
    begun = time.monotonic()
    for number in range(TRIES):
        try:
            return ask()
        except UserError:
            raise
        except Exception as found:  # noqa: BLE001 - clients of stores raise errors of their own libraries
            error = _fault(found)
            if isinstance(error, FileNotFoundError):
                raise UserError(f"there is no {what}.") from None
            if _lasts(error):
                raise UserError(
                    f"{what} cannot be read ({first_line(error)}). See that you may read it: access is given as "
                    "clients of such places take it, by their configuration or their environment variables."
                ) from error
            if number == TRIES - 1 or time.monotonic() - begun > PATIENCE:
                raise UserError(
                    f"{what} cannot be reached: {first_line(error)} ({number + 1} tries). Look at the network, and run "
                    "the same command again; what is finished is kept."
                ) from error
        sleep(FIRST_WAIT * 2**number)
    raise AssertionError


def _fault(error: Exception) -> Exception:
    """What has happened. fsspec says of each fault of HTTP that there is no file, where it asks about one."""
    cause = error.__cause__
    of_http = isinstance(cause, TimeoutError) or type(cause).__module__.startswith("aiohttp")
    if isinstance(error, FileNotFoundError) and isinstance(cause, Exception) and of_http:
        return error if _status(cause) in _NOT_THERE else cause
    return error


def is_forbidden(error: BaseException) -> bool:
    """Whether a store says that something may not be read."""
    return isinstance(error, PermissionError) or _status(error) == 403


def _status(error: BaseException) -> int | None:
    """Of HTTP, if an error tells one."""
    response: Any = getattr(error, "response", None)
    status = getattr(error, "status", None) or getattr(error, "code", None) or getattr(response, "status_code", None)
    return status if isinstance(status, int) and 400 <= status < 600 else None


def _lasts(error: BaseException) -> bool:
    """Whether another try would not help."""
    if (status := _status(error)) is not None:
        return status < 500 and status not in _TRY_AGAIN
    return isinstance(error, _LASTING) or type(error).__name__ in {"NoCredentialsError", "PartialCredentialsError"}
