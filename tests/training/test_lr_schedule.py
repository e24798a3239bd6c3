import math

import pytest
import torch

from persistill.config import Train
from persistill.errors import UserError
from persistill.settings import Settings
from persistill.training import learning_rate


def torch_rates(make_scheduler, lr: float, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make_scheduler(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def ours(settings: Train, per_epoch: int) -> list[float]:
    return [learning_rate(settings, step, per_epoch) for step in range(settings.epochs * per_epoch)]


def test_step_schedule_is_torchs_multi_step() -> None:
    settings = Train(epochs=10, lr=0.1, schedule="step", milestones=(3, 7), gamma=0.2)
    expected = torch_rates(
        lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [3 * 5, 7 * 5], gamma=0.2), settings.lr, 10 * 5
    )
    assert ours(settings, 5) == pytest.approx(expected)


def test_cosine_schedule_is_torchs() -> None:
    settings = Train(epochs=4, lr=0.3, schedule="cosine")
    expected = torch_rates(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 28), 0.3, 28)
    assert ours(settings, 7) == pytest.approx(expected)


@pytest.mark.parametrize("epochs", [10, 3])
def test_one_cycle_is_torchs(epochs: int) -> None:
    settings = Train(epochs=epochs, lr=0.2, schedule="one-cycle")
    expected = torch_rates(
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.2, total_steps=epochs * 10, cycle_momentum=False),
        0.2,
        epochs * 10,
    )
    assert ours(settings, 10) == pytest.approx(expected, rel=1e-6)


def test_one_cycle_rises_during_the_warm_up() -> None:
    rates = ours(Train(epochs=10, lr=1.0, schedule="one-cycle", warmup_epochs=2.0), 10)
    assert max(range(100), key=rates.__getitem__) == 19


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine"])
def test_warm_up_rises_linearly_to_the_peak(schedule: str) -> None:
    rates = ours(Train(epochs=4, lr=1.0, schedule=schedule, warmup_epochs=1.0, milestones=(3,)), 4)
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_all_rates_are_positive_and_finite_for_one_step_in_all() -> None:
    for schedule in ("constant", "step", "cosine", "one-cycle"):
        rate = learning_rate(Train(epochs=1, schedule=schedule), 0, 1)
        assert rate > 0
        assert math.isfinite(rate)


def halving(settings: Train, step: int, steps_per_epoch: int) -> float:
    return settings.lr * 0.5 ** (step // steps_per_epoch)


class Polynomial(Settings):
    """Falls to 0 as a power of what is left."""

    power: float = 2.0

    def __call__(self, settings: Train, step: int, steps_per_epoch: int) -> float:
        return settings.lr * (1 - step / (settings.epochs * steps_per_epoch)) ** self.power


def test_a_schedule_of_ones_own_is_a_function_or_settings_that_can_be_called() -> None:
    assert ours(Train(epochs=3, lr=0.8, schedule=halving), 2) == [0.8, 0.8, 0.4, 0.4, 0.2, 0.2]
    assert ours(Train(epochs=2, lr=1.0, schedule=Polynomial), 2) == [1.0, 0.5625, 0.25, 0.0625]
    assert ours(Train(epochs=2, lr=1.0, schedule=Polynomial(power=1.0)), 2) == [1.0, 0.75, 0.5, 0.25]
    assert ours(Train(epochs=1, lr=1.0, schedule="persistill.training.lr_schedule:constant"), 2) == [1.0, 1.0]
    assert Train(schedule=Polynomial(power=3.0)).to_json()["schedule"] == {
        "is": "test_lr_schedule:Polynomial",
        "power": 3.0,
    }


def test_schedules_that_cannot_be_are_named() -> None:
    with pytest.raises(UserError, match=r"unknown schedule: 'cosin'\. Did you mean 'cosine'"):
        learning_rate(Train(schedule="cosin"), 0, 1)
    with pytest.raises(UserError, match=r"must be a name, .*or a class, function or settings of your own; 3 was given"):
        Train(schedule=3)
    for wrong in (-1.0, math.inf, None):
        with pytest.raises(UserError, match="must return a finite learning rate of 0 or more"):
            learning_rate(Train(schedule=lambda settings, step, steps, wrong=wrong: wrong), 0, 1)
