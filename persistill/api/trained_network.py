"""A trained network is measured again, or exported, from Python."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from persistill import report
from persistill.api import export_table, metrics_table
from persistill.api.progress_bars import watched
from persistill.config import Evaluate
from persistill.errors import UserError
from persistill.pipeline.standalone import evaluate_network, export_network
from persistill.storage import is_url, local_copy
from persistill.training import find_device
from persistill.utils.progress import Progress


class Evaluation:
    """The figures of one network; in a console and in a notebook it shows them as a table.

    Attributes:
        metrics: all figures, by the names of the page on evaluation.
        settings: what was measured.
    """

    def __init__(self, metrics: Mapping[str, Any], settings: Evaluate) -> None:
        self.metrics = metrics
        self.settings = settings

    @cached_property
    def table(self) -> report.Table:
        """All figures; beside those of confidence, what they are after temperature scaling."""
        return metrics_table.table(self.metrics, self.settings)

    def __repr__(self) -> str:
        return str(self.table)

    def _repr_html_(self) -> str:
        return self.table._repr_html_()


class Export:
    """An exported network; in a console and in a notebook it shows its files beside the checkpoint.

    Attributes:
        folder: where the files lie; ``persistill.load`` takes it.
        result: what was measured of them, as ``exporters.export_student`` returns it, and "temperature".
    """

    def __init__(self, folder: Path, result: Mapping[str, Any]) -> None:
        self.folder = folder
        self.result = result

    @cached_property
    def table(self) -> report.Table:
        """Size, agreement with the checkpoint, accuracy and time of each file."""
        return export_table.table(self.result)

    @property
    def remarks(self) -> list[str]:
        """What there is to say beside the table."""
        return list(export_table.remarks(self.result, self.folder))

    def __repr__(self) -> str:
        return "\n".join((str(self.table), "", *self.remarks))

    def _repr_html_(self) -> str:
        return self.table._repr_html_()


def evaluate(
    network: str | Path,
    settings: Evaluate | None = None,
    *,
    changes: Mapping[str, Any] | None = None,
    device: str = "auto",
    model: str | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a trained network on the test images of its recipe, with other noise, bins or attacks if wanted.

    Nothing is trained. The figures are kept in an evaluation folder beside the network's; interrupted and called
    again, it goes on where it stopped.

    Args:
        network: a student's or teacher's run folder, or its URL.
        settings: what is measured; None for what a recipe measures unless told otherwise.
        changes: of these settings, field -> value: ``{"noise": (0.1, 0.2), "ece_bins": 20}``.
        device: "auto", "cpu", "cuda", "cuda:0" or "mps".
        model: the network's name, which must be given for one of your own ("package.module:function"): that code runs.
        progress: told of everything that takes time; None for bars in a terminal or notebook.

    Raises:
        UserError: if the folder is no trained network's, its data has changed since, or there is no such field.
    """
    settings = (settings or Evaluate()).with_values(changes or {})
    path, runs = local_copy(network)
    with watched(progress) as bars:
        result = evaluate_network(path, settings, find_device(device), bars, model=model, runs=runs)
    return Evaluation(result["metrics"], settings)


def export(
    network: str | Path,
    folder: str | Path | None = None,
    *,
    formats: Sequence[str] | None = None,
    model: str | None = None,
    progress: Progress | None = None,
) -> Export:
    """Write a trained network as safetensors, ONNX, int8 ONNX, torch.export and ExecuTorch program.

    Each file is loaded again, compared with the checkpoint on test images, and timed.

    Args:
        network: a student's or teacher's run folder, or its URL, which needs a ``folder`` on this machine.
        folder: a new one; None for "exported" in the run folder.
        formats: some of "onnx", "int8", "program", "executorch", and of a detector "nms"; None for all. The weights,
            "safetensors", are always written.
        model: the network's name, which must be given for one of your own ("package.module:function"): that code runs.
        progress: told of everything that takes time; None for bars in a terminal or notebook.

    Raises:
        UserError: if the run folder is no trained network's, the network does not see images, ``folder`` exists,
            or a format is unknown or, among those that were asked for by name, could not be written. The others are
            there then.
    """
    if folder is None and is_url(network):
        raise UserError(f"{network} lies at a URL: name a folder of this machine for the files, with --out.")
    path, _ = local_copy(network)
    target = path / "exported" if folder is None else Path(folder)
    with watched(progress) as bars:
        result = export_network(path, target, bars, model=model, formats=formats)
    missing = [*result["failed"].values(), *result["left_out"].values()]
    if formats is not None and missing:
        raise UserError(f"{' '.join(missing)} The other files are in {target}.")
    return Export(target, result)
