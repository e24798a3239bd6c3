"""SRRL against plain loops, and what it makes of the teacher's classifier."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from persistill.errors import UserError
from persistill.losses import SRRL, MethodContext, softmax_regression

TARGET = torch.zeros(4, dtype=torch.long)


def by_loops(student, teacher, logits, weight, bias):
    features = [(a - b) ** 2 for s, t in zip(student, teacher, strict=True) for a, b in zip(s, t, strict=True)]
    answers = []
    for s, z in zip(student, logits, strict=True):
        for k, row in enumerate(weight):
            answers.append((sum(w * x for w, x in zip(row, s, strict=True)) + bias[k] - z[k]) ** 2)
    return np.mean(features), np.mean(answers)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_function_is_its_loop(batch, width, classes):
    random = np.random.default_rng(0)
    student, teacher = random.normal(size=(2, batch, width))
    logits, weight, bias = (random.normal(size=size) for size in ((batch, classes), (classes, width), classes))
    classifier = nn.Linear(width, classes).double()
    classifier.load_state_dict({"weight": torch.tensor(weight), "bias": torch.tensor(bias)})
    found = softmax_regression(*(torch.tensor(one) for one in (student, teacher, logits)), classifier)
    assert [one.item() for one in found] == pytest.approx(by_loops(student, teacher, logits, weight, bias), rel=1e-9)


def test_gradient_is_that_of_finite_differences():
    classifier = nn.Linear(3, 2).double()
    student, teacher = torch.randn(2, 4, 3, dtype=torch.float64)
    logits = torch.randn(4, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda s: softmax_regression(s, teacher, logits, classifier), (student.requires_grad_(),)
    )


def context_of(student, teacher):
    torch.manual_seed(1)
    return MethodContext(student, [teacher], TARGET, classifiers=[nn.Linear(5, 5).double()])


def outputs(made_up):
    student, teacher = made_up(0), made_up(1)
    return student, teacher._replace(embedding=torch.randn(4, 5, dtype=torch.float64))


def test_terms_are_those_of_the_connected_embedding(made_up):
    student, teacher = outputs(made_up)
    context = context_of(student, teacher)
    module = SRRL(features=2.0, logits=3.0).build(context).double()
    total, terms = module(student, [teacher, made_up(2)], TARGET)
    connected = module.connector(student.embedding[:, :, None, None]).relu().flatten(1)
    expected = softmax_regression(connected, teacher.embedding, teacher.logits, context.classifiers[0])
    torch.testing.assert_close((terms["srrl_features"], terms["srrl_logits"]), expected)
    torch.testing.assert_close(total, 2.0 * expected[0] + 3.0 * expected[1])


def test_the_teachers_classifier_is_neither_trained_nor_changed(made_up, trained):
    student, teacher = outputs(made_up)
    context = context_of(student, teacher)
    module = SRRL(features=0.0).build(context).double()
    optimizer = torch.optim.Adam(module.connector.parameters(), lr=0.05)
    values = []
    for _ in range(60):
        total, _ = module(student, [teacher], TARGET)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        values.append(total.item())
    assert values[-1] < 0.8 * values[0]
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in module.classifier.parameters())
    assert module.classifier is not context.classifiers[0]
    assert torch.equal(module.classifier.weight, context.classifiers[0].weight)
    assert context.classifiers[0].weight.requires_grad, "the teacher's own is left as it is"


def test_a_teacher_without_a_classifier_is_told(made_up):
    student, teacher = made_up(0), made_up(1)
    for classifiers in ((), [None]):
        with pytest.raises(UserError, match=r"SRRL uses the teacher's classifier.*this teacher has none"):
            SRRL().build(MethodContext(student, [teacher], TARGET, classifiers=classifiers))
    with pytest.raises(UserError, match=r"\(4, 5\) and those of the teacher have \(4, 6\)"):
        softmax_regression(torch.zeros(4, 3), torch.zeros(4, 3), torch.zeros(4, 6), nn.Linear(3, 5))
    with pytest.raises(UserError, match=r"\(4, 2\), the teacher's \(4, 3\)"):
        softmax_regression(torch.zeros(4, 2), torch.zeros(4, 3), torch.zeros(4, 5), nn.Linear(3, 5))
