"""AMD: against the authors' numbers and loops, at the edges, and what must not change it."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from persistill.errors import UserError
from persistill.losses import AMD, angular_margin, normalize_rows
from persistill.structures import ModelOutput

TARGET = torch.zeros(4, dtype=torch.long)


@pytest.fixture(params=["a", "b"])
def oracle(request, shared):
    with np.load(shared("oracles", f"amd_{request.param}.npz")) as file:
        return {name: torch.from_numpy(np.asarray(value)) for name, value in file.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("local", "name"), [(0.0, "global_loss"), (1.0, "local_loss"), (0.2, "global_plus_local")])
def test_numbers_are_those_of_the_authors_code(oracle, local, name, dtype):
    student, teacher = oracle["student"].to(dtype), oracle["teacher"].to(dtype)
    found = angular_margin(student, teacher, oracle["margin"].item(), oracle["scale"].item(), local)
    assert found.item() == pytest.approx(oracle[name].item(), rel=1e-5)


def looped(student, teacher, margin=1.35, scale=64.0, local=0.0):
    """The formula of the authors' code, one image and one position at a time, for maps of one size."""
    height, width = student.shape[2:]
    top, left = height // 2, width // 2
    cells = [(y, x) for y in range(height) for x in range(width)]
    quadrants = [
        [(y, x) for y, x in cells if (y < top) == upper and (x < left) == lefter]
        for upper in (True, False)
        for lefter in (True, False)
    ]

    def look(sample):
        energy = {(y, x): sum(channel[y, x].item() ** 2 for channel in sample) for y, x in cells}
        norm = math.sqrt(sum(value**2 for value in energy.values()))
        return {cell: value / norm for cell, value in energy.items()}

    def three(q, part):
        positive = [scale * math.cos(margin * math.acos(min(q[cell], 1 - 1e-7))) for cell in part]
        negative = [scale * (1 - q[cell]) for cell in part]
        both = [p - math.log(math.exp(p) + math.exp(n)) for p, n in zip(positive, negative, strict=True)]
        # One position alone has q = 1 and G = 0: zero stays zero.
        norms = [math.sqrt(sum(value**2 for value in values)) or 1.0 for values in (both, positive, negative)]
        return [
            [value / norm for value in values] for values, norm in zip((both, positive, negative), norms, strict=True)
        ]

    def difference(part):
        total = 0.0
        for one, other in zip(student, teacher, strict=True):
            for a, b in zip(three(look(one), part), three(look(other), part), strict=True):
                total += sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / len(part)
        return total / (3 * len(student))

    return (1 - local) * difference(cells) + local * sum(difference(part) for part in quadrants) / 4


@pytest.mark.parametrize("local", [0.0, 0.2, 1.0])
@pytest.mark.parametrize(("margin", "scale"), [(1.35, 64.0), (2.0, 8.0), (0.5, 1.0)])
@pytest.mark.parametrize("size", [(4, 6), (5, 3)])
def test_function_is_its_loop(size, margin, scale, local):
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 2, *size, dtype=torch.float64), torch.randn(3, 6, *size, dtype=torch.float64)
    found = angular_margin(student, teacher, margin, scale, local)
    assert found.item() == pytest.approx(looped(student, teacher, margin, scale, local), rel=1e-9)


def test_function_by_hand():
    # Margin 1 makes the positive map that of attention itself, scale 1e-6 the third map constant. The student looks at
    # one of two positions, the teacher at both alike: q = (1, 0) and (h, h) with h = 1 / sqrt 2.
    student, teacher = torch.tensor([[[[5.0, 0.0]]]]), torch.tensor([[[[3.0, -3.0]]]])
    h = math.sqrt(0.5)
    positive = ((1 - h) ** 2 + h**2) / 2
    negative = (h**2 + (1 - h) ** 2) / 2  # (0, 1) against (h, h)
    found = angular_margin(student.double(), teacher.double(), margin=1.0, scale=1e-6)
    assert found.item() == pytest.approx((positive + negative) / 3, rel=1e-3)


@pytest.mark.parametrize(
    ("ours", "theirs", "both"), [((4, 6), (8, 6), (4, 6)), ((5, 5), (3, 2), (3, 2)), ((4, 2), (2, 4), (2, 2))]
)
def test_maps_are_averaged_down_to_the_smaller(ours, theirs, both):
    torch.manual_seed(1)
    student, teacher = torch.randn(2, 3, *ours, dtype=torch.float64), torch.randn(2, 4, *theirs, dtype=torch.float64)
    expected = looped(F.adaptive_avg_pool2d(student, both), F.adaptive_avg_pool2d(teacher, both), local=0.2)
    assert angular_margin(student, teacher, local=0.2).item() == pytest.approx(expected)


def test_term_is_the_mean_over_stages_with_the_settings(made_up):
    student, teacher = made_up(0), made_up(1, channels=3)
    method = AMD(weight=7.0, margin=1.7, scale=9.0, local=0.3)
    terms = method.terms(student, [teacher], TARGET)
    assert method.weights == {"amd": 7.0}
    assert method.num_teachers == 1
    expected = (
        sum(
            looped(student.feature_maps[name], teacher.feature_maps[name], 1.7, 9.0, 0.3)
            for name in student.feature_maps
        )
        / 3
    )
    assert terms["amd"].item() == pytest.approx(expected)
    assert AMD().terms(student, [teacher], TARGET)["amd"].item() == pytest.approx(
        sum(looped(student.feature_maps[name], teacher.feature_maps[name]) for name in student.feature_maps) / 3
    )


def test_a_student_that_equals_its_teacher_has_nothing_to_learn(made_up):
    student = made_up(0)
    value = AMD(local=0.2).terms(student, [made_up(0)], TARGET)["amd"]
    assert value == 0
    value.backward()
    assert all(stage.grad.abs().max() == 0 for stage in student.feature_maps.values())


@given(st.integers(0, 2**32 - 1), st.floats(1e-2, 1e2), st.sampled_from([0.0, 0.2]))
@settings(deadline=None, max_examples=20)
def test_rotations_of_channels_scale_and_order_do_not_matter(seed, size, local):
    torch.manual_seed(seed)
    student = torch.randn(3, 3, 4, 3, dtype=torch.float64)
    teacher = torch.randn(3, 5, 4, 3, dtype=torch.float64)
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    turned = size * torch.einsum("dc,bchw->bdhw", rotation, student)
    value = angular_margin(student, teacher, local=local)
    torch.testing.assert_close(angular_margin(turned, teacher, local=local), value)
    torch.testing.assert_close(angular_margin(teacher, student, local=local), value)
    order = torch.randperm(3)
    torch.testing.assert_close(angular_margin(student[order], teacher[order], local=local), value)
    assert 0 <= value <= 4  # a mean over at least one position of squared differences of unit vectors


def test_scale_is_felt_in_one_map_of_three():
    # P and N are normalized after they are scaled; only G = log sigmoid(P - N) is bent by it.
    torch.manual_seed(2)
    features = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    teacher = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    values = [angular_margin(features, teacher, scale=scale) for scale in (1.0, 4.0, 64.0)]
    assert (values[0] - values[1]).abs() > 1e-6
    assert (values[1] - values[2]).abs() > 1e-6

    def of(q):
        q = normalize_rows(q.square().mean(1).flatten(1))
        return normalize_rows(torch.cos(1.35 * torch.acos(q))), normalize_rows(1 - q)

    without = sum(F.mse_loss(a, b) for a, b in zip(of(features), of(teacher), strict=True)) / 3
    assert all(without <= value <= without + 4 / 16 / 3 for value in values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("local", [0.0, 0.2])
@pytest.mark.parametrize("kind", ["zero", "constant", "one position", "large", "small", "one sample", "equal"])
def test_gradients_are_finite(kind, local, dtype):
    torch.manual_seed(3)
    teacher = torch.randn(3, 4, 6, 6)
    student = {
        "zero": torch.zeros(3, 2, 6, 6),
        "constant": torch.ones(3, 2, 6, 6),
        "one position": F.pad(torch.ones(3, 2, 1, 1), (2, 3, 1, 4)),  # q = 1, where arccos has no derivative
        "large": torch.randn(3, 2, 6, 6).sign() * 6e4,
        "small": torch.randn(3, 2, 6, 6) * 1e-4,
        "one sample": torch.randn(1, 2, 6, 6),
        "equal": teacher.clone(),
    }[kind]
    student = student.to(dtype).requires_grad_()
    value = angular_margin(student, teacher[: len(student)].to(dtype), local=local)
    (5000 * value).backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert student.grad.isfinite().all()


def test_half_precision_loses_only_the_features_own_digits():
    # e^64 is beyond fp16, and the published form of G overflows there.
    torch.manual_seed(4)
    student, teacher = torch.randn(2, 4, 16, 8, 8).half()
    with torch.autocast("cpu", torch.bfloat16):
        inside = angular_margin(student, teacher, local=0.2)
    assert torch.equal(inside, angular_margin(student.float(), teacher.float(), local=0.2))


@pytest.mark.parametrize("local", [0.0, 0.2])
def test_gradient_is_that_of_finite_differences(local):
    torch.manual_seed(5)
    student = torch.randn(2, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(2, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *maps: angular_margin(*maps, local=local), (student, teacher))


def test_what_does_not_fit_is_named(made_up):
    student = made_up(0)
    with pytest.raises(UserError, match="the teacher returns 0 of them, the student 3"):
        AMD().terms(student, [ModelOutput(student.logits, student.embedding, {})], TARGET)
    flat = torch.ones(2, 3, 1, 5)
    assert angular_margin(flat, flat) == 0
    with pytest.raises(UserError, match="one stage has 1 x 5 positions"):
        angular_margin(flat, flat, local=0.2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weight": -1.0}, r"AMD.weight: .*; -1.0 was given"),
        ({"margin": 0.0}, r"AMD.margin: .*greater than 0; 0.0 was given"),
        ({"margin": 2.5}, r"AMD.margin: .*less than or equal to 2; 2.5 was given"),
        ({"scale": 0.0}, r"AMD.scale: .*greater than 0; 0.0 was given"),
        ({"local": 1.5}, r"AMD.local: .*less than or equal to 1; 1.5 was given"),
    ],
)
def test_settings_out_of_range_are_named(fields, message):
    with pytest.raises(UserError, match=message):
        AMD(**fields)
