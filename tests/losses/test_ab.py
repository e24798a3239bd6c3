"""AB: against loops, by hand, where nothing is missing, at the edges, and as a start for another arm."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from persistill.errors import UserError
from persistill.losses import AB, MethodContext, activation_boundary
from persistill.structures import Batch, ModelOutput

BATCH = Batch({}, torch.zeros(4, dtype=torch.long), torch.arange(4))


def looped(student, teacher, margin):
    """The published formula with its four cases, one neuron after another."""
    total = 0.0
    for s, t in zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True):
        if t <= 0 and s > -margin:
            total += (s + margin) ** 2
        elif t > 0 and s <= margin:
            total += (s - margin) ** 2
    return total / len(student)


def learner_of(method, student, teacher):
    return method.build(MethodContext(student, [teacher], BATCH.target)).double()


@pytest.mark.parametrize("margin", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("batch", [1, 3])
def test_function_is_its_loop(batch, margin):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, batch, 3, 4, 2, dtype=torch.float64)
    expected = looped(student, teacher, margin)
    assert activation_boundary(student, teacher, margin).item() == pytest.approx(expected, rel=1e-12)


def test_function_by_hand():
    # Active teachers want 1 or more: 0.5 and 0 are missing. Inactive ones, at exactly 0 too, want -1 or less: 1 and 3.
    student, teacher = torch.tensor([[[[0.5, 2.0, 0.0, 2.0]]]]), torch.tensor([[[[0.1, 9.0, 0.0, -3.0]]]])
    assert activation_boundary(student, teacher).item() == pytest.approx(0.25 + 1 + 9)


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10))
@settings(deadline=None, max_examples=15)
def test_only_the_teachers_side_matters(seed, scale):
    torch.manual_seed(seed)
    student, teacher = torch.randn(2, 3, 4, 2, 3, dtype=torch.float64)
    value = activation_boundary(student, teacher)
    torch.testing.assert_close(activation_boundary(student, scale * teacher), value)
    torch.testing.assert_close(activation_boundary(student, teacher.relu()), value)
    torch.testing.assert_close(activation_boundary(-student, -teacher), value)
    torch.testing.assert_close(activation_boundary(scale * student, teacher, scale), scale**2 * value)


def test_neurons_that_are_sure_of_the_right_side_have_nothing_to_learn():
    torch.manual_seed(1)
    teacher = torch.randn(2, 3, 4, 4)
    student = (teacher.sign() * (1 + torch.rand_like(teacher))).requires_grad_()
    value = activation_boundary(student, teacher)
    assert value == 0
    value.backward()
    assert student.grad.eq(0).all()
    assert activation_boundary(teacher, teacher) > 0  # some of the teacher's own neurons are not as sure


def test_term_is_the_weighed_sum_over_stages(made_up):
    student, teacher = made_up(0), made_up(1, channels=3, sides=(7, 3, 1))
    method = AB(weight=5.0, margin=0.7)
    learner = learner_of(method, student, teacher)
    found = learner.terms(student, [teacher, made_up(2)], BATCH)
    assert method.weights == {"ab": 5.0}
    assert list(found) == ["ab"]
    assert method.num_teachers == 1
    expected = 0.0
    for (stage, own), connector, share in zip(
        student.feature_maps.items(), learner.connectors, (1 / 4, 1 / 2, 1), strict=True
    ):
        convolution, norm = connector.layers
        size = [min(a, b) for a, b in zip(own.shape[2:], teacher.feature_maps[stage].shape[2:], strict=True)]
        reached = F.conv2d(F.adaptive_avg_pool2d(own, size), convolution.weight)
        reached = F.batch_norm(reached, None, None, norm.weight, norm.bias, training=True)
        expected += share * looped(reached, F.adaptive_avg_pool2d(teacher.feature_maps[stage], size), 0.7)
    assert found["ab"].item() == pytest.approx(expected, rel=1e-6)


def test_the_connectors_learn(made_up, trained):
    student, teacher = made_up(0), made_up(1, channels=3)
    torch.manual_seed(0)
    learner = learner_of(AB(), student, teacher)
    optimizer = torch.optim.Adam([*learner.parameters(), *student.feature_maps.values()], lr=0.1)
    values = trained(learner, optimizer, 30, student, teacher, BATCH)
    assert values[-1] < values[0] / 2


def test_the_function_computes_in_fp32(made_up):
    one = 3e3 * made_up(0, dtype=torch.float16).feature_maps["stage0"]
    assert activation_boundary(one, one**3) == activation_boundary(one.float(), one**3)


def test_gradient_is_that_of_finite_differences():
    torch.manual_seed(3)
    student, teacher = torch.randn(2, 2, 3, 2, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda own: activation_boundary(own, teacher), student.requires_grad_())


def test_what_does_not_fit_is_named(made_up):
    student = made_up(0)
    with pytest.raises(UserError, match=r"\(2, 3, 4, 4\), the teacher's \(2, 5, 4, 4\)"):
        activation_boundary(torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, 4))
    with pytest.raises(UserError, match="the teacher returns 0 of them, the student 3"):
        learner_of(AB(), student, ModelOutput(student.logits, student.embedding, {}))


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"weight": math.nan}, r"AB.weight: .*; nan was given"), ({"margin": 0.0}, r"AB.margin: .*; 0.0 was given")],
)
def test_settings_out_of_range_are_named(fields, message):
    with pytest.raises(UserError, match=message):
        AB(**fields)
