"""What a run folder contains. Run folders are written and read here and nowhere else.

Each stage of a recipe writes one folder, ``<kind>-<name>-<key>``, where the key is a hash of all that the stage depends
on. A folder holds

* ``run.json``: format, kind, name, key, the inputs that were hashed, software, hardware, date;
* ``log.jsonl``: one JSON object a line, appended as the stage goes on;
* ``done.json``: the stage's result, written last: a folder with it is complete and is reused;
* ``files.json``: size and hash of all files that the stage left, ``done.json`` included, and of what the stages before
  it left when it was worked: so that no damaged or outdated file is believed;
* the stage's own files (``model.safetensors``, ``predictions.npz``, ...), each written whole or not at all.
"""

import contextlib
import hashlib
import json
import math
import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from persistill.errors import UserError
from persistill.utils import file_hashes, file_lock
from persistill.utils.atomic_folder import unfinished
from persistill.utils.atomic_io import encode_json, read_json, sweep, write_json
from persistill.utils.strict_json import decode_json

FORMAT = 2
Kind = Literal[
    "view",
    "teacher",
    "features",
    "preparation",
    "student",
    "choice",
    "evaluation",
    "quantized",
    "export",
    "cost",
    "comparison",
]
_PACKAGES = ("persistill", "torch", "torchvision", "numpy", "numba", "timm", "lightning-fabric")


def fingerprint(inputs: object) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of ``inputs`` as canonical JSON."""
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def key_of(kind: Kind, inputs: Mapping[str, Any]) -> str:
    """The key of a stage: the fingerprint of its kind and inputs."""
    return fingerprint({"format": FORMAT, "kind": kind, "inputs": inputs})


CHECKPOINT = "checkpoint.safetensors"
"""Where a training that was interrupted goes on; removed once its stage is complete."""
DIVERGED = "diverged.safetensors"
"""The batch at which the loss of a training was not finite any more."""
_RUN, _LOG, _DONE, _FILES = "run.json", "log.jsonl", "done.json", "files.json"
_MOST_THREADS = 1024
_NOT_LEFT = (
    CHECKPOINT,
    DIVERGED,
    "report.html",
    "README.md",
    "tensorboard",
    "exported",
    unfinished(Path("exported")).name,
)
"""Files and folders that are removed or written again after the stage, and are no part of what it leaves."""


class DamagedRunError(UserError):
    """A finished stage whose files are not those that it left."""


class RunFolder:
    """One stage's folder.

    Attributes:
        path: the folder.
        kind: which stage wrote it.
        name: what people call it ("tgd-seed0").
        key: hash of ``inputs``.
        inputs: everything that the stage depends on, as plain JSON.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self.path = path
        self.about = dict(about)
        self.kind: Kind = about["kind"]
        self.name: str = about["name"]
        self.key: str = about["key"]
        self.inputs: dict[str, Any] = about["inputs"]

    @classmethod
    def create(
        cls, root: Path, kind: Kind, name: str, inputs: Mapping[str, Any], context: Mapping[str, Any] | None = None
    ) -> "RunFolder":
        """Open the folder of these inputs below ``root``, or make it. What is there already stays.

        Args:
            root: where all run folders lie.
            kind: the stage.
            name: what people call it.
            inputs: everything that the stage depends on.
            context: what later commands need to know and the result does not depend on (where the data came from).

        Raises:
            UserError: if a folder of that name was written by another format or from other inputs.
        """
        inputs = json.loads(json.dumps(inputs, allow_nan=False))
        key = key_of(kind, inputs)
        path = place(root, kind, name, key)
        if (path / "run.json").exists():
            found = cls.open(path)
            if found.inputs != inputs or found.key != key:
                raise UserError(
                    f"{path} was written by another recipe: its run.json does not hold the inputs of key {key}. "
                    "Nothing was changed. Move that folder away, or choose another place with --out."
                )
            return found
        path.mkdir(parents=True, exist_ok=True)
        about = {"format": FORMAT, "kind": kind, "name": name, "key": key, "inputs": inputs, "context": context or {}}
        about.update(circumstances())
        write_json(path / "run.json", about)
        return cls(path, about)

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Open a folder that exists.

        Raises:
            UserError: if it is not a run folder, or of a format that this version does not read, or if a field of its
                run.json is missing, of a wrong type or out of range, or its inputs are not those of its key.
        """
        from persistill import schemas  # noqa: PLC0415 - pydantic is slow to import

        if not (path / "run.json").is_file():
            raise UserError(f"{path} is not a run folder: it holds no run.json. Run folders lie below runs/.")
        about = read_json(path / "run.json")
        stated = (about.get("format"), about.get("kind")) if isinstance(about, dict) else ()
        if stated not in [(FORMAT, kind) for kind in get_args(Kind)]:
            raise UserError(
                f"{path / 'run.json'} is not of format {FORMAT}, the one this version of persistill reads. Run its "
                "recipe again: it is computed anew beside the old folder, which may then be deleted."
            )
        schemas.check(schemas.RunRecord, about, str(path / _RUN), "Move that folder away.")
        if about["key"] != key_of(about["kind"], about["inputs"]):
            raise UserError(
                f"{path} was written by another recipe, or changed since: its run.json does not hold the inputs of key "
                f"{about['key']}. Nothing was changed. Move that folder away, or choose another place with --out."
            )
        return cls(path, about)

    @property
    def complete(self) -> bool:
        """Whether the stage finished. Whether its files are still those that it left, ``verify`` tells."""
        return (self.path / "done.json").is_file()

    @property
    def computed(self) -> dict[str, Any]:
        """What its sums depend on beside the inputs, as far as it is known: "device" and number of "threads"."""
        context = self.about.get("context")
        stated = context.get("computed") if isinstance(context, dict) else None
        if not isinstance(stated, dict):
            return {}
        device, threads = stated.get("device"), stated.get("threads")
        found: dict[str, Any] = {"device": device} if isinstance(device, str) else {}
        return found | ({"threads": threads} if type(threads) is int and 0 < threads <= _MOST_THREADS else {})

    def file(self, name: str) -> Path:
        """The path of one of the stage's files."""
        return self.path / name

    def log(self, **record: Any) -> None:
        """Append one JSON object to ``log.jsonl``. Values that are not finite are written as null."""
        line = json.dumps(_finite(record), allow_nan=False)
        with (self.path / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def log_size(self) -> int:
        """Bytes of ``log.jsonl`` so far: a checkpoint keeps them, to know which lines came before it."""
        path = self.path / "log.jsonl"
        return path.stat().st_size if path.exists() else 0

    def cut_log(self, size: int) -> None:
        """Drop what was logged after a checkpoint that the run goes back to."""
        path = self.path / "log.jsonl"
        if path.exists() and path.stat().st_size > size:
            os.truncate(path, size)

    def records(self) -> list[dict[str, Any]]:
        """All logged objects, oldest first. A line that a crash cut short is passed over.

        Raises:
            UserError: if a field of one is of a wrong type.
        """
        from persistill import schemas  # noqa: PLC0415 - pydantic is slow to import

        path = self.path / _LOG
        records = []
        for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else [], start=1):
            with contextlib.suppress(ValueError):
                record = decode_json(line)
                schemas.check(schemas.LogRecord, record, f"line {number} of {path}", "Run its recipe again.")
                records.append(record)
        return records

    def finish(self, result: Mapping[str, Any], built_on: Mapping[str, str] | None = None) -> None:
        """Write the result; from here on the folder is complete.

        Args:
            result: plain JSON; numbers that are not finite are written as null.
            built_on: folder name -> ``digest`` of the stages that this one read.
        """
        content = _finite(dict(result))
        files = file_hashes.of_folder(self.path, leave_out=(_DONE, _FILES, *_NOT_LEFT))
        files[_DONE] = file_hashes.of_json(content)
        left = {"files": files, "built_on": dict(built_on or {})}
        write_json(self.path / _FILES, {**left, "key": fingerprint(left)})
        write_json(self.path / _DONE, content)

    def verify(self) -> None:
        """See whether the files are those that the stage left: sizes always, hashes once a process.

        Raises:
            DamagedRunError: naming the first file that is gone or was changed, or a result that cannot be one.
        """
        self._require_complete()
        for name, entry in self._left()["files"].items():
            self._check(name, entry)
        self.result()

    def differences(self) -> dict[str, str]:
        """What tells the files from those that the stage left: name -> what is wrong with it, "extra" if it is new.

        Raises:
            DamagedRunError: if what the stage left is not known any more.
        """
        self._require_complete()
        files = self._left()["files"]
        found = {name: file_hashes.difference(self.path / name, *entry) for name, entry in files.items()}
        there = {
            path.relative_to(self.path).as_posix()
            for path in self.path.rglob("*")
            if path.is_file() and path.relative_to(self.path).parts[0] not in (*_NOT_LEFT, _FILES)
        }
        return {
            **{name: problem for name, problem in found.items() if problem is not None},
            **dict.fromkeys(sorted(there - set(files)), "extra"),
        }

    def checked(self, name: str) -> Path:
        """The path of a file that the finished stage left, once it was seen to be what was left.

        Raises:
            DamagedRunError: if it is gone or was changed.
        """
        self._check(name, self._left()["files"].get(name))
        return self.path / name

    def _check(self, name: str, entry: Sequence[Any] | None) -> None:
        path = self.path / name
        problem = "it was not there" if entry is None else file_hashes.difference(path, *entry)
        if problem is not None:
            raise DamagedRunError(
                f"{path} is not as the stage left it: {problem}. Run its recipe again: the folder is moved aside, and "
                "the stage is computed again."
            )

    def digest(self) -> str:
        """A hash of what the stage left, its log and its times apart."""
        files = self._left()["files"]
        return fingerprint({name: entry for name, entry in files.items() if name not in (_DONE, _RUN, _LOG)})

    def built_on(self) -> dict[str, str]:
        """What ``finish`` was told of the stages before."""
        return dict(self._left()["built_on"])

    def sweep(self) -> None:
        """Remove what a process that was killed left and nobody needs. The folder must be locked."""
        sweep(self.path)
        if self.complete:
            self.file(CHECKPOINT).unlink(missing_ok=True)
            self.file(DIVERGED).unlink(missing_ok=True)

    def move_aside(self) -> Path:
        """Move the folder to where no run looks for it, with all that it holds: the new place."""
        kept = self.path.parent / ".damaged"
        kept.mkdir(exist_ok=True)
        number = 1
        while (target := kept / f"{self.path.name}-{number}").exists():
            number += 1
        return self.path.rename(target)

    def result(self) -> dict[str, Any]:
        """The stage's result. Of the stage's files only the one that holds it is looked at.

        Raises:
            UserError: if the stage has not finished, or the result is not what it left, or cannot be one of its kind.
        """
        from persistill import schemas  # noqa: PLC0415 - pydantic is slow to import

        self._require_complete()
        path = self.checked(_DONE)
        try:
            found: dict[str, Any] = read_json(path)
            schemas.check(schemas.RESULTS[self.kind], found, str(path), "Run its recipe again.")
        except UserError as error:
            raise DamagedRunError(str(error)) from None
        return found

    def _require_complete(self) -> None:
        if not self.complete:
            raise UserError(f"{self.path} is not complete: run its recipe again, and it goes on where it stopped.")

    def _left(self) -> dict[str, Any]:
        """The content of ``files.json``."""
        from persistill import schemas  # noqa: PLC0415 - pydantic is slow to import

        path = self.path / _FILES
        try:
            content = path.read_bytes()
            left: dict[str, Any] = decode_json(content)
            if encode_json(left) != content or left.pop("key") != fingerprint(left):
                raise ValueError("its content was changed")  # noqa: TRY301 - all that is wrong ends below
            schemas.check(schemas.LeftFiles, left, str(path), "")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, UserError) as error:
            raise DamagedRunError(
                f"{path} cannot be read ({error}): what the stage left cannot be told from what was changed since. Run "
                "its recipe again: the folder is moved aside, and the stage is computed again."
            ) from None
        return left


def place(root: Path, kind: Kind, name: str, key: str) -> Path:
    """Where the folder of a stage lies below ``root``."""
    return root / f"{kind}-{re.sub(r'[^A-Za-z0-9_.-]+', '-', name)}-{key}"


def locked(path: Path, *, wait: bool = True) -> contextlib.AbstractContextManager[None]:
    """Hold the lock of a run folder, which whoever writes into it must hold.

    It lies beside the folder, in ``.locks``, so that the folder can be made or moved away under it.

    Args:
        path: of the folder, which need not exist.
        wait: for another process that holds it.

    Raises:
        LockHeldError: on entering, if another process holds it and ``wait`` is false.
    """
    return file_lock.hold(_lock(path), wait=wait)


def at_work(path: Path) -> bool:
    """Whether a process holds the lock of a run folder."""
    return file_lock.is_held(_lock(path))


def _lock(path: Path) -> Path:
    return path.parent / ".locks" / f"{path.name}.lock"


def scan(root: Path) -> tuple[list[RunFolder], list[Path]]:
    """What lies directly below ``root``.

    Returns:
        The run folders, oldest first; and the folders of runs that this version cannot read, because another one
        wrote them or because they are damaged.
    """
    readable, others = [], []
    for path in sorted(root.glob("*/run.json")):
        try:
            readable.append(RunFolder.open(path.parent))
        except (UserError, OSError):
            others.append(path.parent)
    return sorted(readable, key=lambda folder: str(folder.about["created"])), others


def find(root: Path, keep: Callable[[RunFolder], bool] = lambda _: True) -> list[RunFolder]:
    """The run folders directly below ``root`` that ``keep`` keeps, oldest first; what cannot be read is passed over."""
    return [folder for folder in scan(root)[0] if keep(folder)]


def circumstances() -> dict[str, Any]:
    """Date, versions and hardware, for whoever wants to repeat a number."""
    import importlib.metadata  # noqa: PLC0415 - slow to import, and only writers need it

    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "software": versions,
        "hardware": {"machine": platform.machine(), "processor": _processor(), "cores": os.cpu_count()},
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(item) for item in value]
    return value
