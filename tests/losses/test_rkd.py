"""RKD: against loops over pairs and triples, by hand, where images coincide, and what must not change it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from persistill.errors import UserError
from persistill.losses import RKD, angle_relation, distance_relation

TARGET = torch.zeros(4, dtype=torch.long)


def smooth(difference):
    return difference**2 / 2 if abs(difference) < 1 else abs(difference) - 0.5


def looped_distances(student, teacher):
    """The published formula, one pair of images at a time."""

    def table(points):
        points = points.flatten(1).tolist()
        found = [[math.dist(one, other) for other in points] for one in points]
        apart = [value for row in found for value in row if value > 0]
        return [[value * len(apart) / sum(apart) for value in row] for row in found]

    pairs = zip(table(student), table(teacher), strict=True)
    values = [smooth(x - y) for a, b in pairs for x, y in zip(a, b, strict=True)]
    return sum(values) / len(values)


def looped_angles(student, teacher):
    """The published formula, one triple of images at a time."""

    def cosine(points, i, j, k):
        first = [a - b for a, b in zip(points[j], points[i], strict=True)]
        second = [a - b for a, b in zip(points[k], points[i], strict=True)]
        lengths = math.hypot(*first) * math.hypot(*second)
        return sum(a * b for a, b in zip(first, second, strict=True)) / lengths if lengths else 0.0

    one, other = student.flatten(1).tolist(), teacher.flatten(1).tolist()
    triples = [(i, j, k) for i in range(len(one)) for j in range(len(one)) for k in range(len(one))]
    return sum(smooth(cosine(one, *triple) - cosine(other, *triple)) for triple in triples) / len(triples)


@pytest.mark.parametrize("batch", [2, 5])
def test_functions_are_their_loops(batch):
    torch.manual_seed(0)
    student = torch.randn(batch, 3, 2, dtype=torch.float64)
    teacher = torch.randn(batch, 8, dtype=torch.float64).exp() * 10  # lets differences of distances exceed 1
    assert distance_relation(student, teacher).item() == pytest.approx(looped_distances(student, teacher), rel=1e-12)
    assert angle_relation(student, teacher).item() == pytest.approx(looped_angles(student, teacher), rel=1e-12)


def test_far_pairs_count_linearly():
    # Nine images that nearly coincide and one far from them: it is 5 mean distances away, the others 0. All of the
    # teacher's distances are 1. 18 of 100 pairs differ by 4, and count 4 - 1/2; 72 differ by 1, and count 1/2.
    student = torch.arange(10.0, dtype=torch.float64)[:, None] * 1e-9
    student[0] = 1.0
    teacher = torch.eye(10, dtype=torch.float64)
    assert distance_relation(student, teacher).item() == pytest.approx((18 * 3.5 + 72 * 0.5) / 100, rel=1e-6)


def test_functions_by_hand():
    # A right angle with legs 3 and 4 against three points of a line, 1 apart.
    corner, line = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]), torch.tensor([[0.0], [1.0], [2.0]])
    # Means 4 and 4 / 3; distances 3/4, 1, 5/4 against 3/4, 3/2, 3/4; each counts twice of nine.
    expected = 2 * (0 + 0.5**2 / 2 + 0.5**2 / 2) / 9
    assert distance_relation(corner, line).item() == pytest.approx(expected)
    # Cosines at the three corners: 0, 3/5, 4/5 against 1, -1, 1; each counts twice of 27. The others are 1 and 0.
    expected = 2 * (0.5 + (1.6 - 0.5) + 0.2**2 / 2) / 27
    assert angle_relation(corner, line).item() == pytest.approx(expected)


def test_terms_are_the_functions_with_the_settings(made_up):
    student, teacher, other = made_up(0), made_up(1), made_up(2)
    method = RKD(distance=3.0, angle=7.0)
    terms = method.terms(student, [teacher, other], TARGET)
    assert method.weights == {"rkd_distance": 3.0, "rkd_angle": 7.0}
    assert method.num_teachers == 1
    assert terms["rkd_distance"].item() == pytest.approx(looped_distances(student.embedding, teacher.embedding))
    assert terms["rkd_angle"].item() == pytest.approx(looped_angles(student.embedding, teacher.embedding))


def test_a_student_that_equals_its_teacher_has_nothing_to_learn(made_up):
    student = made_up(0)
    student.embedding.requires_grad_()
    terms = RKD().terms(student, [made_up(0)], TARGET)
    assert all(value == 0 for value in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    assert student.embedding.grad.eq(0).all()


@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.floats(1e-2, 1e2))
@settings(deadline=None, max_examples=20)
def test_rotation_shift_scale_and_order_do_not_matter(seed, batch, scale):
    torch.manual_seed(seed)
    student = torch.randn(batch, 3, dtype=torch.float64)
    teacher = torch.randn(batch, 4, dtype=torch.float64)
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    moved = scale * student @ rotation + torch.randn(3, dtype=torch.float64)
    order = torch.randperm(batch)
    for function in (distance_relation, angle_relation):
        value = function(student, teacher)
        assert value >= 0
        torch.testing.assert_close(function(moved, teacher), value)
        torch.testing.assert_close(function(teacher, student), value)
        torch.testing.assert_close(function(student[order], teacher[order]), value)


@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_images_that_coincide_have_no_direction(noise):
    # What is between two equal images is rounding; its direction would pass a gradient of 1e7.
    torch.manual_seed(1)
    student, teacher = torch.randn(6, 8) + 3, torch.randn(6, 8)
    student[1] = student[0] * (1 + noise)
    student.requires_grad_()
    (50 * angle_relation(student, teacher) + 25 * distance_relation(student, teacher)).backward()
    assert student.grad.abs().max() < 100


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["zero", "constant", "equal", "large", "one sample", "two alike"])
def test_gradients_are_finite(kind, dtype):
    torch.manual_seed(2)
    teacher = torch.randn(4, 6)
    student = {
        "zero": torch.zeros(4, 5),
        "constant": torch.randn(5).expand(4, 5).clone(),
        "equal": teacher.clone(),
        "large": torch.randn(4, 5).sign() * 6e4,
        "one sample": torch.randn(1, 5),
        "two alike": torch.randn(2, 5).repeat(2, 1),
    }[kind]
    student = student.to(dtype).requires_grad_()
    teacher = teacher[: len(student)].to(dtype)
    terms = distance_relation(student, teacher), angle_relation(student, teacher)
    (25 * terms[0] + 50 * terms[1]).backward()
    assert all(value.dtype == torch.float32 and value.isfinite() for value in terms)
    assert student.grad.isfinite().all()
    if kind == "one sample":
        assert terms == (0, 0)


def test_everything_is_fp32_under_autocast():
    torch.manual_seed(3)
    student, teacher = torch.randn(2, 4, 16).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        inside = distance_relation(student, teacher), angle_relation(student, teacher)
    assert inside == (
        distance_relation(student.float(), teacher.float()),
        angle_relation(student.float(), teacher.float()),
    )


@pytest.mark.parametrize("function", [distance_relation, angle_relation])
def test_gradient_is_that_of_finite_differences(function):
    torch.manual_seed(4)
    student = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, (student, teacher))


@pytest.mark.parametrize("function", [distance_relation, angle_relation])
def test_batches_that_differ_are_told(function):
    with pytest.raises(UserError, match="the teacher's embeddings hold 3 samples, the student's 4"):
        function(torch.zeros(4, 2), torch.zeros(3, 2))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"distance": -1.0}, r"RKD.distance: .*; -1.0 was given"),
        ({"angle": math.nan}, r"RKD.angle: .*; nan was given"),
    ],
)
def test_settings_out_of_range_are_named(fields, message):
    with pytest.raises(UserError, match=message):
        RKD(**fields)
