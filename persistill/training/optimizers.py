"""The optimizers that ``Train.optimizer`` can name."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from persistill.config import Train
from persistill.errors import UserError
from persistill.utils.registry import Registry, call_with_known, named

OPTIMIZERS: Registry[Callable[..., Any]] = Registry(
    "optimizer",
    {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW},
    contract="An optimizer is called with the parameters and those of lr, momentum, nesterov and weight_decay that it "
    "takes, and returns a torch.optim.Optimizer.",
)
"""``train.optimizer`` holds one of these names, "torch.optim:RMSprop" or another "package.module:Name", or an object of
the recipe file that is called in the same way."""


def build_optimizer(parameters: Iterable[nn.Parameter], settings: Train) -> torch.optim.Optimizer:
    """The optimizer of a training.

    Args:
        parameters: those that are trained.
        settings: which optimizer, and ``lr``, ``momentum``, ``nesterov`` and ``weight_decay``, of which it gets those
            that it takes.

    Raises:
        UserError: if there is no such optimizer, or one of the user's own does not make one.
    """
    own = OPTIMIZERS.find(settings.optimizer)
    options = {name: getattr(settings, name) for name in ("lr", "momentum", "nesterov", "weight_decay")}
    try:
        made = call_with_known(own, list(parameters), **options)
    except TypeError as error:
        raise UserError(f"the optimizer {named(settings.optimizer)} cannot be made ({error}).") from error
    if not isinstance(made, torch.optim.Optimizer):
        raise UserError(
            f"the optimizer {named(settings.optimizer)} must return a torch.optim.Optimizer; it returned a "
            f"{type(made).__name__}."
        )
    return made
