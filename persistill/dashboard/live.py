"""What run folders hold at this moment, while others write them."""

import threading
import time
from pathlib import Path
from typing import Any

from persistill.errors import UserError, unknown
from persistill.run_folder import RunFolder, at_work

TRAINED = ("student", "teacher", "quantized")


class Live:
    """The run folders below a folder, read anew whenever asked; a ``run.json`` only once.

    Nothing is written. Folders that appear, grow, or are moved away meanwhile are seen at the next question.

    Attributes:
        root: where run folders lie. It need not exist yet.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._opened: dict[Path, tuple[int, RunFolder]] = {}
        self._lasts: dict[Path, tuple[int, dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def overview(self, now: float | None = None) -> dict[str, Any]:
        """All folders with their states, newest first.

        Args:
            now: seconds since the epoch; None for the clock.

        Returns:
            Plain JSON: ``root``; ``there``, whether it exists; ``runs``, each with its ``folder``, ``kind``, ``name``,
            ``created``, ``state`` ("finished", "at work" or "not finished"), ``age`` in seconds since its last write,
            ``version`` (which changes when its log grows), ``progress`` and ``figure`` in words, ``curves`` (whether
            it is a training) and ``report`` (whether it holds one); ``problems``, sentences about folders that cannot
            be read.
        """
        moment = time.time() if now is None else now
        found, problems = [], []
        for file in sorted(self.root.glob("*/run.json")):
            try:
                found.append(self._describe(self._open(file), moment))
            except (UserError, KeyError, TypeError, ValueError) as error:
                problems.append(f"{file.parent.name} cannot be read: {error}")
            except FileNotFoundError:
                continue  # moved away since the folder was listed
        found.sort(key=lambda run: (run["created"], run["folder"]), reverse=True)
        return {"root": str(self.root), "there": self.root.is_dir(), "runs": found, "problems": problems}

    def curves(self, folder: str) -> dict[str, Any]:
        """The training curves of one run.

        Args:
            folder: the name of its folder, as ``overview`` gives it.

        Returns:
            Plain JSON: ``validation``, with ``step``, ``epoch`` and ``percent`` of every epoch, and the
            ``name`` of what stands in its place where the task has another figure;
            ``terms``, for "loss" and for the name of each term its ``step`` and ``value``: means over the epochs that
            are over, and then the single steps of the one that is not. What was not finite is None; ``steps``, how
            many the whole training has, None before its first epoch is over.

        Raises:
            UserError: if there is no such training.
        """
        records = self._known(folder, TRAINED).records()
        epochs = [record for record in records if record.get("type") == "epoch"]
        last = max((record.get("step", 0) for record in epochs), default=0)
        later = [record for record in records if record.get("type") == "step" and record.get("step", 0) > last]
        terms: dict[str, dict[str, list[Any]]] = {}
        for record in (*epochs, *later):
            for name, value in {"loss": record.get("loss"), **record.get("terms", {})}.items():
                curve = terms.setdefault(name, {"step": [], "value": []})
                curve["step"].append(record.get("step"))
                curve["value"].append(value)
        judged = [(record, figure) for record in epochs if (figure := _figure(record)) is not None]
        validation = {
            "name": judged[0][1][0] if judged else "accuracy",
            "step": [record.get("step") for record, _ in judged],
            "epoch": [record.get("epoch") for record, _ in judged],
            "percent": [100 * value for _, (_, value) in judged],
        }
        return {"folder": folder, "validation": validation, "terms": terms, "steps": _planned(epochs)}

    def report(self, folder: str) -> bytes:
        """The bytes of a comparison's ``report.html``.

        Args:
            folder: the name of its folder, as ``overview`` gives it.

        Raises:
            UserError: if there is no such comparison, if it has no report, or if the report lies outside ``root``.
        """
        path = self._known(folder, ("comparison",)).file("report.html")
        if not path.is_file() or not path.resolve().is_relative_to(self.root.resolve()):
            raise UserError(f"{folder} holds no report. Write it with: persistill report {self.root / folder}")
        return path.read_bytes()

    def _known(self, folder: str, kinds: tuple[str, ...]) -> RunFolder:
        # The name is looked up in a listing and never made into a path: no name can lead out of the folder.
        listed = {file.parent.name: file for file in self.root.glob("*/run.json")}
        if folder not in listed:
            raise unknown("run folder", folder, listed)
        try:
            found = self._open(listed[folder])
        except (KeyError, FileNotFoundError) as error:
            raise UserError(f"{folder} cannot be read: {error}.") from None
        if found.kind not in kinds:
            raise UserError(f"{folder} is a {found.kind}, and no {' or '.join(kinds)}.")
        return found

    def _open(self, file: Path) -> RunFolder:
        version = file.stat().st_mtime_ns
        with self._lock:
            if self._opened.get(file, (0, None))[0] != version:
                self._opened[file] = version, RunFolder.open(file.parent)
            return self._opened[file][1]

    def _last(self, run: RunFolder) -> dict[str, Any]:
        """The record of the last epoch; a log is read again only when its size has changed."""
        size = run.log_size()
        if self._lasts.get(run.path, (-1, {}))[0] != size:
            epochs = [record for record in run.records() if record.get("type") == "epoch"]
            self._lasts[run.path] = size, epochs[-1] if epochs else {}
        return self._lasts[run.path][1]

    def _describe(self, run: RunFolder, now: float) -> dict[str, Any]:
        finished = run.complete
        written = max(path.stat().st_mtime for path in _present(run, ("run.json", "log.jsonl", "done.json")))
        age = max(0.0, now - written)
        last = self._last(run) if run.kind in TRAINED else {}
        figure = _figure(last)
        return {
            "folder": run.path.name,
            "kind": run.kind,
            "name": run.name,
            "created": str(run.about.get("created", "")),
            "state": "finished" if finished else "at work" if at_work(run.path) else "not finished",
            "age": age,
            "version": f"{run.log_size()}-{'done' if finished else 'open'}",
            "progress": f"epoch {last['epoch']} of {last['epochs']}" if {"epoch", "epochs"} <= set(last) else "",
            "figure": "" if figure is None else f"{_TITLES.get(figure[0], figure[0])} {100 * figure[1]:.2f} %",
            "curves": run.kind in TRAINED,
            "report": run.kind == "comparison" and run.file("report.html").is_file(),
        }


_TITLES = {"miou": "mIoU"}
"""Figures whose names are not words."""


def _present(run: RunFolder, names: tuple[str, ...]) -> list[Path]:
    return [run.file(name) for name in names if run.file(name).is_file()] or [run.path]


def _planned(epochs: list[dict[str, Any]]) -> int | None:
    """Steps of the whole training, told by its last epoch."""
    if not epochs or not {"step", "epoch", "epochs"} <= set(epochs[-1]):
        return None
    last = epochs[-1]
    steps: int = round(last["step"] / last["epoch"] * last["epochs"])
    return steps


def _figure(record: dict[str, Any]) -> tuple[str, float] | None:
    """Name and value of the task's figure on validation images, which stands first; None if it is not there."""
    name, value = next(iter((record.get("validation") or {}).items()), ("", None))
    return (name, float(value)) if isinstance(value, int | float) else None
