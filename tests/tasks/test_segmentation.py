"""Segmentation from a recipe to its report, on scenes that are made up; every figure against torchmetrics."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from shared_stages import assert_same_in_ranks
from torchmetrics.functional.classification import multiclass_jaccard_index

from persistill import models, report
from persistill.api import export_table, metrics_table
from persistill.cli import main
from persistill.config import Arm, Data, Evaluate, Model, Recipe, Teacher, Train
from persistill.data import load
from persistill.errors import UserError
from persistill.inference import Predictor
from persistill.inference.predictor import read_image
from persistill.losses import AT, CRD, CWD, DIST, DKD, KD, SP, TGD, FitNet
from persistill.pipeline import Pipeline
from persistill.pipeline.cost_estimate import estimate
from persistill.pipeline.network_stage import WEIGHTS
from persistill.pipeline.standalone import evaluate_network, export_network
from persistill.report.sections import sections_of
from persistill.report.validation_margin import validation_margin
from persistill.run_folder import RunFolder
from persistill.tasks.segmentation.clean import _stride
from persistill.utils.progress import Silent

CLASSES = ("ground", "square", "disk")
IMAGE = ("image",)
QUICK = Train(
    epochs=1, batch_size=6, lr=0.05, schedule="constant", augment=("crop", "flip"), crop_padding=2, crop_size=(20, 28)
)


def recipe(folder: str, **changes) -> Recipe:
    values = {
        "name": "scenes",
        "task": "segmentation",
        "data": Data(source=folder, validation=6, test=8),
        "teachers": {"image": Teacher(model=Model(name="lraspp:resnet-14"))},
        "student": Model(name="lraspp:resnet-8"),
        "arms": {
            "alone": Arm(),
            "logits": Arm(methods=(KD(), DKD(), DIST(), CWD(on="logits", weight=3.0)), teachers=IMAGE),
            "maps": Arm(methods=(AT(), SP(), FitNet(), CWD()), teachers=IMAGE),
            "tgd": Arm(methods=(TGD(),), teachers=("image", "image")),
        },
        "train": QUICK,
        "evaluate": Evaluate(noise=(0.1,), corruptions=("contrast",), corruption_images=5, batch_size=5),
        "seeds": (0,),
    }
    return Recipe(**(values | changes))


@pytest.fixture(scope="module")
def scenes(write_scenes, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_scenes(tmp_path_factory.mktemp("scenes") / "root")


@pytest.fixture(scope="module")
def finished(scenes: str, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return Pipeline(recipe(scenes), tmp_path_factory.mktemp("runs"), device="cpu", command="x").run()


@pytest.fixture(scope="module")
def comparison(finished: RunFolder) -> report.Comparison:
    return report.read(finished.path)


def answers(finished: RunFolder, folder: str, scenes: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Predicted and true classes of the test images, asked anew."""
    run = RunFolder.open(finished.path.parent / folder)
    network, about = models.load(run.file(WEIGHTS), run.inputs["model"])
    test = load(Data(source=scenes, validation=6, test=8), masks=True).test
    rows = torch.arange(len(test))
    mean, std = (torch.tensor(about[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        logits = network.eval()((test.fetch(rows).float() / 255 - mean) / std).logits
    return logits.argmax(1), test.fetch_targets(rows)


def test_figures_are_those_of_torchmetrics(finished, comparison, scenes):
    for arm in comparison.everyone:
        run = arm.runs[0]
        predicted, target = answers(finished, run.folder, scenes)
        iou = multiclass_jaccard_index(predicted, target, 3, ignore_index=-100, average="none")
        assert run.metrics["iou"] == pytest.approx(iou.tolist())
        assert run.score == pytest.approx(float(iou.mean()))
        counted = target != -100
        right = float((predicted == target)[counted].double().mean())
        assert run.metrics["pixel_accuracy"] == pytest.approx(right)


def test_files_of_an_evaluation_hold_what_figures_are_made_of(comparison, finished, scenes):
    run = comparison.arms[0].runs[0]
    predicted, target = answers(finished, run.folder, scenes)
    with np.load(run.evaluation / "per_image.npz") as file:
        miou, confusion, index = file["miou"], file["confusion"], file["index"]
    assert (miou.shape, confusion.shape, index.tolist()) == ((8, 3, 2), (3, 3), list(range(8)))
    for image in range(8):
        for number in range(3):
            own, true = predicted[image] == number, target[image] == number
            own &= target[image] != -100
            assert miou[image, number].tolist() == [int((own & true).sum()), int((own | true).sum())]
    assert confusion.sum() == int((target != -100).sum())
    with np.load(run.evaluation / "masks.npz") as file:
        assert file["rows"].tolist() == list(range(8))
        assert np.array_equal(file["answer"], predicted.numpy())
    with np.load(run.evaluation / "predictions.npz") as file:
        assert file["logits"].shape == (8 * 256, 3)
        assert set(file["target"]) <= {0, 1, 2}


def test_several_ranks_measure_what_one_measures(finished, scenes, tmp_path):
    pipeline = Pipeline(recipe(scenes), finished.path.parent, device="cpu")
    *_, stage = pipeline.graph.evaluations.values()
    assert_same_in_ranks(pipeline.context, stage, 3, tmp_path)


def test_masks_are_kept_of_evenly_spaced_images():
    for count, stride in ((1, 1), (48, 1), (49, 2), (96, 2), (97, 4), (1000, 32)):
        assert _stride(count) == stride
        assert all(row % _stride(row + 1) == 0 for row in range(0, count, stride))


def test_noise_and_corruptions_are_measured_by_the_same_figure(comparison):
    for arm in comparison.everyone:
        metrics = arm.runs[0].metrics
        assert 0 <= metrics["noise"]["0.1"] <= 1
        found = metrics["corruptions"]
        assert (found["images"], list(found["miou"]), found["miou"]["contrast"].keys()) == (
            5,
            ["contrast"],
            set("12345"),
        )
        assert found["error"] == pytest.approx(1 - np.mean(list(found["miou"]["contrast"].values())))
    assert comparison.relative_error[comparison.arms[0].runs[0].folder] == 1


def test_the_report_shows_masks_and_classes(comparison):
    sections = {part.name: part for part in sections_of(comparison) if not isinstance(part, str)}
    assert list(sections) == [
        *("significance", "accuracy", "class-iou", "predicted-masks", "cost", "training", "calibration", "noise"),
        *("corruptions", "repeat"),
    ]
    rows = sections["predicted-masks"].content["rows"]
    assert len(rows) == 8
    assert [mask.label for mask in rows[0].masks][:2] == ["image", "truth"]
    shown = [mask.label.split(":")[0] for mask in rows[0].masks[2:]]
    assert shown == list(dict.fromkeys(["teacher", "alone", comparison.exported]))
    assert [name for name, _ in sections["predicted-masks"].content["legend"]] == list(CLASSES)
    table = sections["class-iou"].tables[0]
    assert [row[0] for row in table.rows] == list(CLASSES)
    assert table.rows[1][1] == f"{100 * comparison.arms[0].runs[0].metrics['iou'][1]:.2f}"
    page = (comparison.folder / "report.html").read_text()
    assert "Differences to the baseline" in page
    assert "in mIoU" in page
    assert comparison.arms[0].name in report.markdown(comparison)


def test_exported_files_answer_as_the_checkpoint(finished, comparison, scenes):
    result = comparison.export
    assert result["figure"] == "miou"
    exact = [name for name in result["agreement"] if name != "int8"]
    assert {"safetensors", "onnx", "program"} <= set(exact)
    assert [result["agreement"][name] for name in exact] == pytest.approx([1.0] * len(exact), abs=1e-3)
    # The best on validation images by mIoU, whose lead has an interval over these images.
    choice = comparison.choice
    assert choice.student.value == max(one.value for one in choice.candidates)
    assert validation_margin(comparison).images == choice.images == 6
    predicted, target = answers(finished, result["student"]["run"], scenes)
    miou = float(multiclass_jaccard_index(predicted, target, 3, ignore_index=-100))
    assert result["miou"]["checkpoint"] == pytest.approx(miou)
    folder = finished.path.parent / result["folder"]
    config = json.loads((folder / "model.json").read_text())
    assert (config["task"], config["output"]["shape"]) == ("segmentation", ["batch", 3, 24, 32])
    image = Path(scenes) / "images" / "00.png"
    copied = finished.path.parent / "scene.png"
    copied.write_bytes(image.read_bytes())
    said = subprocess.run(
        [sys.executable, folder / "segment.py", copied], capture_output=True, text=True, check=True
    ).stdout
    assert said.startswith(str(copied))
    with Image.open(copied.with_suffix(".mask.png")) as mask:
        assert mask.size == (32, 24)


def test_a_network_of_whole_images_is_refused_before_training(scenes, tmp_path):
    with pytest.raises(UserError, match="student: the task 'segmentation' needs logits of shape"):
        Pipeline(recipe(scenes, student=Model(name="resnet-8")), tmp_path, device="cpu").run()


def test_what_draws_images_by_class_is_refused(scenes, tmp_path):
    arms = {"alone": Arm(), "crd": Arm(methods=(CRD(),), teachers=IMAGE)}
    with pytest.raises(UserError, match="arm 'crd'"):
        Pipeline(recipe(scenes, arms=arms), tmp_path, device="cpu").run()


def test_images_of_other_things_are_refused(scenes, tmp_path):
    with pytest.raises(UserError, match="measures no detection of images of other things"):
        Pipeline(recipe(scenes, evaluate=Evaluate(ood="digits")), tmp_path, device="cpu")


def test_keys_know_the_task(scenes):
    own = Pipeline(recipe(scenes), Path("nowhere"), device="cpu").stages()[0]
    assert own.inputs["task"] == "segmentation"


def test_predict_writes_masks_beside_images(finished, comparison, scenes, tmp_path, capsys):
    folder = finished.path.parent / comparison.export["folder"]
    names = ["00.png", "01.png", "02.png"]
    for name in names:
        (tmp_path / name).write_bytes((Path(scenes) / "images" / name).read_bytes())
    with pytest.raises(SystemExit) as left:
        main(["predict", str(folder), str(tmp_path)])
    assert left.value.code == 0
    said = capsys.readouterr().out.splitlines()
    student = Predictor.load(folder)
    pixels = np.stack([read_image(tmp_path / name, student.shape, student.preprocessing) for name in names])
    for name, mask, line in zip(names, student.predict_masks(pixels), said, strict=True):
        with Image.open(tmp_path / name.replace(".png", ".mask.png")) as written:
            assert written.mode == "P"
            assert np.array_equal(np.asarray(written), mask)
        counts = np.bincount(mask.ravel(), minlength=3)
        assert f"{CLASSES[counts.argmax()]} {counts.max() / mask.size:.0%}" in line
    with pytest.raises(SystemExit) as left:
        main(["predict", str(folder), str(tmp_path)])
    assert left.value.code == 2
    assert "00.mask.png and 2 more exist already" in " ".join(capsys.readouterr().err.split())


def test_a_student_of_pixels_is_not_asked_for_classes_of_images(finished, comparison, tmp_path):
    student = Predictor.load(finished.path.parent / comparison.export["folder"])
    assert student.dense
    with pytest.raises(UserError, match="predict_masks"):
        student.predict_pixels(np.zeros((1, *student.shape), np.uint8))
    with pytest.raises(ValueError, match="must be uint8 of shape"):
        student.predict_masks(np.zeros((1, 3, 4, 4), np.uint8))
    assert student.predict_masks(np.zeros((0, *student.shape), np.uint8)).shape == (0, 24, 32)


def test_a_single_run_is_evaluated_and_exported(finished, comparison, tmp_path):
    run = finished.path.parent / comparison.arms[0].runs[0].folder
    settings = Evaluate(noise=(), corruptions=(), batch_size=5)
    result = evaluate_network(run, settings, torch.device("cpu"), Silent())
    assert result["metrics"]["miou"] == pytest.approx(comparison.arms[0].runs[0].score)
    titles = [row[0] for row in metrics_table.table(result["metrics"], settings).rows]
    assert titles[:2] == ["mIoU %", "pixel accuracy %"]
    exported = export_network(run, tmp_path / "out", Silent())
    assert exported["miou"]["checkpoint"] == exported["miou"]["safetensors"] == pytest.approx(result["metrics"]["miou"])
    assert export_table.table(exported).header[4] == "mIoU %"


def test_a_plan_counts_no_attacks(scenes, tmp_path):
    pipeline = Pipeline(recipe(scenes, arms={"alone": Arm()}, teachers={}), tmp_path, device="cpu")
    costs = estimate(pipeline, Silent())
    assert {cost.stage.kind for cost in costs.costs} >= {"student", "evaluation", "export", "comparison"}
    assert pipeline.context.task.applicable(Evaluate()).attacks == ()
