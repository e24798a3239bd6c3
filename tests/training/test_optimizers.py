import pytest
import torch

from persistill.config import Train
from persistill.errors import UserError
from persistill.settings import Settings
from persistill.training import build_optimizer


def parameters() -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.ones(2))]


def test_the_packages_own_get_their_settings() -> None:
    settings = Train(lr=0.3, momentum=0.7, nesterov=True, weight_decay=0.01)
    sgd = build_optimizer(parameters(), settings)
    assert isinstance(sgd, torch.optim.SGD)
    wanted = {"lr": 0.3, "momentum": 0.7, "nesterov": True, "weight_decay": 0.01, "dampening": 0}
    assert wanted.items() <= sgd.defaults.items()
    adamw = build_optimizer(parameters(), settings.model_copy(update={"optimizer": "adamw"}))
    assert isinstance(adamw, torch.optim.AdamW)
    assert (adamw.defaults["lr"], adamw.defaults["weight_decay"]) == (0.3, 0.01)
    assert adamw.defaults["betas"] == (0.9, 0.999)


class SignDescent(torch.optim.Optimizer):
    """Steps of one length against the sign of the gradient."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data -= group["lr"] * parameter.grad.sign()


class Adam(Settings):
    """torch's Adam with a second moment of one's own."""

    beta: float = 0.9

    def __call__(self, parameters, lr, weight_decay):
        return torch.optim.Adam(parameters, lr=lr, weight_decay=weight_decay, betas=(0.9, self.beta))


def test_an_optimizer_of_ones_own_is_a_class_a_function_or_settings_that_can_be_called() -> None:
    own = build_optimizer(parameters(), Train(lr=0.5, optimizer=SignDescent))
    assert isinstance(own, SignDescent)
    own.param_groups[0]["params"][0].grad = torch.tensor([3.0, -0.1])
    own.step()
    assert own.param_groups[0]["params"][0].tolist() == [0.5, 1.5]

    named = build_optimizer(parameters(), Train(lr=0.5, optimizer="torch.optim:RMSprop", momentum=0.3))
    assert isinstance(named, torch.optim.RMSprop)
    assert named.defaults["momentum"] == 0.3
    assert build_optimizer(parameters(), Train(optimizer=Adam(beta=0.99))).defaults["betas"] == (0.9, 0.99)
    assert build_optimizer(parameters(), Train(optimizer=Adam)).defaults["betas"] == (0.9, 0.9)


def test_optimizers_that_cannot_be_are_named() -> None:
    with pytest.raises(
        UserError, match=r"unknown optimizer: 'adam'\. Did you mean 'adamw'.*Your own: package\.module:Name"
    ):
        build_optimizer(parameters(), Train(optimizer="adam"))
    with pytest.raises(UserError, match=r"unknown name in torch\.optim: 'RMSProp'\. Did you mean 'RMSprop'"):
        build_optimizer(parameters(), Train(optimizer="torch.optim:RMSProp"))
    with pytest.raises(
        UserError, match=r"the optimizer <lambda> must return a torch\.optim\.Optimizer; it returned a int"
    ):
        build_optimizer(parameters(), Train(optimizer=lambda parameters: 3))
    with pytest.raises(UserError, match="the optimizer <lambda> cannot be made"):
        build_optimizer(parameters(), Train(optimizer=lambda parameters, rate: 3))
