"""What a training writes down: JSON lines always, TensorBoard where it is installed."""

import importlib.util
from collections.abc import Mapping
from typing import Any

from persistill.run_folder import RunFolder


class MetricLogger:
    """Writes the records of one run.

    Args:
        folder: of the run.
        silent: write nothing, because another process of the same training does.
    """

    def __init__(self, folder: RunFolder, *, silent: bool = False) -> None:
        self._folder, self._silent = folder, silent
        self._writer: Any = None
        if not silent and importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - optional, and slow to import

            self._writer = SummaryWriter(str(folder.file("tensorboard")))

    def write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Append a record of type ``kind``; epochs go to TensorBoard too, nested numbers by their path."""
        if self._silent:
            return
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
