"""How alike a student and its teachers are, from the files that their evaluations left: no network is needed."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from persistill.errors import UserError
from persistill.metrics.similarity import agreement, cka, diagram_distance, mean_kl
from persistill.tasks.classification.clean import FEATURES, PREDICTIONS, sample

POINTS = 500
"""Embeddings whose shapes are compared; more would take long to match, and tell little more."""


class Stored(NamedTuple):
    """What an evaluation stored of a network.

    Attributes:
        target: (N,) classes of all test images.
        logits: (N, K) of the same.
        embedding: (M, D) of some of them.
        rows: (M,) of which.
    """

    target: Tensor
    logits: Tensor
    embedding: Tensor
    rows: Tensor

    @classmethod
    def of(cls, folder: Path) -> "Stored":
        """Read an evaluation's folder."""
        with np.load(folder / PREDICTIONS) as predictions, np.load(folder / FEATURES) as features:
            answers = (predictions["target"], predictions["logits"])
            found = (*answers, features["embedding"], features["embedding_rows"])
        return cls(*(torch.from_numpy(array) for array in found))

    def on_the_images_of(self, other: "Stored") -> bool:
        """Whether both were measured on the same images."""
        return torch.equal(self.target, other.target) and torch.equal(self.rows, other.rows)


def measure_similarity(student: Path, teacher: Path) -> dict[str, float]:
    """How alike two networks are on the same test images.

    Args:
        student: the folder of its evaluation.
        teacher: likewise, with the same settings.

    Returns:
        ``{"agreement", "kl", "cka", "diagram_distance"}``, as ``docs/evaluation.md`` defines them.

    Raises:
        UserError: if the two were not measured on the same images.
    """
    ours, theirs = Stored.of(student), Stored.of(teacher)
    if not theirs.on_the_images_of(ours):
        raise UserError(
            f"{teacher} and {student} hold answers to different images: evaluate both networks on the same data, "
            "with the same settings."
        )
    few = sample(len(ours.rows), POINTS)
    return {
        "agreement": agreement(ours.logits, theirs.logits),
        "kl": mean_kl(ours.logits, theirs.logits),
        "cka": cka(theirs.embedding, ours.embedding),
        "diagram_distance": diagram_distance(theirs.embedding[few], ours.embedding[few]),
    }
