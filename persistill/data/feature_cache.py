"""The teacher is paid once: what a frozen teacher says of fixed images, computed in one pass and stored.

Right only where a sample always looks the same. Under random augmentation a stored answer would belong to another
crop, so the pipeline refuses to store it.
"""

import contextlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from persistill.data.buffer_pool import BufferPool
from persistill.data.views.memmap import array_writer, open_array
from persistill.ranks import Ranks
from persistill.structures import Batch, Batches, ModelOutput, OutputField
from persistill.utils.progress import Progress, Silent

Precision = Literal["half", "exact"]
_SILENT = Silent()


class StoredFeatures:
    """A teacher's features of the images of one split, mapped into memory.

    Parts that were not stored are empty: no logits (B, 0), no embedding (B, 0), no maps.

    Args:
        arrays: "logits", "embedding" and "map.<stage>" -> (N, ...), as far as stored.
        device: where ``fetch`` puts them.
    """

    def __init__(self, arrays: Mapping[str, Any], device: torch.device) -> None:
        self._arrays = dict(arrays)
        self._device = device
        self._pool = BufferPool()

    def fetch(self, index: Tensor) -> ModelOutput:
        """Features in float32 of the images at ``index`` ((B,) int64)."""
        rows = index.cpu().numpy()
        found = {name: self._float(torch.from_numpy(array[rows])) for name, array in self._arrays.items()}
        nothing = torch.empty(len(rows), 0, device=self._device)
        maps = {name.removeprefix("map."): value for name, value in found.items() if name.startswith("map.")}
        return ModelOutput(found.get("logits", nothing), found.get("embedding", nothing), maps)

    def _float(self, values: Tensor) -> Tensor:
        if self._device.type != "cpu":
            return values.to(self._device).float()
        return values if values.dtype == torch.float32 else self._pool.empty(tuple(values.shape)).copy_(values)


def write_features(
    folder: Path,
    batches: Batches,
    count: int,
    answer: Callable[[Batch], ModelOutput],
    parts: frozenset[OutputField],
    precision: Precision,
    progress: Progress = _SILENT,
    ranks: Ranks | None = None,
) -> dict[str, Any]:
    """Ask a teacher once about every image, and store what is needed.

    Logits and embeddings are stored in float32 whatever the precision is, for they are small; maps in float16
    ("half": an error of up to 2^-11 of each value, within -65,504 to 65,504) or float32 ("exact").

    Args:
        folder: an existing folder; one .npy file an array is written there, each whole or not at all.
        batches: all images of the split, in order.
        count: how many images that is.
        answer: the frozen teacher.
        parts: what to store.
        precision: of the maps.
        progress: told of every batch.
        ranks: among which the batches are shared out, each of which has called this; the first one writes.

    Returns:
        Plain JSON: names, shapes and types of the arrays, and the bytes they take.

    Raises:
        UserError: if the disk is full.
    """

    def asked(batch: Batch) -> dict[str, npt.NDArray[Any]]:
        return {
            name: value.float().cpu().numpy().astype(_dtype(name, precision), copy=False)
            for name, value in _selected(answer(batch), parts).items()
        }

    arrays: dict[str, dict[str, Any]] = {}
    progress.start("teacher, once for all", len(batches))
    with contextlib.ExitStack() as stack:
        append: dict[str, Callable[[Any], None]] = {}
        for found in (ranks or Ranks()).share_batches(batches, asked):
            for name, values in found.items():
                if name not in append:
                    shape, dtype = (count, *values.shape[1:]), values.dtype.name
                    arrays[name] = {"shape": list(shape), "dtype": dtype}
                    append[name] = stack.enter_context(array_writer(folder / f"{name}.npy", shape, dtype))
                append[name](values)
            progress.advance(1)
    progress.finish()
    size = sum(math.prod(array["shape"]) * np.dtype(array["dtype"]).itemsize for array in arrays.values())
    return {"arrays": arrays, "precision": precision, "bytes": size, "images": count}


def open_features(folder: Path, result: Mapping[str, Any], device: torch.device) -> StoredFeatures:
    """Open what ``write_features`` wrote.

    Raises:
        UserError: if a file is missing or damaged.
    """
    arrays = {
        name: open_array(folder / f"{name}.npy", tuple(about["shape"]), about["dtype"])
        for name, about in result["arrays"].items()
    }
    return StoredFeatures(arrays, device)


def _dtype(name: str, precision: Precision) -> str:
    return "float16" if precision == "half" and name.startswith("map.") else "float32"


def _selected(features: ModelOutput, parts: frozenset[OutputField]) -> dict[str, Tensor]:
    selected = {name: getattr(features, name) for name in ("logits", "embedding") if name in parts}
    return selected | (
        {f"map.{stage}": value for stage, value in features.feature_maps.items()} if "feature_maps" in parts else {}
    )
