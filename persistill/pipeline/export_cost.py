"""What it will cost to export a network, and to measure what one costs to run: both are done on a few images."""

import contextlib
import time

import torch

from persistill.data import IMAGE
from persistill.evaluation import efficiency
from persistill.exporters import latency
from persistill.exporters.program_file import to_program
from persistill.pipeline.context import Context
from persistill.pipeline.network_stage import build
from persistill.pipeline.stages.export import count_calibrating, count_compared
from persistill.utils.thread_count import computing_with

_LIBRARIES, _GRAPH = 2.5, 4.0
"""What all files take beside their images: seconds, and times as long as to follow the code of a network once."""
_ANSWERED = 8
_CALIBRATION = 6.0
"""Answers that an image is worth on which ranges of activations are measured, for all activations are looked at."""


def export_seconds(context: Context) -> float:
    """Seconds of the export of a student: its code is followed once, and it answers a few images, on one thread."""
    mean, std = context.data.normalization
    kind, shape = context.task.export.outputs, context.data.view_shape(IMAGE)
    network = build(context, context.recipe.student.name, IMAGE).cpu().eval()
    with computing_with(1):
        torch.export.export(torch.nn.Identity(), (torch.zeros(1),))  # what is imported for the first one
        began = time.perf_counter()
        # A network that cannot be followed has no such files, and its export says so.
        with contextlib.suppress(Exception):
            to_program(kind.module(network, {"mean": mean, "std": std, "shape": shape}), shape)
        follow = time.perf_counter() - began
        images = torch.zeros(_ANSWERED, *shape)
        with torch.inference_mode():
            network(images)
            began = time.perf_counter()
            network(images)
        answer = (time.perf_counter() - began) / _ANSWERED
    known, impossible = kind.formats, kind.left_out(network)
    chosen = set(context.recipe.formats or known) - set(impossible)
    written = [name for name, file in known.items() if name in chosen and not file.missing()]
    splits, files = context.data.splits, {"safetensors", *written}
    compared = (1 + len(files)) * count_compared(splits.test, context.task.export)
    sizes = [batch for batch in kind.timed if batch == 1 or batch * answer <= latency.LONGEST]
    timed = sum(max(latency.SECONDS, (1 + latency.LEAST) * batch * answer) for batch in sizes)
    calibrated = _CALIBRATION * count_calibrating(splits.train) if "int8" in written else 0.0
    return (_LIBRARIES + _GRAPH * follow if written else 0.0) + answer * (compared + calibrated) + len(files) * timed


def running_seconds(answer: float, counts: int) -> float:
    """Seconds in which it is measured what a network costs to run.

    Args:
        answer: seconds in which it answers for an image.
        counts: numbers of threads with which it is timed.
    """
    calls = 2 + efficiency.LEAST
    measured = [batch for batch in efficiency.BATCHES if batch == 1 or batch * answer <= efficiency.LONGEST]
    return counts * sum(max(efficiency.SECONDS, calls * batch * answer) for batch in measured)
