"""How a task scores answers under perturbations: one figure a loader, and what is kept of every image."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from persistill.structures import Batches
from persistill.utils.progress import Progress


@dataclass(frozen=True, eq=False)
class Score:
    """What was scored on all images of a loader.

    Attributes:
        figure: the task's one figure, a fraction of which more is better: accuracy, mean IoU.
        answers: (N, ...), one row for each image, from which the figure can be computed again.
        index: (N,) int64, positions of the images in their split.
    """

    figure: float
    answers: NDArray[Any]
    index: Tensor


class Scoring(ABC):
    """Scores a network on loaders of the test images. A task makes one for each network that it evaluates."""

    name: str
    """Of the figure, as in the metrics of an evaluation."""

    @abstractmethod
    def score(self, loader: Batches, progress: Progress) -> Score:
        """Ask the network about all images of a loader, progress advanced by one for each batch."""

    @abstractmethod
    def figure(self, answers: NDArray[Any], rows: NDArray[np.int64]) -> float:
        """The figure of stored answers to some of the test images.

        Args:
            answers: (n, ...), as in ``Score``.
            rows: (n,) positions among the test images.
        """

    @abstractmethod
    def clean(self) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Answers to all test images as they are, which an earlier step has stored, and the images' ``index``."""
