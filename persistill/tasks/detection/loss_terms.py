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
    """Losses of a detector in training mode, added up by term: scalars of float32, in the order of ``TERMS``."""
    nothing = torch.zeros((), device=output.embedding.device)
    terms = dict.fromkeys(TERMS, nothing)
    for name, loss in output.losses.items():
        term = _TERM.get(name, "other")
        terms[term] = terms[term] + loss.float()
    return terms
