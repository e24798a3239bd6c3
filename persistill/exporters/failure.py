"""Why a format could not be written, in a line."""

import re

_COLOR = re.compile(r"\x1b?\[[0-9;]*m")
_LONGEST = 300


def root_cause(error: BaseException) -> str:
    """The first line of the exception at the bottom of a chain.

    Exporters wrap what went wrong in pages about where to report it; the cause is at the end of them.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in _COLOR.sub("", str(error)).splitlines() if line.strip()]
    said = lines[0] if lines else "without a message"
    said = said if len(said) <= _LONGEST else f"{said[:_LONGEST]}..."
    # What this package raises is a sentence for its reader already.
    return said if type(error).__name__ in ("UserError", "RuntimeError") else f"{type(error).__name__}: {said}"
