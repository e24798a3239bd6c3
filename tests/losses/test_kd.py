"""KD: the settings say what the function computes."""

import math
import statistics

import pytest
import torch

from persistill.config import Arm
from persistill.errors import UserError
from persistill.losses import KD, kl
from persistill.structures import ModelOutput


def test_term_is_the_function_with_the_settings(made_up):
    student, teacher, other = made_up(0), made_up(1), made_up(2)
    method = KD(weight=0.3, temperature=2.5, kl_reduction="mean")
    terms = method.terms(student, [teacher, other], torch.zeros(4, dtype=torch.long))
    assert list(terms) == list(method.weights)
    assert method.weights == {"kd": 0.3}
    assert torch.equal(terms["kd"], kl(student.logits, teacher.logits, 2.5, "mean"))


def standardized(logits):
    """Z-scores, one image at a time, with Python's own deviation."""
    rows = [[(z - statistics.fmean(row)) / statistics.stdev(row) for z in row] for row in logits.tolist()]
    return torch.tensor(rows, dtype=logits.dtype)


def test_standardized_logits_are_compared_where_it_is_asked_for(made_up):
    student, teacher = made_up(0), made_up(1)
    found = KD(temperature=2.5, standardize=True).terms(student, [teacher], None)["kd"]
    torch.testing.assert_close(found, kl(standardized(student.logits), standardized(teacher.logits), 2.5))
    # Size and mean of either network's logits say nothing any more.
    louder = student._replace(logits=3 * student.logits + 7)
    torch.testing.assert_close(KD(temperature=2.5, standardize=True).terms(louder, [teacher], None)["kd"], found)
    assert KD(standardize=True).terms(louder, [student], None)["kd"].item() == pytest.approx(0, abs=1e-12)


def test_a_student_that_equals_its_teacher_has_nothing_to_learn(made_up):
    student = made_up(0)
    term = KD().terms(student, [student], torch.zeros(4, dtype=torch.long))["kd"]
    assert term == 0
    (gradient,) = torch.autograd.grad(KD().terms(student, [made_up(0)], None)["kd"], student.logits)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient))


def test_gradient_by_hand():
    # d/dz tau^2 KL = tau (softmax(z_S / tau) - softmax(z_T / tau)) / B
    teacher = torch.tensor([[math.log(3.0) * 4, 0.0]], dtype=torch.float64)
    student = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    KD(temperature=4.0).terms(ModelOutput(student, student, {}), [ModelOutput(teacher, teacher, {})], None)[
        "kd"
    ].backward()
    torch.testing.assert_close(student.grad, torch.tensor([[-1.0, 1.0]], dtype=torch.float64))


def test_it_is_a_method_and_needs_one_teacher():
    assert KD().num_teachers == 1
    with pytest.raises(UserError, match=r"KD needs 1 teacher, and this arm names 0"):
        Arm(methods=(KD(),))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weight": -0.1}, r"KD.weight: .*greater than or equal to 0; -0.1 was given"),
        ({"weight": math.nan}, r"KD.weight: .*; nan was given"),
        ({"weight": math.inf}, r"KD.weight: .*; inf was given"),
        ({"temperature": 0.0}, r"KD.temperature: .*greater than 0; 0.0 was given"),
        ({"kl_reduction": "sum"}, r"KD.kl_reduction: .*'batchmean' or 'mean'; 'sum' was given"),
        ({"temprature": 3.0}, r"unknown field of KD: 'temprature'. Did you mean 'temperature'"),
    ],
)
def test_settings_out_of_range_are_named(fields, message):
    with pytest.raises(UserError, match=message):
        KD(**fields)
