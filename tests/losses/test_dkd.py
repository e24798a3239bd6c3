"""DKD: against loops, by hand, and as the two parts of KD."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from persistill.errors import UserError
from persistill.losses import DKD, decoupled_kl, kl
from persistill.structures import ModelOutput


def looped(teacher, student, target, temperature):
    """The published formulas, one image and one class at a time."""

    def softmax(row):
        powers = [math.exp(value / temperature) for value in row]
        return [power / sum(powers) for power in powers]

    of_target, of_others = 0.0, 0.0
    for a, b, label in zip(teacher.tolist(), student.tolist(), target.tolist(), strict=True):
        p, q = softmax(a), softmax(b)
        rest_p, rest_q = 1 - p[label], 1 - q[label]
        of_target += p[label] * math.log(p[label] / q[label]) + rest_p * math.log(rest_p / rest_q)
        for k in range(len(p)):
            if k != label:
                of_others += p[k] / rest_p * math.log((p[k] / rest_p) / (q[k] / rest_q))
    return temperature**2 * of_target / len(teacher), temperature**2 * of_others / len(teacher)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 4.0])
@pytest.mark.parametrize("batch", [1, 5])
def test_function_is_its_loop(batch, temperature):
    torch.manual_seed(0)
    teacher, student = torch.randn(2, batch, 6, dtype=torch.float64) * 2
    target = torch.tensor([5, 0, 3, 2, 5])[:batch]
    found = decoupled_kl(student, teacher, target, temperature)
    expected = looped(teacher, student, target, temperature)
    assert [value.item() for value in found] == pytest.approx(expected, rel=1e-9)


def test_function_by_hand():
    # Teacher (1/2, 1/4, 1/4), student (1/4, 1/2, 1/4), target 0. Target against rest: (1/2, 1/2) and (1/4, 3/4).
    # Among the rest: (1/2, 1/2) and (2/3, 1/3).
    teacher, student = torch.tensor([[0.5, 0.25, 0.25]]).log(), torch.tensor([[0.25, 0.5, 0.25]]).log()
    of_target, of_others = decoupled_kl(student, teacher, torch.tensor([0]), 1.0)
    assert of_target.item() == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3), rel=1e-5)
    assert of_others.item() == pytest.approx(0.5 * math.log(3 / 4) + 0.5 * math.log(3 / 2), rel=1e-5)


def test_terms_are_the_function_with_the_settings(made_up):
    student, teacher, other = made_up(0), made_up(1), made_up(2)
    target = torch.tensor([4, 0, 2, 2])
    method = DKD(alpha=0.3, beta=5.0, temperature=2.5)
    terms = method.terms(student, [teacher, other], target)
    assert method.weights == {"tckd": 0.3, "nckd": 5.0}
    assert method.num_teachers == 1
    assert list(terms) == ["tckd", "nckd"]
    assert [value.item() for value in terms.values()] == pytest.approx(
        looped(teacher.logits, student.logits, target, 2.5)
    )


def test_standardized_logits_are_compared_where_it_is_asked_for(made_up):
    student, teacher = made_up(0), made_up(1)
    target = torch.tensor([4, 0, 2, 2])
    terms = DKD(temperature=2.5, standardize=True).terms(student, [teacher], target)
    scores = [(z - z.mean(1, keepdim=True)) / z.std(1, keepdim=True) for z in (teacher.logits, student.logits)]
    assert [value.item() for value in terms.values()] == pytest.approx(looped(*scores, target, 2.5))


@given(st.integers(0, 2**32 - 1), st.integers(2, 7), st.floats(0.5, 8))
@settings(deadline=None, max_examples=25)
def test_they_are_the_parts_of_kd(seed, classes, temperature):
    torch.manual_seed(seed)
    teacher, student = torch.randn(2, 1, classes, dtype=torch.float64) * 3
    target = torch.randint(classes, (1,))
    of_target, of_others = decoupled_kl(student, teacher, target, temperature)
    assert of_target >= -1e-12
    assert of_others >= -1e-12
    p = (teacher / temperature).softmax(1)[0, target]
    torch.testing.assert_close(of_target + (1 - p[0]) * of_others, kl(student, teacher, temperature))


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=15)
def test_names_of_classes_and_constants_do_not_matter(seed):
    torch.manual_seed(seed)
    teacher, student = torch.randn(2, 3, 5, dtype=torch.float64)
    target, order = torch.randint(5, (3,)), torch.randperm(5)
    found = decoupled_kl(student, teacher, target, 4.0)
    renamed = decoupled_kl(student[:, order], teacher[:, order], order.argsort()[target], 4.0)
    torch.testing.assert_close(renamed, found)
    torch.testing.assert_close(decoupled_kl(student - 7.0, teacher + 3.0, target, 4.0), found)


def test_a_student_that_equals_its_teacher_has_nothing_to_learn(made_up):
    student = made_up(0)
    terms = DKD().terms(student, [made_up(0)], torch.tensor([4, 0, 2, 2]))
    assert all(value == 0 for value in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    torch.testing.assert_close(student.logits.grad, torch.zeros_like(student.logits))


def test_of_two_classes_the_other_is_alone():
    torch.manual_seed(1)
    teacher, student = torch.randn(2, 4, 2, dtype=torch.float64)
    of_target, of_others = decoupled_kl(student, teacher, torch.tensor([0, 1, 1, 0]), 4.0)
    assert of_others == 0
    torch.testing.assert_close(of_target, kl(student, teacher, 4.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["zero", "equal", "large", "certain", "wrong", "one sample"])
def test_gradients_are_finite(kind, dtype):
    torch.manual_seed(2)
    target = torch.tensor([0, 9, 4, 4])
    teacher = torch.randn(4, 10)
    certain = torch.nn.functional.one_hot(target, 10).float()
    student = {
        "zero": torch.zeros(4, 10),
        "equal": teacher.clone(),
        "large": torch.randn(4, 10).sign() * 6e4,
        "certain": 6e4 * certain,  # 1 - p is zero in any precision
        "wrong": -6e4 * certain,
        "one sample": torch.randn(1, 10),
    }[kind]
    teacher = (teacher if kind != "wrong" else 6e4 * certain)[: len(student)].to(dtype)
    student = student.to(dtype).requires_grad_()
    terms = decoupled_kl(student, teacher, target[: len(student)], 4.0)
    (terms[0] + 8 * terms[1]).backward()
    assert all(value.dtype == torch.float32 and value.isfinite() for value in terms)
    assert student.grad.isfinite().all()


def test_everything_is_fp32_under_autocast():
    torch.manual_seed(3)
    teacher, student = torch.randn(2, 4, 10)
    target = torch.tensor([0, 9, 4, 4])
    with torch.autocast("cpu", torch.bfloat16):
        inside = decoupled_kl(student, teacher, target, 4.0)
    assert inside == decoupled_kl(student, teacher, target, 4.0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_loses_only_the_logits_own_digits(dtype):
    torch.manual_seed(5)
    teacher, student = (torch.randn(2, 4, 10) * 5).to(dtype)
    target = torch.tensor([0, 9, 4, 4])
    assert decoupled_kl(student, teacher, target, 4.0) == decoupled_kl(student.float(), teacher.float(), target, 4.0)


def test_gradient_is_that_of_finite_differences():
    torch.manual_seed(4)
    teacher, student = torch.randn(2, 3, 4, dtype=torch.float64)
    target = torch.tensor([3, 0, 1])
    assert torch.autograd.gradcheck(
        lambda *logits: decoupled_kl(*logits, target, 4.0), (teacher.requires_grad_(), student.requires_grad_())
    )


def test_what_does_not_fit_is_named():
    target = torch.zeros(2, dtype=torch.long)
    with pytest.raises(UserError, match=r"\(2, 100\) and \(2, 10\) were given"):
        decoupled_kl(torch.zeros(2, 100), torch.zeros(2, 10), target, 4.0)
    with pytest.raises(UserError, match="the logits hold 1 class"):
        decoupled_kl(torch.zeros(2, 1), torch.zeros(2, 1), target, 4.0)
    with pytest.raises(UserError, match=r"temperature must be above 0; 0\.0"):
        decoupled_kl(torch.zeros(2, 3), torch.zeros(2, 3), target, 0.0)
    logits = torch.zeros(2, 3)
    with pytest.raises(UserError, match=r"\(2, 3\) and \(2, 4\) were given"):
        DKD().terms(ModelOutput(logits, logits, {}), [ModelOutput(torch.zeros(2, 4), logits, {})], target)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"alpha": -1.0}, r"DKD.alpha: .*; -1.0 was given"),
        ({"beta": math.nan}, r"DKD.beta: .*; nan was given"),
        ({"temperature": 0.0}, r"DKD.temperature: .*greater than 0; 0.0 was given"),
    ],
)
def test_settings_out_of_range_are_named(fields, message):
    with pytest.raises(UserError, match=message):
        DKD(**fields)


def test_the_published_warm_up_rises_over_twenty_epochs():
    loss = DKD.published()
    assert [loss.schedule(0, epoch) for epoch in (0, 9, 19, 20, 200)] == [0.05, 0.5, 1.0, 1.0, 1.0]
    assert loss.weights_at(0, 0) == {"tckd": pytest.approx(0.05), "nckd": pytest.approx(0.4)}
    assert DKD().weights_at(0, 0) == {"tckd": 1.0, "nckd": 8.0}
