"""AveragedKD: against loops, by hand, as KD and as a mean of divergences, and at the edges."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from persistill.errors import UserError
from persistill.losses import AveragedKD, averaged_kl, kl
from persistill.structures import ModelOutput

TARGET = torch.zeros(4, dtype=torch.long)


def looped(teachers, student, temperature):
    """One image and one class after another."""

    def softmax(row):
        powers = [math.exp(value / temperature) for value in row]
        return [power / sum(powers) for power in powers]

    total = 0.0
    for *rows, own in zip(*(logits.tolist() for logits in teachers), student.tolist(), strict=True):
        said = [softmax(row) for row in rows]
        for k, q in enumerate(softmax(own)):
            p = sum(one[k] for one in said) / len(said)
            total += p * math.log(p / q)
    return temperature**2 * total / len(student)


@pytest.mark.parametrize("temperature", [0.7, 4.0])
@pytest.mark.parametrize(("batch", "count"), [(1, 2), (4, 1), (3, 3)])
def test_function_is_its_loop(batch, count, temperature):
    torch.manual_seed(0)
    *teachers, student = torch.randn(count + 1, batch, 6, dtype=torch.float64) * 2
    expected = looped(teachers, student, temperature)
    assert averaged_kl(student, teachers, temperature).item() == pytest.approx(expected, rel=1e-9)


def test_function_by_hand():
    # Teachers (1/2, 1/2) and (1, 0) up to e^-100: mean (3/4, 1/4); student (1/4, 3/4).
    teachers = [torch.tensor([[0.0, 0.0]]), torch.tensor([[100.0, 0.0]])]
    student = torch.tensor([[1.0, 3.0]]).log()
    assert averaged_kl(student, teachers, 1.0).item() == pytest.approx(0.5 * math.log(3), rel=1e-5)


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 8))
@settings(deadline=None, max_examples=20)
def test_it_teaches_what_the_mean_divergence_teaches(seed, temperature):
    torch.manual_seed(seed)
    *teachers, student = torch.randn(4, 3, 5, dtype=torch.float64)
    student.requires_grad_()
    value = averaged_kl(student, teachers, temperature)
    (gradient,) = torch.autograd.grad(value, student)
    mean = torch.stack([kl(student, teacher, temperature) for teacher in teachers]).mean()
    torch.testing.assert_close(gradient, torch.autograd.grad(mean, student)[0])
    assert 0 <= value <= mean
    torch.testing.assert_close(averaged_kl(student, teachers[::-1], temperature), value)
    torch.testing.assert_close(averaged_kl(student - 7, [t + 3 for t in teachers], temperature), value)
    torch.testing.assert_close(
        averaged_kl(student, teachers[:1] * 3, temperature), kl(student, teachers[0], temperature)
    )


def test_term_is_the_function_with_the_settings(made_up):
    student, *teachers = (made_up(seed) for seed in range(4))
    method = AveragedKD(weight=0.3, temperature=2.5)
    terms = method.terms(student, teachers, TARGET)
    assert method.weights == {"averaged_kd": 0.3}
    assert method.num_teachers == 2
    assert list(terms) == ["averaged_kd"]
    expected = looped([teacher.logits for teacher in teachers], student.logits, 2.5)
    assert terms["averaged_kd"].item() == pytest.approx(expected)
    scores = [(z - z.mean(1, keepdim=True)) / z.std(1, keepdim=True) for z in (f.logits for f in (student, *teachers))]
    terms = AveragedKD(temperature=2.5, standardize=True).terms(student, teachers, TARGET)
    assert terms["averaged_kd"].item() == pytest.approx(looped(scores[1:], scores[0], 2.5))


def test_a_student_that_equals_its_teachers_mean_has_nothing_to_learn(made_up):
    teachers = [made_up(1), made_up(2)]
    mean = torch.stack([(teacher.logits / 4).softmax(1) for teacher in teachers]).mean(0)
    student = made_up(0)._replace(logits=(4 * mean.log()).detach().requires_grad_())
    value = AveragedKD().terms(student, teachers, TARGET)["averaged_kd"]
    assert value.item() == pytest.approx(0, abs=1e-14)
    value.backward()
    torch.testing.assert_close(student.logits.grad, torch.zeros_like(mean))
    equal = made_up(0)
    assert AveragedKD().terms(equal, [made_up(0), made_up(0)], TARGET)["averaged_kd"].item() == pytest.approx(
        0, abs=1e-14
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["zero", "equal", "large", "certain", "one sample"])
def test_gradients_are_finite(kind, dtype):
    torch.manual_seed(1)
    teachers = list(torch.randn(2, 4, 10))
    student = {
        "zero": torch.zeros(4, 10),
        "equal": teachers[0].clone(),
        "large": torch.randn(4, 10).sign() * 6e4,
        "certain": torch.randn(4, 10),
        "one sample": torch.randn(1, 10),
    }[kind]
    if kind == "certain":  # of different classes, each with all its probability
        teachers = [6e4 * torch.nn.functional.one_hot(torch.tensor([c] * 4), 10).float() for c in (2, 7)]
    student = student.to(dtype).requires_grad_()
    value = averaged_kl(student, [teacher[: len(student)].to(dtype) for teacher in teachers], 4.0)
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert student.grad.isfinite().all()


def test_everything_is_fp32_under_autocast():
    torch.manual_seed(2)
    logits = (torch.randn(3, 4, 10) * 5).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        inside = averaged_kl(logits[2], list(logits[:2]), 4.0)
    assert inside == averaged_kl(logits[2].float(), list(logits[:2].float()), 4.0)


def test_gradient_is_that_of_finite_differences():
    torch.manual_seed(3)
    logits = torch.randn(3, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda each: averaged_kl(each[2], list(each[:2]), 4.0), logits)


def test_what_does_not_fit_is_named():
    logits = torch.zeros(2, 3)
    with pytest.raises(UserError, match=r"\(2, 3\) and \(2, 4\) were given"):
        nothing = ModelOutput(logits, logits, {})
        AveragedKD().terms(nothing, [nothing, ModelOutput(torch.zeros(2, 4), logits, {})], TARGET[:2])
    with pytest.raises(UserError, match="none was given"):
        averaged_kl(logits, [], 4.0)
    with pytest.raises(UserError, match=r"temperature must be above 0; 0\.0"):
        averaged_kl(logits, [logits], 0.0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weight": -1.0}, r"AveragedKD.weight: .*; -1.0 was given"),
        ({"temperature": 0.0}, r"AveragedKD.temperature: .*greater than 0; 0.0 was given"),
    ],
)
def test_settings_out_of_range_are_named(fields, message):
    with pytest.raises(UserError, match=message):
        AveragedKD(**fields)
