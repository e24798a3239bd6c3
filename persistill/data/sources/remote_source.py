"""Data sets behind URLs and on the Hugging Face hub, read where they lie: tar files, and Parquet files in place."""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from persistill.data.sources.class_names import CLASS_NAMES, parse_class_names
from persistill.data.sources.remote_shard import RemoteShard, read_small, remote_files, remote_folder
from persistill.data.sources.tar_shards import TAR, expand_ranges
from persistill.errors import UserError, first_line, unknown
from persistill.utils.remote_filesystem import asked_again

PARQUET = ".parquet"
_HUB = re.compile(r"hf://datasets/[\w.-]+/[\w.-]+(@|/|$)")
_FIELD = "data.source"
_CONVERTED = "refs/convert/parquet"
_SECONDS = 5
"""In which the hub has to answer when it is first asked."""


class RemoteFiles(NamedTuple):
    """The files of a data set behind a URL.

    Attributes:
        where: what to call it.
        files: at least one, all of them Parquet or all of them tar files.
        folder: the URL of the folder that holds them.
        notes: what a user should know, a sentence each.
    """

    where: str
    files: Sequence[RemoteShard]
    folder: str
    notes: tuple[str, ...] = ()

    @property
    def are_tar(self) -> bool:
        """Whether they are tar files."""
        return self.files[0].inside.suffix.lower() == TAR

    def class_names(self) -> tuple[str, ...] | None:
        """Those in ``classes.txt`` beside the files; None if there is no such file.

        Raises:
            UserError: if it is damaged or cannot be read.
        """
        file = f"{self.folder.rstrip('/')}/{CLASS_NAMES}"
        data = read_small(file, _FIELD)
        return None if data is None else parse_class_names(data, file)


def find_remote(source: str) -> RemoteFiles:
    """The files that a URL names: a folder of Parquet or of tar files, one file, or several by a range.

    Args:
        source: ``s3://bucket/parquet/``, ``https://host/train-{000..009}.tar``, ``hf://datasets/owner/name@rev``.

    Raises:
        UserError: if there are none, or they cannot be reached.
    """
    place, fixed = source, False
    notes: tuple[str, ...] = ()
    if _HUB.match(source):
        place, commit = _pinned(source)
        notes, fixed = (f"{source} is read as of its commit {commit[:12]}.",), True
    if place.lower().endswith((TAR, PARQUET)):
        files = remote_files(expand_ranges(place), _FIELD, fixed=fixed)
        return RemoteFiles(source, files, place.rpartition("/")[0], notes)
    found = remote_folder(place, (PARQUET, TAR), _FIELD, fixed=fixed)
    files = found[PARQUET] or found[TAR]
    if not files:
        raise UserError(
            f"{source} holds no Parquet and no tar files, in it or up to two folders below it. Loose images are not "
            "read from behind URLs: pack them into tar files in the layout of WebDataset, or download them."
        )
    return RemoteFiles(source, files, place, notes)


def find_on_hub(name: str, known: Sequence[str]) -> RemoteFiles:
    """The Parquet files of a data set of the hub, its own or those that the hub has made of it, as of now.

    Args:
        name: as on the hub, "owner/name".
        known: names of sources, to propose near ones.

    Raises:
        UserError: if the hub has no such data set or no Parquet files of it, or cannot be reached.
    """
    from huggingface_hub import HfApi  # noqa: PLC0415
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError  # noqa: PLC0415

    advice = f"Or have it downloaded: --set data.source={name} --set data.parquet=copied"
    try:
        about = _first_asked(lambda: HfApi().dataset_info(name, timeout=_SECONDS), name)
        made = "its own Parquet files"
        if not any(file.rfilename.lower().endswith(PARQUET) for file in about.siblings or ()):
            made = "the Parquet files that the hub has made of it"
            about = _first_asked(lambda: HfApi().dataset_info(name, revision=_CONVERTED, timeout=_SECONDS), name)
    except RevisionNotFoundError:
        raise UserError(
            f"{name} has no Parquet files on the hub, and the hub has made none of it, so that nothing can be read in "
            f"place. {advice}"
        ) from None
    except RepositoryNotFoundError:
        raise unknown(
            "data source",
            name,
            known,
            "There is no folder of this name here, and the hub has no public data set of it.",
        ) from None
    url = f"hf://datasets/{name}@{about.sha}"
    files = remote_folder(url, (PARQUET,), _FIELD, fixed=True)[PARQUET]
    partial = sorted({part for file in files for part in file.inside.parts if part.startswith("partial-")})
    if partial:
        raise UserError(
            f"the hub has made Parquet files of the first images of {name} only ({', '.join(partial)}). {advice}"
        )
    if not files:
        raise UserError(f"{url} holds no Parquet files. {advice}")
    note = f"Of {name} {made} are read where they lie, as of commit {str(about.sha)[:12]}."
    return RemoteFiles(name, files, url, (note,))


def _pinned(url: str) -> tuple[str, str]:
    """A URL of the hub with the commit that it means now in place of a branch, and that commit.

    Raises:
        UserError: if the hub has no such data set, or cannot be reached.
    """
    from huggingface_hub import HfApi, HfFileSystem  # noqa: PLC0415

    place = _first_asked(lambda: HfFileSystem().resolve_path(url), url)
    about = _first_asked(lambda: HfApi().dataset_info(place.repo_id, revision=place.revision, timeout=_SECONDS), url)
    inside = f"/{place.path_in_repo}" if place.path_in_repo else ""
    return f"hf://datasets/{place.repo_id}@{about.sha}{inside}", str(about.sha)


def _first_asked(ask: Callable[[], Any], name: str) -> Any:
    """Ask the hub for the first time, and only once: where there is no network, that is told at once.

    Raises:
        RepositoryNotFoundError, RevisionNotFoundError: as the hub answers.
        UserError: if it cannot be reached, or may not be read.
    """
    from huggingface_hub.errors import (  # noqa: PLC0415
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return ask()
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise
    except (HfHubHTTPError, FileNotFoundError):
        return asked_again(ask, name)  # the hub is there; whether its fault passes is seen
    except Exception as error:
        raise UserError(
            f"the Hugging Face hub, which shall have {name}, cannot be reached ({first_line(error)}). Look at the "
            "network, or download the files elsewhere and name the folder that holds them: --set data.source=FOLDER"
        ) from error
