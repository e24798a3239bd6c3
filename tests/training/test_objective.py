from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from persistill.errors import UserError
from persistill.specs import Spec
from persistill.training import Health, Objective
from persistill.types import Features, Part


class Pull(Spec):
    """A method with one term: the squared distance of the logits."""

    weight: float = 1.0

    @property
    def teachers_needed(self) -> int:
        return 1

    @property
    def reads(self) -> frozenset[Part]:
        return frozenset({"logits"})

    @property
    def weights(self) -> Mapping[str, float]:
        return {"pull": self.weight}

    def terms(self, student: Features, teachers: Sequence[Features], target: Tensor) -> dict[str, Tensor]:
        return {"pull": (student.logits - teachers[0].logits).square().mean()}


class Push(Pull):
    """Another method with a term of the same name."""


def features(logits: Tensor) -> Features:
    return Features(logits, logits, {})


def test_total_is_the_weighted_sum_of_the_terms() -> None:
    torch.manual_seed(0)
    student, teacher, target = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    objective = Objective([Pull(weight=5.0)], cross_entropy=0.1)
    terms = objective.terms(features(student), [features(teacher)], target)
    expected = 0.1 * F.cross_entropy(student, target) + 5.0 * (student - teacher).square().mean()
    assert list(terms) == ["ce", "pull"]
    torch.testing.assert_close(objective.total(terms), expected)


def test_terms_of_one_name_carry_the_methods_names() -> None:
    objective = Objective([Pull(weight=1.0), Push(weight=2.0)])
    assert objective.weights == {"ce": 1.0, "Pull.pull": 1.0, "Push.pull": 2.0}


def test_the_same_method_twice_is_refused() -> None:
    with pytest.raises(UserError, match=r"both 'Pull\.pull'"):
        Objective([Pull(), Pull()])


def test_label_smoothing_reaches_the_cross_entropy() -> None:
    logits, target = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    terms = Objective(label_smoothing=0.1).terms(features(logits), [], target)
    torch.testing.assert_close(terms["ce"], F.cross_entropy(logits, target, label_smoothing=0.1))


def test_terms_are_float32_whatever_the_logits_are() -> None:
    logits = torch.randn(4, 3, dtype=torch.bfloat16)
    terms = Objective([Pull()]).terms(features(logits), [features(logits)], torch.zeros(4, dtype=torch.long))
    assert {term.dtype for term in terms.values()} == {torch.float32}


def test_a_term_of_weight_zero_cannot_spoil_the_total() -> None:
    objective = Objective([Pull(weight=0.0)])
    total = objective.total({"ce": torch.tensor(1.0), "pull": torch.tensor(float("nan"))})
    assert total.item() == 1.0


def test_nothing_but_zero_weights_is_refused() -> None:
    with pytest.raises(UserError, match="nothing to learn from"):
        Objective(cross_entropy=0.0).total({"ce": torch.tensor(1.0)})


def test_the_first_term_that_was_not_finite_is_named() -> None:
    health = Health(["ce", "pull"])
    good, bad = torch.tensor(1.0), torch.tensor(float("nan"))
    health.check("step 0")
    health.observe({"ce": good, "pull": good})
    health.check("step 1")
    health.observe({"ce": good, "pull": bad})
    health.observe({"ce": bad, "pull": bad})
    with pytest.raises(UserError, match=r"step 3.*were not: pull\. Lower train\.lr"):
        health.check("step 3")
