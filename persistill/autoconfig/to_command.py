"""What somebody asked for as the command line that asks for it again."""

import shlex
from collections.abc import Mapping
from typing import Any

from persistill.autoconfig.options import Options
from persistill.config import BEST, CLASSIFICATION


def as_command(options: Options, changes: Mapping[str, Any], out: str) -> str:
    """The `persistill distill` that repeats a wish, without what does not change the result.

    Args:
        options: the wish.
        changes: of the recipe, field path -> value.
        out: where run folders are written: a folder or a URL.
    """
    words = ["persistill", "distill", "--data", options.data]
    words += [] if options.task == CLASSIFICATION else ["--task", options.task]
    words += ["--teacher", options.teacher]
    words += ["--teacher-weights", options.teacher_weights] if options.teacher_weights else []
    words += ["--teacher-initial", options.teacher_initial] if options.teacher_initial else []
    words += ["--student", options.student]
    words += ["--student-initial", options.student_initial] if options.student_initial else []
    for name in options.methods:
        words += ["--method", name]
    words += ["--size", "x".join(map(str, options.size))] if options.size else []
    for name, value in (("epochs", options.epochs), ("batch-size", options.batch_size), ("lr", options.lr)):
        words += [f"--{name}", str(value)] if value is not None else []
    words += ["--seeds", ",".join(map(str, options.seeds))]
    words += [] if options.augment is None else ["--augment" if options.augment else "--no-augment"]
    words += [] if options.int8_epochs is None else ["--int8-epochs", str(options.int8_epochs)]
    words += [] if options.formats is None else ["--formats", ",".join(options.formats)]
    words += ["--quick"] if options.quick else []
    words += [] if options.export == BEST else ["--export", options.export]
    for path, change in changes.items():
        words += ["--set", f"{path}={change}"]
    return shlex.join([*words, *(["--out", out] if out != "runs" else [])])
