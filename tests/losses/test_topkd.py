"""TopKD: against GUDHI, against plain loops, what is zero, gradients, and its two forms as they are built."""

import math

import gudhi
import numpy as np
import pytest
import torch
from gudhi.representations import PersistenceImage
from hypothesis import given, settings
from hypothesis import strategies as st

from persistill.errors import UserError
from persistill.losses import MethodContext, TopKD, topology_loss
from persistill.losses.topkd.persistence_images import CloudImages
from persistill.losses.topkd.ripsnet import Surrogate
from persistill.structures import Batch, ModelOutput
from persistill.utils.progress import Silent

BATCH = Batch({}, torch.zeros(4, dtype=torch.long), torch.arange(4))
COMPARISONS = [("image", 0), ("image", 1), ("lifetimes", 0), ("lifetimes", 1), ("wasserstein", 0), ("wasserstein", 1)]


def clouds(seed, *shape, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def gudhi_diagram(cloud, dimension=0):
    """(k, 2) births and deaths, as the authors' code takes them from GUDHI."""
    tree = gudhi.RipsComplex(points=cloud.numpy()).create_simplex_tree(max_dimension=dimension + 1)
    tree.compute_persistence()
    found = tree.persistence_intervals_in_dimension(dimension).reshape(-1, 2)
    return found[np.isfinite(found[:, 1])]


def published_fit(diagrams):
    """Bandwidth, range and maximum as the authors' code finds them, over all diagrams."""
    points = np.concatenate([np.stack([d[:, 0], d[:, 1] - d[:, 0]], 1) for d in diagrams])
    first = points[:200]
    pairs = [math.dist(first[i], first[j]) for i in range(len(first)) for j in range(i)]
    bandwidth = np.quantile([distance for distance in pairs if distance > 1e-5], 0.2)
    extent = [points[:, 0].min(), points[:, 0].max(), points[:, 1].min(), points[:, 1].max()]
    images = published_images(diagrams, bandwidth, extent)
    return bandwidth, extent, images.max()


def published_images(diagrams, bandwidth, extent):
    def weight(point):
        return 10 * np.tanh(point[1]) + 10 * np.log(100 * point[0] + 1)

    return PersistenceImage(bandwidth, weight, resolution=[20, 20], im_range=extent).fit_transform(diagrams)


@pytest.mark.parametrize("dimension", [0, 1])
def test_images_are_those_of_gudhi(dimension):
    some = clouds(0, 7, 32, 6)
    diagrams = [gudhi_diagram(cloud, dimension) for cloud in some]
    bandwidth, extent, maximum = published_fit(diagrams)
    images = CloudImages.fit([some[:3], some[3:]], dimension)
    assert images.dimension == dimension
    assert images.bandwidth == pytest.approx(bandwidth)
    np.testing.assert_allclose([*images.births, *images.persistences], extent, atol=1e-12)
    assert images.maximum == pytest.approx(maximum)
    others = clouds(1, 3, 32, 4)
    expected = published_images([gudhi_diagram(cloud, dimension) for cloud in others], bandwidth, extent) / maximum
    drawn = images.draw(others)
    assert drawn.shape == (3, 20, 20)
    np.testing.assert_allclose(drawn.flip(1).flatten(1), expected, rtol=1e-9, atol=1e-12)


def test_all_columns_of_an_image_of_components_are_the_same():
    some = clouds(2, 5, 16, 3)
    extent = published_fit([gudhi_diagram(cloud) for cloud in some])[1]
    assert extent[:2] == [0, 0]
    drawn = CloudImages.fit([some]).draw(some)
    assert (drawn == drawn[..., :1]).all()
    assert drawn.max() == pytest.approx(1.0)


def test_terms_by_hand():
    # Trees of three points on a line: edges 1 and 2 against 1 and 4.
    student, teacher = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[7.0, 0.0], [7.0, 1.0], [7.0, 5.0]])
    assert topology_loss(student, teacher, compare="lifetimes").item() == pytest.approx((0 + 2**2) / 2)
    # 2 moves to 4; to the diagonal they would go by 1 and by 2.
    assert topology_loss(student, teacher, compare="wasserstein").item() == pytest.approx(2 / 3)
    images = CloudImages(0, 0.5, (0, 0), (1.0, 20.0), 3.0)

    def column(lengths):
        return [
            sum(10 * math.tanh(x) * math.exp(-((x - row) ** 2) / 0.5) for x in lengths) / (2 * math.pi * 0.25 * 3)
            for row in range(1, 21)
        ]

    expected = sum((a - b) ** 2 for a, b in zip(column([1, 2]), column([1, 4]), strict=True)) / 20
    assert topology_loss(student, teacher, images=images).item() == pytest.approx(expected, rel=1e-5)


@given(st.integers(0, 2**32 - 1), st.integers(3, 9), st.sampled_from(COMPARISONS))
@settings(deadline=None, max_examples=30)
def test_moving_and_renumbering_changes_nothing_and_widths_may_differ(seed, batch, what):
    compare, dimension = what
    student, teacher = clouds(seed, batch, 3), clouds(seed + 1, batch, 5)
    rotation, _ = torch.linalg.qr(clouds(seed + 2, 3, 3))
    moved = (student @ rotation + clouds(seed + 3, 3))[torch.randperm(batch)]
    value = topology_loss(student, teacher, compare=compare, dimension=dimension)
    assert value >= 0
    torch.testing.assert_close(topology_loss(moved, teacher, compare=compare, dimension=dimension), value)
    assert topology_loss(teacher[:, :3], teacher[:, :3].clone(), compare=compare, dimension=dimension) == 0


@pytest.mark.parametrize(("compare", "dimension"), COMPARISONS)
def test_gradient_is_that_of_finite_differences(compare, dimension):
    student, teacher = clouds(3, 10, 3).requires_grad_(), clouds(4, 10, 3)
    images = CloudImages(dimension, 0.5, (0.0, 2.0 * dimension), (0.0, 2.0), 3.0)

    def loss(points):
        return topology_loss(points, teacher, compare=compare, dimension=dimension, images=images)

    assert loss(student) > 0
    assert torch.autograd.gradcheck(loss, (student,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["zero", "constant", "equal", "large", "one", "two", "coincident", "flat teacher"])
@pytest.mark.parametrize(("compare", "dimension"), COMPARISONS)
def test_gradients_are_finite(compare, dimension, kind, dtype):
    teacher = clouds(5, 6, 4)
    size = 6e3 if compare == "lifetimes" else 6e4  # whose squares have gradients that float16 cannot hold
    student = {
        "zero": torch.zeros(6, 5),
        "constant": clouds(6, 5).expand(6, 5).clone(),
        "equal": teacher.clone(),
        "large": clouds(6, 6, 5).sign() * size,
        "one": clouds(6, 1, 5),
        "two": clouds(6, 2, 5),
        "coincident": clouds(6, 3, 5).repeat(2, 1),
        "flat teacher": clouds(6, 6, 5),
    }[kind]
    if kind == "flat teacher":
        teacher = torch.zeros(6, 4)
    student, teacher = student.to(dtype).requires_grad_(), teacher[: len(student)].to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        value = topology_loss(student, teacher, compare=compare, dimension=dimension)
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert student.grad.isfinite().all()
    if kind in ("one", "equal"):
        assert value == 0
        assert student.grad.eq(0).all()


@pytest.mark.parametrize(("compare", "dimension"), COMPARISONS)
def test_what_is_not_finite_stays_so(compare, dimension):
    student = clouds(7, 5, 3).requires_grad_()
    broken = torch.cat([student[:4], torch.full((1, 3), math.inf)])
    for pair in [(broken, clouds(8, 5, 3)), (student, broken.detach())]:
        assert topology_loss(*pair, compare=compare, dimension=dimension).isnan()


@pytest.mark.parametrize(
    ("student", "teacher", "options", "message"),
    [
        ((4, 2), (3, 2), {}, "the teacher's embeddings hold 3 samples, the student's 4"),
        ((4, 2, 2), (4, 2), {}, r"compares embeddings \(B, D\); \(4, 2, 2\)"),
        ((4, 2), (4, 2), {"compare": "images"}, "unknown comparison 'images'. Did you mean 'image'"),
    ],
)
def test_mistakes_are_told(student, teacher, options, message):
    with pytest.raises(UserError, match=message):
        topology_loss(torch.zeros(student), torch.zeros(teacher), **options)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weight": -1.0}, r"TopKD.weight: .*; -1.0 was given"),
        ({"dimension": 2}, r"TopKD.dimension: .*; 2 was given"),
        ({"compare": "lifetimes", "surrogate": Surrogate()}, "a surrogate guesses persistence images"),
    ],
)
def test_settings_out_of_range_are_named(fields, message):
    with pytest.raises(UserError, match=message):
        TopKD(**fields)


def lessons_of(embeddings):
    """What a teacher says whose embeddings, (epochs, k, n, C), are these."""

    def teacher_batches(epoch):
        for embedding in embeddings[epoch % len(embeddings)]:
            yield [ModelOutput(torch.zeros(0), embedding, {}), ModelOutput(torch.zeros(0), torch.zeros(3, 3), {})]

    return teacher_batches


@pytest.mark.parametrize(("compare", "dimension"), COMPARISONS)
def test_the_exact_form_is_the_function_with_images_of_all_the_teachers_clouds(tmp_path, made_up, compare, dimension):
    method = TopKD(compare=compare, dimension=dimension)
    embeddings = clouds(9, 1, 6, 8, 3)
    student, teacher, other = made_up(0, batch=8), made_up(1, batch=8), made_up(2, batch=8)
    prepared, images = None, CloudImages.fit([teacher.embedding], dimension)
    if compare == "image":
        result = method.preparation.prepare(lessons_of(embeddings), tmp_path, Silent())
        prepared, images = tmp_path, CloudImages.fit([embeddings[0].float()], dimension)
        assert result["images"]["bandwidth"] == images.bandwidth
    else:
        assert method.preparation is None
    learner = method.build(MethodContext(student, [teacher, other], BATCH.target, prepared))
    assert list(learner.parameters()) == []
    terms = learner.terms(student, [teacher, other], BATCH)
    expected = topology_loss(student.embedding, teacher.embedding, compare=compare, dimension=dimension, images=images)
    assert terms == {"topkd": expected}
    assert expected > 0


def test_without_a_preparation_images_are_fitted_to_the_batch(made_up):
    student, teacher = made_up(0), made_up(1)
    learner = TopKD().build(MethodContext(student, [teacher], BATCH.target))
    expected = topology_loss(student.embedding, teacher.embedding, images=CloudImages.fit([teacher.embedding]))
    assert learner.terms(student, [teacher], BATCH)["topkd"] == expected


def test_a_method_of_one_teacher_with_the_papers_weight():
    method = TopKD.published()
    assert method.weights == {"topkd": 5.0}
    assert method.num_teachers == 1
    assert TopKD.published().surrogate == Surrogate(
        pooling="mean", cloud_epochs=256, batch_size=64, lr=5e-4, epochs=25_000, patience=50
    )
