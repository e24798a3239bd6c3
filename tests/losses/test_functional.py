"""Shared losses: against loops, at the edges, and what must not change them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from persistill.errors import UserError
from persistill.losses import gram, kl, match_maps, normalize_rows, similarity, standardize_logits

seeds = st.integers(0, 2**32 - 1)
few = settings(deadline=None, max_examples=25)


def softmax(row, temperature):
    top = max(row)
    powers = [math.exp((value - top) / temperature) for value in row]
    return [power / sum(powers) for power in powers]


def looped_kl(teacher, student, temperature):
    total = 0.0
    for a, b in zip(teacher.tolist(), student.tolist(), strict=True):
        for p, q in zip(softmax(a, temperature), softmax(b, temperature), strict=True):
            total += p * math.log(p / q)
    return temperature**2 * total / len(teacher)


def looped_similarity(features):
    flat = [sample.flatten().tolist() for sample in features]
    rows = []
    for one in flat:
        row = [sum(a * b for a, b in zip(one, other, strict=True)) for other in flat]
        norm = math.sqrt(sum(value * value for value in row))
        rows.append([value / norm for value in row])
    return torch.tensor(rows, dtype=features.dtype)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 4.0])
@pytest.mark.parametrize("batch", [1, 5])
def test_kl_is_its_double_loop(batch, temperature):
    torch.manual_seed(0)
    teacher, student = torch.randn(2, batch, 7, dtype=torch.float64) * 3
    expected = looped_kl(teacher, student, temperature)
    assert kl(student, teacher, temperature).item() == pytest.approx(expected, rel=1e-12)
    assert kl(student, teacher, temperature, "mean").item() == pytest.approx(expected / 7, rel=1e-12)


def test_kl_by_hand():
    # Teacher (3/4, 1/4), student (1/2, 1/2): 3/4 ln 3/2 + 1/4 ln 1/2 = 3/4 ln 3 - ln 2, times 4 at temperature 2.
    teacher, student = torch.tensor([[2 * math.log(3.0), 0.0]]), torch.tensor([[1.0, 1.0]])
    assert kl(student, teacher, 2.0).item() == pytest.approx(4 * (0.75 * math.log(3) - math.log(2)), rel=1e-6)
    assert kl(teacher, student, 2.0).item() == pytest.approx(2 * math.log(4 / 3), rel=1e-6), "the other direction"


def test_kl_reductions_are_those_of_torch():
    torch.manual_seed(1)
    teacher, student = torch.randn(2, 6, 10)
    inputs = (torch.log_softmax(student / 4, 1), torch.softmax(teacher / 4, 1))
    torch.testing.assert_close(kl(student, teacher, 4.0), 16 * nn.KLDivLoss(reduction="batchmean")(*inputs))
    element_mean = (inputs[1] * (inputs[1].log() - inputs[0])).mean()  # what nn.KLDivLoss() without arguments gives
    torch.testing.assert_close(kl(student, teacher, 4.0, "mean"), 16 * element_mean)


@given(seeds, st.floats(0.1, 20), st.floats(0.01, 50), st.integers(1, 6), st.integers(2, 12))
@few
def test_kl_is_a_divergence(seed, temperature, spread, batch, classes):
    torch.manual_seed(seed)
    teacher, student = torch.randn(2, batch, classes, dtype=torch.float64) * spread
    value = kl(student, teacher, temperature)
    assert value >= -1e-12
    assert kl(student, student, temperature) == 0
    shift, order = torch.randn(batch, 1, dtype=torch.float64), torch.randperm(classes)
    torch.testing.assert_close(kl(student, teacher + shift, temperature), value)
    torch.testing.assert_close(kl(student[:, order], teacher[:, order], temperature), value)


def test_kl_square_of_the_temperature_keeps_the_gradient():
    # Hinton et al. 2015, section 2.1: at high temperature the gradient of tau^2 KL tends to that of half the squared
    # difference of centered logits, divided by the number of classes, whatever the temperature.
    torch.manual_seed(2)
    teacher, student = torch.randn(2, 3, 5, dtype=torch.float64)
    student.requires_grad_()
    centered = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    limit = centered.detach() / (5 * 3)
    for temperature in (1e3, 1e4):
        (gradient,) = torch.autograd.grad(kl(student, teacher, temperature), student)
        torch.testing.assert_close(gradient, limit, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [0.0, 1e-4, 1e2, 6e4])
def test_kl_is_finite_for_any_logits(dtype, size):
    torch.manual_seed(3)
    teacher = (torch.randn(4, 10).sign() * size).to(dtype)
    student = (torch.randn(4, 10).sign() * size).to(dtype).requires_grad_()
    value = kl(student, teacher, 4.0)
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert student.grad.isfinite().all()


def test_kl_survives_the_largest_floats():
    teacher = torch.tensor([[1e30, -1e30, 0.0]])
    student = torch.tensor([[-1e30, 1e30, 0.0]], requires_grad=True)
    value = kl(student, teacher, 1.0)
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()


def test_everything_is_fp32_under_autocast():
    torch.manual_seed(4)
    teacher, student, features = torch.randn(4, 10), torch.randn(4, 10), torch.randn(4, 100)
    with torch.autocast("cpu", torch.bfloat16):
        inside = kl(student, teacher, 4.0), gram(features), similarity(features)
    outside = kl(student, teacher, 4.0), gram(features), similarity(features)
    for one, other in zip(inside, outside, strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_features_are_multiplied_in_fp32(dtype):
    features = torch.full((3, 4, 8, 8), 300.0, dtype=dtype)  # squares and sums beyond fp16
    assert torch.equal(gram(features), torch.full((3, 3), 256 * 90000.0))
    torch.testing.assert_close(similarity(features), torch.full((3, 3), 3**-0.5))


def test_standardized_logits_by_hand():
    found = standardize_logits(torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0], [-4.0, 0.0, 4.0]]))
    torch.testing.assert_close(found, torch.tensor([[-1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [-1.0, 0.0, 1.0]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 6e4])
def test_equal_logits_have_no_scores_and_no_gradient(value, dtype):
    # The mean of equal numbers may miss them by a last place: rounding is no deviation.
    logits = torch.full((4, 7), value, dtype=dtype, requires_grad=True)
    scores = standardize_logits(logits)
    assert scores.eq(0).all()
    assert scores.dtype == torch.float32
    (scores * torch.arange(7)).sum().backward()
    assert logits.grad.eq(0).all()


@given(seeds, st.integers(2, 9), st.floats(1e-3, 1e3), st.floats(-10, 10))
@few
def test_scores_see_neither_scale_nor_shift(seed, classes, scale, shift):
    torch.manual_seed(seed)
    logits = torch.randn(3, classes, dtype=torch.float64)
    scores = standardize_logits(logits)
    torch.testing.assert_close(standardize_logits(scale * logits + shift), scores)
    torch.testing.assert_close(scores.mean(1), torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(scores.std(1), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(1, 3, 2, 2), (5, 4, 3, 2), (6, 7)])
def test_similarity_is_its_double_loop(shape):
    torch.manual_seed(5)
    features = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(similarity(features), looped_similarity(features))


@given(seeds, st.integers(1, 5), st.integers(1, 4), st.floats(1e-3, 1e3))
@few
def test_similarity_sees_neither_rotation_nor_scale(seed, batch, channels, scale):
    torch.manual_seed(seed)
    features = torch.randn(batch, channels, 3, 2, dtype=torch.float64)
    expected = similarity(features)
    rotation, _ = torch.linalg.qr(torch.randn(channels, channels, dtype=torch.float64))
    torch.testing.assert_close(similarity(torch.einsum("dc,bchw->bdhw", rotation, features)), expected)
    torch.testing.assert_close(similarity(scale * features), expected)
    torch.testing.assert_close(expected.square().sum(1), torch.ones(batch, dtype=torch.float64))
    order = torch.randperm(batch)
    torch.testing.assert_close(similarity(features[order]), expected[order][:, order])


@pytest.mark.parametrize(
    "features",
    [torch.zeros(4, 2, 3, 3), torch.ones(4, 2, 3, 3), torch.zeros(1, 2), torch.ones(1, 2), torch.full((3, 2), 1e-30)],
    ids=["zero", "constant", "one zero sample", "one sample", "tiny"],
)
def test_similarity_has_finite_gradients_where_nothing_varies(features):
    features.requires_grad_()
    value = similarity(features)
    (value * torch.arange(value.numel()).reshape(value.shape)).sum().backward()
    assert value.isfinite().all()
    assert features.grad.isfinite().all()


def test_a_dead_sample_is_not_kicked():
    # Dividing by max(norm, 1e-12) would multiply the gradient of the zero row by 1e12.
    torch.manual_seed(6)
    features = torch.randn(4, 6)
    features[2] = 0
    features.requires_grad_()
    value = similarity(features)
    assert value[2].eq(0).all()
    (value - torch.eye(4)).square().sum().backward()
    assert features.grad.abs().max() < 100


def test_rows_are_normalized():
    rows = normalize_rows(torch.tensor([[3.0, 4.0], [0.0, 0.0], [-2.0, 0.0]]))
    torch.testing.assert_close(rows, torch.tensor([[0.6, 0.8], [0.0, 0.0], [-1.0, 0.0]]))


def test_gradients_are_those_of_finite_differences():
    torch.manual_seed(7)
    teacher, student = torch.randn(2, 3, 4, dtype=torch.float64)
    features = torch.randn(3, 2, 2, 2, dtype=torch.float64)
    student.requires_grad_()
    teacher.requires_grad_()
    features.requires_grad_()
    assert torch.autograd.gradcheck(lambda t, s: kl(t, s, 3.0), (teacher, student))
    assert torch.autograd.gradcheck(lambda t, s: kl(t, s, 3.0, "mean"), (teacher, student))
    assert torch.autograd.gradcheck(standardize_logits, student)
    assert torch.autograd.gradcheck(gram, features)
    assert torch.autograd.gradcheck(similarity, features)


def test_kl_says_what_does_not_fit():
    with pytest.raises(UserError, match=r"\(4, 100\) and \(4, 10\) were given"):
        kl(torch.zeros(4, 100), torch.zeros(4, 10), 4.0)
    with pytest.raises(UserError, match=r"temperature must be above 0; 0.0 was given"):
        kl(torch.zeros(4, 10), torch.zeros(4, 10), 0.0)
    with pytest.raises(UserError, match="temperature must be above 0; nan"):
        kl(torch.zeros(4, 10), torch.zeros(4, 10), math.nan)
    with pytest.raises(UserError, match=r"unknown reduction 'batch-mean'. Did you mean 'batchmean'"):
        kl(torch.zeros(4, 10), torch.zeros(4, 10), 4.0, "batch-mean")


def maps(*names, batch=2):
    return {name: torch.full((batch, 1, 1, 1), float(i)) for i, name in enumerate(names)}


def numbers(pairs):
    return [(int(student[0]), int(teacher[0])) for student, teacher in pairs]


def test_stages_are_paired_from_the_last():
    student, teacher = maps("a", "b", "c"), maps("stem", "one", "two", "three", "four")
    assert numbers(match_maps(student, teacher)) == [(0, 2), (1, 3), (2, 4)]
    assert numbers(match_maps(teacher, student)) == [(2, 0), (3, 1), (4, 2)]
    assert numbers(match_maps(student, teacher, ("c", "a"))) == [(0, 2), (2, 4)]


def test_stages_that_cannot_be_paired_are_named():
    student, teacher = maps("a", "b", "c"), maps("x", "y")
    with pytest.raises(UserError, match=r"'a' has no partner.* the teacher has 2 \(x, y\)"):
        match_maps(student, teacher, ("a", "c"))
    with pytest.raises(UserError, match=r"unknown stage of the student: 'stage3'.* Known: a, b, c"):
        match_maps(student, teacher, ("stage3",))
    with pytest.raises(UserError, match="the teacher returns 0 of them, the student 3"):
        match_maps(student, {})
    with pytest.raises(UserError, match="teacher's maps hold 3 samples, the student's 2"):
        match_maps(student, maps("x", batch=3))
