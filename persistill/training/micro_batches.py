"""Batches that are taken in parts where memory does not hold them, with the update of the whole batch.

Losses of distillation compare all images of a batch with each other, so that gradients of parts do not add up to that
of the whole. Therefore a network is asked twice: part by part without gradient, whose answers are joined and give the
loss and its gradient; and part by part once more, to which that gradient is handed on. Only the answers of a batch are
held whole, and not what lies between a network's input and its answers.
"""

import contextlib
import gc
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from persistill.structures import Batch, ModelOutput
from persistill.utils.memory import is_out_of_memory

Forward = Callable[[Batch], ModelOutput]


def split(batch: Batch, parts: int) -> list[Batch]:
    """Consecutive parts of a batch, as equal as can be."""
    return [
        replace(
            batch,
            inputs={view: inputs[rows] for view, inputs in batch.inputs.items()},
            target=batch.target[rows],
            index=batch.index[rows],
        )
        for rows in _slices(len(batch.index), parts)
    ]


def join(outputs: Sequence[ModelOutput]) -> ModelOutput:
    """What was answered to parts of a batch, in one."""
    columns = zip(*(_tensors(output) for output in outputs), strict=True)
    return outputs[0].map(lambda _, __: torch.cat(next(columns)))


class InParts:
    """A network's answers to a batch, in parts; ``backward`` hands the gradient of a loss of them on.

    Args:
        forward: asks the network, with gradient where it is wanted.
        network: in training mode.
        batch: the whole.
        parts: how many.

    Attributes:
        output: of the whole batch; leaves of the graph, which a loss gives gradients.
    """

    def __init__(self, forward: Forward, network: nn.Module, batch: Batch, parts: int) -> None:
        self._forward, self._parts = forward, split(batch, parts)
        self._states: list[Tensor] = []
        outputs = []
        with torch.no_grad(), _buffers_kept(network):
            for part in self._parts:
                self._states.append(_random_state(batch))
                outputs.append(forward(part))
        self.output = join(outputs).map(lambda _, rows: rows.requires_grad_(rows.is_floating_point()))

    def backward(self) -> None:
        """Ask once more, with the same random numbers, and hand on the gradients that ``output`` has got."""
        after, leaves = _random_state(self._parts[0]), _tensors(self.output)
        starts = [0] * len(leaves)
        for part, state in zip(self._parts, self._states, strict=True):
            _set_random_state(part, state)
            answers = _tensors(self._forward(part))
            pairs = [
                (answer, leaf.grad[start : start + len(answer)])
                for answer, leaf, start in zip(answers, leaves, starts, strict=True)
                if leaf.grad is not None and answer.requires_grad
            ]
            starts = [start + len(answer) for start, answer in zip(starts, answers, strict=True)]
            torch.autograd.backward([answer for answer, _ in pairs], [gradient for _, gradient in pairs])
        _set_random_state(self._parts[0], after)


def halved(error: BaseException, parts: int, size: int) -> int:
    """In how many parts to try again after memory ran out.

    Args:
        error: what came up.
        parts: that were tried.
        size: of the batch.

    Raises:
        BaseException: ``error``, if it is another, or if parts are of two images already.
    """
    if not is_out_of_memory(error) or size // (2 * parts) < 2:
        raise error
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return 2 * parts


def depends_on_parts(network: nn.Module) -> bool:
    """Whether a network's answer to an image depends on the others of its part: it has a BatchNorm."""
    return any(isinstance(module, _BatchNorm) for module in network.modules())


def _slices(size: int, parts: int) -> list[slice]:
    bounds = [size * number // parts for number in range(parts + 1)]
    return [slice(first, last) for first, last in itertools.pairwise(bounds)]


def _tensors(output: ModelOutput) -> list[Tensor]:
    found: list[Tensor] = []

    def note(_: str, rows: Tensor) -> Tensor:
        found.append(rows)
        return rows

    output.map(note)
    return found


@contextlib.contextmanager
def _buffers_kept(network: nn.Module) -> Iterator[None]:
    """Let a network be asked in training mode without counting the batch in running statistics."""
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    try:
        yield
    finally:
        for name, value in network.named_buffers():
            value.copy_(buffers[name])


def _random_state(batch: Batch) -> Tensor:
    device = batch.index.device
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(batch: Batch, state: Tensor) -> None:
    device = batch.index.device
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
