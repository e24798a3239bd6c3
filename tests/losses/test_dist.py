"""DIST: against loops, by hand, at constant rows and columns, and what must not change it."""

import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from persistill.errors import UserError
from persistill.losses import DIST, correlation_distance, relational_match
from persistill.structures import ModelOutput

TARGET = torch.zeros(4, dtype=torch.long)


def softmax(row, temperature):
    powers = [math.exp(value / temperature) for value in row]
    return [power / sum(powers) for power in powers]


def looped(teacher, student, temperature):
    """The published formulas with Python's own correlation: rows, then columns, of class probabilities."""
    p, q = ([softmax(row, temperature) for row in logits.tolist()] for logits in (teacher, student))
    inter = [statistics.correlation(a, b) for a, b in zip(p, q, strict=True)]
    columns = zip(zip(*p, strict=True), zip(*q, strict=True), strict=True)
    intra = [statistics.correlation(a, b) for a, b in columns]
    return temperature**2 * (1 - sum(inter) / len(inter)), temperature**2 * (1 - sum(intra) / len(intra))


@pytest.mark.parametrize("temperature", [0.7, 1.0, 4.0])
@pytest.mark.parametrize("batch", [2, 5])
def test_function_is_its_loop(batch, temperature):
    torch.manual_seed(0)
    teacher, student = torch.randn(2, batch, 6, dtype=torch.float64) * 2
    found = relational_match(student, teacher, temperature)
    assert [value.item() for value in found] == pytest.approx(looped(teacher, student, temperature), rel=1e-9)


def test_distance_by_hand():
    one = torch.tensor([[1.0, 2.0, 3.0], [1.0, 0.0, -1.0], [1.0, 2.0, 3.0]])
    other = torch.tensor([[10.0, 20.0, 30.0], [0.0, 1.0, 2.0], [0.0, 1.0, 0.0]])  # correlations 1, -1 and 0
    assert correlation_distance(one, other).item() == pytest.approx(1.0)
    assert correlation_distance(one[:1], other[:1]).item() == pytest.approx(0.0, abs=1e-6)
    assert correlation_distance(one[1:2], other[1:2]).item() == pytest.approx(2.0)


def test_terms_are_the_function_with_the_settings(made_up):
    student, teacher, other = made_up(0), made_up(1), made_up(2)
    method = DIST(inter=0.3, intra=5.0, temperature=2.5)
    terms = method.terms(student, [teacher, other], TARGET)
    assert method.weights == {"dist_inter": 0.3, "dist_intra": 5.0}
    assert method.num_teachers == 1
    assert list(terms) == ["dist_inter", "dist_intra"]
    assert [value.item() for value in terms.values()] == pytest.approx(looped(teacher.logits, student.logits, 2.5))


def standardized(logits):
    """Z-scores, one image at a time, with Python's own deviation."""
    rows = [[(z - statistics.fmean(row)) / statistics.stdev(row) for z in row] for row in logits.tolist()]
    return torch.tensor(rows, dtype=logits.dtype)


def test_standardized_logits_are_compared_where_it_is_asked_for(made_up):
    student, teacher = made_up(0), made_up(1)
    method = DIST(temperature=2.5, standardize=True)
    found = [value.item() for value in method.terms(student, [teacher], TARGET).values()]
    assert found == pytest.approx(looped(standardized(teacher.logits), standardized(student.logits), 2.5))
    # Size and mean of either network's logits say nothing any more; without the option they do.
    louder = student._replace(logits=3 * student.logits + 7)
    assert [value.item() for value in method.terms(louder, [teacher], TARGET).values()] == pytest.approx(found)
    plain = DIST(temperature=2.5)
    before, after = (plain.terms(one, [teacher], TARGET)["dist_inter"].item() for one in (student, louder))
    assert abs(before - after) > 0.1
    same = method.terms(louder, [student], TARGET)
    assert [value.item() for value in same.values()] == pytest.approx([0, 0], abs=1e-12)
    torch.stack(list(same.values())).sum().backward()
    torch.testing.assert_close(student.logits.grad, torch.zeros_like(student.logits))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["constant logits", "zero", "large", "one sample"])
def test_standardized_terms_are_finite(kind, dtype):
    torch.manual_seed(6)
    teacher = torch.randn(4, 10).to(dtype)
    student = {
        "constant logits": torch.randn(4, 1).expand(4, 10).clone(),
        "zero": torch.zeros(4, 10),
        "large": torch.randn(4, 10).sign() * 6e4,
        "one sample": torch.randn(1, 10),
    }[kind]
    student = student.to(dtype).requires_grad_()
    seen = [ModelOutput(logits, logits, {}) for logits in (student, teacher[: len(student)])]
    terms = DIST(standardize=True).terms(seen[0], seen[1:], TARGET)
    sum(terms.values()).backward()
    assert all(value.dtype == torch.float32 and value.isfinite() for value in terms.values())
    assert student.grad.isfinite().all()
    if kind in ("constant logits", "zero"):
        assert student.grad.eq(0).all()


def test_a_student_that_equals_its_teacher_has_nothing_to_learn(made_up):
    student = made_up(0)
    terms = DIST().terms(student, [made_up(0)], TARGET)
    assert [value.item() for value in terms.values()] == pytest.approx([0, 0], abs=1e-13)
    torch.stack(list(terms.values())).sum().backward()
    torch.testing.assert_close(student.logits.grad, torch.zeros_like(student.logits))


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10), st.floats(-10, 10))
@settings(deadline=None, max_examples=25)
def test_scale_and_shift_of_rows_do_not_matter(seed, scale, shift):
    torch.manual_seed(seed)
    one, other = torch.randn(2, 3, 5, dtype=torch.float64)
    value = correlation_distance(one, other)
    assert 0 <= value <= 2
    torch.testing.assert_close(correlation_distance(scale * one + shift, other), value)
    torch.testing.assert_close(correlation_distance(other, one), value)
    order = torch.randperm(5)
    torch.testing.assert_close(correlation_distance(one[:, order], other[:, order]), value)


def test_one_image_has_no_relation_to_others():
    # Every column holds one number: no correlation, the largest value that uncorrelated columns have, no gradient.
    torch.manual_seed(1)
    teacher, student = torch.randn(2, 1, 5)
    student.requires_grad_()
    _, intra = relational_match(student, teacher, 4.0)
    assert intra == 16
    intra.backward()
    assert student.grad.eq(0).all()


@pytest.mark.parametrize("shift", [0.0, 0.1, 1 / 3, 7.7])
def test_rounding_of_a_constant_is_no_relation(shift):
    # The mean of equal numbers may differ from them by a last place; correlating that would pass a gradient of 1e7.
    torch.manual_seed(2)
    student = (torch.linspace(-1, 1, 10) + shift).expand(7, 10).clone().requires_grad_()
    _, intra = relational_match(student, torch.randn(7, 10), 4.0)
    assert intra == 16
    intra.backward()
    assert student.grad.eq(0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["zero", "constant", "equal", "large", "tiny", "one sample"])
def test_gradients_are_finite(kind, dtype):
    torch.manual_seed(3)
    teacher = torch.randn(4, 10)
    student = {
        "zero": torch.zeros(4, 10),
        "constant": torch.randn(10).expand(4, 10).clone(),
        "equal": teacher.clone(),
        "large": torch.randn(4, 10).sign() * 6e4,
        "tiny": torch.randn(4, 10) * 1e-6,
        "one sample": torch.randn(1, 10),
    }[kind]
    student = student.to(dtype).requires_grad_()
    terms = relational_match(student, teacher[: len(student)].to(dtype), 4.0)
    (2 * sum(terms)).backward()
    assert all(value.dtype == torch.float32 and value.isfinite() for value in terms)
    assert student.grad.isfinite().all()


def test_everything_is_fp32_under_autocast():
    torch.manual_seed(4)
    teacher, student = torch.randn(2, 4, 10)
    with torch.autocast("cpu", torch.bfloat16):
        inside = relational_match(student, teacher, 4.0)
    assert inside == relational_match(student, teacher, 4.0)


def test_gradient_is_that_of_finite_differences():
    torch.manual_seed(5)
    teacher, student = torch.randn(2, 3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda *logits: relational_match(*logits, 4.0), (teacher.requires_grad_(), student.requires_grad_())
    )


def test_what_does_not_fit_is_named():
    logits = torch.zeros(2, 3)
    with pytest.raises(UserError, match=r"\(2, 3\) and \(2, 4\) were given"):
        DIST().terms(ModelOutput(logits, logits, {}), [ModelOutput(torch.zeros(2, 4), logits, {})], TARGET[:2])
    with pytest.raises(UserError, match=r"temperature must be above 0; 0\.0"):
        relational_match(logits, logits, 0.0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"inter": -1.0}, r"DIST.inter: .*; -1.0 was given"),
        ({"intra": math.nan}, r"DIST.intra: .*; nan was given"),
        ({"temperature": 0.0}, r"DIST.temperature: .*greater than 0; 0.0 was given"),
    ],
)
def test_settings_out_of_range_are_named(fields, message):
    with pytest.raises(UserError, match=message):
        DIST(**fields)
