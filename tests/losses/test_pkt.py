"""PKT: against loops, by hand, at opposite and dead images, and what must not change it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from persistill.errors import UserError
from persistill.losses import PKT, pkt_loss

TARGET = torch.zeros(4, dtype=torch.long)


def looped(student, teacher):
    """The published formula, one pair of images at a time."""

    def rows(points):
        points = points.flatten(1).tolist()
        table = []
        for one in points:
            row = []
            for other in points:
                cosine = sum(a * b for a, b in zip(one, other, strict=True)) / math.hypot(*one) / math.hypot(*other)
                row.append((cosine + 1) / 2)
            table.append([value / sum(row) for value in row])
        return table

    eps, total = 1e-7, 0.0
    for a, b in zip(rows(teacher), rows(student), strict=True):
        for p, q in zip(a, b, strict=True):
            total += p * math.log((p + eps) / (q + eps))
    return total / len(student) ** 2


@pytest.mark.parametrize("batch", [2, 5])
def test_function_is_its_loop(batch):
    torch.manual_seed(0)
    student = torch.randn(batch, 3, 2, dtype=torch.float64)
    teacher = torch.randn(batch, 8, dtype=torch.float64)
    # The small share of opposite images is added here before rows are normalized, there after.
    assert pkt_loss(student, teacher).item() == pytest.approx(looped(student, teacher), rel=1e-5)


def test_function_by_hand():
    # Orthogonal for the teacher: (1, 1/2) / (3/2). Equal for the student: (1, 1) / 2. Both rows alike, divided by 2.
    teacher, student = torch.eye(2), torch.ones(2, 3)
    expected = (2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)) / 2
    assert pkt_loss(student, teacher).item() == pytest.approx(expected, rel=1e-5)


def test_opposite_images_keep_a_share():
    # The teacher's two images are equal, the student's opposite: the other is chosen with 1/2 against about 1e-7.
    teacher, student = torch.ones(2, 3), torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    expected = (0.5 * math.log(0.5) + 0.5 * math.log(0.5 / 1e-7)) / 2
    assert pkt_loss(student, teacher).item() == pytest.approx(expected, rel=1e-4)


def test_term_is_the_function_of_the_embeddings(made_up):
    student, teacher, other = made_up(0), made_up(1), made_up(2)
    method = PKT(weight=7.0)
    terms = method.terms(student, [teacher, other], TARGET)
    assert method.weights == {"pkt": 7.0}
    assert method.num_teachers == 1
    assert list(terms) == ["pkt"]
    assert terms["pkt"].item() == pytest.approx(looped(student.embedding, teacher.embedding), rel=1e-5)


def test_a_student_that_equals_its_teacher_has_nothing_to_learn(made_up):
    student = made_up(0)
    student.embedding.requires_grad_()
    value = PKT().terms(student, [made_up(0)], TARGET)["pkt"]
    assert value == 0
    value.backward()
    torch.testing.assert_close(student.embedding.grad, torch.zeros_like(student.embedding))


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.floats(1e-2, 1e2))
@settings(deadline=None, max_examples=20)
def test_rotation_scale_and_order_do_not_matter(seed, batch, scale):
    torch.manual_seed(seed)
    student = torch.randn(batch, 3, dtype=torch.float64)
    teacher = torch.randn(batch, 4, dtype=torch.float64)
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    value = pkt_loss(student, teacher)
    assert value >= -1e-15
    sizes = scale * torch.rand(batch, 1, dtype=torch.float64) + 0.1  # each image its own: cosines see directions
    torch.testing.assert_close(pkt_loss(sizes * student @ rotation, teacher), value)
    order = torch.randperm(batch)
    torch.testing.assert_close(pkt_loss(student[order], teacher[order]), value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["zero", "constant", "equal", "opposite", "large", "one sample", "one dead sample"])
def test_gradients_are_finite(kind, dtype):
    torch.manual_seed(1)
    teacher = torch.randn(4, 6)
    student = {
        "zero": torch.zeros(4, 5),
        "constant": torch.randn(5).expand(4, 5).clone(),
        "equal": teacher.clone(),
        "opposite": torch.randn(1, 65) * torch.tensor([1.0, -1.0, 2.0, -3.0])[:, None],
        "large": torch.randn(4, 5).sign() * 6e4,
        "one sample": torch.randn(1, 5),
        "one dead sample": torch.randn(4, 5) * torch.tensor([1.0, 0.0, 1.0, 1.0])[:, None],
    }[kind]
    student = student.to(dtype).requires_grad_()
    value = pkt_loss(student, teacher[: len(student)].to(dtype))
    (30000 * value).backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert student.grad.isfinite().all()


def test_everything_is_fp32_under_autocast():
    torch.manual_seed(2)
    student, teacher = torch.randn(2, 4, 16).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        inside = pkt_loss(student, teacher)
    assert torch.equal(inside, pkt_loss(student.float(), teacher.float()))


def test_gradient_is_that_of_finite_differences():
    torch.manual_seed(3)
    student = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(pkt_loss, (student, teacher))


def test_mistakes_are_told():
    with pytest.raises(UserError, match="the teacher's embeddings hold 3 samples, the student's 4"):
        pkt_loss(torch.zeros(4, 2), torch.zeros(3, 2))
    for weight in (-1.0, math.nan):
        with pytest.raises(UserError, match=rf"PKT\.weight: .*; {weight} was given"):
            PKT(weight=weight)
