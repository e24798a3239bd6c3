"""Training: ``fit`` and what it needs. It receives built objects and knows no method by name."""

from persistill.training.criterion import Criterion, NonFiniteGuard
from persistill.training.lr_schedule import learning_rate
from persistill.training.qat import fake_quantized
from persistill.training.teachers import Frozen, OnlineTeacher, StoredTeacher, TeacherCallable
from persistill.training.trainer import CHECKPOINT, find_device, fit, make_fabric

__all__ = [
    "CHECKPOINT",
    "Criterion",
    "Frozen",
    "NonFiniteGuard",
    "OnlineTeacher",
    "StoredTeacher",
    "TeacherCallable",
    "fake_quantized",
    "find_device",
    "fit",
    "learning_rate",
    "make_fabric",
]
