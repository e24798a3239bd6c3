"""Weights of teachers by confidence: against loops, at the edges, and as TGD where they do not vary."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from persistill.errors import UserError
from persistill.losses import TGD, WeightedTGD, confidence_weights, normalize_rows, similarity
from persistill.structures import ModelOutput

TARGET = torch.tensor([0, 3, 1, 4])


def looped_weights(logits, target, alphas, temperature=1.0):
    """CA-MKD's formula in Python's floats: (1 - exp(L_t) / sum exp(L)) / (T - 1) for each image, times alpha."""
    columns = []
    for i, label in enumerate(target.tolist()):
        entropies = []
        for teacher in logits:
            powers = [math.exp(value / temperature) for value in teacher[i].tolist()]
            entropies.append(-math.log(powers[label] / sum(powers)))
        total = sum(math.exp(value) for value in entropies)
        column = [
            alpha * (1 - math.exp(value) / total) / (len(logits) - 1)
            for alpha, value in zip(alphas, entropies, strict=True)
        ]
        columns.append([value / sum(column) for value in column])
    return torch.tensor(columns, dtype=torch.float64).T


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("alphas", [(0.5, 0.5), (0.9, 0.1), (1 / 3, 1 / 3, 1 / 3), (0.2, 0.5, 0.3)])
def test_weights_are_their_loop(alphas, temperature):
    torch.manual_seed(0)
    logits = [3 * torch.randn(4, 5, dtype=torch.float64) for _ in alphas]
    found = confidence_weights(logits, TARGET, alphas, temperature)
    torch.testing.assert_close(
        found.double(), looped_weights(logits, TARGET, alphas, temperature), rtol=1e-5, atol=1e-6
    )


def test_two_teachers_weigh_as_much_as_they_give_to_the_true_class():
    # 3 in 4 and 1 in 4 for the first image's class, 1 in 2 and 1 in 2 for the second's.
    one = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
    other = torch.tensor([[-math.log(3.0), 0.0], [1.0, 1.0]])
    target = torch.tensor([0, 1])
    found = confidence_weights([one, other], target, (0.5, 0.5))
    torch.testing.assert_close(found, torch.tensor([[0.75, 0.5], [0.25, 0.5]]))
    found = confidence_weights([one, other], target, (0.9, 0.1))
    torch.testing.assert_close(found, torch.tensor([[0.9 * 3 / (0.9 * 3 + 0.1), 0.9], [0.1 / (0.9 * 3 + 0.1), 0.1]]))


@given(st.integers(0, 2**32 - 1), st.integers(2, 4))
@settings(deadline=None, max_examples=20)
def test_the_surer_a_teacher_the_higher_its_weight(seed, count):
    torch.manual_seed(seed)
    logits = [5 * torch.randn(4, 5) for _ in range(count)]
    equal = [1 / count] * count
    weights = confidence_weights(logits, TARGET, equal)
    torch.testing.assert_close(weights.sum(0), torch.ones(4))
    assert weights.max() <= 1 / (count - 1) + 1e-6
    entropies = torch.stack([F.cross_entropy(of_teacher, TARGET, reduction="none") for of_teacher in logits])
    for one in range(count):
        for other in range(count):
            surer = entropies[one] < entropies[other]
            assert (weights[one] >= weights[other] - 1e-6)[surer].all()
    order = torch.randperm(count).tolist()
    torch.testing.assert_close(confidence_weights([logits[i] for i in order], TARGET, equal), weights[order])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_at_the_edges(dtype):
    large = (2e4 * F.one_hot(TARGET, 5)).to(dtype)
    for logits in ([large, -large], [torch.zeros_like(large), large], [large, large]):
        weights = confidence_weights(logits, TARGET, (0.5, 0.5))
        assert weights.dtype == torch.float32
        torch.testing.assert_close(weights.sum(0), torch.ones(4))
    assert confidence_weights([large, -large], TARGET, (0.5, 0.5))[0].eq(1).all()
    torch.testing.assert_close(confidence_weights([large, large], TARGET, (0.7, 0.3))[0], torch.full((4,), 0.7))
    assert confidence_weights([large], TARGET, (1.0,)).eq(1).all()


@pytest.mark.parametrize("merge", ["published", "normalized"])
@pytest.mark.parametrize("reduction", ["batchmean", "mean"])
def test_terms_are_their_loops(made_up, merge, reduction):
    student, teachers = made_up(0), [made_up(1), made_up(2, channels=3, sides=(6, 4, 2))]
    method = WeightedTGD(
        kd=0.3, similarity=7.0, alphas=(0.6, 0.4), temperature=2.5, kl_reduction=reduction, merge=merge,
        confidence_temperature=3.0,
    )  # fmt: skip
    terms = method.terms(student, teachers, TARGET)
    assert method.weights == {"kd": 0.3, "sp": 7.0}
    assert method.num_teachers == 2
    weights = looped_weights([t.logits.detach() for t in teachers], TARGET, (0.6, 0.4), 3.0)
    divergence = 0.0
    for i in range(4):
        for weight, teacher in zip(weights[:, i].tolist(), teachers, strict=True):
            p, q = ((of.logits[i] / 2.5).softmax(0) for of in (teacher, student))
            divergence += (
                weight * 2.5**2 * sum(a * math.log(a / b) for a, b in zip(p.tolist(), q.tolist(), strict=True))
            )
    divergence /= 4 * (5 if reduction == "mean" else 1)
    assert terms["kd"].item() == pytest.approx(divergence, rel=1e-5)
    differences = []
    for name in student.feature_maps:
        grams = []
        for teacher in teachers:
            flat = teacher.feature_maps[name].flatten(1)
            gram = torch.tensor([[a.dot(b).item() for b in flat] for a in flat], dtype=torch.float64)
            grams.append(gram if merge == "published" else normalize_rows(gram))
        rows = [weights[0, i] * grams[0][i] + weights[1, i] * grams[1][i] for i in range(4)]
        merged = torch.stack([row / row.norm() for row in rows])
        differences.append((merged - similarity(student.feature_maps[name])).square().mean().item())
    assert terms["sp"].item() == pytest.approx(sum(differences) / 3, rel=1e-5)


@pytest.mark.parametrize("merge", ["published", "normalized"])
def test_teachers_that_are_equally_sure_are_merged_as_in_tgd(made_up, merge):
    student, one, other = made_up(0), made_up(1), made_up(2)
    other = ModelOutput(one.logits, other.embedding, other.feature_maps)
    settings = {"alphas": (0.8, 0.2), "merge": merge, "standardize": True, "temperature": 3.0}
    found = WeightedTGD(**settings).terms(student, [one, other], TARGET)
    expected = TGD(**settings).terms(student, [one, other], TARGET)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("merge", ["published", "normalized"])
def test_a_student_that_equals_its_teachers_has_nothing_to_learn(made_up, merge):
    """That goes for the maps also where weights vary over images, as teachers of other opinions have them."""
    student, teachers = made_up(0), [made_up(0), made_up(0)]
    terms = WeightedTGD(merge=merge).terms(student, teachers, TARGET)
    torch.stack(list(terms.values())).sum().backward()
    for value in terms.values():
        assert value.item() == pytest.approx(0, abs=1e-14)
    for tensor in (student.logits, *student.feature_maps.values()):
        torch.testing.assert_close(tensor.grad, torch.zeros_like(tensor), rtol=0, atol=1e-7)
    varied = ModelOutput(teachers[1].logits.flip(1), teachers[1].embedding, teachers[1].feature_maps)
    assert WeightedTGD(merge=merge).terms(student, [teachers[0], varied], TARGET)["sp"].item() == pytest.approx(
        0, abs=1e-14
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["zero", "constant", "large", "one sample"])
def test_gradients_are_finite(made_up, kind, dtype):
    batch = 1 if kind == "one sample" else 4
    change = {"zero": torch.zeros_like, "constant": torch.ones_like, "large": lambda t: t.sign() * 6e4}.get(
        kind, lambda t: t
    )

    def changed(features, *, grad):
        logits, maps = features.logits, features.feature_maps
        return ModelOutput(
            change(logits).detach().to(dtype).requires_grad_(grad),
            features.embedding,
            {name: change(value).detach().to(dtype).requires_grad_(grad) for name, value in maps.items()},
        )

    student = changed(made_up(0, batch=batch), grad=True)
    teachers = [changed(made_up(i, batch=batch), grad=False) for i in (1, 2)]
    terms = WeightedTGD().terms(student, teachers, TARGET[:batch])
    assert all(value.isfinite() and value.dtype == torch.float32 for value in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    for tensor in (student.logits, *student.feature_maps.values()):
        assert tensor.grad.isfinite().all()


def test_teachers_and_alphas_must_agree(made_up):
    for count in (1, 3):
        with pytest.raises(
            UserError, match=rf"WeightedTGD has 2 alphas \(0.5, 0.5\), one for each teacher; given: {count} teacher"
        ):
            WeightedTGD().terms(made_up(0), [made_up(i) for i in range(count)], TARGET)
    two = [torch.zeros(4, 5)] * 2
    for logits, alphas in [
        (two, (1.0,)),
        (two, (0.2, 0.3, 0.5)),
        ([two[0][:3]] * 2, (0.5, 0.5)),
        ([two[0][0]], (1.0,)),
    ]:
        with pytest.raises(UserError, match=r"logits \(B, K\) and an alpha of each teacher.* 4 classes"):
            confidence_weights(logits, TARGET, alphas)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"alphas": (0.9, 0.01)}, r"alphas must sum to 1; \(0.9, 0.01\) sum to 0.91"),
        ({"alphas": (1.0, 0.0)}, r"WeightedTGD.alphas.1: .*; 0.0 was given"),
        ({"alphas": ()}, r"WeightedTGD.alphas: .*at least 1"),
        ({"confidence_temperature": 0.0}, r"WeightedTGD.confidence_temperature: .*; 0.0 was given"),
        ({"rule": "learned"}, r"unknown field of WeightedTGD: 'rule'"),
    ],
)
def test_settings_out_of_range_are_named(fields, message):
    with pytest.raises(UserError, match=message):
        WeightedTGD(**fields)
