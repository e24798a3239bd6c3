"""AP under noise and corruptions, and the detections from which it can be told of any choice of images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from persistill import data, metrics
from persistill.evaluation import Score, Scoring, collect
from persistill.structures import Batches, Detections, Objects
from persistill.tasks.detection.files import DETECTIONS, read_detections
from persistill.tasks.detection.observe import joined, observe
from persistill.utils.progress import Progress

_NONE = -1.0
"""The score of a row that holds no detection."""


class APScoring(Scoring):
    """AP of a network on loaders of the test images.

    Args:
        network: a detector.
        folder: of its evaluation, which holds the detections on images as they are.
        name: of the figure.
    """

    def __init__(self, network: nn.Module, folder: Path, name: str) -> None:
        self.name = name
        self._network, self._folder = network, folder

    def score(self, loader: Batches, progress: Progress) -> Score:
        """AP, and what was found in each image."""
        seen = joined(collect(self._network, loader, data.IMAGE, observe, progress))
        return Score(_ap(seen.detections, seen.objects), pack_detections(seen.detections), seen.positions)

    def figure(self, answers: NDArray[Any], rows: NDArray[np.int64]) -> float:
        """AP of stored detections in some of the test images."""
        _, objects, _ = self._clean()
        return _ap(unpack_detections(answers), [objects[row] for row in rows.tolist()])

    def clean(self) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Detections in all test images as they are, and the images' positions."""
        detections, _, index = self._clean()
        return pack_detections(detections), index

    def _clean(self) -> tuple[list[Detections], list[Objects], NDArray[np.int64]]:
        with np.load(self._folder / DETECTIONS) as file:
            return read_detections(file)


def pack_detections(detections: Sequence[Detections]) -> NDArray[np.float32]:
    """Detections of N images as one array (N, M, 6): box, score, label; rows behind the last one have the score -1."""
    longest = max(len(one.labels) for one in detections)
    packed = np.full((len(detections), longest, 6), _NONE, dtype=np.float32)
    for row, one in zip(packed, detections, strict=True):
        columns = torch.cat([one.boxes.float(), one.scores.float()[:, None], one.labels.float()[:, None]], 1)
        row[: len(one.labels)] = columns.numpy()
    return packed


def unpack_detections(packed: NDArray[np.float32]) -> list[Detections]:
    """The detections of each image, of what ``pack_detections`` gave."""
    found = []
    for rows in torch.from_numpy(packed):
        kept = rows[rows[:, 4] != _NONE]
        found.append(Detections(kept[:, :4], kept[:, 4], kept[:, 5].long()))
    return found


def _ap(detections: Sequence[Detections], objects: Sequence[Objects]) -> float:
    # Classes of which there are no objects have no AP, and change nothing, however many there are.
    labels = torch.cat([*(one.labels for one in detections), *(one.labels for one in objects)])
    matches = metrics.match_detections(detections, objects, 1 + (int(labels.max()) if len(labels) else 0))
    return metrics.coco_figures(matches)["ap"]
