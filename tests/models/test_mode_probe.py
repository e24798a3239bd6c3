"""Networks of one's own are run in both modes, and what would be trained wrongly is refused."""

import pytest
import torch
from torch import nn

from persistill.config import Arm, Data, Model, Recipe, Train
from persistill.errors import UserError
from persistill.models import build, probe_modes
from persistill.pipeline import Pipeline

SHAPE = (1, 8, 8)


class Own(nn.Module):
    """Two heads on one convolution, and a way to make logits of them."""

    def __init__(self, classes, answer):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.first, self.second = nn.Linear(4, classes), nn.Linear(4, classes)
        self.answer = answer

    def forward(self, x):
        pooled = self.body(x).mean((2, 3))
        return self.answer(self.training, self.first(pooled), self.second(pooled))


def own(answer):
    def make(in_channels, num_classes):
        assert in_channels == 1
        return Own(num_classes, answer)

    return make


mean_of_two = own(lambda training, a, b: (a, b) if training else (a + b) / 2)
auxiliary = own(lambda training, a, b: (a, b) if training else a)
named = own(lambda training, a, b: {"logits": (a + b) / 2, "heads": [a, b]} if training else {"logits": (a + b) / 2})
plain = own(lambda _, a, b: a + b)
softmax = own(lambda _, a, b: (a + b).softmax(1))
softmax_later = own(lambda training, a, b: a + b if training else (a + b).softmax(1))
log_softmax = own(lambda _, a, b: (a + b).log_softmax(1))
loss_in_training = own(lambda training, a, b: (a + b).sum() if training else a + b)


def fails(training, a, _):
    if training:
        raise ValueError("no targets\nmore")
    return a


failing = own(fails)


def probe(name):
    return probe_modes(build(f"{__name__}:{name}", 1, 3, (8, 8)), SHAPE)


@pytest.mark.parametrize("name", ["plain", "log_softmax"])
def test_networks_that_return_logits_in_both_modes_pass_in_silence(name):
    before = torch.random.get_rng_state()
    assert probe(name) == ()
    build(f"{__name__}:{name}", 1, 3, (8, 8))
    assert not torch.equal(before, torch.random.get_rng_state())  # of the weights alone


@pytest.mark.parametrize("name", ["auxiliary", "named"])
def test_further_outputs_that_lose_nothing_are_said(name):
    (said,) = probe(name)
    assert "returns 2 outputs" in said if name == "auxiliary" else "returns 3 outputs" in said
    assert "get no loss here" in said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mean_of_two", r"2 outputs of shape \(2, 3\).*second\.weight, .*second\.bias would stay as they are"),
        ("softmax", "probabilities in evaluation mode.*take the softmax away"),
        ("softmax_later", "probabilities in evaluation mode"),
        ("loss_in_training", r"logits \(2, 3\) in evaluation mode and \(\) in training mode"),
        ("failing", r"fails in training mode.*ValueError: no targets\. In"),
    ],
)
def test_what_would_be_trained_wrongly_is_refused(name, said):
    with pytest.raises(UserError, match=said):
        probe(name)


def test_a_recipe_is_refused_before_any_training(tmp_path):
    recipe = Recipe(
        name="own",
        data=Data(source="digits", train=120, validation=0.2, test=40),
        student=Model(name=f"{__name__}:mean_of_two"),
        arms={"alone": Arm()},
        train=Train(batch_size=20),
    )
    with pytest.raises(UserError, match=r"student: .*returns 2 outputs of shape \(2, 10\) in training mode"):
        Pipeline(recipe, tmp_path, device="cpu").probe()
