"""Persistill: small vision models from large ones, compared with training alone.

``import persistill`` costs nothing: whatever it gives is imported when it is asked for the first time.

    result = persistill.distill(data="photos", teacher="timm/resnet50", student="timm/mobilenetv3_small_100")
    persistill.load(result.exported).predict("cat.jpg")

``losses``, ``models``, ``topology``, ``metrics`` and the other packages are reached in the same way:
``persistill.losses.KD``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from persistill.version import __version__

if TYPE_CHECKING:
    from persistill import (
        config,
        data,
        exporters,
        inference,
        losses,
        metrics,
        models,
        perturbations,
        report,
        tasks,
        topology,
        training,
    )
    from persistill.api.distillation import Plan, distill, plan
    from persistill.api.image_predictions import find_objects, predict
    from persistill.api.recipe_run import run
    from persistill.api.result import Result
    from persistill.api.sweep import Sweep, sweep
    from persistill.api.trained_network import evaluate, export
    from persistill.inference.predictor import Predictor, load

__all__ = [
    "Plan",
    "Predictor",
    "Result",
    "Sweep",
    "__version__",
    "config",
    "data",
    "distill",
    "evaluate",
    "export",
    "exporters",
    "find_objects",
    "inference",
    "load",
    "losses",
    "metrics",
    "models",
    "perturbations",
    "plan",
    "predict",
    "report",
    "run",
    "sweep",
    "tasks",
    "topology",
    "training",
]

_HOMES = {
    "Plan": "persistill.api.distillation",
    "Predictor": "persistill.inference.predictor",
    "Result": "persistill.api.result",
    "Sweep": "persistill.api.sweep",
    "distill": "persistill.api.distillation",
    "evaluate": "persistill.api.trained_network",
    "export": "persistill.api.trained_network",
    "load": "persistill.inference.predictor",
    "find_objects": "persistill.api.image_predictions",
    "plan": "persistill.api.distillation",
    "predict": "persistill.api.image_predictions",
    "run": "persistill.api.recipe_run",
    "sweep": "persistill.api.sweep",
}
"""Name of a function or class -> module in which it lies. All other names in ``__all__`` are packages."""

if not TYPE_CHECKING:  # a type checker reads the imports above, and so knows which names there are not

    def __getattr__(name: str) -> Any:
        if name in _HOMES:
            value = getattr(import_module(_HOMES[name]), name)
        elif name in __all__:
            value = import_module(f"persistill.{name}")
        else:
            raise AttributeError(f"module 'persistill' has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
