"""Learned weights of teachers: what they learn from, what they do not, and where they begin."""

import math

import pytest
import torch
import torch.nn.functional as F

from persistill.errors import UserError
from persistill.losses import TGD, LearnedTGD, MethodContext, flatten_logits, mixture_cross_entropy
from persistill.structures import Batch, ModelOutput

TARGET = torch.tensor([0, 3, 1, 4])
BATCH = Batch({}, TARGET, torch.arange(4))


def learner_of(method, student, teachers):
    return method.build(MethodContext(student, teachers, TARGET)).double()


def looped_weights(trust, logits, alphas):
    """The rule in Python's floats."""
    columns = []
    for i in range(len(logits[0])):
        scores = []
        for teacher, alpha, deviation in zip(logits, alphas, trust.deviations.flatten().tolist(), strict=True):
            p = teacher[i].softmax(0).tolist()
            sureness = 1 - sum(-x * math.log(x) for x in p) / math.log(len(p))
            scores.append(alpha * math.exp(deviation + trust.slope.item() * sureness))
        columns.append([score / sum(scores) for score in scores])
    return torch.tensor(columns, dtype=torch.float64).T


def test_mixture_by_hand():
    one, other = torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([[-math.log(3.0), 0.0]])
    weights = torch.tensor([[0.9], [0.1]])
    found = mixture_cross_entropy([one, other], torch.tensor([0]), weights.log())
    assert found.item() == pytest.approx(-math.log(0.9 * 0.75 + 0.1 * 0.25))


@pytest.mark.parametrize("alphas", [(1.0,), (0.6, 0.4), (0.2, 0.5, 0.3)])
def test_it_begins_as_tgd_with_the_alphas(made_up, alphas):
    student, teachers = made_up(0), [made_up(i + 1) for i in range(len(alphas))]
    settings = {"alphas": alphas, "merge": "normalized", "temperature": 2.5, "kl_reduction": "mean"}
    terms = learner_of(LearnedTGD(**settings), student, teachers).terms(student, teachers, BATCH)
    assert list(terms) == ["kd", "sp", "mix", "anchor"]
    expected = TGD(**settings).terms(student, teachers, TARGET)
    torch.testing.assert_close({name: terms[name] for name in ("kd", "sp")}, expected, rtol=1e-6, atol=0)
    assert terms["anchor"].item() == pytest.approx(0, abs=1e-7)


def test_rule_and_terms_are_their_loops(made_up):
    student, teachers = made_up(0), [made_up(1), made_up(2)]
    method = LearnedTGD(kd=0.3, similarity=7.0, mix=0.7, anchor=0.2, alphas=(0.6, 0.4))
    assert method.weights == {"kd": 0.3, "sp": 7.0, "mix": 0.7, "anchor": 0.2}
    learner = learner_of(method, student, teachers)
    with torch.no_grad():
        learner.trust.deviations += torch.tensor([[0.3], [-0.5]])
        learner.trust.slope += 1.7
    logits = [teacher.logits.detach() for teacher in teachers]
    weights = looped_weights(learner.trust, logits, (0.6, 0.4))
    torch.testing.assert_close(learner.trust(logits).exp(), weights, rtol=1e-6, atol=1e-7)
    terms = learner.terms(student, teachers, BATCH)
    mix = anchor = 0.0
    for i, label in enumerate(TARGET.tolist()):
        mix -= math.log(
            sum(w * z[i].softmax(0)[label].item() for w, z in zip(weights[:, i].tolist(), logits, strict=True))
        )
        anchor += sum(a * math.log(a / w) for a, w in zip((0.6, 0.4), weights[:, i].tolist(), strict=True))
    assert terms["mix"].item() == pytest.approx(mix / 4, rel=1e-6)
    assert terms["anchor"].item() == pytest.approx(anchor / 4, rel=1e-5)
    flat = flatten_logits(student.logits, logits, TARGET)
    merged = method.merged_terms(student, teachers, flat, weights)
    torch.testing.assert_close(terms["kd"], merged["kd"], rtol=1e-6, atol=0)


def test_weights_learn_from_labels_alone_and_the_student_from_its_teachers_alone(made_up):
    student, teachers = made_up(0), [made_up(1), made_up(2)]
    learner = learner_of(LearnedTGD(), student, teachers)
    terms = learner.terms(student, teachers, BATCH)
    for name in ("kd", "sp"):
        found = torch.autograd.grad(terms[name], list(learner.parameters()), retain_graph=True, allow_unused=True)
        assert found == (None, None)
    (terms["mix"] + terms["anchor"]).backward()
    assert student.logits.grad is None
    assert all(stage.grad is None for stage in student.feature_maps.values())
    assert all(parameter.grad.abs().max() > 0 for parameter in learner.parameters())


def run(method, teachers, steps=300, batch=64):
    """The rule after training beside a student that already equals the first teacher. Teachers are logits of labels."""
    torch.manual_seed(0)
    maps = {"last": torch.randn(batch, 2, 3, 3)}
    module, optimizer = None, None
    for _ in range(steps):
        target = torch.randint(5, (batch,))
        taught = [ModelOutput(teacher(target), torch.zeros(batch, 1), maps) for teacher in teachers]
        step = Batch({}, target, torch.arange(batch))
        if module is None:
            module = method.build(MethodContext(taught[0], taught, target))
            optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
        optimizer.zero_grad()
        module(taught[0], taught, step).total.backward()
        optimizer.step()
    target = torch.randint(5, (batch,))
    return module.trust([teacher(target) for teacher in teachers]).exp()


def guesses(target):
    return torch.randn(len(target), 5)


def knows(target):
    return torch.randn(len(target), 5) + 4 * F.one_hot(target, 5)


def test_the_teacher_that_is_easiest_to_imitate_is_not_chosen():
    weights = run(LearnedTGD(), [guesses, knows])
    assert weights[1].mean() > 0.8
    assert run(LearnedTGD(), [knows, guesses])[0].mean() > 0.8


def test_the_anchor_keeps_every_teacher():
    free, kept = (run(LearnedTGD(anchor=anchor), [guesses, knows])[0].mean() for anchor in (0.0, 1.0))
    assert free < 0.1
    assert 0.15 < kept < 0.5


def test_trust_goes_to_whoever_is_sure_where_being_sure_is_being_right():
    def of_half(remainder):
        """Knows the classes with this remainder, and says of all others that it does not know."""

        def teacher(target):
            return 6.0 * F.one_hot(target, 5) * (target % 2 == remainder).unsqueeze(1)

        return teacher

    weights = run(LearnedTGD(), [of_half(0), of_half(1)])
    assert weights.max(0).values.min() > 0.7
    assert 0.2 < weights[0].mean() < 0.8


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [0.0, 6e4])
def test_gradients_are_finite(made_up, size, dtype):
    def changed(features):
        return ModelOutput(
            (size * features.logits.sign()).detach().to(dtype).requires_grad_(),
            features.embedding,
            {
                name: (size * value.sign()).detach().to(dtype).requires_grad_()
                for name, value in features.feature_maps.items()
            },
        )

    student, *teachers = (changed(made_up(i, batch=1)) for i in range(3))
    method = LearnedTGD()
    learner = method.build(MethodContext(student, teachers, TARGET))
    terms = learner.terms(student, teachers, Batch({}, TARGET[:1], TARGET[:1]))
    assert all(value.isfinite() and value.dtype == torch.float32 for value in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    for tensor in (student.logits, *student.feature_maps.values(), *learner.parameters()):
        assert tensor.grad.isfinite().all()


def test_teachers_and_alphas_must_agree(made_up):
    message = r"LearnedTGD has 2 alphas \(0.5, 0.5\), one for each teacher; given: 1 teacher\."
    with pytest.raises(UserError, match=message):
        LearnedTGD().build(MethodContext(made_up(0), [made_up(1)], TARGET))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mix": -1.0}, r"LearnedTGD.mix: .*; -1.0 was given"),
        ({"anchor": math.nan}, r"LearnedTGD.anchor: .*; nan was given"),
        ({"alphas": (1.0, 0.0)}, r"LearnedTGD.alphas.1: .*; 0.0 was given"),
        ({"alphas": (0.5, 0.4)}, r"alphas must sum to 1"),
    ],
)
def test_settings_out_of_range_are_named(fields, message):
    with pytest.raises(UserError, match=message):
        LearnedTGD(**fields)
