"""Memory that runs out: what to lower."""

import contextlib
from collections.abc import Iterator

from persistill.errors import UserError
from persistill.run_folder import Kind
from persistill.utils.memory import is_out_of_memory

_TRAINING = (
    "--set train.batch_size=... (half of it is a good try) or what a batch takes at a time (persistill run "
    "--auto-batch; with --devices, --set train.accumulate=...), take smaller networks or smaller images (data.size)"
)
_ADVICE: dict[Kind, str] = {
    "view": "--set data.size=... or pixels of the view",
    "teacher": _TRAINING,
    "features": "--set teacher_cache=half, or off: teachers are then asked at every step",
    "preparation": _TRAINING,
    "student": _TRAINING,
    "quantized": _TRAINING,
    "evaluation": "--set evaluate.batch_size=...",
    "choice": "evaluate.batch_size, or validation images (data.validation)",
    "export": "smaller networks or smaller images (data.size)",
    "cost": "smaller networks or smaller images (data.size)",
    "comparison": "evaluate.batch_size, or test images (data.test)",
}


@contextlib.contextmanager
def told_what_to_lower(kind: Kind, name: str) -> Iterator[None]:
    """Turn an error of memory that ran out into one that says what to lower.

    Raises:
        UserError: in place of it.
    """
    try:
        yield
    except (OSError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:200] or "no more can be had"
        raise UserError(
            f"{kind} {name}: memory ran out ({reason}). Lower {_ADVICE[kind]}, or close other programs, and run the "
            "same command again: what was finished is kept."
        ) from error
