"""What networks are to do. A recipe names one; training, evaluation, export and report know none by name."""

from persistill.tasks.base import Task
from persistill.tasks.classification import Classification
from persistill.tasks.detection import Detection
from persistill.tasks.look import TARGET, Look
from persistill.tasks.measure import Measure
from persistill.tasks.networks import Networks, Trained, relative_corruption_error
from persistill.tasks.ood_images import ood_images
from persistill.tasks.registry import TASKS
from persistill.tasks.segmentation import Segmentation

__all__ = [
    "TARGET",
    "TASKS",
    "Classification",
    "Detection",
    "Look",
    "Measure",
    "Networks",
    "Segmentation",
    "Task",
    "Trained",
    "ood_images",
    "relative_corruption_error",
]
