"""Learning rates as pure functions of the step, so that a resumed run needs no scheduler state."""

import math

from persistill.config import Train

# The defaults of Smith and Topin, "Super-Convergence" (2018), as torch's OneCycleLR has them.
_ONE_CYCLE_RISE = 0.3
_ONE_CYCLE_START = 25.0
_ONE_CYCLE_END = 1e4


def learning_rate(settings: Train, step: int, steps_per_epoch: int) -> float:
    """The learning rate of one optimizer step.

    Args:
        settings: schedule, peak rate ``lr``, epochs, milestones, warm-up.
        step: the step, counted from 0 over the whole training.
        steps_per_epoch: optimizer steps in an epoch.

    Returns:
        The rate: constant, multiplied by ``gamma`` at each milestone (step), half a cosine from ``lr`` to 0 (cosine),
        or a cosine rise from ``lr / 25`` and a cosine fall to ``lr / 250,000`` (one-cycle; it rises during the
        warm-up epochs, or during 30 % of the steps where there are none). The other schedules rise linearly during
        the warm-up.
    """
    total = settings.epochs * steps_per_epoch
    warmup = round(settings.warmup_epochs * steps_per_epoch)
    if settings.schedule == "one-cycle":
        return settings.lr * _one_cycle(step, total, warmup or _ONE_CYCLE_RISE * total)
    if step < warmup:
        return settings.lr * (step + 1) / warmup
    if settings.schedule == "step":
        passed = sum(step >= milestone * steps_per_epoch for milestone in settings.milestones)
        return settings.lr * settings.gamma**passed
    if settings.schedule == "cosine":
        return settings.lr * _cosine(1.0, 0.0, (step - warmup) / max(1, total - warmup))
    return settings.lr


def _one_cycle(step: int, total: int, rise: float) -> float:
    top, last = max(1.0, rise - 1), total - 1
    start, end = 1 / _ONE_CYCLE_START, 1 / (_ONE_CYCLE_START * _ONE_CYCLE_END)
    if step <= top:
        return _cosine(start, 1.0, step / top)
    return _cosine(1.0, end, min(1.0, (step - top) / max(1.0, last - top)))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
