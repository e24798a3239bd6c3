"""With how many threads torch computes on the processor, where nobody said: one, or all, whichever steps are faster.

Where several processes work at the same time, "all" are the share of one.

Small networks gain little from a second thread, and lose much where another process is busy: all threads wait for the
slowest at every operation. So a few steps are measured with one thread and with all. Another number of threads rounds
otherwise, so the choice is made once for a recipe, and kept.
"""

import contextlib
import os
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping

import torch

from persistill.config import Train
from persistill.data import IMAGE
from persistill.errors import UserError
from persistill.pipeline.context import Context
from persistill.pipeline.graph import StageGraph
from persistill.pipeline.network_stage import build
from persistill.utils.atomic_io import read_json, write_json
from persistill.utils.file_lock import hold
from persistill.utils.thread_count import computing_with

BEFORE = torch.get_num_threads()
"""That torch had before anything here changed it."""
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_ROUNDS, _SECONDS = 5, 1.0
"""Steps of each number of threads, fewer of slow ones: no further round begins after these seconds of a network."""
_PIXELS = 2**17
"""Of the images of a step, or two images."""
_WORTH = 1.1
"""How much faster all threads must be than one to be worth what they take from others."""
_tried: dict[tuple[str, int], tuple[int, Mapping[int, float]]] = {}
"""What was measured for a plan and not kept, for the run that follows in this process: by recipe, and all threads."""


@contextlib.contextmanager
def chosen_threads(context: Context, graph: StageGraph, *, keep: bool = True, workers: int = 1) -> Iterator[None]:
    """Compute with the number of threads of a recipe, and with the number of before afterwards.

    Where somebody stated a number (OMP_NUM_THREADS, torch.set_num_threads), or the processor does not train, it stays
    as it is. Otherwise it is the one with which stages of the recipe were begun; or the one that was chosen for it
    before, in ``.threads`` beside the run folders; or the one that is measured now.

    Args:
        context: of the recipe.
        graph: its stages.
        keep: a choice for later runs.
        workers: processes that compute at the same time; where nothing was chosen yet, each has its share of the cores.
    """
    before = torch.get_num_threads()
    count = (
        before
        if context.device.type != "cpu" or _stated()
        else _choice(context, graph, before, keep=keep, workers=workers)
    )
    with computing_with(count):
        yield


def _stated() -> bool:
    now, cores = torch.get_num_threads(), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    # By default torch takes a thread for each core, or for each two where cores share their units.
    usual = (BEFORE,) if cores == 0 else (cores, cores // 2)
    return now == 1 or now != BEFORE or now not in usual or any(os.environ.get(name) for name in _VARIABLES)


def _choice(context: Context, graph: StageGraph, every: int, *, keep: bool, workers: int) -> int:
    networks = (*graph.teachers.values(), *graph.students.values())
    for stage in networks:
        with contextlib.suppress(UserError, OSError):
            begun = stage.open(context).computed
            if begun.get("device") == "cpu" and "threads" in begun:
                return int(begun["threads"])
    name, folder, most = graph.comparison.key, context.out / ".threads", max(1, every // workers)
    if not keep:
        _tried[name, most] = _measured(context, graph, most)
        return _tried[name, most][0]
    with hold(context.out / ".locks" / f"threads-{name}.lock", wait=True):
        path = folder / f"{name}.json"
        with contextlib.suppress(UserError, OSError, KeyError, TypeError, ValueError):
            if 0 < (count := int(read_json(path)["threads"])) <= every:
                return count
        tried = _tried.pop((name, most), None)
        count, seconds = _measured(context, graph, most) if tried is None else tried
        folder.mkdir(exist_ok=True)
        write_json(path, {"threads": count, "seconds": {str(number): spent for number, spent in seconds.items()}})
    return count


def _measured(context: Context, graph: StageGraph, most: int) -> tuple[int, Mapping[int, float]]:
    """The faster number of threads, and the seconds of steps of all trainings of the recipe with each."""
    if most == 1:
        return 1, {}
    recipe = context.recipe
    trainings = Counter({recipe.student.name: len(graph.students)})
    trainings.update(
        teacher.settings.model.name
        for teacher in graph.teachers.values()
        if teacher.settings.weights is None and teacher.view.name == IMAGE
    )
    context.progress.start("trying one thread and all", len(trainings))
    total = {1: 0.0, most: 0.0}
    for model, count in trainings.items():
        for number, spent in step_seconds(context, model, (1, most)).items():
            total[number] += count * spent
        context.progress.advance(1)
    chosen = most if total[most] * _WORTH < total[1] else 1
    context.progress.finish(
        f"{chosen} of {most}: a step of each training takes {total[1]:.3g} s with one and {total[most]:.3g} s with "
        f"{most}; OMP_NUM_THREADS states another number"
    )
    return chosen, total


def step_seconds(context: Context, model: str, counts: tuple[int, ...]) -> dict[int, float]:
    """Number of threads -> the median time of a step of a network that sees images, without any teacher.

    Args:
        context: of the recipe.
        model: the network's name.
        counts: of threads.
    """
    _, height, width = context.data.splits.train.shape
    train = context.recipe.train
    size = max(2, min(train.batch_size, _PIXELS // (height * width)))
    with torch.random.fork_rng(devices=[]):
        step = _step(context, model, train.model_copy(update={"batch_size": size}))
        times: dict[int, list[float]] = {count: [] for count in counts}
        began = time.perf_counter()
        for number in range(1 + _ROUNDS):  # in turn, so that another process slows all alike
            for count in counts:
                with computing_with(count):
                    start = time.perf_counter()
                    next(step)
                    times[count].append(time.perf_counter() - start)
            if number and time.perf_counter() - began > _SECONDS:
                break
    # The first of each allocates.
    return {count: statistics.median(spent[1:]) for count, spent in times.items()}


def _step(context: Context, model: str, settings: Train) -> Iterator[None]:
    """Steps of a training on one batch."""
    network = build(context, model, IMAGE).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    batch = next(iter(context.data.training_loader(settings, 0, {}).epoch(0)))
    while True:
        output = context.task.forward(network, batch.inputs[IMAGE], batch)
        loss = torch.stack([term.float() for term in context.task.criterion(output, batch).values()]).sum()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        yield
