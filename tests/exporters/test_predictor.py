"""What a student says of images: the same from every place that it lies in, and by hand."""

import json
import shutil

import numpy as np
import pytest
import torch

from persistill.errors import UserError
from persistill.exporters import export_student, fitted_temperature
from persistill.inference import Predictor
from persistill.models import save
from persistill.run_folder import RunFolder


@pytest.fixture(scope="session")
def folder(trained, digits, settings, tmp_path_factory):
    """An export."""
    target = tmp_path_factory.mktemp("answering") / "student"
    target.mkdir()
    export_student(trained, settings, digits[0][:9], target, formats=("onnx",))
    return target


def by_hand(network, images, temperature):
    """Probabilities, with numpy."""
    with torch.no_grad():
        logits = network((images / 255 - 0.31) / 0.38).logits.double().numpy() / temperature
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


def run_of(root, kind, name, inputs, result=None):
    run = RunFolder.create(root, kind, name, inputs)
    if result is not None:
        run.finish(result)
    return run


def student_run(root, network, settings, view="image"):
    run = run_of(root, "student", "kd-seed0", {"seed": 0})
    about = {name: value for name, value in settings.items() if name != "temperature"}
    save(network, run.file("model.safetensors"), {**about, "view": view})
    run.finish({})
    return run


@pytest.mark.parametrize("file", ["", "model.safetensors", "model.onnx"])
def test_answers_are_the_softmax_of_the_networks_logits(folder, trained, digits, file):
    student = Predictor.load(folder / file if file else folder)
    images = digits[0][:20]
    expected = by_hand(trained, images, 1.5)
    answers = student.predict_pixels(images, top=3)
    assert [answer.name for answer in answers] == [str(k) for k in expected.argmax(1)]
    found = [[guess.confidence for guess in answer.guesses] for answer in answers]
    assert np.array(found) == pytest.approx(-np.sort(-expected, 1)[:, :3], abs=1e-4)
    assert answers[0].confidence == answers[0].guesses[0].confidence
    assert (student.classes, student.shape) == (tuple("0123456789"), (1, 8, 8))
    assert student.temperature == pytest.approx(1.5)


def test_at_most_as_many_guesses_as_classes(folder, digits):
    (answer,) = Predictor.load(folder).predict_pixels(digits[0][:1], top=99)
    assert sorted(guess.name for guess in answer.guesses) == list("0123456789")
    assert sum(guess.confidence for guess in answer.guesses) == pytest.approx(1)
    assert Predictor.load(folder).predict_pixels(digits[0][:0]) == []


def test_a_run_folder_takes_the_temperature_of_its_newest_evaluation(trained, digits, settings, tmp_path):
    run = student_run(tmp_path, trained, settings)
    assert fitted_temperature(run) is None
    assert Predictor.load(run.path).temperature is None
    for bins, temperature in ((5, 3.0), (10, 2.0)):
        result = {"metrics": {"calibrated": {"temperature": temperature}}}
        later = run_of(tmp_path, "evaluation", "kd-seed0", {"network": run.key, "bins": bins}, result)
        about = json.loads((later.path / "run.json").read_text())
        # in the order of their dates, and not of their names
        (later.path / "run.json").write_text(json.dumps({**about, "created": f"2026-01-{30 - bins:02}T00:00:00+00:00"}))
    run_of(tmp_path, "evaluation", "other", {"network": "other"}, {"metrics": {"calibrated": {"temperature": 9.0}}})
    run_of(tmp_path, "evaluation", "kd-seed0", {"network": run.key, "bins": 20})  # not finished
    run_of(tmp_path, "evaluation", "kd-seed0", {"network": run.key, "bins": 30}, {"metrics": {"accuracy": 1.0}})  # old
    assert fitted_temperature(run) == 3.0
    student = Predictor.load(run.path)
    assert student.temperature == 3.0
    confidences = [answer.confidence for answer in student.predict_pixels(digits[0][:5])]
    assert confidences == pytest.approx(by_hand(trained, digits[0][:5], 3.0).max(1), abs=1e-5)


def test_what_is_no_student_is_named(trained, settings, folder, tmp_path):
    def refused(path, match):
        with pytest.raises(UserError, match=match):
            Predictor.load(path)

    refused(tmp_path / "nowhere", "there is no file or folder")
    refused(tmp_path, r"holds no student: none of model\.nms\.onnx, model\.onnx, model\.safetensors, model\.int8\.onnx")
    refused(run_of(tmp_path, "comparison", "c", {}, {}).path, "kind 'comparison' and holds no network")
    refused(run_of(tmp_path, "student", "s", {"begun": 1}).path, "is not complete")
    refused(student_run(tmp_path, trained, settings, view="persistence").path, "see images but the view 'persistence'")
    refused(folder / "model.json", "is no model that can be read here")
    save(trained, tmp_path / "bare.safetensors", {"classes": list("0123456789")})
    refused(tmp_path / "bare.safetensors", "does not say its mean, std, shape")
    (tmp_path / "cut.onnx").write_bytes((folder / "model.onnx").read_bytes()[:500])
    refused(tmp_path / "cut.onnx", "cannot be read as ONNX")


def test_an_onnx_file_of_somebody_else(folder, tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(folder / "model.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(UserError, match="not one that persistill wrote"):
        Predictor.load(tmp_path / "other.onnx")


def test_weights_that_are_not_finite(trained, digits, settings, tmp_path):
    run = student_run(tmp_path, trained, settings)
    (path,) = shutil.copytree(run.path, tmp_path / "copy").glob("*.safetensors")
    from persistill.models import load

    network, about = load(path)
    torch.nn.init.constant_(next(network.parameters()), float("nan"))
    save(network, path, about)
    copy = RunFolder.open(path.parent)
    copy.finish(copy.result())  # as if it had been trained so
    with pytest.raises(UserError, match="not finite"):
        Predictor.load(path).predict_pixels(digits[0][:2])


def test_a_network_that_classifies_pixels_is_told_apart(tmp_path, digits):
    about = {"classes": ["a", "b"], "shape": [1, 8, 8]}
    student = Predictor(tmp_path / "model.onnx", about, lambda images: (np.zeros((len(images), 2, 8, 8), np.float32),))
    with pytest.raises(UserError, match=r"logits of shape \(2, 2, 8, 8\): it classifies pixels"):
        student.predict_pixels(digits[0][:2])


@pytest.mark.parametrize("make", [lambda p: p.float(), lambda p: p[:, :, :7], lambda p: p[0]])
def test_images_of_another_form(folder, digits, make):
    with pytest.raises(ValueError, match=r"must be uint8 of shape \(N, 1, 8, 8\)"):
        Predictor.load(folder).predict_pixels(make(digits[0][:2]))
