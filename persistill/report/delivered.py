"""The exported student in words."""

from collections.abc import Mapping
from typing import Any


def int8_sentence(export: Mapping[str, Any]) -> str:
    """How the int8 file of an export was made, and how it compares with the checkpoint.

    Args:
        export: the result of an export.

    Returns:
        A sentence, with the file that static quantisation alone would have given where the export made both; empty if
        there is no int8 file, or the export does not say.
    """
    int8 = export.get("int8") or {}
    if "made" not in int8 or "int8" not in export.get("agreement", {}):
        return ""
    own = {what: export.get(what, {}).get("int8") for what in ("agreement", "accuracy")}
    checkpoint = export.get("accuracy", {}).get("checkpoint")
    pictures = f" on {export['pictures']:,} test pictures"
    text = f"The int8 file was made {int8['made']}: {_compared(own, pictures)}"
    if "static" in int8:
        text += f"; by static quantisation alone it would be {_compared(int8['static'])}"
    return text + ("." if checkpoint is None else f". The checkpoint's accuracy on them is {checkpoint:.2%}.")


def _compared(measured: Mapping[str, float | None], where: str = "") -> str:
    accuracy = measured.get("accuracy")
    text = f"the checkpoint's class {measured['agreement']:.2%} of the time{where}"
    return text if accuracy is None else f"{text}, accuracy {accuracy:.2%}"
