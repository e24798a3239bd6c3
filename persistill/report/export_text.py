"""The exported student in words."""

from collections.abc import Mapping
from typing import Any


def int8_sentence(export: Mapping[str, Any]) -> str:
    """How the int8 file of an export was made, and how it compares with the checkpoint.

    Args:
        export: the result of an export.

    Returns:
        Sentences, with the file that static quantization alone would have given where the export made both, and how
        it answers on other processors; empty if there is no int8 file, or the export does not say.
    """
    int8 = export.get("int8") or {}
    if "made" not in int8 or "int8" not in export.get("agreement", {}):
        return ""
    figure = str(export.get("figure", "accuracy"))
    own = {what: export.get(what, {}).get("int8") for what in ("agreement", figure)}
    checkpoint = export.get(figure, {}).get("checkpoint")
    images = f" on {export['images']:,} test images"
    text = f"The int8 file was made {int8['made']}: {_compared(own, figure, images)}"
    if "static" in int8:
        text += f"; by static quantization alone it would be {_compared(int8['static'], figure)}"
    text += "." if checkpoint is None else f". The checkpoint's {_title(figure)} on them is {checkpoint:.2%}."
    return f"{text} {processor_sentence(export)}".rstrip()


def problems(export: Mapping[str, Any]) -> list[str]:
    """What of an export is not as usual: formats that could not be written, and why; a sentence each.

    Args:
        export: the result of an export.
    """
    return [*export.get("notes", {}).values(), *export.get("failed", {}).values()]


def processor_sentence(export: Mapping[str, Any]) -> str:
    """With which instructions the int8 file of an export was measured, and whether others answer alike.

    Args:
        export: the result of an export.

    Returns:
        A sentence; empty if there is no int8 file, or the export does not say.
    """
    saturating = (export.get("int8") or {}).get("saturating")
    if saturating is None:
        return ""
    measured = f"The int8 file was measured with the instructions {export['instructions']}"
    if not saturating:
        return f"{measured}; its sums of products stay within 16 bits, so processors without VNNI answer alike."
    return (
        f"{measured}; without VNNI, sums of products may leave 16 bits and answers differ, in {', '.join(saturating)}."
    )


def _compared(measured: Mapping[str, float | None], figure: str, where: str = "") -> str:
    score, same = measured.get(figure), f"{measured['agreement']:.2%}"
    alike = f"the checkpoint's class {same} of the time"
    if figure == "ap":
        alike = f"{same} of the boxes are the checkpoint's"
    return f"{alike}{where}" if score is None else f"{alike}{where}, {_title(figure)} {score:.2%}"


def _title(figure: str) -> str:
    return {"miou": "mIoU", "ap": "AP"}.get(figure, figure)


def smaller_sentence(export: Mapping[str, Any]) -> str:
    """Which file of an export to take where it has to be small or fast: the int8 file, if there is one.

    Args:
        export: the result of an export.

    Returns:
        A sentence with what was measured; empty where there is no int8 file beside an ONNX file.
    """
    files, sizes = export.get("files") or {}, export.get("bytes") or {}
    if not {"onnx", "int8"} <= set(files) or not {"onnx", "int8"} <= set(sizes):
        return ""
    small, large = sizes["int8"], sizes["onnx"]
    told = [f"{small / 1e6:.2f} MB instead of {large / 1e6:.2f}"]
    times = [(export.get("milliseconds") or {}).get(name, {}).get("1") for name in ("int8", "onnx")]
    if all(times):
        told.append(f"{times[0]:.2f} ms an image instead of {times[1]:.2f} here")
    figure = str(export.get("figure", "accuracy"))
    found = [(export.get(figure) or {}).get(name) for name in ("int8", "checkpoint")]
    scores = [score for score in found if score is not None]
    if len(scores) == len(found):
        own, its = (f"{100 * score:.2f} %" for score in scores)
        told.append(f"{_title(figure)} {own} instead of {its} on {export['images']:,} test images")
    elif "int8" in export.get("agreement", {}):
        told.append(f"the same answer {100 * export['agreement']['int8']:.2f} % of the time")
    which = "smaller" if small < large else "no smaller"
    if all(times):
        which += " and faster" if times[0] < times[1] else " and no faster"
    return f"{files['int8']} is {which}: {', '.join(told)}."
