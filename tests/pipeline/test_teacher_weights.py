"""Teachers out of files see images as in their training, wherever they are asked."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch

from persistill import models
from persistill.api.trained_network import evaluate, export
from persistill.config import Arm, Data, Evaluate, Model, Recipe, Teacher, Train
from persistill.errors import UserError
from persistill.losses import KD
from persistill.models import ImageFormat, InputAdapter
from persistill.pipeline import Pipeline
from persistill.pipeline.executors import local
from persistill.pipeline.validate import problems
from persistill.run_folder import RunFolder
from persistill.utils.progress import Silent

DIGITS = [str(digit) for digit in range(10)]


def recipe(weights: Path, **changes) -> Recipe:
    values = {
        "name": "given",
        "data": Data(source="digits", train=120, validation=0.2, test=40),
        "teachers": {"image": Teacher(model=Model(name=changes.pop("teacher", "resnet-8")), weights=str(weights))},
        "student": Model(name="resnet-8"),
        "arms": {"kd": Arm(methods=(KD(),), teachers=("image",))},
        "train": Train(epochs=1, batch_size=24, lr=0.05, schedule="constant"),
        "evaluate": Evaluate(noise=(), attacks=(), corruptions=()),
        "seeds": (0,),
        "formats": ("safetensors",),
    }
    return Recipe(**(values | changes))


def saved(path: Path, channels: int = 1, classes=DIGITS, seed: int = 0, **about) -> models.Network:
    """A network with a file that says how it was trained."""
    torch.manual_seed(seed)
    network = models.build("resnet-8", channels, len(classes)).eval()
    shape = about.pop("shape", [channels, 8, 8])
    models.save(network, path, {"classes": list(classes), "view": "image", "shape": shape, **about})
    return network


def teacher_stage(given: Recipe, out: Path):
    """The pipeline after its teacher's stage, and that stage."""
    pipeline = Pipeline(given, out, device="cpu")
    pipeline.probe()
    stage = pipeline.graph.teachers["image"]
    stage.run(pipeline.context)
    return pipeline, stage


def test_it_is_normalized_by_its_own_numbers_and_keeps_them(tmp_path):
    network = saved(tmp_path / "w.safetensors", mean=[0.9], std=[0.05])
    pipeline, stage = teacher_stage(recipe(tmp_path / "w.safetensors"), tmp_path / "runs")
    images = pipeline.splits.test.fetch(torch.arange(9)).float() / 255
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in pipeline.normalization)
    adopted, header = stage.network(pipeline.context)
    with torch.no_grad():
        found = adopted((images - mean) / std).logits
        expected = network((images - 0.9) / 0.05).logits
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert (header["mean"], header["std"], header["classes"]) == ([0.9], [0.05], DIGITS)
    notes = stage.open(pipeline.context).result()["notes"]
    assert notes == ["images are normalized as w.safetensors says for it"]


def test_classes_are_matched_by_name(tmp_path):
    names = [*"9876543210", "none"]
    network = saved(tmp_path / "w.safetensors", classes=names, mean=[0.3], std=[0.4])
    given = recipe(tmp_path / "w.safetensors").with_value("data.mean", (0.3,)).with_value("data.std", (0.4,))
    pipeline, stage = teacher_stage(given, tmp_path / "runs")
    images = torch.rand(3, 1, 8, 8)
    adopted, header = stage.network(pipeline.context)
    with torch.no_grad():
        assert torch.equal(adopted(images).logits, network(images).logits[:, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]])
        output = adopted(images)
        classifier = models.find_classifier(adopted, output)
        assert classifier is not None
        torch.testing.assert_close(classifier(output.embedding), output.logits)
    assert header["classes"] == names
    assert adopted.spec.num_classes == 10


def test_classes_that_it_does_not_know_are_told_before_any_training(tmp_path):
    saved(tmp_path / "w.safetensors", classes=[*"012345678", "none"], mean=[0.3], std=[0.4])
    pipeline = Pipeline(recipe(tmp_path / "w.safetensors"), tmp_path / "runs", device="cpu")
    with pytest.raises(UserError, match=r"teacher 'image'.*does not know 9\. Classes are matched by name"):
        pipeline.probe()


def test_a_teacher_of_larger_color_images_teaches_small_gray_ones(tmp_path):
    about = {"mean": [0.1, 0.5, 0.9], "std": [0.2, 0.3, 0.4], "shape": [3, 20, 24]}
    network = saved(tmp_path / "w.safetensors", channels=3, **about)
    given = recipe(tmp_path / "w.safetensors", teacher_cache="exact")
    pipeline = Pipeline(given, tmp_path / "runs", device="cpu")
    graph = pipeline.graph
    stage = graph.teachers["image"]
    local.run([graph.evaluations[stage.key], graph.students["kd", 0]], pipeline.context)
    rows = pipeline.splits.test
    images = rows.fetch(torch.arange(len(rows))).float() / 255
    large = torch.nn.functional.interpolate(images, (20, 24), mode="bicubic", antialias=True).clamp(0, 1)
    mean, std = (torch.tensor(about[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        expected = network((large.expand(-1, 3, -1, -1) - mean) / std).logits.numpy()
    evaluation = tmp_path / "runs" / graph.evaluations[stage.key].folder_name
    found = np.load(evaluation / "predictions.npz")["logits"]
    assert found == pytest.approx(expected, abs=1e-3)
    # Its stored features are of what it sees, too, and its costs.
    features = graph.features["image"].open(pipeline.context)
    assert features.complete
    cost = graph.costs["image"]
    assert cost.inputs["shape"] == [3, 20, 24]
    # And long after the run.
    run = tmp_path / "runs" / stage.folder_name
    again = evaluate(run, Evaluate(noise=(), attacks=(), corruptions=(), ece_bins=5), device="cpu", progress=Silent())
    assert again.metrics["accuracy"] == pytest.approx(RunFolder.open(evaluation).result()["metrics"]["accuracy"])
    with pytest.raises(UserError, match=r"is a teacher out of a file, for images of shape \(3, 20, 24\)"):
        export(run, tmp_path / "exported", progress=Silent())


def test_plain_weights_are_normalized_as_their_library_does_or_as_the_recipe_says(tmp_path):
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(timm.create_model("test_resnet", num_classes=10).state_dict(), path)
    given = recipe(path, teacher="timm/test_resnet")
    config = timm.get_pretrained_cfg("test_resnet")
    pipeline, stage = teacher_stage(given, tmp_path / "runs")
    _, header = stage.network(pipeline.context)
    assert (tuple(header["mean"]), tuple(header["std"])) == (tuple(config.mean), tuple(config.std))
    assert header["classes"] == DIGITS
    assert "taken for 0, 1, 2, 3, ... (10)" in stage.open(pipeline.context).result()["notes"][-1]
    own = given.with_value("teachers.image.mean", (0.5, 0.5, 0.5)).with_value("teachers.image.std", (0.1, 0.1, 0.1))
    other = Pipeline(own.with_value("teachers.image.size", (16, 16)), tmp_path / "runs", device="cpu")
    stated = other.graph.teachers["image"]
    assert stated.key != stage.key
    stated.run(other.context)
    assert json.loads(json.dumps(stated.network(other.context)[1]["shape"])) == [3, 16, 16]


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"view": "persistence"}, "was trained on the view 'persistence' and not on images"),
        ({"task": "segmentation"}, "was trained for the task 'segmentation', and this one is 'classification'"),
    ],
)
def test_weights_for_something_else_are_refused(tmp_path, about, message):
    saved(tmp_path / "w.safetensors", mean=[0.3], std=[0.4], **about) if "view" not in about else models.save(
        models.build("resnet-8", 1, 10), tmp_path / "w.safetensors", {"classes": DIGITS, **about}
    )
    with pytest.raises(UserError, match=message):
        Pipeline(recipe(tmp_path / "w.safetensors"), tmp_path / "runs", device="cpu").probe()


def test_what_nobody_says_of_a_teacher_is_guessed_and_said(tmp_path):
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(models.build("resnet-8", 3, 10).state_dict(), path)
    pipeline, stage = teacher_stage(recipe(path), tmp_path / "runs")
    _, header = stage.network(pipeline.context)
    (mean,), (std,) = pipeline.normalization
    assert header["mean"] == pytest.approx([mean] * 3)
    assert header["std"] == pytest.approx([std] * 3)
    notes = stage.open(pipeline.context).result()["notes"]
    assert "its file does not say how its images were normalized: they are normalized as those here" in notes
    wrong = recipe(path).with_value("teachers.image.mean", (0.5,)).with_value("teachers.image.std", (0.5,))
    with pytest.raises(UserError, match=r"for 3 channels, and 1 means and 1 standard deviations are stated"):
        Pipeline(wrong, tmp_path / "runs", device="cpu").probe()


def test_what_describes_images_needs_weights():
    with pytest.raises(UserError, match="size describe the images of a teacher that is trained already"):
        Teacher(model=Model(name="resnet-8"), size=(8, 8))
    plain = Teacher(model=Model(name="resnet-8"), weights="w.safetensors")
    assert not {"mean", "std", "size"} & plain.to_json().keys()


def test_mean_and_std_go_together(tmp_path):
    saved(tmp_path / "w.safetensors")
    half = recipe(tmp_path / "w.safetensors").with_value("teachers.image.mean", (0.5,))
    assert "teacher 'image': mean and std go together" in problems(half)[0]
    assert problems(half.with_value("teachers.image.std", (0.5,))) == []


def test_images_of_the_same_format_pass_bit_for_bit():
    network = models.build("resnet-8", 1, 10).eval()
    same = ImageFormat((1, 8, 8), (0.3,), (0.4,))
    images = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(InputAdapter(network, same, same)(images).logits, network(images).logits)
        color = InputAdapter(network, ImageFormat((3, 8, 8), (0.0,) * 3, (1.0,) * 3), same)
        gray = torch.rand(2, 3, 8, 8)
        weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
        expected = network(((gray * weights).sum(1, keepdim=True) - 0.3) / 0.4).logits
        torch.testing.assert_close(color(gray).logits, expected)
