"""SimKD: what is put on the student, what it learns, and that the teacher's classifier stays as it is."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from persistill.errors import UserError
from persistill.losses import MethodContext, SimKD
from persistill.losses.simkd import is_mean_of_last_map
from persistill.models import ProjectedClassifier, build
from persistill.models.base import find_classifier
from persistill.structures import ModelOutput

IMAGES = torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(0))
TARGET = torch.arange(4)


def networks(teacher="resnet-8x4"):
    torch.manual_seed(0)
    return build("resnet-8", 3, 5), build(teacher, 3, 5).eval()


def context_of(student, teacher):
    with torch.no_grad():
        outputs = student.eval()(IMAGES), teacher(IMAGES)
    student.train()
    classifiers = [find_classifier(teacher, outputs[1])]
    return MethodContext(outputs[0], [outputs[1]], TARGET, classifiers=classifiers)


def test_the_student_gets_a_projector_and_the_teachers_classifier():
    student, teacher = networks()
    made = SimKD(reduction=4).student_network(student, context_of(student, teacher))
    assert made.name == "resnet-8+projector-256-4"
    assert made.network is student
    assert [layer.out_channels for layer in made.projector if isinstance(layer, nn.Conv2d)] == [64, 64, 256]
    assert torch.equal(made.classifier.weight, teacher.classifier.weight)
    assert torch.equal(made.classifier.bias, teacher.classifier.bias)
    assert not any(parameter.requires_grad for parameter in made.classifier.parameters())
    output = made.eval()(IMAGES)
    projected = made.projector(student.eval()(IMAGES).feature_maps["stage3"])
    torch.testing.assert_close(output.feature_maps["projected"], projected)
    torch.testing.assert_close(output.logits, teacher.classifier(projected.mean((2, 3))))
    assert SimKD().student_network(made, context_of(made, teacher)) is made


def test_the_term_is_the_difference_of_the_last_maps():
    student, teacher = networks()
    context = context_of(student, teacher)
    network = SimKD().student_network(student, context)
    output, taught = network(IMAGES), context.teachers[0]
    total, terms = SimKD(weight=3.0).build(context)(output, [taught], TARGET)
    own, wanted = output.feature_maps["projected"], taught.feature_maps["stage3"]
    difference = sum((a - b) ** 2 for a, b in zip(own.flatten().tolist(), wanted.flatten().tolist(), strict=True))
    assert terms["simkd"].item() == pytest.approx(difference / own.numel(), rel=1e-5)
    assert total.item() == pytest.approx(3.0 * difference / own.numel(), rel=1e-5)


def test_where_the_embedding_is_no_mean_of_a_map_embeddings_are_compared():
    student, teacher = networks("wrn-10-2")
    context = context_of(student, teacher)
    assert not is_mean_of_last_map(context.teachers[0])
    output = SimKD().student_network(student, context)(IMAGES)
    terms = SimKD().build(context)(output, context.teachers, TARGET).terms
    torch.testing.assert_close(terms["simkd"], F.mse_loss(output.embedding, context.teachers[0].embedding))


def test_maps_of_other_sizes_are_averaged_down():
    student, teacher = networks()
    context = context_of(student, teacher)
    small = context.teachers[0]._replace(
        feature_maps={"last": F.adaptive_avg_pool2d(context.teachers[0].feature_maps["stage3"], (1, 1))}
    )
    output = SimKD().student_network(student, context)(IMAGES)
    terms = SimKD().build(context)(output, [small], TARGET).terms
    expected = F.mse_loss(output.embedding, small.feature_maps["last"][:, :, 0, 0])
    torch.testing.assert_close(terms["simkd"], expected)


def test_a_student_that_follows_the_maps_answers_as_its_teacher():
    torch.manual_seed(0)
    student, teacher = networks("resnet-14")
    context = context_of(student, teacher)
    network = SimKD().student_network(student, context)
    module = SimKD().build(context)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=3e-3)
    agreed = []
    for _ in range(120):
        output = network(IMAGES)
        total, _ = module(output, context.teachers, TARGET)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        agreed.append((output.logits - context.teachers[0].logits).abs().mean().item())
    assert agreed[-1] < agreed[0] / 2
    assert torch.equal(network.classifier.weight, teacher.classifier.weight)


def test_what_does_not_fit_is_named():
    student, teacher = networks()
    context = context_of(student, teacher)
    with pytest.raises(UserError, match=r"train network = loss\.student_network\(student, context\)"):
        SimKD().build(context)(context.student, context.teachers, TARGET)
    with pytest.raises(UserError, match="SimKD uses the teacher's classifier"):
        SimKD().student_network(student, MethodContext(context.student, context.teachers, TARGET))
    with pytest.raises(UserError, match="knows 7 classes, and the student 5"):
        seven = MethodContext(context.student, context.teachers, TARGET, classifiers=[nn.Linear(256, 7)])
        SimKD().student_network(student, seven)
    with pytest.raises(UserError, match="classifier is a Conv2d"):
        convolution = MethodContext(context.student, context.teachers, TARGET, classifiers=[nn.Conv2d(256, 5, 1)])
        SimKD().student_network(student, convolution)
    assert not is_mean_of_last_map(ModelOutput(torch.zeros(1, 2), torch.zeros(1, 3), {}))
    assert isinstance(SimKD().student_network(student, context), ProjectedClassifier)
