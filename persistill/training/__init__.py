"""Training: ``fit`` and what it needs. It receives built objects and knows no method by name."""

from persistill.training.fake_quantisation import fake_quantised
from persistill.training.fit import CHECKPOINT, find_device, fit, make_fabric
from persistill.training.frozen import Frozen, LiveTeacher, StoredTeacher, Teaching
from persistill.training.objective import Health, Objective
from persistill.training.schedules import learning_rate

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
