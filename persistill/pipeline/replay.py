"""A training that diverged, repeated from its last checkpoint while every layer is watched."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import is_wrapped
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from persistill.errors import UserError
from persistill.pipeline.runner import Pipeline
from persistill.pipeline.stage import Stage
from persistill.run_folder import CHECKPOINT, DIVERGED, RunFolder
from persistill.training import NonFiniteLossError, without_compilation
from persistill.utils.nested_tensors import tensors_in
from persistill.utils.thread_count import computing_with


@dataclass(frozen=True)
class Divergence:
    """How a training diverged.

    Attributes:
        step: the first whose loss was not finite, from 1.
        terms: name -> value of its loss.
        layer: the first layer that gave something that is not finite: its name in the network, its class and the shape
            of what it gave; "" if it was no layer but the loss itself.
        weights: names of parameters that were not finite before that layer was asked: the gradient of the step
            before was not.
        batch: the file with the batch.
    """

    step: int
    terms: dict[str, float]
    layer: str
    weights: tuple[str, ...]
    batch: Path


def replay(pipeline: Pipeline, folder_name: str) -> Divergence:
    """Repeat a training that diverged. Its folder is not changed.

    Args:
        pipeline: of the recipe, with the place of the run folders.
        folder_name: of the training.

    Raises:
        UserError: if the recipe has no such stage, if it did not diverge, or does not do so again.
    """
    stage = pipeline.stage(folder_name)
    run = RunFolder.open(pipeline.out / folder_name)
    if not run.file(DIVERGED).is_file():
        raise UserError(
            f"{run.path} holds no {DIVERGED}: its training did not diverge, and there is nothing to replay."
        )
    with tempfile.TemporaryDirectory(prefix="persistill-replay-") as place:
        copy = RunFolder(Path(place) / folder_name, run.about)
        copy.path.mkdir()
        for name in (CHECKPOINT, "log.jsonl"):
            if run.file(name).exists():
                shutil.copyfile(run.file(name), copy.file(name))
        watch = _Watch()
        threads = run.computed.get("threads", torch.get_num_threads())
        with computing_with(threads), watch.watching(), without_compilation():
            error = _diverged(stage, pipeline, copy)
    return Divergence(error.step + 1, error.terms, watch.layer, watch.weights, run.file(DIVERGED))


def _diverged(stage: Stage, pipeline: Pipeline, copy: RunFolder) -> NonFiniteLossError:
    try:
        stage.work(pipeline.context, copy)
    except NonFiniteLossError as error:
        return error
    raise UserError(
        f"{copy.path.name} did not diverge this time: another device, other versions, and networks that are not "
        "compiled, as in a replay, round sums otherwise."
    )


class _Watch:
    """Notes the first layer that gives something that is not finite.

    Attributes:
        layer: in words; "" as long as there is none.
        weights: names of parameters that were not finite then.
    """

    def __init__(self) -> None:
        self.layer, self.weights = "", tuple[str, ...]()
        self._outermost: nn.Module | None = None

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch all modules that are called inside."""
        handles = (register_module_forward_pre_hook(self._enter), register_module_forward_hook(self._leave))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: nn.Module, _: Any) -> None:
        if self._outermost is None:
            inner = module.module if is_wrapped(module) else module
            self._outermost = inner if isinstance(inner, nn.Module) else module

    def _leave(self, module: nn.Module, _: Any, output: Any) -> None:
        outermost = self._outermost or module
        floats = (part for part in tensors_in(output) if part.is_floating_point())
        if not self.layer and (bad := [part for part in floats if not part.isfinite().all()]):
            names = {id(part): name for name, part in outermost.named_modules()}
            name = names.get(id(module), "") or "the whole"
            self.layer = f"{name} ({type(module).__name__}) of {type(outermost).__name__}, {tuple(bad[0].shape)}"
            parameters = outermost.named_parameters()
            self.weights = tuple(name for name, value in parameters if not value.isfinite().all())
        if module is outermost:
            self._outermost = None
