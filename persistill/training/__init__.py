"""Training: ``fit`` and what it needs. It receives built objects and knows no method by name."""

from persistill.training.compilation import Compilation, without_compilation
from persistill.training.criterion import Criterion, NonFiniteGuard, NonFiniteLossError
from persistill.training.lr_schedule import SCHEDULES, learning_rate
from persistill.training.optimizers import OPTIMIZERS, build_optimizer
from persistill.training.qat import fake_quantized
from persistill.training.teachers import Frozen, OnlineTeacher, StoredTeacher, TeacherCallable
from persistill.training.trainer import find_device, fit, make_fabric

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "Compilation",
    "Criterion",
    "Frozen",
    "NonFiniteGuard",
    "NonFiniteLossError",
    "OnlineTeacher",
    "StoredTeacher",
    "TeacherCallable",
    "build_optimizer",
    "fake_quantized",
    "find_device",
    "fit",
    "learning_rate",
    "make_fabric",
    "without_compilation",
]
