"""What holds at the edges for every loss of the package, whichever there are; each one's own file tests the rest.

A loss is covered as soon as ``persistill.losses`` exports it. Forms that are not the default stand in ``FORMS``.
"""

import copy
import dataclasses
import inspect

import pytest
import torch

from persistill import losses
from persistill.errors import UserError
from persistill.losses import CC, AutoconfigContext, DistillationLoss, MethodContext
from persistill.models import Network
from persistill.structures import Batch, FeatureMapSpec, FeatureSpec, ModelOutput

FORMS = (CC(form="kernel"),)
DEFAULTS = [
    value()
    for value in vars(losses).values()
    if inspect.isclass(value) and issubclass(value, DistillationLoss) and value is not DistillationLoss
]
EVERY = [*DEFAULTS, *FORMS]
PURE = [loss for loss in EVERY if type(loss).build is DistillationLoss.build]
BUILT = [loss for loss in EVERY if loss not in PURE]
TARGETS = torch.arange(20) % 5  # of all training images; a batch holds some of the first
KINDS = ("zero", "constant", "equal", "large", "one sample", "one place", "one dead channel", "one dead sample")


def named(loss):
    form = f"-{loss.form}" if loss in FORMS else ""
    return type(loss).__name__ + form


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


def leaves(features, dtype=torch.float32):
    """Features of a student: leaves that keep their gradient."""
    return each(features, lambda one: one.to(dtype, copy=True).requires_grad_())


def batch_of(student):
    index = torch.arange(len(student.logits))
    return Batch({}, TARGETS[index], index)


def context_of(student, teachers):
    """What a loss is built for; each teacher has a classifier."""
    torch.manual_seed(2)
    classifiers = [torch.nn.Linear(teacher.embedding.shape[1], 5) for teacher in teachers]
    return MethodContext(student, teachers, TARGETS, classifiers=classifiers)


def built(loss, student, teachers):
    """The loss as a module, the same at every call."""
    context = context_of(student, teachers)
    torch.manual_seed(3)
    return loss.build(context)


class Given(Network):
    """A network that gives one output, whatever it sees."""

    def __init__(self, output):
        maps = {name: FeatureMapSpec(one.shape[1], 1) for name, one in output.feature_maps.items()}
        super().__init__("given", FeatureSpec(1, output.logits.shape[1], output.embedding.shape[1], maps))
        self.output = output

    def forward(self, x):
        return self.output


def as_trained(loss, student, teachers):
    """The student's output as the loss has it, which may put something on the student's network."""
    given, context = Given(each(student, torch.Tensor.float)), context_of(student, teachers)
    torch.manual_seed(3)
    context = dataclasses.replace(context, classifiers=[one.float() for one in context.classifiers])
    network = loss.student_network(given, context)
    if network is given:
        return student
    return each(network.eval()(None), lambda one: one.detach().to(student.logits.dtype))


def terms_of(module, student, teachers):
    """The terms, the same at every call: what is drawn is drawn from one seed, what is remembered is forgotten."""
    torch.manual_seed(4)
    return module(student, teachers, batch_of(student)).terms


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
@pytest.mark.parametrize("loss", EVERY, ids=named)
def test_terms_and_gradients_are_finite(loss, kind, dtype):
    student, teacher = at_the_edge(kind)
    teachers = [each(teacher, lambda one: one.to(dtype))] * loss.num_teachers
    student = leaves(as_trained(loss, student, teachers), dtype)
    module = built(loss, student, teachers)
    terms = terms_of(module, student, teachers)
    assert list(terms) == list(loss.weights)
    assert all(term.shape == () and term.dtype == torch.float32 and term.isfinite() for term in terms.values())
    total = sum(loss.weights[name] * term for name, term in terms.items())
    total.backward()
    gradients = [one.grad for one in tensors(student) if one.grad is not None]
    gradients += [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    assert all(one.isfinite().all() for one in module.state_dict().values())
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("loss", EVERY, ids=named)
def test_everything_is_fp32_under_autocast(loss):
    student, teacher = (each(drawn(seed), lambda one: one.bfloat16()) for seed in (0, 1))
    student = as_trained(loss, student, [teacher] * loss.num_teachers)
    module = built(loss, student, [teacher] * loss.num_teachers)
    other = copy.deepcopy(module)
    with torch.autocast("cpu", torch.bfloat16):
        inside = terms_of(module, student, [teacher] * loss.num_teachers)
    student, teacher = (each(features, torch.Tensor.float) for features in (student, teacher))
    assert inside == terms_of(other, student, [teacher] * loss.num_teachers)


@pytest.mark.parametrize("loss", PURE, ids=named)
def test_a_student_that_equals_its_teachers_has_nothing_to_learn(loss):
    student = leaves(each(drawn(0), torch.Tensor.double), torch.float64)
    teachers = [each(student, torch.Tensor.detach)] * loss.num_teachers
    terms = loss.terms(student, teachers, batch_of(student).target)
    sum(terms.values()).backward()
    at_rest = all(one.grad is None or one.grad.abs().max() < 1e-6 for one in tensors(student))
    vanishes = at_rest and all(abs(term.item()) < 1e-9 for term in terms.values())
    assert vanishes == loss.vanishes_at_equality


@pytest.mark.parametrize("loss", PURE, ids=named)
def test_a_pure_loss_is_called_as_it_is(loss):
    student = leaves(drawn(0))
    teachers = [drawn(seed) for seed in range(1, 1 + loss.num_teachers)]
    total, terms = loss(student, teachers, batch_of(student).target)
    factors = loss.weights_at(0, 0)
    torch.testing.assert_close(total, sum((factors[name] * term for name, term in terms.items()), torch.tensor(0.0)))
    assert terms == built(loss, student, teachers)(student, teachers, batch_of(student)).terms
    with pytest.raises(UserError, match=f"{type(loss).__name__} needs the outputs of {loss.num_teachers} teacher"):
        loss(student, teachers[1:], batch_of(student).target)


@pytest.mark.parametrize("loss", BUILT, ids=named)
def test_a_loss_that_has_to_be_built_says_so(loss):
    student, teachers = drawn(0), [drawn(seed) for seed in range(1, 1 + loss.num_teachers)]
    with pytest.raises(UserError, match=f"{type(loss).__name__} has parts that are trained along.*loss.build"):
        loss(student, teachers, batch_of(student).target)


@pytest.mark.parametrize("loss", EVERY, ids=named)
def test_a_suggestion_is_of_the_loss_itself(loss):
    suggestion = type(loss).autoconfig(AutoconfigContext((8, 8), 16, 10))
    assert type(suggestion.loss) is type(loss)
    assert 0 <= suggestion.cross_entropy <= 1
    assert suggestion.loss.weights.keys() == type(loss)().weights.keys()
    assert any(suggestion.loss.weights.values())


@pytest.mark.parametrize("loss", BUILT, ids=named)
def test_gradients_reach_all_that_learns(loss):
    teachers = [each(drawn(seed), torch.Tensor.detach) for seed in range(1, 1 + loss.num_teachers)]
    student = leaves(as_trained(loss, drawn(0), teachers))
    module = built(loss, student, teachers)
    terms = terms_of(module, student, teachers)
    sum(loss.weights[name] * term for name, term in terms.items()).backward()
    assert any(one.grad is not None and one.grad.abs().max() > 0 for one in tensors(student))
    for name, parameter in module.named_parameters():
        assert not parameter.requires_grad or parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("loss", BUILT, ids=named)
def test_a_module_goes_on_from_its_state(loss):
    teachers = [drawn(seed) for seed in range(1, 1 + loss.num_teachers)]
    student = as_trained(loss, drawn(0), teachers)
    module = built(loss, student, teachers)
    optimizer = torch.optim.SGD([*module.parameters(), torch.zeros(1, requires_grad=True)], lr=0.1)
    sum(terms_of(module, leaves(student), teachers).values()).backward()
    optimizer.step()
    context = context_of(student, teachers)
    torch.manual_seed(5)
    other = loss.build(context)
    other.load_state_dict(copy.deepcopy(module.state_dict()))
    assert terms_of(other, student, teachers) == terms_of(module, student, teachers)


STANDARDIZED = [loss.model_copy(update={"standardize": True}) for loss in PURE if hasattr(loss, "standardize")]


@pytest.mark.parametrize("loss", [*PURE, *STANDARDIZED], ids=lambda loss: repr(loss)[:60])
@pytest.mark.parametrize("classes", [2, 3])
def test_constant_terms_are_those_without_gradient(loss, classes):
    """Whatever is constant by construction with two classes is named, so that no recipe trains on it unknowingly."""
    silent = set(loss.weights)
    for seed in range(4):
        student, *teachers = (drawn(seed + 10 * who, batch=12) for who in range(3))
        few = [network._replace(logits=network.logits[:, :classes]) for network in (student, *teachers)]
        ours = leaves(few[0])
        terms = loss.terms(ours, few[1 : 1 + max(1, loss.num_teachers)], torch.arange(12) % classes)
        for name in sorted(silent):
            if terms[name].requires_grad:
                found = torch.autograd.grad(terms[name], tensors(ours), retain_graph=True, allow_unused=True)
                if any(one is not None and one.abs().max() > 1e-5 for one in found):
                    silent.discard(name)
    assert silent == set(loss.constant_terms(classes))
