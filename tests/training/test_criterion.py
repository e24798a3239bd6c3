import dataclasses
import math
from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from persistill.errors import UserError
from persistill.losses import DistillationLoss, LossModule, MethodContext
from persistill.structures import Batch, ModelOutput
from persistill.tasks import Classification
from persistill.training import Criterion, NonFiniteGuard, NonFiniteLossError


class Pull(DistillationLoss):
    """A loss with one term: the squared distance of the logits."""

    weight: float = 1.0

    @property
    def weights(self) -> Mapping[str, float]:
        return {"pull": self.weight}

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], target: Tensor) -> dict[str, Tensor]:
        return {"pull": (student.logits - teachers[0].logits).square().mean()}


class Push(Pull):
    """Another loss with a term of the same name."""


class Adapted(DistillationLoss):
    """A loss with a trainable part: a map of the student's logits onto the teacher's."""

    weight: float = 1.0

    def build(self, context: MethodContext) -> LossModule:
        return Adapter(self, context.student.logits.shape[1], context.teachers[0].logits.shape[1])


class Adapter(LossModule):
    def __init__(self, loss: Adapted, student: int, teacher: int) -> None:
        super().__init__(loss)
        self.linear = nn.Linear(student, teacher)

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], batch: Batch) -> dict[str, Tensor]:
        return {"adapted": (self.linear(student.logits) - teachers[0].logits).square().mean()}


class Ramp(Pull):
    """A loss whose weight grows."""

    def schedule(self, step: int, epoch: int) -> float:
        return epoch / 2


def features(logits: Tensor) -> ModelOutput:
    return ModelOutput(logits, logits, {})


def batch(target: Tensor) -> Batch:
    return Batch({}, target, torch.arange(len(target)))


def context(student: int, *teachers: int) -> MethodContext:
    return MethodContext(
        features(torch.zeros(2, student)), [features(torch.zeros(2, size)) for size in teachers], torch.zeros(9).long()
    )


def test_trainable_parts_are_built_for_the_context_and_belong_to_the_criterion() -> None:
    objective = Criterion([Pull(), Adapted(weight=3.0)], contexts=[context(3, 3), context(3, 5)], task=Classification())
    assert [tuple(parameter.shape) for parameter in objective.parameters()] == [(5, 3), (5,)]
    student, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    pull, adapted = (
        Criterion([Pull()], task=Classification()),
        Criterion([Adapted(weight=3.0)], contexts=[context(3, 5)], task=Classification()),
    )
    adapted.load_state_dict({name.replace(".1.", ".0."): value for name, value in objective.state_dict().items()})
    five, three = features(torch.randn(4, 5)), features(torch.randn(4, 3))
    assert list(objective.weights) == ["ce", "pull", "adapted"]
    adapted(features(student), [five], batch(target)).total.backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in adapted.parameters())
    assert list(pull(features(student), [three], batch(target)).terms) == ["ce", "pull"]
    assert list(pull.parameters()) == []


def test_trainable_parts_need_a_context() -> None:
    with pytest.raises(UserError, match=r"Adapted has parts that are trained along.*0 contexts given for 1 loss"):
        Criterion([Adapted()], task=Classification())


def test_total_is_the_weighted_sum_of_the_terms() -> None:
    torch.manual_seed(0)
    student, teacher, target = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    total, terms = Criterion([Pull(weight=5.0)], cross_entropy=0.1, task=Classification())(
        features(student), [features(teacher)], batch(target)
    )
    expected = 0.1 * F.cross_entropy(student, target) + 5.0 * (student - teacher).square().mean()
    assert list(terms) == ["ce", "pull"]
    torch.testing.assert_close(total, expected)


def test_terms_of_one_name_carry_the_methods_names() -> None:
    criterion = Criterion([Pull(weight=1.0), Push(weight=2.0)], task=Classification())
    assert criterion.weights == {"ce": 1.0, "Pull.pull": 1.0, "Push.pull": 2.0}


def test_the_same_method_twice_is_refused() -> None:
    with pytest.raises(UserError, match=r"both 'Pull\.pull'"):
        Criterion([Pull(), Pull()], task=Classification())


def test_label_smoothing_reaches_the_cross_entropy() -> None:
    logits, target = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    terms = Criterion(label_smoothing=0.1, task=Classification())(features(logits), [], batch(target)).terms
    torch.testing.assert_close(terms["ce"], F.cross_entropy(logits, target, label_smoothing=0.1))


def test_terms_are_float32_whatever_the_logits_are() -> None:
    logits = torch.randn(4, 3, dtype=torch.bfloat16)
    terms = Criterion([Pull()], task=Classification())(
        features(logits), [features(logits)], batch(torch.zeros(4).long())
    ).terms
    assert {term.dtype for term in terms.values()} == {torch.float32}


def test_a_term_of_weight_zero_cannot_spoil_the_total() -> None:
    logits = torch.randn(4, 3)
    teacher = features(torch.full((4, 3), float("nan")))
    total, terms = Criterion([Pull(weight=0.0)], task=Classification())(
        features(logits), [teacher], batch(torch.zeros(4).long())
    )
    assert terms["pull"].isnan()
    assert total == terms["ce"]


def test_nothing_but_zero_weights_is_refused() -> None:
    logits = features(torch.randn(4, 3))
    with pytest.raises(UserError, match="nothing to learn from"):
        Criterion(cross_entropy=0.0, task=Classification())(logits, [], batch(torch.zeros(4).long()))
    with pytest.raises(UserError, match="schedule begins at zero"):
        Criterion([Ramp()], cross_entropy=0.0, task=Classification())(logits, [logits], batch(torch.zeros(4).long()))


def test_a_schedule_scales_the_weights_of_its_step() -> None:
    student, teacher, target = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    criterion = Criterion([Ramp(weight=4.0), Push()], cross_entropy=0.5, task=Classification())
    assert criterion.weights == {"ce": 0.5, "Ramp.pull": 4.0, "Push.pull": 1.0}
    for epoch, factor in ((0, 0.0), (1, 0.5), (3, 1.5)):
        now = dataclasses.replace(batch(target), step=10 * epoch, epoch=epoch)
        total, terms = criterion(features(student), [features(teacher)], now)
        assert criterion.weights_at(10 * epoch, epoch) == {"ce": 0.5, "Ramp.pull": 4.0 * factor, "Push.pull": 1.0}
        expected = 0.5 * terms["ce"] + 4.0 * factor * terms["Ramp.pull"] + terms["Push.pull"]
        torch.testing.assert_close(total, expected)


def test_dense_logits_have_a_cross_entropy_of_what_is_known() -> None:
    logits, target = torch.randn(2, 3, 4, 5), torch.randint(3, (2, 4, 5))
    target[0, 0] = -100
    terms = Criterion(task=Classification())(features(logits), [], batch(target)).terms
    known = target != -100
    torch.testing.assert_close(terms["ce"], F.cross_entropy(logits.movedim(1, 3)[known], target[known]))


def test_the_first_term_that_was_not_finite_is_named() -> None:
    health = NonFiniteGuard(["ce", "pull"])
    good, bad = torch.tensor(1.0), torch.tensor(float("nan"))
    health.check("step 0")
    health.observe({"ce": good, "pull": good}, 0)
    health.check("step 1")
    health.observe({"ce": good, "pull": bad}, 1)
    health.observe({"ce": bad, "pull": bad}, 2)
    with pytest.raises(
        NonFiniteLossError, match=r"step 3: .* from step 2 on.*were not: pull\. Lower train\.lr"
    ) as caught:
        health.check("step 3")
    assert caught.value.step == 1
    assert caught.value.terms["ce"] == 1.0
    assert math.isnan(caught.value.terms["pull"])
