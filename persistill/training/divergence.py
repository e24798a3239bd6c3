"""The batch at which a training diverged, kept to be looked at."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from persistill.ranks import Ranks
from persistill.structures import Batch, Batches
from persistill.training.criterion import NonFiniteLossError
from persistill.utils.atomic_io import atomic


def keep_batch(
    path: Path, loader: Batches, error: NonFiniteLossError, steps_per_epoch: int, ranks: Ranks | None = None
) -> None:
    """Load the batch again at which the loss was not finite first, and write it.

    Args:
        path: of a safetensors file: "index" (B,), the positions of the images among those that are trained on,
            "inputs.<view>" as the networks saw them, and "target"; the metadata hold "step" and "epoch" (from 1) and
            the "terms" of the loss, null for what was not finite.
        loader: gives the same batch for the same epoch and step.
        error: names the step.
        steps_per_epoch: of the training.
        ranks: that share the batch; the first one writes it.
    """
    ranks = ranks or Ranks()
    epoch, start = divmod(error.step, steps_per_epoch)
    own = next(iter(loader.epoch(epoch, start=start)))
    batch = ranks.gather_batch(own, ranks.counts(len(own.index)))
    batch = replace(batch, inputs={view: batch.inputs[view] for view in own.inputs})
    if not ranks.leads:
        return
    terms = {name: value if abs(value) < float("inf") else None for name, value in error.terms.items()}
    metadata = {"step": str(error.step + 1), "epoch": str(epoch + 1), "terms": json.dumps(terms)}
    with atomic(path) as temporary:
        save_file(dict(_tensors(batch)), temporary, metadata)


def _tensors(batch: Batch) -> Iterator[tuple[str, Tensor]]:
    fields: dict[str, Any] = {"index": batch.index, "target": batch.target}
    fields |= {f"inputs.{view}": inputs for view, inputs in batch.inputs.items()}
    for name, value in fields.items():
        # Images of several sizes are a list.
        parts = {name: value} if isinstance(value, Tensor) else {f"{name}.{i}": part for i, part in enumerate(value)}
        for key, part in parts.items():
            yield key, part.detach().to("cpu", copy=True).contiguous()
