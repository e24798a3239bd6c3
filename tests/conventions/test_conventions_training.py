"""The sentences under "Training" in docs/conventions.md: each test holds that of its name."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from persistill import models
from persistill.exporters import load_student
from persistill.losses import KD, SP, kl, similarity
from persistill.pipeline.stages.choice import Candidate, choose
from persistill.structures import Batch, ModelOutput
from persistill.tasks import Classification
from persistill.training import Criterion, Frozen


def test_the_loss_is_the_weighted_sum(run):
    torch.manual_seed(0)
    logits, target = torch.randn(2, 6, 5), torch.arange(6) % 5
    student, teacher = (ModelOutput(z, z, {"stage": z[:, :, None, None]}) for z in logits)
    criterion = Criterion([KD(weight=0.3, temperature=2.0), SP(weight=7.0)], cross_entropy=0.25, task=Classification())
    total, _ = criterion(student, [teacher], Batch({}, target, torch.arange(6)))
    kd = kl(student.logits, teacher.logits, 2.0)
    sp = (similarity(student.feature_maps["stage"]) - similarity(teacher.feature_maps["stage"])).square().mean()
    expected = 0.25 * F.cross_entropy(student.logits, target) + 0.3 * kd + 7.0 * sp
    assert float(total) == pytest.approx(float(expected), rel=1e-5)

    records = run.folder("student", "started-seed3").records()
    assert {"ce", "kd", "sp"} == set(records[0]["terms"])
    assert records[0]["weights"] == {"ce": 0.1, "kd": 0.9, "sp": 3000.0}
    for record in records:
        summed = sum(record["weights"][name] * value for name, value in record["terms"].items())
        assert record["loss"] == pytest.approx(summed, rel=1e-4)


def test_epochs_count_from_one(run):
    records = run.folder("student", "alone-seed3").records()
    # 80 images in batches of 20: four steps an epoch. A step is logged at the end of an epoch at the latest.
    found = [(record["type"], record["epoch"], record["step"]) for record in records]
    assert found == [("step", 1, 4), ("epoch", 1, 4), ("step", 2, 8), ("epoch", 2, 8)]


def test_teachers_are_frozen():
    network = models.build("wrn-10-1", 1, 10)
    teacher = Frozen(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    student = nn.ModuleList([teacher, nn.Linear(2, 2)]).train()
    assert student[1].training
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not teacher(torch.randn(5, 1, 8, 8, requires_grad=True)).logits.requires_grad
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_annealing_means_initial_weights(run):
    alone, started = run.states["student alone, seed 3"], run.states["student started, seed 3"]
    assert all(torch.equal(started[0][name], alone[1][name]) for name in alone[1])
    assert any(not torch.equal(started[0][name], alone[0][name]) for name in alone[1])
    weights = [record["weights"] for record in run.folder("student", "started-seed3").records()]
    assert len(weights) > 1
    assert all(entry == weights[0] for entry in weights)


def test_seeds_are_paired(run):
    alone, kd = run.states["student alone, seed 3"], run.states["student kd, seed 3"]
    assert all(torch.equal(alone[0][name], kd[0][name]) for name in alone[0])
    assert any(not torch.equal(alone[1][name], kd[1][name]) for name in alone[0])


def test_validation_is_not_trained_on(run):
    trainings = [fetched for name, fetched in run.calls if name == "fit"]
    assert len(trainings) == 4
    for fetched in trainings:
        parts = [part for part, _ in fetched]
        # Four batches of training images, then two of validation images, in each of two epochs.
        assert parts == [*["train"] * 4, *["validation"] * 2] * 2


def test_test_images_are_read_once(run):
    # All trainings come first. An evaluation sees 50 images: as they are, noisy, and attacked.
    assert [name for name, _ in run.calls] == ["fit"] * 4 + ["evaluate"] * 4
    seen = [sum(count for part, count in fetched if part == "test") for _, fetched in run.calls]
    assert seen == [0] * 4 + [150] * 4
    # And once at each severity of the one corruption.
    with np.load(run.folder("evaluation", "alone-seed3").file("corruption-contrast.npz")) as file:
        assert {name: len(file[name]) for name in file} == dict.fromkeys(["rows", "1", "2", "3", "4", "5"], 50)


def test_the_last_epoch_counts(run, splits):
    exported = run.folder("export", "best").result()["student"]
    for label, kind, name in [
        ("student alone, seed 3", "student", "alone-seed3"),
        (f"student {exported['arm']}, seed {exported['seed']}", "export", "best"),
        ("teacher image", "teacher", "image"),
    ]:
        stored = load_file(run.folder(kind, name).file("model.safetensors"))
        assert all(torch.equal(stored[tensor], value) for tensor, value in run.states[label][1].items())
    evaluated = run.folder("evaluation", "alone-seed3")
    student = load_student(run.folder("student", "alone-seed3").path)
    images = splits.test.fetch(torch.arange(50))
    with np.load(evaluated.file("predictions.npz")) as file, torch.no_grad():
        assert student(images / 255).numpy() == pytest.approx(file["logits"], abs=1e-4)


def test_the_best_on_validation_is_exported(run, recipe):
    found = {name: run.folder("student", f"{name}-seed3").result()["validation"]["accuracy"] for name in recipe.arms}
    chosen = run.folder("choice", "best").result()
    assert chosen["value"] == max(found.values()) == found[chosen["arm"]]
    assert {one["arm"]: one["value"] for one in chosen["candidates"]} == found
    assert run.folder("export", "best").result()["student"]["run"] == chosen["run"]

    def first(*values):
        candidates = [Candidate(name, 3, value) for name, value in zip(("started", "kd", "alone"), values, strict=True)]
        return choose(candidates, recipe.arms).arm

    assert [first(0.5, 0.5, 0.5), first(0.5, 0.5, 0.4), first(0.6, 0.5, 0.5)] == ["alone", "kd", "started"]
    assert first(math.nan, 0.1, math.nan) == "kd"
