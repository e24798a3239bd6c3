"""SEKD: each piece against a double loop, the spectra against numpy, gradients at the edges, and the adapter."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from persistill.errors import UserError
from persistill.losses import (
    SEKD,
    MethodContext,
    attention_masks,
    channel_graph,
    edge_difference,
    laplacian,
    spectral_difference,
    spectral_residual,
    vertex_difference,
)
from persistill.losses.sekd import channel_graph as channel_graph_module
from persistill.losses.sekd import sekd
from persistill.losses.sekd.channel_graph import eigenpairs
from persistill.structures import Batch, ModelOutput

FORMS = ["residual", "heat", "projector", "procrustes", "sign"]
BATCH = Batch({}, torch.zeros(4, dtype=torch.long), torch.arange(4))


def looped_graph(maps, edges="cosine", bandwidth=1.0):
    """One entry at a time, in Python's floats."""
    graphs = []
    for image in maps:
        vertices = [channel.flatten().tolist() for channel in image]
        vertices = [[x / math.sqrt(sum(y * y for y in v) + 1e-6) for x in v] for v in vertices]
        graph = torch.ones(len(vertices), len(vertices), dtype=torch.float64)
        for i, one in enumerate(vertices):
            for j, other in enumerate(vertices):
                cosine = sum(x * y for x, y in zip(one, other, strict=True))
                if i != j:
                    graph[i, j] = max(0.0, cosine) if edges == "cosine" else math.exp((cosine - 1) / bandwidth**2)
        graphs.append(graph)
    return torch.stack(graphs)


def looped_laplacian(graph):
    channels = len(graph)
    degrees = [sum(graph[i, j].item() for j in range(channels)) for i in range(channels)]
    return torch.tensor(
        [
            [float(i == j) - graph[i, j].item() / math.sqrt(degrees[i] * degrees[j]) for j in range(channels)]
            for i in range(channels)
        ],
        dtype=torch.float64,
    )


def some_maps(seed, batch=3, channels=6, side=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, side, side + 1, generator=generator, dtype=torch.float64)


def some_graphs(seed, **shape):
    return channel_graph(some_maps(seed, **shape))


@pytest.mark.parametrize(("edges", "bandwidth"), [("cosine", 1.0), ("gaussian", 1.0), ("gaussian", 0.4)])
def test_graph_is_its_double_loop(edges, bandwidth):
    maps = some_maps(0)
    maps[0, 2] = 0
    maps[1, 3] = maps[1, 0]
    torch.testing.assert_close(channel_graph(maps, edges, bandwidth), looped_graph(maps, edges, bandwidth))


def test_graph_by_hand():
    maps = torch.tensor([[[[3.0, 0.0]], [[1.0, 1.0]], [[-1.0, 0.0]], [[0.0, 0.0]]]], dtype=torch.float64)
    h = math.sqrt(0.5)
    expected = torch.tensor([[[1, h, 0, 0], [h, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]], dtype=torch.float64)
    torch.testing.assert_close(channel_graph(maps), expected, rtol=0, atol=1e-5)


def test_unknown_edges_are_named():
    with pytest.raises(UserError, match=r"unknown kind of edges 'cosinus'. Did you mean 'cosine'"):
        channel_graph(some_maps(0), "cosinus")


def test_laplacian_is_its_double_loop():
    graphs = some_graphs(1)
    torch.testing.assert_close(laplacian(graphs), torch.stack([looped_laplacian(graph) for graph in graphs]))


@given(st.integers(0, 2**32 - 1), st.sampled_from(["cosine", "gaussian"]))
@settings(deadline=None, max_examples=20)
def test_eigenvalues_are_between_0_and_2_and_the_least_is_0(seed, edges):
    values = torch.linalg.eigvalsh(laplacian(channel_graph(some_maps(seed), edges)))
    assert values.min() > -1e-12
    assert values.max() < 2 + 1e-12
    torch.testing.assert_close(values[:, 0], torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-12)


def test_eigenpairs_are_those_of_numpy_without_the_trivial_one():
    graphs = channel_graph(some_maps(2).abs())
    values, vectors = eigenpairs(graphs, 3)
    for graph, found, pair in zip(graphs, values, vectors, strict=True):
        expected, theirs = np.linalg.eigh(looped_laplacian(graph).numpy())
        np.testing.assert_allclose(found.numpy(), expected[1:4], atol=1e-10)
        np.testing.assert_allclose(np.abs((theirs[:, 1:4] * pair.numpy()).sum(0)), 1.0, atol=1e-8)


def test_dead_channels_do_not_fill_the_list_of_eigenpairs():
    maps = some_maps(3, batch=1, channels=8).abs()
    living = eigenpairs(channel_graph(maps[:, :6]), 5)
    maps[:, 6:] = 0
    values, vectors = eigenpairs(channel_graph(maps), 5)
    torch.testing.assert_close(values, living[0])
    assert vectors[:, 6:].abs().max() < 1e-8
    # Then come the trivial ones, at 0: the degrees' own and those of the two dead channels.
    more, _ = eigenpairs(channel_graph(maps), 20)
    torch.testing.assert_close(more[0, 5:], torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-10)


def test_residual_is_its_formula_with_numpys_eigenpairs():
    student, teacher = some_graphs(4), channel_graph(some_maps(5).abs())
    total = 0.0
    for ours, theirs in zip(student, teacher, strict=True):
        values, vectors = np.linalg.eigh(looped_laplacian(theirs).numpy())
        u, lam = vectors[:, 1:4], values[1:4]
        total += np.square(looped_laplacian(ours).numpy() @ u - u * lam).sum()
    assert spectral_residual(student, teacher, 3).item() == pytest.approx(total / 3)
    assert spectral_difference(student, teacher, 3).item() == pytest.approx(total / 3)


def test_heat_kernels_are_compared_entry_by_entry():
    student, teacher = some_graphs(4), some_graphs(5)

    def kernel(graph):
        values, vectors = np.linalg.eigh(looped_laplacian(graph).numpy())
        return vectors @ np.diag(np.exp(-values)) @ vectors.T

    expected = sum(np.square(kernel(s) - kernel(t)).sum() for s, t in zip(student, teacher, strict=True)) / 3
    assert spectral_difference(student, teacher, form="heat").item() == pytest.approx(expected)


def test_forms_that_compare_vectors_are_their_formulas():
    student, teacher = channel_graph(some_maps(4).abs()), channel_graph(some_maps(5).abs())
    projector = procrustes = sign = 0.0
    for ours, theirs in zip(student, teacher, strict=True):
        u, v = (np.linalg.eigh(looped_laplacian(graph).numpy())[1][:, 1:4] for graph in (ours, theirs))
        projector += np.square(u @ u.T - v @ v.T).sum()
        procrustes += 2 * 3 - 2 * np.linalg.svd(u.T @ v, compute_uv=False).sum()
        sign += sum(min(np.square(u[:, i] - v[:, i]).sum(), np.square(u[:, i] + v[:, i]).sum()) for i in range(3))
    for form, expected in [("projector", projector), ("procrustes", procrustes), ("sign", sign)]:
        assert spectral_difference(student, teacher, 3, form).item() == pytest.approx(expected / 3)


@pytest.mark.parametrize("form", FORMS)
@given(seed=st.integers(0, 2**32 - 1))
@example(seed=47871032)  # graphs in several pieces
@settings(deadline=None, max_examples=10)
def test_spectral_forms_are_zero_for_equal_graphs_and_blind_to_the_order_of_channels(form, seed):
    maps, teacher = some_maps(seed).requires_grad_(), some_graphs(seed + 1)
    same = spectral_difference(channel_graph(maps), channel_graph(maps.detach()), 3, form)
    assert same.item() == pytest.approx(0, abs=1e-12)
    (gradient,) = torch.autograd.grad(same, maps)
    assert gradient.abs().max() < 1e-6
    # Every pair of channels is joined, each by another weight: of a graph in several pieces or with equal channels an
    # eigenvalue is repeated, and its vectors are any of their span.
    random = torch.Generator().manual_seed(seed)
    weights = torch.rand(2, 3, 6, 6, generator=random, dtype=torch.float64)
    student, teacher = (weights + weights.mT) * (1 - torch.eye(6))
    order = torch.randperm(6, generator=random)
    found = spectral_difference(student[:, order][:, :, order], teacher[:, order][:, :, order], 3, form)
    torch.testing.assert_close(found, spectral_difference(student, teacher, 3, form))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("edges", ["cosine", "gaussian"])
def test_spectral_gradients_are_those_of_finite_differences(form, edges, monkeypatch):
    maps, teacher = some_maps(6, batch=2).abs().requires_grad_(), channel_graph(some_maps(7, batch=2).abs())

    def loss(maps):
        return spectral_difference(channel_graph(maps, edges), teacher, 2, form)

    (damped,) = torch.autograd.grad(loss(maps), maps)
    monkeypatch.setattr(channel_graph_module, "_GAP", 1e-9)
    (exact,) = torch.autograd.grad(loss(maps), maps)
    assert (damped - exact).norm() < 0.005 * exact.norm()  # eigenvalues are 0.01 apart
    assert torch.autograd.gradcheck(loss, maps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["dead", "duplicated", "zero", "constant", "equal", "large", "one image"])
def test_gradients_are_finite(kind, form, dtype):
    maps = some_maps(8, batch=1 if kind == "one image" else 3, channels=12)
    teacher = some_maps(9, batch=len(maps), channels=12)
    for changed in (maps, teacher):
        if kind == "dead":
            changed[:, 5:9] = 0
        if kind == "duplicated":
            changed[:, 5:9] = changed[:, :4]
    maps = {
        "zero": torch.zeros_like(maps),
        "constant": torch.ones_like(maps),
        "equal": teacher.clone(),
        "large": maps.sign() * 6e4,
    }.get(kind, maps)
    maps, teacher = maps.to(dtype).requires_grad_(), teacher.to(dtype)
    graph, shown, masks = channel_graph(maps), channel_graph(teacher), attention_masks(teacher)
    terms = [
        vertex_difference(maps, teacher, masks),
        edge_difference(graph, shown, masks),
        spectral_difference(graph, shown, 8, form),
    ]
    for term in terms:
        assert term.dtype == torch.float32
        assert term.isfinite()
    torch.stack(terms[1:]).sum().backward()
    assert maps.grad.isfinite().all()


@pytest.mark.parametrize("form", FORMS)
def test_what_is_not_finite_is_handed_on(form):
    maps = some_maps(10)
    maps[1, 0, 0, 0] = math.nan
    assert not spectral_difference(channel_graph(maps), some_graphs(11), 3, form).isfinite()


@pytest.mark.parametrize(
    ("student", "teacher", "count", "form", "message"),
    [
        ((2, 4, 4), (2, 4, 4), 2, "heet", r"unknown spectral form 'heet'. Did you mean 'heat'"),
        ((2, 4, 4), (2, 5, 5), 2, "residual", r"one shape \(B, C, C\); \(2, 4, 4\), \(2, 5, 5\) and count=2"),
        ((2, 4, 4), (2, 4, 4), 0, "residual", r"at least 1 eigenpair.*count=0"),
    ],
)
def test_mistakes_are_named(student, teacher, count, form, message):
    with pytest.raises(UserError, match=message):
        spectral_difference(torch.ones(student), torch.ones(teacher), count, form)


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_masks_are_their_loops(temperature, relative):
    maps = some_maps(12, batch=2, channels=3, side=2)
    masks = attention_masks(maps, temperature, relative=relative)
    for image, places, channels in zip(maps, masks.places, masks.channels, strict=True):
        size = image.abs().mean().item() if relative else 1.0
        exponents = {
            (y, x): math.exp(sum(abs(c[y, x].item()) for c in image) / 3 / size / temperature)
            for y in range(2)
            for x in range(3)
        }
        for (y, x), value in exponents.items():
            assert places[y, x].item() == pytest.approx(6 * value / sum(exponents.values()))
        powers = [math.exp(c.abs().sum().item() / 6 / size / temperature) for c in image]
        assert channels.tolist() == pytest.approx([3 * value / sum(powers) for value in powers])


def test_relative_masks_do_not_depend_on_the_size_of_features():
    maps = some_maps(13)
    found, expected = (attention_masks(size * maps, relative=True) for size in (1.0, 50.0))
    torch.testing.assert_close(tuple(found), tuple(expected))
    absolute = attention_masks(50 * maps)
    assert absolute.channels.max() > 5.9  # of 6 channels, one is left
    assert attention_masks(torch.zeros(1, 4, 2, 2), relative=True).channels.eq(1).all()


def test_vertices_and_edges_are_their_loops():
    student, teacher = some_maps(14, channels=4), some_maps(15, channels=4)
    masks = attention_masks(teacher)
    graphs = channel_graph(student), channel_graph(teacher)
    vertices = edges = 0.0
    for b in range(3):
        for i in range(4):
            for y in range(4):
                for x in range(5):
                    weight = masks.channels[b, i] * masks.places[b, y, x]
                    vertices += weight.item() * (teacher[b, i, y, x] - student[b, i, y, x]).item() ** 2
            for j in range(4):
                weight = math.sqrt(masks.channels[b, i] * masks.channels[b, j])
                edges += weight * (graphs[1][b, i, j] - graphs[0][b, i, j]).item() ** 2
    assert vertex_difference(student, teacher, masks).item() == pytest.approx(vertices / (3 * 4 * 20))
    assert edge_difference(*graphs, masks).item() == pytest.approx(edges / (3 * 4 * 4))
    assert vertex_difference(student, teacher).item() == pytest.approx((teacher - student).square().mean().item())
    assert edge_difference(*graphs).item() == pytest.approx((graphs[1] - graphs[0]).square().mean().item())


def learner_of(method, student, teacher):
    torch.manual_seed(0)
    return method.build(MethodContext(student, [teacher], BATCH.target)).double()


def test_terms_are_the_functions_with_the_settings(made_up):
    student, teacher = made_up(0), made_up(1, channels=3, sides=(6, 3, 2))
    method = SEKD(
        vertex=0.3, edge=7.0, spectral=0.2, form="heat", edges="gaussian", bandwidth=0.6, levels="all",
        spectral_graph="each", masks="relative", mask_temperature=0.8,
    )  # fmt: skip
    learner = learner_of(method, student, teacher)
    assert method.weights == {"vertex": 0.3, "edge": 7.0, "spectral": 0.2}
    terms = learner.terms(student, [teacher], BATCH)
    expected = {"vertex": 0.0, "edge": 0.0, "spectral": 0.0}
    for name, adapter in zip(student.feature_maps, learner.adapters, strict=True):
        ours, theirs = adapter(student.feature_maps[name]), teacher.feature_maps[name]
        size = tuple(min(a, b) for a, b in zip(ours.shape[2:], theirs.shape[2:], strict=True))
        ours, theirs = (torch.nn.functional.adaptive_avg_pool2d(maps, size) for maps in (ours, theirs))
        masks = attention_masks(theirs, 0.8, relative=True)
        graphs = [channel_graph(maps, "gaussian", 0.6) for maps in (ours, theirs)]
        expected["vertex"] += vertex_difference(ours, theirs, masks).item() / 3
        expected["edge"] += edge_difference(*graphs, masks).item() / 3
        expected["spectral"] += spectral_difference(*graphs, form="heat").item() / 3
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(expected)


def test_by_default_the_last_stage_and_the_mean_graph_count(made_up):
    student, teacher = made_up(0, channels=4), made_up(1, channels=3)
    for count in (2, 8):
        learner = learner_of(SEKD(eigenpairs=count, masks="none"), student, teacher)
        terms = learner.terms(student, [teacher], BATCH)
        (adapter,) = learner.adapters
        ours, theirs = adapter(student.feature_maps["stage2"]), teacher.feature_maps["stage2"]
        graphs = [channel_graph(maps) for maps in (ours, theirs)]
        means = [graph.mean(0, keepdim=True) for graph in graphs]
        assert terms["vertex"].item() == pytest.approx(vertex_difference(ours, theirs).item())
        assert terms["edge"].item() == pytest.approx(edge_difference(*graphs).item())
        assert terms["spectral"].item() == pytest.approx(spectral_residual(*means, count).item())


@pytest.mark.parametrize("masks", ["fgd", "none"])
def test_where_channels_are_many_not_all_images_get_a_graph(made_up, monkeypatch, masks):
    student, teacher = made_up(0), made_up(1)
    whole = learner_of(SEKD(masks=masks), student, teacher).terms(student, [teacher], BATCH)
    monkeypatch.setattr(sekd, "GRAPH_ENTRIES", 8 * 8 * 3 - 1)
    learner = learner_of(SEKD(masks=masks), student, teacher)
    part = learner.terms(student, [teacher], BATCH)
    ours, theirs = learner.adapters[0](student.feature_maps["stage2"])[:2], teacher.feature_maps["stage2"][:2]
    graphs = [channel_graph(maps) for maps in (ours, theirs)]
    weights = attention_masks(theirs) if masks == "fgd" else None
    assert part["vertex"].item() == pytest.approx(whole["vertex"].item())
    assert part["edge"].item() == pytest.approx(edge_difference(*graphs, weights).item())
    assert part["spectral"].item() == pytest.approx(
        spectral_residual(*(g.mean(0, keepdim=True) for g in graphs)).item()
    )
    monkeypatch.setattr(sekd, "GRAPH_ENTRIES", 1)
    assert learner.terms(student, [teacher], BATCH)["edge"].isfinite()  # one image always gets one


@pytest.mark.parametrize("form", FORMS)
def test_a_student_that_equals_its_teacher_through_an_adapter_that_changes_nothing_has_nothing_to_learn(made_up, form):
    student = made_up(0)
    learner = learner_of(SEKD(form=form, levels="all"), student, made_up(0)).eval()
    for adapter in learner.adapters:
        convolution, normalization = adapter.layers
        torch.nn.init.dirac_(convolution.weight)
        normalization.eps = 0.0
    for value in learner.terms(student, [made_up(0)], BATCH).values():
        assert value.item() == pytest.approx(0, abs=1e-12)


def test_the_adapter_learns_and_lies_in_the_state(made_up):
    student, teacher = made_up(0), made_up(1, channels=3)
    learner = learner_of(SEKD(), student, teacher)
    assert [tuple(p.shape) for p in learner.parameters()] == [(12, 8, 1, 1), (12,), (12,)]
    torch.stack(list(learner.terms(student, [teacher], BATCH).values())).sum().backward()
    assert all(p.grad.abs().max() > 0 for p in learner.parameters())
    assert learner.adapters[0].layers[1].num_batches_tracked == 1


def test_one_image_with_one_place_is_enough(made_up):
    student, teacher = made_up(0, batch=1), made_up(1, batch=1)
    single = [
        ModelOutput(f.logits, f.embedding, {"end": f.feature_maps["stage2"][..., :1, :1]}) for f in (student, teacher)
    ]
    terms = learner_of(SEKD(), *single).terms(single[0], single[1:], BATCH)
    assert all(value.isfinite() for value in terms.values())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vertex": -1.0}, r"SEKD.vertex: .*; -1.0 was given"),
        ({"edge": math.nan}, r"SEKD.edge: .*; nan was given"),
        ({"spectral": -1.0}, r"SEKD.spectral: .*; -1.0 was given"),
        ({"form": "raw"}, r"SEKD.form: .*; 'raw' was given"),
        ({"eigenpairs": 0}, r"SEKD.eigenpairs: .*; 0 was given"),
        ({"bandwidth": 0.0}, r"SEKD.bandwidth: .*; 0.0 was given"),
        ({"mask_temperature": 0.0}, r"SEKD.mask_temperature: .*; 0.0 was given"),
        ({"gamma": 1.0}, r"unknown field of SEKD: 'gamma'"),
    ],
)
def test_settings_out_of_range_are_named(fields, message):
    with pytest.raises(UserError, match=message):
        SEKD(**fields)
