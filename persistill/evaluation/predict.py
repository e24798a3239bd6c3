"""What a network answers on a whole split, kept so that metrics are computed from it."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from persistill.errors import UserError, unknown
from persistill.ranks import Ranks
from persistill.structures import Batch, Batches, ModelOutput
from persistill.utils.progress import Progress, Silent

Observe = Callable[[ModelOutput, Batch], Mapping[str, Any]]
"""What a network says of a batch -> what is kept of each of its images: under every name a tensor (B, ...), or a list
of things, such as boxes, of which each image has its own number. Called for whole batches, in any order."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """A network's answers, on the CPU, in the order in which the loader gave the images.

    Attributes:
        logits: (N, K, *) float32, unnormalized log-probabilities.
        target: (N, *) int64, the right answers.
        index: (N,) int64, positions of the images in their split.
    """

    logits: Tensor
    target: Tensor
    index: Tensor


def predict(
    network: nn.Module,
    loader: Batches,
    view: str,
    progress: Progress | None = None,
) -> Predictions:
    """Ask a network for its logits on all images of a loader; ``collect`` where they need not all be kept.

    Args:
        network: returns ``ModelOutput``; it stands on the device of the loader's batches.
        loader: gives the images.
        view: name of the view that the network sees.
        progress: advanced by one for each batch. The caller starts and finishes the stage.

    Raises:
        UserError: if the batches do not hold the view, or if there are no batches.
    """

    def observe(output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
        return {"logits": output.logits.float(), "target": batch.target, "index": batch.index}

    return Predictions(**collect(network, loader, view, observe, progress))


def collect(
    network: nn.Module,
    loader: Batches,
    view: str,
    observe: Observe,
    progress: Progress | None = None,
    ranks: Ranks | None = None,
) -> dict[str, Any]:
    """Ask a network about all images of a loader, and keep what is to be kept of each.

    The network answers in evaluation mode and without gradients; afterwards each of its modules is in the
    mode in which it was, and no parameter or buffer has changed.

    Args:
        network: returns ``ModelOutput``; it stands on the device of the loader's batches.
        loader: gives the images.
        view: name of the view that the network sees.
        observe: called with what the network says of each batch, and the batch.
        progress: advanced by one for each batch. The caller starts and finishes the stage.
        ranks: among which the batches are shared out, each of which has called this with the same network.

    Returns:
        What ``observe`` gave, joined over the batches: under every name a tensor (N, ...) on the CPU, or a list of N.
        Nothing for ranks but the first.

    Raises:
        UserError: if the batches do not hold the view, or if there are no batches.
    """
    progress, ranks = progress or Silent(), ranks or Ranks()
    kept: dict[str, list[Any]] = {}

    def asked(batch: Batch) -> dict[str, Any]:
        if view not in batch.inputs:
            raise unknown("view:", view, batch.inputs)
        # Around the network alone: what the loader makes and keeps must stay fit for training.
        with torch.inference_mode():
            observed = observe(network(batch.inputs[view]), batch)
        return {name: values.cpu() if isinstance(values, Tensor) else values for name, values in observed.items()}

    with evaluating(network):
        for observed in ranks.share_batches(loader, asked):
            for name, values in observed.items():
                kept.setdefault(name, []).append(values)
            progress.advance(1)
    if not ranks.leads:
        return {}
    if not kept:
        raise UserError("there are no images to evaluate: the loader gave no batch. Is the split empty?")
    # Joined outside inference mode, which makes them ordinary tensors.
    return {name: _joined(values) for name, values in kept.items()}


def _joined(values: list[Any]) -> Any:
    return torch.cat(values) if isinstance(values[0], Tensor) else [one for batch in values for one in batch]


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, for each module the mode in which it was afterwards."""
    training = [module for module in network.modules() if module.training]
    if training:  # otherwise there is nothing to change, and most steps of an evaluation are short
        network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
