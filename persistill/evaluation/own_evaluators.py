"""Steps of an evaluation that the recipe brings along."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from persistill.config import Evaluate
from persistill.errors import UserError
from persistill.evaluation.loaders import EvaluationLoaders
from persistill.evaluation.predict import evaluating
from persistill.evaluation.resumable import EvaluationStep, StepResult
from persistill.utils.progress import Progress
from persistill.utils.registry import Registry, call_with_known, named

EVALUATORS: Registry[Callable[..., Any]] = Registry(
    "evaluator",
    {},
    contract="An evaluator is called with (network, loader), and view if it takes it, and returns figures by name.",
)
"""``evaluate.evaluators`` holds functions or settings of one's own, or "package.module:Name". Each is called with the
network in evaluation mode and the loader of the test images (``loader.epoch(0)`` gives the batches, whose
``inputs[view]`` the network sees), and returns a mapping of names to numbers."""


def own_steps(network: nn.Module, material: EvaluationLoaders, view: str, settings: Evaluate) -> list[EvaluationStep]:
    """A step for each evaluator of the recipe; its figures are the metrics "evaluators", by its name.

    Raises:
        UserError: if one of them is no evaluator, or two have one name.
    """
    steps: dict[str, EvaluationStep] = {}
    for given in settings.evaluators:
        name = named(given).rpartition(":")[2].rpartition(".")[2]
        if name in steps or not name.isidentifier():
            raise UserError(f"each evaluator needs a name of its own, by def or class; {name!r} was given.")
        steps[name] = _step(name, EVALUATORS.find(given), network, material, view)
    return list(steps.values())


def _step(
    name: str, evaluator: Callable[..., Any], network: nn.Module, material: EvaluationLoaders, view: str
) -> EvaluationStep:
    def measure(progress: Progress) -> StepResult:
        with evaluating(network):
            found = call_with_known(evaluator, network, material.test(None), view=view)
        if not isinstance(found, Mapping) or not all(isinstance(value, int | float) for value in found.values()):
            raise UserError(f"the evaluator {name} must return figures by name ({{'error': 0.1}}); it gave {found!r}.")
        progress.advance(1)
        figures = {str(key): float(value) if math.isfinite(value) else None for key, value in found.items()}
        return StepResult({"evaluators": {name: figures}})

    return EvaluationStep(f"evaluator-{name}", 1, measure)
