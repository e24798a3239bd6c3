"""What every task promises to training, evaluation and report, on made-up answers."""

import math

import pytest
import torch

from persistill.errors import UserError
from persistill.models import DetectionOutput
from persistill.report.sections import SECTIONS
from persistill.report.task_report import CLASSIFICATION, TaskReport
from persistill.structures import (
    IGNORE_INDEX,
    Batch,
    Detections,
    ModelOutput,
    Objects,
    pack_objects,
    unpack_objects,
)
from persistill.tasks import TASKS, Classification, Segmentation, Task

SHAPES = {"classification": (), "segmentation": (5, 4), "detection": (8,)}
"""Positions that have a target, for each task; of a detector the places at which it answers."""


def made_up(task: Task, count: int = 6, seed: int = 0) -> tuple[ModelOutput, Batch]:
    random = torch.Generator().manual_seed(seed)
    places = SHAPES[task.name]
    if task.name == "detection":
        return made_up_boxes(count, random)
    target = torch.randint(3, (count, *places), generator=random)
    if places:
        target[:, 0] = IGNORE_INDEX
    logits = torch.randn(count, 3, *places, generator=random)
    output = ModelOutput(logits, torch.randn(count, 7, generator=random), {})
    return output, Batch({"image": torch.zeros(count, 1, 5, 4)}, target, torch.arange(count))


def made_up_boxes(count: int, random: torch.Generator) -> tuple[DetectionOutput, Batch]:
    def boxes(number: int) -> torch.Tensor:
        corner = 20 * torch.rand(number, 2, generator=random)
        return torch.cat([corner, corner + 5 + 10 * torch.rand(number, 2, generator=random)], 1)

    none = torch.zeros(2, dtype=torch.bool)
    objects = [Objects(boxes(2), torch.randint(3, (2,), generator=random), none, none) for _ in range(count)]
    found = [
        Detections(torch.cat([one.boxes + 1, boxes(2)]), torch.linspace(0.9, 0.2, 4), one.labels.repeat(2))
        for one in objects
    ]
    logits = torch.randn(count, 3, 8, generator=random)
    output = DetectionOutput(logits, torch.randn(count, 7, generator=random), {}, detections=found)
    batch = Batch({"image": torch.zeros(count, 1, 40, 40)}, pack_objects(objects), torch.arange(count))
    return answered(output, logits), batch


def answered(output: ModelOutput, logits: torch.Tensor) -> ModelOutput:
    """The output with other logits, and what a detector computes of them."""
    output = output._replace(logits=logits)
    if not isinstance(output, DetectionOutput):
        return output
    squares = logits.float().square().mean()
    names = ("classification", "bbox_regression", "bbox_ctrness", "loss_objectness", "loss_of_ones_own")
    return output._replace(losses={name: squares * number for number, name in enumerate(names, 1)})


def part_of(output: ModelOutput, rows: slice) -> ModelOutput:
    part = output._replace(logits=output.logits[rows], embedding=output.embedding[rows])
    return part._replace(detections=output.detections[rows]) if isinstance(part, DetectionOutput) else part


@pytest.fixture(params=list(TASKS))
def task(request: pytest.FixtureRequest) -> Task:
    return TASKS.find(request.param)


def test_it_is_found_by_its_name(task):
    assert TASKS.find(task.name).name == task.name
    assert TASKS.find(type(task)).name == task.name


def test_the_supervised_terms_have_their_names_and_a_gradient(task):
    output, batch = made_up(task)
    output = answered(output, output.logits.requires_grad_())
    terms = task.criterion(output, batch, label_smoothing=0.1)
    assert tuple(terms) == task.terms
    assert all(term.shape == () and term.dtype == torch.float32 and term > 0 for term in terms.values())
    sum(terms.values()).backward()
    assert output.logits.grad.abs().sum() > 0


def test_the_criterion_has_the_gradient_of_its_value(task):
    output, batch = made_up(task, count=2)

    def value(logits: torch.Tensor) -> torch.Tensor:
        return sum(task.criterion(answered(output, logits), batch).values())

    logits = output.logits.double().requires_grad_()
    # Computed in float32 whatever comes in, so the tolerances are those of float32.
    torch.autograd.gradcheck(value, logits, eps=1e-2, atol=1e-3, rtol=1e-2)


def test_figures_are_those_of_all_images_whatever_the_batches_were(task):
    output, batch = made_up(task)
    whole = task.validate(task.observe(output, batch))
    assert tuple(whole) == tuple(measure.name for measure in task.measures)
    pieces = [
        task.observe(part_of(output, part), Batch({}, batch.target[part], batch.index[part]))
        for part in (slice(0, 1), slice(1, 4), slice(4, 6))
    ]
    joined = {
        name: torch.cat([piece[name] for piece in pieces])
        if isinstance(value, torch.Tensor)
        else [one for piece in pieces for one in piece[name]]
        for name, value in pieces[0].items()
    }
    assert task.validate(joined) == pytest.approx(whole)


def test_right_answers_have_the_best_figure(task):
    output, batch = made_up(task)
    assert task.figure.larger_is_better
    if task.name == "detection":
        found = [Detections(one.boxes, torch.ones(2), one.labels) for one in unpack_objects(batch.target)]
        observed = task.observe(output._replace(detections=found), batch)
        assert task.validate(observed)[task.figure.name] == pytest.approx(1)
        assert task.accuracy(output, batch).isnan()
        return
    places = batch.target.where(batch.target != IGNORE_INDEX, 0)
    right = torch.nn.functional.one_hot(places, 3).movedim(-1, 1) * 40.0
    output = output._replace(logits=right)
    assert task.validate(task.observe(output, batch))[task.figure.name] == 1
    assert task.accuracy(output, batch) == 1


def test_the_report_knows_all_that_the_task_says(task):
    said = TaskReport.from_json(task.report())
    assert said.figure.name == task.figure.name
    assert set(said.sections) <= set(SECTIONS)
    assert said.figure in said.columns
    assert said.figure in said.differences


def test_a_folder_without_a_task_is_of_classification():
    assert TaskReport.from_json(Classification().report()) == CLASSIFICATION


def test_logits_of_another_task_are_refused_before_training():
    output, batch = made_up(Classification())
    Classification().check(output, batch)
    dense, masks = made_up(Segmentation())
    Segmentation().check(dense, masks)
    with pytest.raises(UserError, match=r"needs logits of shape \(B, K, 5, 4\)"):
        Segmentation().check(output, masks)
    with pytest.raises(UserError, match=r"needs logits of shape \(B, K\)"):
        Classification().check(dense, batch)


def test_an_unknown_task_is_answered_with_those_that_there_are():
    with pytest.raises(UserError, match="segmentation"):
        TASKS.find("segmentatoin")


def test_pixels_without_a_class_count_nowhere():
    task = Segmentation()
    output, batch = made_up(task)
    other = output.logits.clone()
    other[:, :, 0] = 100 * torch.randn(other[:, :, 0].shape)
    changed = output._replace(logits=other)
    assert torch.equal(task.criterion(output, batch)["ce"], task.criterion(changed, batch)["ce"])
    assert torch.equal(task.accuracy(output, batch), task.accuracy(changed, batch))
    assert task.validate(task.observe(output, batch)) == task.validate(task.observe(changed, batch))


def test_a_batch_without_any_class_has_no_loss_and_no_gradient():
    task = Segmentation()
    output, batch = made_up(task)
    empty = Batch(batch.inputs, torch.full_like(batch.target, IGNORE_INDEX), batch.index)
    logits = output.logits.requires_grad_()
    loss = task.criterion(output._replace(logits=logits), empty)["ce"]
    loss.backward()
    assert loss == 0
    assert logits.grad.abs().sum() == 0
    assert task.accuracy(output, empty) == 0


def test_the_mean_over_pixels_is_that_of_torch():
    task = Segmentation()
    output, batch = made_up(task)
    for smoothing in (0.0, 0.2):
        mean = torch.nn.functional.cross_entropy(output.logits, batch.target, label_smoothing=smoothing)
        assert task.criterion(output, batch, label_smoothing=smoothing)["ce"] == pytest.approx(float(mean))


def test_no_image_of_a_segmentation_has_a_class_of_its_own():
    class Images:
        def __len__(self) -> int:
            return 5

    assert Segmentation().image_classes(Images()).tolist() == [0] * 5
    assert math.isclose(float(Segmentation().sample(Images(), 3).double().diff().min().sign()), 1.0)
