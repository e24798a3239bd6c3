"""CC: both forms against loops and by hand, at the edges, and as something that learns."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from persistill.errors import UserError
from persistill.losses import CC, MethodContext, correlation_congruence, neighbor_congruence
from persistill.structures import Batch

BATCH = Batch({}, torch.zeros(4, dtype=torch.long), torch.arange(4))


def looped_kernel(student, teacher, gamma, order):
    """The paper's formula, one pair of images after another."""

    def unit(row):
        return [value / math.hypot(*row) for value in row]

    def table(rows):
        rows = [unit(row) for row in rows.flatten(1).tolist()]
        for one in rows:
            for other in rows:
                cosine = sum(a * b for a, b in zip(one, other, strict=True))
                powers = [(2 * gamma) ** p / math.factorial(p) * cosine**p for p in range(order + 1)]
                yield math.exp(-2 * gamma) * sum(powers)

    return sum((a - b) ** 2 for a, b in zip(table(student), table(teacher), strict=True)) / len(student) ** 2


def looped_neighbors(student, teacher):
    """RepDistiller's formula, one pair of neighbors after another."""
    rows = list(zip(student.tolist(), teacher.tolist(), strict=True))
    total = 0.0
    for (a, b), (c, d) in itertools.pairwise(rows):
        total += sum(abs(s - t) * abs(u - v) for s, t, u, v in zip(a, b, c, d, strict=True))
    return total / (len(rows) - 1)


def learner_of(method, student, teacher):
    return method.build(MethodContext(student, [teacher], BATCH.target)).double()


@pytest.mark.parametrize(("gamma", "order"), [(0.4, 2), (1.0, 1), (0.1, 4)])
@pytest.mark.parametrize("batch", [1, 3])
def test_kernel_is_its_loop(batch, gamma, order):
    torch.manual_seed(0)
    student, teacher = torch.randn(batch, 4, dtype=torch.float64), torch.randn(batch, 2, 3, dtype=torch.float64)
    expected = looped_kernel(student, teacher, gamma, order)
    assert correlation_congruence(student, teacher, gamma, order).item() == pytest.approx(expected, rel=1e-9)


def test_a_long_series_is_the_gaussian_kernel():
    torch.manual_seed(1)
    student, teacher = torch.nn.functional.normalize(torch.randn(2, 4, 5, dtype=torch.float64), dim=2)
    gaussians = [torch.exp(-0.4 * torch.cdist(one, one).square()) for one in (student, teacher)]
    expected = (gaussians[0] - gaussians[1]).square().mean()
    torch.testing.assert_close(correlation_congruence(student, teacher, 0.4, 12), expected)


@pytest.mark.parametrize("batch", [2, 5])
def test_neighbors_are_their_loop(batch):
    torch.manual_seed(2)
    student, teacher = torch.randn(2, batch, 3, dtype=torch.float64)
    expected = looped_neighbors(student, teacher)
    assert neighbor_congruence(student, teacher).item() == pytest.approx(expected, rel=1e-12)


def test_neighbors_by_hand():
    student = torch.tensor([[1.0, 0.0], [0.0, -2.0], [3.0, 0.0]])
    teacher = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.0, 0.0]])  # distances (1, 1), (2, 2), (3, 0): products 4 and 6
    assert neighbor_congruence(student, teacher) == 5
    assert neighbor_congruence(student[:1], teacher[:1]) == 0


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100))
@settings(deadline=None, max_examples=15)
def test_what_must_not_matter_does_not(seed, scale):
    torch.manual_seed(seed)
    student, teacher, shift = torch.randn(3, 4, 5, dtype=torch.float64)
    value, order = correlation_congruence(student, teacher), torch.randperm(4)
    sizes = scale * torch.rand(4, 1, dtype=torch.float64) + 0.1
    torch.testing.assert_close(correlation_congruence(sizes * student, teacher), value)
    torch.testing.assert_close(correlation_congruence(student[order], teacher[order]), value)
    rotation = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64)).Q
    torch.testing.assert_close(correlation_congruence(student @ rotation, teacher), value)
    value = neighbor_congruence(student, teacher)
    assert value >= 0
    torch.testing.assert_close(neighbor_congruence(student + shift, teacher + shift), value)
    torch.testing.assert_close(neighbor_congruence(student.flip(0), teacher.flip(0)), value)


def test_terms_are_the_functions_with_the_settings(made_up):
    student, teacher, other = made_up(0), made_up(1), made_up(2)
    kernel = CC(weight=100.0, form="kernel", gamma=0.7, order=3)
    assert kernel.weights == {"cc": 100.0}
    assert kernel.num_teachers == 1
    learner = kernel.build(MethodContext(student, [teacher, other], BATCH.target))
    found = learner.terms(student, [teacher, other], BATCH)
    assert not list(learner.parameters())
    assert found["cc"].item() == pytest.approx(looped_kernel(student.embedding, teacher.embedding, 0.7, 3))

    learner = learner_of(CC(dim=7), student, teacher)
    found = learner.terms(student, [teacher, other], BATCH)
    pair = [
        features.embedding @ layer.weight.T + layer.bias
        for layer, features in ((learner.student, student), (learner.teacher, teacher))
    ]
    assert pair[0].shape == (4, 7)
    assert list(found) == ["cc"]
    assert found["cc"].item() == pytest.approx(looped_neighbors(*pair))


def test_a_student_that_equals_its_teacher_has_nothing_to_learn():
    torch.manual_seed(3)
    embedding = torch.randn(4, 3, dtype=torch.float64)
    for function in (correlation_congruence, neighbor_congruence):
        student = embedding.clone().requires_grad_()
        value = function(student, embedding)
        assert value.item() == pytest.approx(0, abs=1e-15)
        value.backward()
        torch.testing.assert_close(student.grad, torch.zeros_like(embedding))


def test_the_layers_learn(made_up, trained):
    student, teacher = made_up(0), made_up(1)
    torch.manual_seed(0)
    learner = learner_of(CC(dim=4), student, teacher)
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.02)
    values = trained(learner, optimizer, 50, student, teacher, BATCH)
    assert values[-1] < values[0] / 2


def test_the_functions_compute_in_fp32():
    torch.manual_seed(5)
    one, other = 3e4 * torch.randn(2, 4, 6).half()
    assert neighbor_congruence(one, other) == neighbor_congruence(one.float(), other.float())


def test_gradient_is_that_of_finite_differences():
    torch.manual_seed(6)
    student, teacher = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(correlation_congruence, (student, teacher))
    assert torch.autograd.gradcheck(neighbor_congruence, (student, teacher))


def test_what_does_not_fit_is_named(made_up):
    student, teacher = made_up(0), made_up(1, batch=3)
    with pytest.raises(UserError, match=r"\(2, 3\), the teacher's \(2, 4\)"):
        neighbor_congruence(torch.zeros(2, 3), torch.zeros(2, 4))
    for form in ("neighbors", "kernel"):
        with pytest.raises(UserError, match="the teacher's embeddings hold 3 samples, the student's 4"):
            learner_of(CC(form=form), student, teacher)(student, [teacher], BATCH)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weight": -1.0}, r"CC.weight: .*; -1.0 was given"),
        ({"form": "kernels"}, r"CC.form: .*'kernels' was given"),
        ({"dim": 0}, r"CC.dim: .*; 0 was given"),
        ({"gamma": 0.0}, r"CC.gamma: .*; 0.0 was given"),
        ({"order": 0}, r"CC.order: .*; 0 was given"),
    ],
)
def test_settings_out_of_range_are_named(fields, message):
    with pytest.raises(UserError, match=message):
        CC(**fields)
