"""SP: against double loops, at the edges, and what must not change it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from persistill.errors import UserError
from persistill.losses import SP, similarity_preserving
from persistill.structures import ModelOutput


def looped(student, teacher):
    """The published formula, one pair of images at a time."""

    def matrix(features):
        rows = []
        for one in features:
            row = [(one * other).sum().item() for other in features]
            norm = math.sqrt(sum(value**2 for value in row))
            rows.append([value / norm for value in row])
        return rows

    total, batch = 0.0, len(student)
    for a, b in zip(matrix(student), matrix(teacher), strict=True):
        for x, y in zip(a, b, strict=True):
            total += (x - y) ** 2
    return total / batch**2


def term(method, student, teacher):
    return method.terms(student, [teacher], torch.zeros(len(student.logits), dtype=torch.long))["sp"]


@pytest.mark.parametrize("batch", [2, 5])
def test_function_is_its_double_loop(batch):
    torch.manual_seed(0)
    student = torch.randn(batch, 3, 4, 5, dtype=torch.float64)
    teacher = torch.randn(batch, 7, 2, 2, dtype=torch.float64)
    assert similarity_preserving(student, teacher).item() == pytest.approx(looped(student, teacher), rel=1e-12)


def test_function_by_hand():
    # Two orthogonal images for the teacher, two equal ones for the student:
    # rows (1, 0), (0, 1) against (1, 1) / sqrt 2 twice: squared distance of a row 2 - sqrt 2, and 1 / 4 of two rows.
    teacher, student = torch.eye(2), torch.ones(2, 3)
    assert similarity_preserving(student, teacher).item() == pytest.approx((2 - math.sqrt(2)) / 2, rel=1e-6)


def test_term_is_the_mean_over_the_chosen_stages(made_up):
    student, teacher = made_up(0), made_up(1, channels=3, sides=(7, 4, 2))
    of_stage = {name: looped(student.feature_maps[name], teacher.feature_maps[name]) for name in student.feature_maps}
    assert term(SP(), student, teacher).item() == pytest.approx(sum(of_stage.values()) / 3)
    assert term(SP(maps=("stage2",)), student, teacher).item() == pytest.approx(of_stage["stage2"])
    two = (of_stage["stage0"] + of_stage["stage2"]) / 2
    assert term(SP(maps=("stage0", "stage2")), student, teacher).item() == pytest.approx(two)


def test_networks_of_different_depth_are_paired_from_the_last_stage(made_up):
    student, teacher = made_up(0), made_up(1, sides=(9, 7, 5, 3, 2))
    expected = [looped(student.feature_maps[f"stage{i}"], teacher.feature_maps[f"stage{i + 2}"]) for i in range(3)]
    assert term(SP(), student, teacher).item() == pytest.approx(sum(expected) / 3)


def test_names_and_weights(made_up):
    method = SP(weight=7.0)
    assert method.num_teachers == 1
    assert method.weights == {"sp": 7.0}
    assert list(method.terms(made_up(0), [made_up(1)], torch.zeros(4))) == ["sp"]


def test_a_student_that_equals_its_teacher_has_nothing_to_learn(made_up):
    student = made_up(0)
    value = term(SP(), student, made_up(0))
    assert value == 0
    value.backward()
    assert all(stage.grad.abs().max() == 0 for stage in student.feature_maps.values())


@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.floats(1e-3, 1e3))
@settings(deadline=None, max_examples=20)
def test_rotations_scale_and_order_do_not_matter(seed, batch, scale):
    torch.manual_seed(seed)
    student = torch.randn(batch, 3, 4, 2, dtype=torch.float64)
    teacher = torch.randn(batch, 5, 3, 3, dtype=torch.float64)
    value = similarity_preserving(student, teacher)
    assert 0 <= value <= 4 / batch  # two unit rows are at most 2 apart
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    turned = torch.einsum("dc,bchw->bdhw", rotation, student)
    torch.testing.assert_close(similarity_preserving(scale * turned, teacher), value)
    order = torch.randperm(batch)
    torch.testing.assert_close(similarity_preserving(student[order], teacher[order]), value)
    torch.testing.assert_close(similarity_preserving(teacher, student), value)


def test_gradient_is_that_of_finite_differences():
    torch.manual_seed(2)
    student = torch.randn(3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(similarity_preserving, (student, teacher))


def test_what_cannot_be_compared_is_named(made_up):
    student = made_up(0)
    with pytest.raises(UserError, match="the teacher returns 0 of them, the student 3"):
        term(SP(), student, ModelOutput(student.logits, student.embedding, {}))
    with pytest.raises(UserError, match="unknown stage of the student: 'stage9'"):
        term(SP(maps=("stage9",)), student, made_up(1))
    with pytest.raises(UserError, match=r"SP.maps.*at least 1 item"):
        SP(maps=())
    with pytest.raises(UserError, match=r"SP.weight: .*; -1.0 was given"):
        SP(weight=-1.0)
