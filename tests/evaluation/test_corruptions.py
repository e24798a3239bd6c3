"""Corrupted images in an evaluation: which ones, that all numbers can be computed again, and that it goes on."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score

from persistill.config import Data, Evaluate
from persistill.data import load, measure_normalization
from persistill.errors import UserError
from persistill.evaluation import evaluate as evaluate_for
from persistill.models import build
from persistill.perturbations import corrupt, corruption_error
from persistill.tasks import Classification

TASK = Classification()
evaluate = partial(evaluate_for, task=TASK)
SETTINGS = Evaluate(
    noise=(), attacks=(), corruptions=("fog", "spatter", "jpeg_compression"), corruption_images=30, batch_size=16
)


@pytest.fixture(scope="module")
def splits():
    return load(Data(source="digits", train=120, validation=20, test=60))


@pytest.fixture(scope="module")
def network(splits):
    torch.manual_seed(0)
    network = build("resnet-8", 1, 10, (8, 8))
    # Centered logits, so that it names more than one class.
    with torch.no_grad():
        answers = network.eval()(splits.test.fetch(torch.arange(60)).float() / 255).logits
        last = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
        last.bias -= answers.mean(0)
    assert len((answers - answers.mean(0)).argmax(1).unique()) > 3
    return network


@pytest.fixture
def material(splits):
    return TASK.evaluation_loaders(splits, {}, SETTINGS, measure_normalization(splits.train))


def stored(path):
    with np.load(path) as file:
        return {name: file[name] for name in file}


def test_some_images_of_every_class_are_corrupted(material, splits):
    rows = material.corruptible.rows
    assert torch.equal(rows, rows.unique())
    assert torch.bincount(splits.test.targets[rows], minlength=10).tolist() == pytest.approx([3] * 10, abs=1)
    few = TASK.evaluation_loaders(splits, {}, Evaluate(), measure_normalization(splits.train)).corruptible.rows
    assert torch.equal(few, torch.arange(60)), "all, where fewer are there than were asked for"


def test_numbers_can_be_computed_again_from_the_files(network, material, splits, tmp_path):
    result = evaluate(network, material, "image", SETTINGS, tmp_path)
    found = result["metrics"]["corruptions"]
    assert set(found) == {"images", "clean", "error", "accuracy"}
    clean = stored(tmp_path / "predictions.npz")
    for name in ("fog", "spatter", "jpeg_compression"):
        file = stored(tmp_path / f"corruption-{name}.npz")
        rows = file.pop("rows")
        assert np.array_equal(rows, material.corruptible.rows)
        assert list(file) == list(found["accuracy"][name]) == ["1", "2", "3", "4", "5"]
        for severity, answers in file.items():
            assert found["accuracy"][name][severity] == accuracy_score(clean["target"][rows], answers)
            images = corrupt(
                splits.test.fetch(material.corruptible.rows).float() / 255,
                name,
                int(severity),
                0,
                torch.from_numpy(rows),
            )
            with torch.no_grad():
                again = network.eval()(material.normalized(images)).logits.argmax(1)
            assert (again.numpy() == answers).mean() > 0.95  # convolutions differ in the last digits by batch
    assert found["clean"] == accuracy_score(clean["target"][rows], clean["logits"][rows].argmax(1))
    assert found["error"] == pytest.approx(corruption_error(found["accuracy"]))
    counted = [1 - a for name in ("fog", "jpeg_compression") for a in found["accuracy"][name].values()]
    assert found["error"] == pytest.approx(np.mean(counted)), "spatter does not count"
    assert found["images"] == 30
    json.dumps(result, allow_nan=False)


def test_every_network_sees_the_same_images_whatever_the_batches(material, splits, network, tmp_path):
    seen = {}
    for size in (16, 7):
        settings = SETTINGS.with_value("batch_size", size).with_value("noise_seed", 3)
        given = TASK.evaluation_loaders(splits, {}, settings, measure_normalization(splits.train))
        shown = []

        class Watching(torch.nn.Module):
            def forward(self, images):
                shown.append(images)  # noqa: B023
                return network(images)

        (tmp_path / str(size)).mkdir()
        evaluate(Watching(), given, "image", settings, tmp_path / str(size))
        seen[size] = torch.cat(shown)[-15 * 30 :]
    assert torch.equal(seen[16], seen[7])
    rows = material.corruptible.rows
    foggy = corrupt(splits.test.fetch(rows).float() / 255, "fog", 1, 3, rows)
    assert torch.equal(seen[16][:30], material.normalized(foggy))


def test_an_interrupted_evaluation_goes_on_with_the_next_severity(network, material, recorder, tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    whole = evaluate(network, material, "image", SETTINGS, tmp_path / "whole")
    loader, calls = material.corruptible.loader, []

    def failing(transform):
        made = loader(transform)
        epoch = made.epoch

        def counted(number):
            calls.append(1)
            if len(calls) == 8:
                raise KeyboardInterrupt
            return epoch(number)

        made.epoch = counted
        return made

    interrupted = replace(material, corruptible=replace(material.corruptible, loader=failing))
    with pytest.raises(KeyboardInterrupt):
        evaluate(network, interrupted, "image", SETTINGS, tmp_path / "broken")
    assert len(list((tmp_path / "broken").glob("part-corruption-*"))) == 7
    resumed = evaluate(network, interrupted, "image", SETTINGS, tmp_path / "broken", recorder)
    assert resumed["metrics"] == whole["metrics"]
    assert len(calls) == 16
    clean, each = 2 + 4, 2  # batches: validation and test, and the corrupted images
    assert recorder.stages == [("evaluation", clean + 15 * each, clean + 7 * each)]
    assert recorder.units == 8 * each
    for file in (tmp_path / "whole").glob("corruption-*.npz"):
        again = stored(tmp_path / "broken" / file.name)
        assert all(np.array_equal(array, again[name]) for name, array in stored(file).items())


def test_nothing_is_corrupted_where_nothing_is_asked_for(network, material, tmp_path):
    settings = SETTINGS.with_value("corruptions", ())
    assert evaluate(network, material, "image", settings, tmp_path)["metrics"]["corruptions"] == {}
    assert not list(tmp_path.glob("*corruption*"))


def test_a_network_that_sees_another_view_meets_no_corruption(tiny, material, loader, tmp_path):
    held_out = loader(view="persistence")
    other = replace(material, test=lambda _: loader(view="persistence"), validation=held_out)
    assert evaluate(tiny, other, "persistence", SETTINGS, tmp_path)["metrics"]["corruptions"] == {}


def test_a_corruption_that_does_not_exist(network, material, tmp_path):
    with pytest.raises(UserError, match=r"'frog'.*Did you mean 'fog'"):
        evaluate(network, material, "image", SETTINGS.with_value("corruptions", ("frog",)), tmp_path)
    assert not list(tmp_path.iterdir())
