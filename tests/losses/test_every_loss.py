"""What holds at the edges for every method of the package, whichever there are; each one's own file tests the rest.

A method is covered as soon as ``persistill.losses`` exports it. Forms that are not the default stand in ``FORMS``.
"""

import copy
import inspect

import pytest
import torch

from persistill import losses
from persistill.config import as_methods
from persistill.losses import CC
from persistill.settings import Settings
from persistill.structures import Batch, LearningMethod, MethodContext, ModelOutput, PureMethod

FORMS = (CC(form="kernel"),)
DEFAULTS = [value() for value in vars(losses).values() if inspect.isclass(value) and issubclass(value, Settings)]
EVERY = as_methods([*DEFAULTS, *FORMS])
LEARNING = [method for method in EVERY if isinstance(method, LearningMethod)]
PURE = [method for method in EVERY if isinstance(method, PureMethod)]
TARGETS = torch.arange(20) % 5  # of all training images; a batch holds some of the first
KINDS = ("zero", "constant", "equal", "large", "one sample", "one place", "one dead channel", "one dead sample")


def named(method):
    form = f"-{method.form}" if method in FORMS else ""
    return type(method).__name__ + form


def drawn(seed, batch=4, channels=(4, 6), sides=(5, 3), width=6):
    """Features of a network with two stages."""
    generator = torch.Generator().manual_seed(seed)
    maps = {
        f"stage{i}": torch.randn(batch, count, side, side, generator=generator)
        for i, (count, side) in enumerate(zip(channels, sides, strict=True))
    }
    return ModelOutput(torch.randn(batch, 5, generator=generator), torch.randn(batch, width, generator=generator), maps)


def each(features, change):
    """Features of which every tensor is changed."""
    maps = {name: change(one) for name, one in features.feature_maps.items()}
    return ModelOutput(change(features.logits), change(features.embedding), maps)


def tensors(features):
    return [features.logits, features.embedding, *features.feature_maps.values()]


def learnt(features, dtype=torch.float32):
    """Features of a student: leaves that keep their gradient."""
    return each(features, lambda one: one.to(dtype, copy=True).requires_grad_())


def batch_of(student):
    index = torch.arange(len(student.logits))
    return Batch({}, TARGETS[index], index)


def learner_of(method, student, teachers):
    """The part that learns, the same at every call; a pure method has none."""
    torch.manual_seed(3)
    return method.learner(MethodContext(student, teachers, TARGETS)) if isinstance(method, LearningMethod) else None


def terms_of(method, learner, student, teachers):
    """The terms, the same at every call: what is drawn is drawn from one seed, what is remembered is forgotten."""
    torch.manual_seed(4)
    if learner is None:
        return method.terms(student, teachers, batch_of(student).target)
    return learner(student, teachers, batch_of(student))


def at_the_edge(kind):
    """A student's and a teacher's features."""
    student, teacher = drawn(0), drawn(1, channels=(6, 4), sides=(3, 2), width=7)
    if kind == "zero":
        student = each(student, torch.zeros_like)
    elif kind == "constant":
        student = each(student, torch.ones_like)
    elif kind == "equal":
        student = teacher
    elif kind == "large":
        student = each(student, lambda one: 6e4 * one.sign())  # near the largest number of fp16
    elif kind.startswith("one dead"):
        axis = 1 if kind == "one dead channel" else 0
        student = each(student, lambda one: one.index_fill(axis, torch.tensor([1]), 0.0))
    elif kind == "one sample":
        student, teacher = (each(features, lambda one: one[:1]) for features in (student, teacher))
    else:
        student, teacher = drawn(0, batch=1, sides=(1, 1)), drawn(1, batch=1, sides=(1, 1))
    return student, teacher


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", EVERY, ids=named)
def test_terms_and_gradients_are_finite(method, kind, dtype):
    student, teacher = at_the_edge(kind)
    student = learnt(student, dtype)
    teachers = [each(teacher, lambda one: one.to(dtype))] * method.teachers_needed
    learner = learner_of(method, student, teachers)
    terms = terms_of(method, learner, student, teachers)
    assert list(terms) == list(method.weights)
    assert all(term.shape == () and term.dtype == torch.float32 and term.isfinite() for term in terms.values())
    total = sum(method.weights[name] * term for name, term in terms.items())
    total.backward()
    gradients = [one.grad for one in tensors(student) if one.grad is not None]
    if learner is not None:
        gradients += [parameter.grad for parameter in learner.parameters() if parameter.grad is not None]
        assert all(one.isfinite().all() for one in learner.state_dict().values())
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("method", EVERY, ids=named)
def test_everything_is_fp32_under_autocast(method):
    student, teacher = (each(drawn(seed), lambda one: one.bfloat16()) for seed in (0, 1))
    learner = learner_of(method, student, [teacher] * method.teachers_needed)
    other = copy.deepcopy(learner)
    with torch.autocast("cpu", torch.bfloat16):
        inside = terms_of(method, learner, student, [teacher] * method.teachers_needed)
    student, teacher = (each(features, torch.Tensor.float) for features in (student, teacher))
    assert inside == terms_of(method, other, student, [teacher] * method.teachers_needed)


@pytest.mark.parametrize("method", PURE, ids=named)
def test_a_student_that_equals_its_teachers_has_nothing_to_learn(method):
    student = learnt(each(drawn(0), torch.Tensor.double), torch.float64)
    terms = terms_of(method, None, student, [each(student, torch.Tensor.detach)] * method.teachers_needed)
    assert all(abs(term.item()) < 1e-9 for term in terms.values())
    sum(terms.values()).backward()
    assert all(one.grad is None or one.grad.abs().max() < 1e-6 for one in tensors(student))


@pytest.mark.parametrize("method", LEARNING, ids=named)
def test_gradients_reach_all_that_learns(method):
    student = learnt(drawn(0))
    teachers = [learnt(drawn(seed)) for seed in range(1, 1 + method.teachers_needed)]
    learner = learner_of(method, student, [each(one, torch.Tensor.detach) for one in teachers])
    terms = terms_of(method, learner, student, [each(one, torch.Tensor.detach) for one in teachers])
    sum(method.weights[name] * term for name, term in terms.items()).backward()
    assert any(one.grad is not None and one.grad.abs().max() > 0 for one in tensors(student))
    for name, parameter in learner.named_parameters():
        assert not parameter.requires_grad or parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("method", LEARNING, ids=named)
def test_a_learner_goes_on_from_its_state(method):
    student, teachers = drawn(0), [drawn(seed) for seed in range(1, 1 + method.teachers_needed)]
    learner = learner_of(method, student, teachers)
    optimizer = torch.optim.SGD([*learner.parameters(), torch.zeros(1, requires_grad=True)], lr=0.1)
    sum(terms_of(method, learner, learnt(student), teachers).values()).backward()
    optimizer.step()
    torch.manual_seed(5)
    other = method.learner(MethodContext(student, teachers, TARGETS))
    other.load_state_dict(copy.deepcopy(learner.state_dict()))
    assert terms_of(method, other, student, teachers) == terms_of(method, learner, student, teachers)
