"""The package's own tasks by name."""

from persistill.tasks.base import Task
from persistill.tasks.classification import Classification
from persistill.tasks.detection import Detection
from persistill.tasks.segmentation import Segmentation
from persistill.utils.registry import Registry

TASKS: Registry[Task] = Registry(
    "task",
    {task.name: task for task in (Classification, Segmentation, Detection)},
    base=Task,
    contract="A task is a subclass of tasks.Task, made without arguments.",
)
"""What ``Recipe.task`` may name."""
