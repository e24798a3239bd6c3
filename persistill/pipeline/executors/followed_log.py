"""How far a stage is at which somebody else works, told by the log in its run folder."""

import time
from typing import Any

from persistill.errors import UserError
from persistill.pipeline.executors.walk import Task
from persistill.utils.progress import Progress
from persistill.utils.strict_json import decode_json

_SECONDS = 1.0
"""Between two looks."""


class FollowedLog:
    """Shows the epochs of a training as they are logged; of other stages, that they are worked at.

    Where another machine works in a cache of its own, nothing is seen of a stage until it is finished.

    Args:
        task: is worked at.
        progress: that is told of it alone.

    Attributes:
        progress: as above.
    """

    def __init__(self, task: Task, progress: Progress) -> None:
        self.progress = progress
        self._path = task.context.out / task.name / "log.jsonl"
        training = task.stage.inputs.get("train")
        epochs = training.get("epochs") if isinstance(training, dict) else None
        self._epochs = epochs if isinstance(epochs, int) else 0
        self._read, self._shown, self._looked = 0, 0, 0.0
        found = self._new_epochs()
        self._shown = len(found)
        progress.start(f"{task.stage.kind} {task.stage.name}", max(1, self._epochs), self._shown)

    def look(self) -> None:
        """Tell of what is new, if it is time to look."""
        if not self._epochs or time.monotonic() - self._looked < _SECONDS:
            return
        for record in self._new_epochs():
            epoch = int(record.get("epoch", 0))
            figures = "".join(f"val {name} {value:.3g}  " for name, value in list(_numbers(record, "validation"))[:1])
            note = f"{figures}epoch {epoch}/{self._epochs}"
            self.progress.advance(max(0, epoch - self._shown), note, dict(_numbers(record, "terms")))
            self._shown = max(self._shown, epoch)

    def _new_epochs(self) -> list[dict[str, Any]]:
        """Records of epochs that were logged since; from the first line on where the log became shorter."""
        self._looked = time.monotonic()
        try:
            with self._path.open("rb") as file:
                if self._path.stat().st_size < self._read:
                    self._read = 0
                file.seek(self._read)
                whole, _, _ = file.read().rpartition(b"\n")
        except OSError:
            return []
        self._read += len(whole) + 1 if whole else 0
        records = []
        for line in whole.splitlines():
            try:
                record = decode_json(line)
            except (ValueError, UserError):
                continue
            if isinstance(record, dict) and record.get("type") == "epoch":
                records.append(record)
        return records


def _numbers(record: dict[str, Any], name: str) -> list[tuple[str, float]]:
    values = record.get(name)
    return [(key, value) for key, value in (values or {}).items() if isinstance(value, int | float)]
