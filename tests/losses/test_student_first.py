"""In every function of two networks the student's side comes before the teacher's, as torch has (input, target)."""

import importlib
import inspect
import pkgutil

import pytest
import torch

from persistill import losses, metrics
from persistill.losses import channel_divergence, kl, pkt_loss, transformed_teacher_kl


def functions():
    """All public functions, methods included, of the rooms where two networks are compared."""
    for package in (losses, metrics):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(info.name)
            for name, member in vars(module).items():
                if getattr(member, "__module__", None) != info.name or name.startswith("_"):
                    continue
                if inspect.isfunction(member):
                    yield f"{info.name}.{name}", member
                elif inspect.isclass(member):
                    for inner, method in vars(member).items():
                        if inspect.isfunction(method) and not inner.startswith("_"):
                            yield f"{info.name}.{name}.{inner}", method


def side(parameter):
    """Whose a parameter is, by its name."""
    for whose in ("student", "teacher"):
        if parameter.startswith(whose):
            return whose
    return None


FUNCTIONS = dict(functions())
OF_TWO = {
    name: [side(parameter) for parameter in inspect.signature(function).parameters if side(parameter)]
    for name, function in FUNCTIONS.items()
    if {side(parameter) for parameter in inspect.signature(function).parameters} >= {"student", "teacher"}
}


def test_there_are_functions_to_look_at():
    assert {"kl", "decoupled_kl", "relational_match", "averaged_kl", "agreement", "mean_kl", "check_logits"} <= {
        name.rpartition(".")[2] for name in OF_TWO
    }


@pytest.mark.parametrize("name", OF_TWO)
def test_the_student_comes_first(name):
    assert OF_TWO[name] == sorted(OF_TWO[name]), f"{name} takes the teacher before the student"


@pytest.mark.parametrize(
    "divergence",
    [
        lambda student, teacher: kl(student, teacher, 1.0),
        lambda student, teacher: transformed_teacher_kl(student, teacher, 1.0),
        lambda student, teacher: losses.divergences(student, teacher, 1.0).mean(),
        lambda student, teacher: losses.averaged_kl(student, [teacher], 1.0),
        lambda student, teacher: channel_divergence(student[:, None], teacher[:, None], 1.0),
        lambda student, teacher: torch.tensor(metrics.mean_kl(student, teacher)),
    ],
)
def test_divergences_are_of_the_student_from_the_teacher(divergence):
    """KL(teacher || student) is infinite where the student denies what the teacher allows, and not the other way."""
    sure, open_minded = torch.tensor([[40.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    assert divergence(sure, open_minded).item() == pytest.approx(20 - 0.6931472, rel=1e-5)
    assert divergence(open_minded, sure).item() == pytest.approx(0.6931472, rel=1e-5)


def test_pkt_runs_from_the_teacher_to_the_student():
    apart, alike = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert pkt_loss(apart, alike) > 5 * pkt_loss(alike, apart)


def test_dkd_runs_from_the_teacher_to_the_student():
    sure, open_minded = torch.tensor([[0.0, 40.0, 0.0]]), torch.tensor([[0.0, 0.0, 0.0]])
    target = torch.tensor([0])
    assert losses.decoupled_kl(sure, open_minded, target, 1.0)[1] > 15
    assert losses.decoupled_kl(open_minded, sure, target, 1.0)[1] < 1
