"""CRD: the published formula in loops, what is drawn, what is remembered, what is refused, and as it learns."""

import copy
import math

import pytest
import torch

from persistill.errors import UserError
from persistill.losses import CRD, MethodContext, contrastive_estimation
from persistill.structures import Batch, ModelOutput

TARGETS = torch.tensor([2, 0, 1, 2, 0, 0, 3, 2, 1, 0, 3, 2])
INDEX = torch.tensor([3, 6, 0, 9])
BATCH = Batch({}, TARGETS[INDEX], INDEX)


def learner_of(method, student, teacher, targets=TARGETS):
    torch.manual_seed(7)
    return method.build(MethodContext(student, [teacher], targets)).double()


def estimated(positive, negative, noise):
    """The published formula, for one image after another, from probabilities."""
    total = 0.0
    for true, others in zip(positive, negative, strict=True):
        total -= math.log(true / (true + noise))
        for other in others:
            total -= math.log(noise / (other + noise))
    return total / len(positive)


@pytest.mark.parametrize("batch", [1, 3])
def test_function_is_its_loop(batch):
    torch.manual_seed(0)
    positive, negative = torch.randn(batch, dtype=torch.float64), torch.randn(batch, 5, dtype=torch.float64)
    expected = estimated(positive.exp().tolist(), negative.exp().tolist(), 0.3)
    assert contrastive_estimation(positive, negative, 0.3).item() == pytest.approx(expected, rel=1e-12)


def test_function_by_hand():
    # A true pair as probable as noise is a coin's toss; another three times as probable counts as true in 3 of 4 cases.
    positive, negative = torch.tensor([0.2]).log(), torch.tensor([[0.6]]).log()
    assert contrastive_estimation(positive, negative, 0.2).item() == pytest.approx(math.log(2) + math.log(4))


def test_it_tends_to_zero_and_no_lower():
    sure, impossible = torch.tensor([500.0]), torch.tensor([[-500.0, -500.0]])
    assert contrastive_estimation(sure, impossible, 0.3) == 0
    assert contrastive_estimation(torch.tensor([5.0]), torch.tensor([[-5.0]]), 0.3) > 0
    mistaken = contrastive_estimation(-sure, -impossible, 0.3)
    assert mistaken.item() == pytest.approx(3 * 500, rel=1e-2)  # the logarithm of a probability would be of zero


def test_term_is_the_published_formula(made_up):
    student, teacher = made_up(0), made_up(1)._replace(embedding=torch.randn(4, 5, dtype=torch.float64))
    method = CRD(weight=2.0, negatives=6, dim=7, temperature=0.3, momentum=0.2)
    assert method.weights == {"crd": 2.0}
    assert method.num_teachers == 1
    learner = learner_of(method, student, teacher)
    constants = None
    for _ in range(2):  # the second time with what is remembered, and the constants of the first
        before = copy.deepcopy(learner)
        state = torch.get_rng_state()
        found = learner.terms(student, [teacher, made_up(2)], BATCH)
        torch.set_rng_state(state)
        drawn = before.draw(INDEX)
        assert list(found) == ["crd"]

        pairs = [[own, *others] for own, others in zip(INDEX.tolist(), drawn.tolist(), strict=True)]
        units = []
        for layer, features in ((before.student, student), (before.teacher, teacher)):
            reached = (features.embedding @ layer.weight.T + layer.bias).detach()
            units.append(reached / reached.norm(dim=1, keepdim=True))
        memories = before.memory_teacher, before.memory_student
        powers = [
            [[math.exp(unit[i] @ memory[place] / 0.3) for place in row] for i, row in enumerate(pairs)]
            for unit, memory in zip(units, memories, strict=True)
        ]
        constants = constants or [len(TARGETS) * sum(map(sum, rows)) / (4 * 7) for rows in powers]
        expected = 0.0
        for rows, z in zip(powers, constants, strict=True):
            p = [[power / z for power in row] for row in rows]
            expected += estimated([row[0] for row in p], [row[1:] for row in p], 6 / len(TARGETS))
        assert found["crd"].item() == pytest.approx(expected)

        for name, unit in zip(("memory_student", "memory_teacher"), units, strict=True):
            old, new = getattr(before, name), getattr(learner, name)
            mixed = 0.2 * old[INDEX] + 0.8 * unit
            torch.testing.assert_close(new[INDEX], mixed / mixed.norm(dim=1, keepdim=True))
            others = [place for place in range(len(TARGETS)) if place not in INDEX.tolist()]
            assert torch.equal(new[others], old[others])
            assert not new.requires_grad


def test_only_training_changes_what_is_remembered(made_up):
    student, teacher = made_up(0), made_up(1)
    learner = learner_of(CRD(negatives=3, dim=4), student, teacher).eval()
    before = copy.deepcopy(learner.state_dict())
    learner.terms(student, [teacher], BATCH)
    assert torch.equal(before["memory_student"], learner.memory_student)


def test_all_images_of_other_classes_are_drawn_alike():
    nothing = torch.zeros(2, 3)
    features = ModelOutput(nothing, nothing, {})
    learner = learner_of(CRD(negatives=9000, dim=2), features, features)
    drawn = learner.draw(torch.arange(len(TARGETS)))
    assert drawn.shape == (12, 9000)
    for own, row in zip(TARGETS, drawn, strict=True):
        others = (own != TARGETS).nonzero().flatten()
        counts = torch.bincount(row, minlength=len(TARGETS))
        assert counts[own == TARGETS].eq(0).all()
        expected = 9000 / len(others)
        # Chi squared with at most 9 degrees of freedom exceeds 35 once in 10,000 draws.
        assert ((counts[others] - expected).square() / expected).sum() < 35
    torch.manual_seed(1)
    first = learner.draw(INDEX)
    torch.manual_seed(1)
    assert torch.equal(first, learner.draw(INDEX))
    assert not torch.equal(first, learner.draw(INDEX))


def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(made_up):
    student, teacher = made_up(0), made_up(1)
    method = CRD(negatives=5, dim=4)
    learner = learner_of(method, student, teacher)
    learner.terms(student, [teacher], BATCH)
    saved, state = copy.deepcopy(learner.state_dict()), torch.get_rng_state()
    assert {"memory_student", "memory_teacher", "log_z"} <= set(saved)
    assert not {"targets", "by_class", "counts", "starts"} & set(saved)
    expected = learner.terms(student, [teacher], BATCH)
    torch.manual_seed(99)
    resumed = method.build(MethodContext(student, [teacher], TARGETS)).double()
    resumed.load_state_dict(saved)
    torch.set_rng_state(state)
    assert resumed.terms(student, [teacher], BATCH) == expected
    assert torch.equal(resumed.memory_teacher, learner.memory_teacher)


def test_memories_have_about_unit_norm(made_up):
    learner = learner_of(CRD(dim=200, negatives=2), made_up(0), made_up(1), torch.arange(500) % 3)
    assert learner.memory_student.norm(dim=1).mean().item() == pytest.approx(1, abs=0.02)
    assert not torch.equal(learner.memory_student, learner.memory_teacher)


def test_the_layers_learn_to_tell_images_apart(made_up, trained):
    student, teacher = made_up(0), made_up(1)
    learner = learner_of(CRD(negatives=50, dim=4, temperature=0.3), student, teacher)
    optimizer = torch.optim.Adam(learner.parameters(), lr=0.05)
    values = trained(learner, optimizer, 60, student, teacher, BATCH)
    assert sum(values[-5:]) < sum(values[1:6]) * 0.9


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gradients_are_finite_where_the_layer_gives_zero(dtype):
    student = torch.zeros(4, 6, dtype=dtype, requires_grad=True)
    features = [ModelOutput(one, one, {}) for one in (student, torch.randn(4, 6).to(dtype))]
    learner = CRD(negatives=8).build(MethodContext(features[0], features[1:], TARGETS))
    torch.nn.init.zeros_(learner.student.bias)
    value = learner.terms(features[0], features[1:], BATCH)["crd"]
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in learner.parameters())
    assert learner.memory_student.isfinite().all()


def test_the_function_computes_in_fp32():
    torch.manual_seed(5)
    scores = torch.randn(3, 4).half()
    assert contrastive_estimation(scores[0], scores.T[:, 1:], 0.3) == contrastive_estimation(
        scores[0].float(), scores.T[:, 1:].float(), 0.3
    )


def test_gradient_is_that_of_finite_differences(made_up):
    student, teacher = made_up(0), made_up(1)
    learner = learner_of(CRD(negatives=5, dim=4), student, teacher).eval()
    learner.terms(student, [teacher], BATCH)  # sets the constants, which are no functions of later embeddings

    def term(embedding):
        torch.manual_seed(8)
        return learner.terms(student._replace(embedding=embedding), [teacher], BATCH)["crd"]

    assert torch.autograd.gradcheck(term, student.embedding.clone().requires_grad_())


def test_a_memory_that_fits_into_no_machine_is_refused(made_up):
    student, teacher = made_up(0), made_up(1)
    expanded = torch.arange(2).repeat(7_000_000)  # 14 million images
    with pytest.raises(UserError, match=r"about 53 GiB: .*14,000,000 training images.*16,384 drawn.*Lower dim"):
        CRD().build(MethodContext(student, [teacher], expanded))
    with pytest.raises(UserError, match="Lower dim, negatives or"):
        CRD(negatives=10**8).build(MethodContext(student, [teacher], TARGETS))


def test_what_does_not_fit_is_named(made_up):
    student, teacher = made_up(0), made_up(1)
    with pytest.raises(UserError, match="all training images are of one"):
        learner_of(CRD(), student, teacher, torch.full((9,), 2))
    with pytest.raises(UserError, match="the teacher's embeddings hold 3 samples, the student's 4"):
        learner_of(CRD(negatives=2), student, teacher).terms(student, [made_up(1, batch=3)], BATCH)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weight": -1.0}, r"CRD.weight: .*; -1.0 was given"),
        ({"negatives": 0}, r"CRD.negatives: .*; 0 was given"),
        ({"dim": 0}, r"CRD.dim: .*; 0 was given"),
        ({"temperature": 0.0}, r"CRD.temperature: .*; 0.0 was given"),
        ({"momentum": 1.0}, r"CRD.momentum: .*; 1.0 was given"),
    ],
)
def test_settings_out_of_range_are_named(fields, message):
    with pytest.raises(UserError, match=message):
        CRD(**fields)
