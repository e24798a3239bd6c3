"""What an export wrote, as a table and in words."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from persistill.report import Table
from persistill.report.export_text import int8_sentence, problems, processor_sentence
from persistill.utils.units import file_size

_TIMES = ("ms for 1 image", "ms for 64")


def table(result: Mapping[str, Any]) -> Table:
    """The files that hold the student: size, agreement with the checkpoint, accuracy and time.

    Args:
        result: as ``exporters.export_student`` returns it.
    """
    figure, rows = _figure(result), []
    for name, agreement in result["agreement"].items():
        times = result["milliseconds"][name]
        rows.append(
            (
                result["files"][name],
                file_size(result["bytes"][name]),
                f"{100 * agreement:.2f}",
                f"{result['difference'][name]:.1e}",
                _percent(result[figure].get(name)),
                *(f"{times[batch]:.2f}" if batch in times else "" for batch in ("1", "64")),
            )
        )
    header = (
        "File",
        "Size",
        "Same answer %",
        "Largest difference",
        f"{_title(figure)} %",
        "ms for 1 image",
        "ms for 64",
    )
    return Table(caption="Each file beside the checkpoint.", header=header, rows=tuple(rows))


def remarks(result: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """What there is to say below the table.

    Args:
        result: as ``pipeline.standalone.export_network`` returns it.
        folder: where the files lie.
    """
    figure = _figure(result)
    known = f" The checkpoint's {_title(figure)} on them: {_percent(result[figure].get('checkpoint'))} %."
    yield f"Compared on {result['images']:,} test images, on one thread of this machine.{known}"
    if "static" in result.get("int8", {}):  # otherwise the table has said it
        yield int8_sentence(result)
    elif said := processor_sentence(result):
        yield said
    if result["temperature"] is None:
        yield (
            "No evaluation of this network holds a temperature, so its confidences are not calibrated. To have one, "
            "run persistill eval first, and export into another folder."
        )
    else:
        yield f"Temperature of its evaluation: {result['temperature']:.3f}"
    yield from problems(result)
    yield from result["left_out"].values()
    yield f"Wrote {folder}"


def _figure(result: Mapping[str, Any]) -> str:
    """Name of the task's figure."""
    return str(result.get("figure", "accuracy"))


def _title(figure: str) -> str:
    return {"accuracy": "Accuracy", "miou": "mIoU", "ap": "AP"}.get(figure, figure)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"
