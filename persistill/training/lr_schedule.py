"""Learning rates as pure functions of the step, so that a resumed run needs no scheduler state."""

import math
from collections.abc import Callable

from persistill.config import Train
from persistill.errors import UserError
from persistill.utils.registry import Registry, named

# The defaults of Smith and Topin, "Super-Convergence" (2018), as torch's OneCycleLR has them.
_ONE_CYCLE_RISE = 0.3
_ONE_CYCLE_START = 25.0
_ONE_CYCLE_END = 1e4

Schedule = Callable[[Train, int, int], float]
"""(settings, step, steps per epoch) -> the learning rate of one optimizer step; steps are counted from 0 over the whole
training."""


def learning_rate(settings: Train, step: int, steps_per_epoch: int) -> float:
    """The learning rate of one optimizer step, by the schedule that the settings name.

    Args:
        settings: schedule, peak rate ``lr``, epochs, milestones, warm-up.
        step: the step, counted from 0 over the whole training.
        steps_per_epoch: optimizer steps in an epoch.

    Raises:
        UserError: if there is no such schedule, or one of the user's own gives no finite rate of 0 or more.
    """
    rate = SCHEDULES.find(settings.schedule)(settings, step, steps_per_epoch)
    if not (isinstance(rate, int | float) and 0 <= rate < math.inf):
        raise UserError(
            f"the schedule {named(settings.schedule)} must return a finite learning rate of 0 or more; it returned "
            f"{rate!r} at step {step}."
        )
    return rate


def constant(settings: Train, step: int, steps_per_epoch: int) -> float:
    """``lr`` throughout, after a linear warm-up."""
    return settings.lr if (rising := _warmup(settings, step, steps_per_epoch)) is None else rising


def step_decay(settings: Train, step: int, steps_per_epoch: int) -> float:
    """``lr``, multiplied by ``gamma`` at each milestone, after a linear warm-up."""
    if (rising := _warmup(settings, step, steps_per_epoch)) is not None:
        return rising
    passed = sum(step >= milestone * steps_per_epoch for milestone in settings.milestones)
    return settings.lr * settings.gamma**passed


def cosine(settings: Train, step: int, steps_per_epoch: int) -> float:
    """Half a cosine from ``lr`` to 0, after a linear warm-up."""
    if (rising := _warmup(settings, step, steps_per_epoch)) is not None:
        return rising
    total, warmup = settings.epochs * steps_per_epoch, round(settings.warmup_epochs * steps_per_epoch)
    return settings.lr * _cosine(1.0, 0.0, (step - warmup) / max(1, total - warmup))


def one_cycle(settings: Train, step: int, steps_per_epoch: int) -> float:
    """A cosine rise from ``lr / 25`` and a cosine fall to ``lr / 250,000``.

    It rises during the warm-up epochs, or during 30 % of the steps where there are none.
    """
    total = settings.epochs * steps_per_epoch
    rise = round(settings.warmup_epochs * steps_per_epoch) or _ONE_CYCLE_RISE * total
    top, last = max(1.0, rise - 1), total - 1
    start, end = 1 / _ONE_CYCLE_START, 1 / (_ONE_CYCLE_START * _ONE_CYCLE_END)
    if step <= top:
        return settings.lr * _cosine(start, 1.0, step / top)
    return settings.lr * _cosine(1.0, end, min(1.0, (step - top) / max(1.0, last - top)))


SCHEDULES: Registry[Schedule] = Registry(
    "schedule",
    {"constant": constant, "step": step_decay, "cosine": cosine, "one-cycle": one_cycle},
    contract="A schedule is called with (settings, step, steps_per_epoch) and returns the learning rate.",
)
"""``train.schedule`` holds one of these names, a function of the recipe file, or "package.module:Name"."""


def _warmup(settings: Train, step: int, steps_per_epoch: int) -> float | None:
    """The rate during the linear warm-up, None after it."""
    warmup = round(settings.warmup_epochs * steps_per_epoch)
    return settings.lr * (step + 1) / warmup if step < warmup else None


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
