"""ReviewKD: its parts against plain formulas, by hand, at equality and at the edges, and as it learns."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from persistill.errors import UserError
from persistill.losses import MethodContext, ReviewKD, hierarchical_context
from persistill.structures import Batch

BATCH = Batch({}, torch.zeros(4, dtype=torch.long), torch.arange(4))


def averaged(features, side):
    """Averages over side x side parts of maps whose sides are multiples of it."""
    batch, channels, height, width = features.shape
    parts = features.reshape(batch, channels, side, height // side, side, width // side)
    return parts.mean((3, 5))


def looped(student, teacher, sides):
    """The weighted sum, level after level."""
    value, weight, whole = (student - teacher).square().mean().item(), 1.0, 1.0
    for side in sides:
        weight /= 2
        whole += weight
        value += weight * (averaged(student, side) - averaged(teacher, side)).square().mean().item()
    return value / whole


def learner_of(student, teacher):
    return ReviewKD().build(MethodContext(student, [teacher], BATCH.target)).double()


@pytest.mark.parametrize(
    ("size", "sides"),
    [((8, 8), (4, 2, 1)), ((4, 4), (2, 1)), ((2, 2), (1,)), ((1, 1), ()), ((8, 4), (2, 1)), ((4, 12), (2, 1))],
)
def test_function_is_its_loop(size, sides):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 5, *size, dtype=torch.float64)
    assert hierarchical_context(student, teacher).item() == pytest.approx(looped(student, teacher, sides), rel=1e-12)


def test_function_by_hand():
    # Differences 2, 0, 0, -2 average to 0; the whole map counts twice as much as its average: (2 * 2 + 0) / 3.
    student, teacher = torch.tensor([[[[2.0, 5.0], [5.0, 3.0]]]]), torch.tensor([[[[0.0, 5.0], [5.0, 5.0]]]])
    assert hierarchical_context(student, teacher).item() == pytest.approx(4 / 3)


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10))
@settings(deadline=None, max_examples=15)
def test_scale_counts_twice_and_a_common_shift_not_at_all(seed, scale):
    torch.manual_seed(seed)
    student, teacher = torch.randn(2, 2, 3, 5, 6, dtype=torch.float64)
    value, order = hierarchical_context(student, teacher), torch.randperm(3)
    assert 0 <= value <= (student - teacher).square().mean()
    torch.testing.assert_close(hierarchical_context(scale * student, scale * teacher), scale**2 * value)
    torch.testing.assert_close(hierarchical_context(student + scale, teacher + scale), value)
    torch.testing.assert_close(hierarchical_context(student[:, order], teacher[:, order]), value)


def normalized(layer, features):
    """A convolution and batch normalization, by their formulas."""
    convolution, norm = layer.layers
    found = F.conv2d(features, convolution.weight, padding=convolution.kernel_size[0] // 2)
    centered = found - found.mean((0, 2, 3), keepdim=True)
    found = centered / (centered.square().mean((0, 2, 3), keepdim=True) + norm.eps).sqrt()
    return found * norm.weight[:, None, None] + norm.bias[:, None, None]


def repeated(features, size):
    """Nearest neighbors: each place takes the value of the place that covers its upper left corner."""
    height, width = features.shape[2:]
    rows = [y * height // size[0] for y in range(size[0])]
    columns = [x * width // size[1] for x in range(size[1])]
    return features[:, :, rows][:, :, :, columns]


@pytest.mark.parametrize("sides", [(5, 3, 2), (8, 4, 2), (3, 2)])
def test_term_is_the_sum_over_embedding_and_stages(made_up, sides):
    student, teacher = made_up(0), made_up(1, channels=3, sides=sides)
    teacher = teacher._replace(embedding=torch.randn(4, 7, dtype=torch.float64))
    method = ReviewKD(weight=3.0)
    learner = learner_of(student, teacher)
    found = learner.terms(student, [teacher, made_up(2)], BATCH)
    assert method.weights == {"reviewkd": 3.0}
    assert list(found) == ["reviewkd"]
    assert method.num_teachers == 1

    first, *others = learner.fusions
    assert len(others) == len(sides)
    between = normalized(first.narrow, student.embedding[:, :, None, None])
    assert between.shape[1] == student.embedding.shape[1]
    reached = normalized(first.widen, between)
    expected = (reached - teacher.embedding[:, :, None, None]).square().mean()
    stages = zip(reversed(student.feature_maps.values()), reversed(teacher.feature_maps.values()), others, strict=False)
    for own, wanted, fusion in stages:
        narrow = normalized(fusion.narrow, own)
        later = repeated(between, narrow.shape[2:])
        both = torch.einsum("ic,bcyx->biyx", fusion.attention.weight[:, :, 0, 0], torch.cat([narrow, later], 1))
        share = 1 / (1 + torch.exp(-both - fusion.attention.bias[:, None, None]))
        between = repeated(share[:, :1] * narrow + share[:, 1:] * later, wanted.shape[2:])
        expected = expected + hierarchical_context(normalized(fusion.widen, between), wanted)
    torch.testing.assert_close(found["reviewkd"], expected, rtol=1e-6, atol=1e-6)


def test_a_wide_student_is_narrowed(made_up):
    student = made_up(0)._replace(embedding=torch.randn(4, 600, dtype=torch.float64))
    assert {fusion.narrow.layers[0].out_channels for fusion in learner_of(student, made_up(1)).fusions} == {512}


def test_a_student_that_equals_its_teacher_has_nothing_to_learn(made_up):
    teacher = made_up(0)
    student = teacher.feature_maps["stage0"].detach().requires_grad_()
    value = hierarchical_context(student, teacher.feature_maps["stage0"])
    assert value == 0
    value.backward()
    assert student.grad.eq(0).all()


def test_the_fusions_learn(made_up, trained):
    student, teacher = made_up(0), made_up(1, channels=3)
    torch.manual_seed(0)
    learner = learner_of(student, teacher)
    optimizer = torch.optim.Adam([*learner.parameters(), *student.feature_maps.values()], lr=0.03)
    values = trained(learner, optimizer, 30, student, teacher, BATCH)
    assert values[-1] < values[0] / 2


def test_the_function_computes_in_fp32(made_up):
    one = made_up(0, dtype=torch.bfloat16).feature_maps["stage0"]
    assert hierarchical_context(one, one**2) == hierarchical_context(one.float(), (one**2).float())


def test_gradient_is_that_of_finite_differences():
    torch.manual_seed(3)
    student, teacher = torch.randn(2, 1, 2, 5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(hierarchical_context, (student, teacher))


def test_what_does_not_fit_is_named(made_up):
    student, teacher = made_up(0), made_up(1)
    with pytest.raises(UserError, match=r"\(2, 3, 4, 4\), the teacher's \(2, 3, 4, 2\)"):
        hierarchical_context(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 2))
    with pytest.raises(UserError, match="the teacher returns 0 of them, the student 3"):
        learner_of(student, teacher._replace(feature_maps={}))
    with pytest.raises(UserError, match="the teacher's embeddings hold 3 samples, the student's 4"):
        learner_of(student, teacher)(student, [made_up(1, batch=3)], BATCH)
    with pytest.raises(UserError, match=r"ReviewKD.weight: .*; -1.0 was given"):
        ReviewKD(weight=-1.0)


def test_the_published_warm_up_begins_at_nothing():
    loss = ReviewKD.published()
    assert [loss.schedule(0, epoch) for epoch in (0, 1, 10, 20, 200)] == [0.0, 0.05, 0.5, 1.0, 1.0]
    assert ReviewKD().weights_at(0, 0) == {"reviewkd": 5.0}
