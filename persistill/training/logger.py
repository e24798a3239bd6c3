"""What a training writes down: JSON lines always, TensorBoard where it is installed."""

import importlib.util
from collections.abc import Mapping
from typing import Any

from persistill.run_folder import RunFolder


class MetricLogger:
    """Writes the records of one run."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._writer: Any = None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - optional, and slow to import

            self._writer = SummaryWriter(str(folder.file("tensorboard")))

    def write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Append a record of type ``kind``; epochs go to TensorBoard too, nested numbers by their path."""
        self._folder.log(type=kind, step=step, **values)
        if self._writer is not None and kind == "epoch":
            for name, value in _numbers(values):
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Close the TensorBoard file."""
        if self._writer is not None:
            self._writer.close()


def _numbers(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    numbers: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            numbers += _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            numbers.append((prefix + name, value))
    return numbers
