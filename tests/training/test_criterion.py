from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from persistill.errors import UserError
from persistill.settings import Settings
from persistill.structures import Batch, MethodContext, ModelOutput, OutputField
from persistill.training import Criterion, NonFiniteGuard


class Pull(Settings):
    """A method with one term: the squared distance of the logits."""

    weight: float = 1.0

    @property
    def teachers_needed(self) -> int:
        return 1

    @property
    def reads(self) -> frozenset[OutputField]:
        return frozenset({"logits"})

    @property
    def weights(self) -> Mapping[str, float]:
        return {"pull": self.weight}

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], target: Tensor) -> dict[str, Tensor]:
        return {"pull": (student.logits - teachers[0].logits).square().mean()}


class Push(Pull):
    """Another method with a term of the same name."""


class Adapted(Settings):
    """A method with a part that learns: a map of the student's logits onto the teacher's."""

    weight: float = 1.0

    @property
    def teachers_needed(self) -> int:
        return 1

    @property
    def reads(self) -> frozenset[OutputField]:
        return frozenset({"logits"})

    @property
    def weights(self) -> Mapping[str, float]:
        return {"adapted": self.weight}

    def learner(self, setting: MethodContext) -> nn.Module:
        return Adapter(setting.student.logits.shape[1], setting.teachers[0].logits.shape[1])


class Adapter(nn.Module):
    def __init__(self, student: int, teacher: int) -> None:
        super().__init__()
        self.linear = nn.Linear(student, teacher)

    def forward(self, student: ModelOutput, teachers: Sequence[ModelOutput], batch: Batch) -> dict[str, Tensor]:
        return {"adapted": (self.linear(student.logits) - teachers[0].logits).square().mean()}


def features(logits: Tensor) -> ModelOutput:
    return ModelOutput(logits, logits, {})


def batch(target: Tensor) -> Batch:
    return Batch({}, target, torch.arange(len(target)))


def setting(student: int, *teachers: int) -> MethodContext:
    return MethodContext(
        features(torch.zeros(2, student)), [features(torch.zeros(2, size)) for size in teachers], torch.zeros(9).long()
    )


def test_parts_that_learn_are_built_for_the_setting_and_belong_to_the_objective() -> None:
    objective = Criterion([Pull(), Adapted(weight=3.0)], settings=[setting(3, 3), setting(3, 5)])
    assert [tuple(parameter.shape) for parameter in objective.parameters()] == [(5, 3), (5,)]
    student, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    pull, adapted = Criterion([Pull()]), Criterion([Adapted(weight=3.0)], settings=[setting(3, 5)])
    adapted.load_state_dict({name.replace(".1.", ".0."): value for name, value in objective.state_dict().items()})
    five, three = features(torch.randn(4, 5)), features(torch.randn(4, 3))
    assert list(objective.weights) == ["ce", "pull", "adapted"]
    terms = adapted.terms(features(student), [five], batch(target))
    adapted.total(terms).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in adapted.parameters())
    assert list(pull.terms(features(student), [three], batch(target))) == ["ce", "pull"]
    assert list(pull.parameters()) == []


def test_parts_that_learn_need_a_setting() -> None:
    with pytest.raises(UserError, match=r"Adapted has parts that learn.*0 setting\(s\).*1 method"):
        Criterion([Adapted()])


def test_total_is_the_weighted_sum_of_the_terms() -> None:
    torch.manual_seed(0)
    student, teacher, target = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    objective = Criterion([Pull(weight=5.0)], cross_entropy=0.1)
    terms = objective.terms(features(student), [features(teacher)], batch(target))
    expected = 0.1 * F.cross_entropy(student, target) + 5.0 * (student - teacher).square().mean()
    assert list(terms) == ["ce", "pull"]
    torch.testing.assert_close(objective.total(terms), expected)


def test_terms_of_one_name_carry_the_methods_names() -> None:
    objective = Criterion([Pull(weight=1.0), Push(weight=2.0)])
    assert objective.weights == {"ce": 1.0, "Pull.pull": 1.0, "Push.pull": 2.0}


def test_the_same_method_twice_is_refused() -> None:
    with pytest.raises(UserError, match=r"both 'Pull\.pull'"):
        Criterion([Pull(), Pull()])


def test_label_smoothing_reaches_the_cross_entropy() -> None:
    logits, target = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    terms = Criterion(label_smoothing=0.1).terms(features(logits), [], batch(target))
    torch.testing.assert_close(terms["ce"], F.cross_entropy(logits, target, label_smoothing=0.1))


def test_terms_are_float32_whatever_the_logits_are() -> None:
    logits = torch.randn(4, 3, dtype=torch.bfloat16)
    terms = Criterion([Pull()]).terms(features(logits), [features(logits)], batch(torch.zeros(4).long()))
    assert {term.dtype for term in terms.values()} == {torch.float32}


def test_a_term_of_weight_zero_cannot_spoil_the_total() -> None:
    objective = Criterion([Pull(weight=0.0)])
    total = objective.total({"ce": torch.tensor(1.0), "pull": torch.tensor(float("nan"))})
    assert total.item() == 1.0


def test_nothing_but_zero_weights_is_refused() -> None:
    with pytest.raises(UserError, match="nothing to learn from"):
        Criterion(cross_entropy=0.0).total({"ce": torch.tensor(1.0)})


def test_the_first_term_that_was_not_finite_is_named() -> None:
    health = NonFiniteGuard(["ce", "pull"])
    good, bad = torch.tensor(1.0), torch.tensor(float("nan"))
    health.check("step 0")
    health.observe({"ce": good, "pull": good})
    health.check("step 1")
    health.observe({"ce": good, "pull": bad})
    health.observe({"ce": bad, "pull": bad})
    with pytest.raises(UserError, match=r"step 3.*were not: pull\. Lower train\.lr"):
        health.check("step 3")
