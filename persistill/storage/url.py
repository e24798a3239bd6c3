"""URLs of places at which run folders lie, and the folder of this machine in which they are worked at."""

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs

from persistill.errors import UserError
from persistill.utils import remote_filesystem
from persistill.utils.output_folder import is_collapsed_url, require_folder

CACHE_VARIABLE = "PERSISTILL_CACHE"
"""The variable that names the folder of all caches."""


def is_url(place: str | Path) -> bool:
    """Whether a place is named by a URL, and not by a path."""
    return isinstance(place, str) and remote_filesystem.is_url(place)


def checked_url(url: str) -> str:
    """A URL without a slash at its end.

    Raises:
        UserError: if it holds a password or a key, which would end up in logs, or names no place.
    """
    protocol, _, place = url.partition("://")
    if remote_filesystem.holds_secret(url):
        raise UserError(
            f"the URL {protocol}://... holds a password or parameters, which would be written into logs. Name the "
            "place alone; fsspec's libraries find credentials in the environment or in files of their own "
            "(AWS_PROFILE, GOOGLE_APPLICATION_CREDENTIALS, ~/.config/fsspec)."
        )
    if not place.strip("/"):
        raise UserError(f"{url} names no place: run folders lie in a bucket or a folder, as {protocol}://bucket/runs.")
    return url.rstrip("/")


def check_out(place: str | Path, option: str = "--out") -> str:
    """What was given as the place of run folders, once it was seen that it can be one.

    Args:
        place: a path or a URL.
        option: by which it was given.

    Raises:
        UserError: if there is a file at the path, or the URL is none.
    """
    if is_url(place):
        return checked_url(str(place))
    if isinstance(place, Path) and is_collapsed_url(place):
        raise UserError(f"{option} {place}: a URL has two slashes; give it as text, and not as a Path.")
    return str(require_folder(Path(place), option))


def cache_of(url: str) -> Path:
    """The folder of this machine in which the run folders of a URL are worked at."""
    caches = os.environ.get(CACHE_VARIABLE)
    root = Path(caches) if caches else Path(platformdirs.user_cache_dir("persistill")) / "runs"
    parts = urlsplit(url)
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{parts.netloc}{parts.path}").strip("-")[-40:]
    return root.absolute() / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"
