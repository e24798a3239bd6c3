"""The losses that detectors compute themselves, brought under names that are the same for all of them."""

import torch
from torch import Tensor

from persistill.models import DetectionOutput

TERMS = ("classes", "boxes", "centerness", "proposals", "other")
"""Of which class, where its edges are, how central a place lies in its box (FCOS), the first stage of two (Faster
R-CNN), and whatever a detector of one's own computes beside. A detector without one of them has 0 there."""
_TERM = {
    "classification": "classes",
    "loss_classifier": "classes",
    "bbox_regression": "boxes",
    "loss_box_reg": "boxes",
    "bbox_ctrness": "centerness",
    "loss_objectness": "proposals",
    "loss_rpn_box_reg": "proposals",
}
"""torchvision's name -> term."""


def loss_terms(output: DetectionOutput) -> dict[str, Tensor]:
    """Losses of a detector in training mode, added up by term: scalars of float32, in the order of ``TERMS``.

    Those of several calls make what one call would have given of the whole batch.
    """
    nothing = torch.zeros((), device=output.embedding.device)
    terms = dict.fromkeys(TERMS, nothing)
    for name, loss in output.losses.items():
        term = _TERM.get(name, "other")
        terms[term] = terms[term] + _joined(loss, output.loss_counts.get(name)).float()
    return terms


def _joined(loss: Tensor, count: Tensor | None) -> Tensor:
    """A loss of a batch, of those of its parts; a mean over nothing is a sum over one."""
    if count is None or loss.ndim == 0:
        return loss
    return (loss * (count.clamp(min=1).to(loss.dtype) / count.sum().clamp(min=1))).sum()
