"""Training: ``fit`` and what it needs. It receives built objects and knows no method by name."""

from persistill.training.criterion import Health, Objective
from persistill.training.lr_schedule import learning_rate
from persistill.training.qat import fake_quantised
from persistill.training.teachers import Frozen, LiveTeacher, StoredTeacher, Teaching
from persistill.training.trainer import CHECKPOINT, find_device, fit, make_fabric

__all__ = [
    "CHECKPOINT",
    "Frozen",
    "Health",
    "LiveTeacher",
    "Objective",
    "StoredTeacher",
    "Teaching",
    "fake_quantised",
    "find_device",
    "fit",
    "learning_rate",
    "make_fabric",
]
