"""What every method keeps, whichever there are; and the page that tells how to add one, by running it."""

import copy
import inspect
import math
import re
from pathlib import Path

import pytest
import torch

from persistill import losses
from persistill.config import Arm
from persistill.errors import UserError
from persistill.losses import DistillationLoss, MethodContext
from persistill.models import build
from persistill.structures import Batch, ModelOutput
from persistill.tasks import Classification
from persistill.training import Criterion

ROOT = Path(__file__).resolve().parents[2]
CLASSES = [
    value
    for value in vars(losses).values()
    if inspect.isclass(value) and issubclass(value, DistillationLoss) and value is not DistillationLoss
]


NETWORKS = [("wrn-10-2", 3, 12), ("resnet-8", 6, 15)] * 2


@pytest.fixture(scope="module")
def seen():
    """A student, what it sees, and the outputs of four teachers of other shapes, two of them with another view."""
    torch.manual_seed(0)
    with torch.no_grad():
        teachers = [build(name, channels, 5)(torch.randn(4, channels, side, side)) for name, channels, side in NETWORKS]
    return build("resnet-8", 3, 5), torch.randn(4, 3, 12, 12), teachers


BATCH = Batch({}, torch.arange(4), torch.arange(4))


def context_of(network, images, teachers):
    """What a loss is built for."""
    classifiers = [torch.nn.Linear(teacher.embedding.shape[1], 5) for teacher in teachers]
    with torch.no_grad():
        student = network.eval()(images)
    network.train()
    return MethodContext(student, teachers, torch.arange(8) % 5, classifiers=classifiers)


def terms_of(loss, context):
    """What gives the loss's terms: built for these shapes, and afresh each time, for it may remember what it saw."""
    module = loss.build(context)
    return lambda student, teachers: copy.deepcopy(module)(student, teachers, BATCH).terms


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("method", CLASSES)
def test_terms_are_named_scalars_that_teach(method, dtype, seen):
    network, images, teachers = seen
    used = method()
    network.zero_grad()
    teachers = teachers[: used.num_teachers]
    context = context_of(network, images, teachers)
    network = used.student_network(network, context)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        terms = terms_of(used, context)(network(images), teachers)
    assert list(terms) == list(used.weights)
    assert all(value.shape == () and value.dtype == torch.float32 and value.isfinite() for value in terms.values())
    torch.stack([used.weights[name] * value for name, value in terms.items()]).sum().backward()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.abs().max() > 0 for gradient in gradients)


@pytest.mark.parametrize("method", CLASSES)
def test_terms_read_no_more_of_a_teacher_than_they_say(method, seen):
    network, images, every = seen
    used, needed = method(), set()
    nothing = ModelOutput(torch.zeros(0), torch.zeros(0), {})
    for teachers in (every[: used.num_teachers], every[1 : 1 + used.num_teachers]):
        stored = [nothing._replace(**{part: getattr(one, part) for part in used.required_outputs}) for one in teachers]
        context = context_of(network, images, teachers)
        student = used.student_network(network, context)(images)
        terms = terms_of(used, context)
        torch.manual_seed(0)
        expected = terms(student, teachers)
        torch.manual_seed(0)
        assert terms(student, stored) == expected
        for part in used.required_outputs:
            blank = [teacher._replace(**{part: getattr(nothing, part)}) for teacher in stored]
            try:
                terms(student, blank)
            except (UserError, RuntimeError, IndexError):
                needed.add(part)
    assert needed == used.required_outputs


@pytest.mark.parametrize("method", CLASSES)
def test_weights_are_fields_and_refuse_what_is_no_weight(method):
    default = method()
    assert default.to_json()["is"] == method.__name__
    for weight in default.weights.values():
        fields = [name for name in method.model_fields if getattr(default, name) == weight]
        assert fields, f"no field of {method.__name__} holds the weight {weight}: no factor may hide"
        for wrong in (-1.0, math.nan, math.inf):
            with pytest.raises(UserError, match=f"{method.__name__}.{fields[0]}"):
                method(**{fields[0]: wrong})


@pytest.mark.parametrize("method", CLASSES)
def test_every_method_has_its_file_its_test_and_its_page(method):
    module = method.__module__.rpartition(".")[2]
    assert module.replace("_", "") == method.__name__.lower()
    assert (ROOT / "tests" / "losses" / f"test_{module}.py").is_file()
    assert f"methods/{module}.md" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "methods" / f"{module}.md").read_text(encoding="utf-8")
    for name in method.model_fields:
        assert f"`{name}`" in page, f"the page of {method.__name__} does not explain {name}"


def test_teachers_stand_in_a_list():
    output = ModelOutput(torch.zeros(2, 3), torch.zeros(2, 4), {})
    with pytest.raises(UserError, match=r"KD takes the outputs of its teachers in a list"):
        losses.KD()(output, output, torch.zeros(2, dtype=torch.int64))
    with pytest.raises(UserError, match=r"KD needs the outputs of 1 teacher, in a list; 0 were given"):
        losses.KD()(output, [], torch.zeros(2, dtype=torch.int64))


def test_public_names_are_sorted():
    assert losses.__all__ == sorted(losses.__all__, key=lambda name: (not name.isupper(), name))


def blocks(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [code for code in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL) if "--8<--" not in code]


@pytest.fixture(scope="module")
def page():
    """All names of docs/add_a_method.md, its code run from top to bottom."""
    smallest, in_a_recipe, in_a_loop, with_trained_parts, in_the_package = blocks("add_a_method.md")
    names = {}
    exec(compile(smallest + in_a_recipe + in_a_loop + with_trained_parts, "add_a_method.md", "exec"), names)
    exec(compile(in_the_package, "add_a_method.md", "exec"), {})
    return names


def trained(criterion, seen, term, teacher, steps=10):
    _, images, _ = seen
    torch.manual_seed(1)
    network = build("resnet-8", 3, 5)
    optimizer = torch.optim.SGD([*network.parameters(), *criterion.parameters()], lr=0.02)
    values = []
    for _ in range(steps):
        total, terms = criterion(network(images), [teacher], BATCH)
        values.append(terms[term].item())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    return values


def test_the_smallest_method_of_the_page_works(page, seen):
    arm = page["arm"]
    assert isinstance(arm, Arm)
    criterion = Criterion(arm.methods, cross_entropy=arm.cross_entropy, task=Classification())
    assert criterion.weights == {"ce": 0.5, "logits": 2.0}
    values = trained(criterion, seen, "logits", seen[2][0])
    assert values[-1] < values[0] / 2
    with pytest.raises(UserError, match=r"Logits\.weight"):
        page["Logits"](weight=-1.0)


def test_the_method_of_the_page_with_a_part_that_learns_works(page, seen):
    network, images, teachers = seen
    context = MethodContext(network(images), teachers[:1], BATCH.target)
    torch.manual_seed(0)
    criterion = Criterion([page["Hint"](weight=5.0)], contexts=[context], task=Classification())
    before = [parameter.clone() for parameter in criterion.parameters()]
    values = trained(criterion, seen, "hint", teachers[0], 20)
    assert values[-1] < values[0] / 2
    assert all(not torch.equal(old, new) for old, new in zip(before, criterion.parameters(), strict=True))


@pytest.mark.parametrize("method", CLASSES)
def test_the_examples_of_a_methods_page_run(method):
    page = f"methods/{method.__module__.rpartition('.')[2]}.md"
    *fragments, own_loop = blocks(page)
    for fragment in fragments:  # lines of a recipe's arms
        arms = eval("{" + fragment + "}", {"Arm": Arm, **vars(losses)})
        assert all(isinstance(arm, Arm) for arm in arms.values())
    torch.manual_seed(2)
    student = build("resnet-8", 3, 5)
    names = {
        "student": student,
        "teacher": build("wrn-10-1", 3, 5).eval(),
        "image_teacher": build("wrn-10-1", 3, 5).eval(),
        "topology_teacher": build("wrn-10-1", 6, 5).eval(),
        "images": torch.randn(4, 3, 8, 8),
        "persistence_images": torch.randn(4, 6, 10, 10),
        "target": torch.arange(4),
    }
    exec(compile(own_loop, page, "exec"), names)
    assert names["loss"].isfinite()
    idle = [name for name, parameter in student.named_parameters() if parameter.grad is None]
    assert idle in ([], ["classifier.weight", "classifier.bias"])  # a method may put another classifier in its place
