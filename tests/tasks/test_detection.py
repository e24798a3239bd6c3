"""Detection from a recipe to its comparison, on colored squares."""

import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_utilities import apply_to_collection
from shared_stages import assert_same_in_ranks
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from persistill import metrics, models, report
from persistill.config import Arm, Data, Evaluate, Model, Quantize, Recipe, Teacher, Train
from persistill.data import load_boxes
from persistill.errors import UserError
from persistill.inference import Predictor
from persistill.losses import AT, CRD, DKD, KD, RKD, SEKD, SP, FitNet
from persistill.losses.detection import FGD, PKD, DenseKD, OnLevels
from persistill.pipeline import Pipeline
from persistill.pipeline.cost_estimate import estimate
from persistill.pipeline.executors import local
from persistill.pipeline.network_stage import WEIGHTS
from persistill.pipeline.standalone import evaluate_network
from persistill.pipeline.validate import problems
from persistill.report.against_baseline import against_baseline
from persistill.report.sections import sections_of
from persistill.report.validation_margin import validation_margin
from persistill.run_folder import RunFolder
from persistill.structures import Batch, Detections, unpack_objects
from persistill.tasks import Detection
from persistill.tasks.detection.files import read_detections
from persistill.tasks.detection.loss_terms import loss_terms
from persistill.tasks.detection.scoring import pack_detections, unpack_detections
from persistill.training import make_fabric
from persistill.utils.progress import Silent

IMAGE = ("image",)
TRAIN = Train(
    epochs=2, batch_size=6, optimizer="adamw", lr=1e-3, schedule="constant", clip_norm=5.0, augment=("flip", "scale")
)


def recipe(folder: str, **changes) -> Recipe:
    values = {
        "name": "squares",
        "task": "detection",
        "data": Data(source=folder, size=(48, 48), validation=6, test=8),
        "teachers": {"image": Teacher(model=Model(name="fcos:resnet-8"), train=TRAIN.with_value("epochs", 1))},
        "student": Model(name="fcos:resnet-8"),
        "arms": {
            "alone": Arm(),
            "kd": Arm(methods=(DenseKD(),), teachers=IMAGE),
            "levels": Arm(
                methods=(PKD(), FGD(), OnLevels(loss=SEKD(eigenpairs=2)), OnLevels(loss=AT())), teachers=IMAGE
            ),
        },
        "train": TRAIN,
        "evaluate": Evaluate(noise=(0.1,), corruptions=("contrast",), corruption_images=5, batch_size=4),
        "seeds": (0,),
    }
    return Recipe(**(values | changes))


@pytest.fixture(scope="module")
def squares(write_squares, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_squares(tmp_path_factory.mktemp("squares") / "root")


@pytest.fixture(scope="module")
def finished(squares: str, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    pipeline = Pipeline(recipe(squares), tmp_path_factory.mktemp("runs"), device="cpu", command="x")
    pipeline.probe()
    local.run([pipeline.graph.comparison], pipeline.context)
    return pipeline


@pytest.fixture(scope="module")
def comparison(finished: Pipeline) -> report.Comparison:
    return report.read(finished.graph.comparison.open(finished.context).path)


def test_figures_are_those_of_the_network_asked_anew(finished, comparison, squares):
    test = load_boxes(finished.recipe.data, Silent()).splits.test
    rows = torch.arange(len(test))
    for arm in comparison.everyone:
        run = arm.runs[0]
        folder = RunFolder.open(finished.out / run.folder)
        network, about = models.load(folder.file(WEIGHTS), folder.inputs["model"])
        mean, std = (torch.tensor(about[name])[:, None, None] for name in ("mean", "std"))
        with torch.no_grad():
            found = network.eval()((test.fetch(rows).float() / 255 - mean) / std).detections
        objects = unpack_objects(test.fetch_targets(rows))
        matches = metrics.match_detections(found, objects, 2)
        for name, value in metrics.coco_figures(matches).items():
            assert run.metrics[name] == (pytest.approx(value, abs=1e-6) if np.isfinite(value) else None)
        assert run.metrics["by_class"]["objects"] == [6, 6]
        assert sum(run.metrics["errors"].values()) >= sum(len(one.labels) for one in objects)
        assert run.score == run.metrics["ap"]
        with np.load(run.evaluation / "detections.npz") as file:
            stored, truth, index = read_detections(file)
            assert len(read_detections(file, "validation_")[0]) == 6
        assert index.tolist() == rows.tolist()
        assert all(torch.equal(a.boxes, b.boxes) for a, b in zip(truth, objects, strict=True))
        assert [len(one.labels) for one in stored] == [len(one.labels) for one in found]


def test_differences_and_the_margin_are_told_of_draws_of_images(comparison):
    baseline, other = (arm.runs[0] for arm in comparison.arms[:2])
    for measure in comparison.task.differences:
        found = against_baseline(comparison, measure)
        assert list(found) == ["kd", "levels"]
        gain = other.metrics[measure.name] - baseline.metrics[measure.name]
        assert found["kd"].mean == pytest.approx(gain)
        assert found["kd"].low <= gain <= found["kd"].high
    margin = validation_margin(comparison)
    assert margin.images == 6


def test_several_ranks_measure_what_one_measures(finished, tmp_path):
    *_, stage = finished.graph.evaluations.values()
    assert_same_in_ranks(finished.context, stage, 3, tmp_path)


def test_noise_and_corruptions_are_measured_by_ap(comparison):
    for arm in comparison.everyone:
        measured = arm.runs[0].metrics
        assert 0 <= measured["noise"]["0.1"] <= 1
        found = measured["corruptions"]
        assert (found["images"], list(found["ap"]), set(found["ap"]["contrast"])) == (5, ["contrast"], set("12345"))
        assert found["error"] == pytest.approx(1 - np.mean(list(found["ap"]["contrast"].values())))
    assert comparison.relative_error[comparison.arms[0].runs[0].folder] == 1


def test_training_logs_all_terms_and_no_accuracy(comparison):
    epochs = comparison.arms[1].runs[0].curve
    assert list(epochs[-1].terms)[:5] == ["classes", "boxes", "centerness", "proposals", "other"]
    assert epochs[-1].terms["proposals"] == 0 < epochs[-1].terms["centerness"]
    assert list(epochs[-1].validation) == ["ap", "ap50"]
    assert np.isnan(epochs[-1].train_accuracy)


def test_a_single_run_is_evaluated(finished, comparison):
    run = comparison.arms[0].runs[0]
    settings = Evaluate(noise=(), corruptions=(), batch_size=3)
    found = evaluate_network(finished.out / run.folder, settings, torch.device("cpu"), Silent())
    assert found["metrics"]["ap"] == pytest.approx(run.metrics["ap"], abs=1e-6)


def test_an_interrupted_training_ends_with_the_same_weights(finished, tmp_path, monkeypatch):
    again = Pipeline(finished.recipe, tmp_path, device="cpu")
    local.run([again.graph.teachers["image"]], again.context)
    stage, steps, forward = again.graph.students["kd", 0], [], Detection.forward

    def interrupted(task, *given):
        steps.append(given)
        if len(steps) == 3:
            signal.raise_signal(signal.SIGINT)
        return forward(task, *given)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Detection, "forward", interrupted)
        again.run_stage(stage.folder_name)
    assert not stage.complete(again.context)
    again.run_stage(stage.folder_name)
    weights = [path / stage.folder_name / WEIGHTS for path in (finished.out, tmp_path)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_stored_teachers_teach_levels(finished, squares, tmp_path, monkeypatch):
    monkeypatch.setattr("persistill.tasks.detection.task._PIXELS", 2 * 48 * 48)
    asked, forward = [], models.Detector.forward

    def counting(detector, x, *given):
        if not detector.detecting and not detector.training:
            asked.append(len(x))
        return forward(detector, x, *given)

    monkeypatch.setattr(models.Detector, "forward", counting)
    stored = recipe(
        squares,
        arms={"levels": Arm(methods=(PKD(), OnLevels(loss=FitNet(), region="objects")), teachers=IMAGE)},
        teacher_cache="half",
        train=TRAIN.model_copy(update={"augment": (), "epochs": 1}),
    )
    pipeline = Pipeline(stored, tmp_path, device="cpu")
    local.run([pipeline.graph.students["levels", 0]], pipeline.context)
    assert max(asked) == 2  # at a time, as many as an evaluation asks about
    assert sum(asked) == len(pipeline.splits.train)
    refused = stored.with_value("arms", {"kd": Arm(methods=(DenseKD(),), teachers=IMAGE)})
    assert "stores the levels of detectors alone" in problems(refused)[0]


@pytest.mark.parametrize("loss", [KD(), DKD(), RKD(), CRD(), SP(), FitNet(), SEKD()])
def test_methods_of_classification_are_refused_with_what_to_use(squares, loss):
    (found,) = problems(recipe(squares, arms={"x": Arm(methods=(loss,), teachers=IMAGE)}))
    assert type(loss).__name__ in found
    assert "OnLevels" in found
    assert "persistill.losses.detection" in found


def test_settings_that_detectors_cannot_follow_are_refused(squares):
    found = problems(
        recipe(
            squares,
            train=TRAIN.model_copy(
                update={
                    "label_smoothing": 0.1,
                    "augment": ("crop", "rotate"),
                    "crop_size": (8, 8),
                    "compile": "default",
                }
            ),
            evaluate=Evaluate(ood="digits"),
            quantize=Quantize(),
        )
    )
    said = "\n".join(found)
    for word in (
        "label_smoothing",
        "crop_size",
        "compile",
        "evaluate.ood",
        "quantize",
        "augmentation of boxes: 'rotate'",
    ):
        assert word in said


def test_a_network_of_whole_images_is_refused_before_training(squares, tmp_path):
    with pytest.raises(UserError, match="student: the task 'detection' needs a detector"):
        Pipeline(recipe(squares, student=Model(name="resnet-8")), tmp_path, device="cpu").probe()
    digits = Recipe(name="x", data=Data(source="digits"), student=Model(name="fcos:resnet-8"), arms={"a": Arm()})
    with pytest.raises(UserError, match="student: the task 'classification' needs logits"):
        Pipeline(digits, tmp_path, device="cpu").probe()


class OwnRetinaNet(RetinaNet):
    """Whose losses may be means over anything."""


def own_detector(in_channels, num_classes):
    module = models.build("retinanet:resnet-8", in_channels, num_classes).module
    module.__class__ = OwnRetinaNet
    module.transform = GeneralizedRCNNTransform(48, 48, [0.5] * 3, [0.5] * 3)
    return module


def test_only_batches_of_known_detectors_are_taken_in_parts(squares, tmp_path):
    Pipeline(recipe(squares), tmp_path, device="cpu", auto_batch=True).probe()
    own = recipe(squares, student=Model(name="test_detection:own_detector"), arms={"alone": Arm()})
    said = (
        r"test_detection:own_detector cannot be taken in parts \(train\.accumulate\): OwnRetinaNet computes its losses"
    )
    with pytest.raises(UserError, match=said):
        Pipeline(own.with_value("train.accumulate", 2), tmp_path, device="cpu").probe()
    assert Detection().indivisible(torch.nn.Identity()).startswith("Identity computes")


def test_a_column_of_classes_is_refused(squares):
    with pytest.raises(UserError, match=r"data\.label='kind'"):
        Detection().load(Data(source=squares, label="kind"), Silent())


def test_names_of_augmentations_become_those_of_boxes():
    def own(images, target, generator):
        return images, target

    first, second, third = Detection().augmentation(("flip", "scale", own, "color"))
    assert (first.names, second, third.names) == (("flip", "scale"), own, ("color",))


def test_teachers_leave_out_what_nobody_reads():
    torch.manual_seed(0)
    images = torch.randn(2, 3, 48, 48)
    for name in ("fcos:resnet-8", "retinanet:resnet-8", "faster-rcnn:resnet-8"):
        network = models.build(name, 3, 2, (48, 48)).eval()
        with torch.no_grad():
            whole, less = network(images), Detection().teaching(network)(images)
        assert len(whole.detections) == 2
        assert not less.detections
        assert all(torch.equal(whole.feature_maps[level], less.feature_maps[level]) for level in whole.feature_maps)
        assert torch.equal(whole.logits, less.logits)
        assert all(torch.equal(a.boxes, b.boxes) for a, b in zip(whole.levels, less.levels, strict=True))


def test_every_loss_of_a_detector_is_in_one_term(squares):
    objects = unpack_objects(
        load_boxes(Data(source=squares, size=(48, 48)), Silent()).splits.train.fetch_targets(torch.arange(2))
    )
    for name, empty in (("fcos:resnet-8", {"proposals"}), ("faster-rcnn:resnet-8", {"centerness"})):
        torch.manual_seed(0)
        output = models.build(name, 3, 2, (48, 48)).train()(torch.randn(2, 3, 48, 48), objects)
        terms = loss_terms(output)
        assert {term for term, value in terms.items() if value == 0} == empty | {"other"}
        assert sum(terms.values()).item() == pytest.approx(sum(output.losses.values()).item())


def test_outputs_of_detectors_survive_being_taken_apart():
    torch.manual_seed(0)
    output = models.build("fcos:resnet-8", 3, 2, (48, 48)).eval()(torch.randn(1, 3, 48, 48))
    again = apply_to_collection(output, torch.Tensor, lambda tensor: tensor.double())
    assert type(again) is models.DetectionOutput
    assert again.image_size == (48, 48)
    assert again.levels[0].boxes.dtype == again.detections[0].scores.dtype == torch.float64
    assert again._replace(logits=None).levels is again.levels


def test_one_class_is_enough():
    assert models.build("fcos:resnet-8", 3, 1, (48, 48)).spec.num_classes == 1
    with pytest.raises(UserError, match="2 or more classes"):
        models.build("resnet-8", 3, 1)


def test_packed_detections_come_back():
    found = [Detections(torch.rand(n, 4), torch.linspace(0.9, 0.0, n), torch.arange(n)) for n in (3, 0, 1)]
    for one, other in zip(found, unpack_detections(pack_detections(found)), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_classes_without_objects_are_told(tmp_path, write_squares):
    folder = Path(write_squares(tmp_path / "squares"))
    (folder / "classes.txt").write_text("red\nblue\ngreen")
    splits = Detection().load(Data(source=str(folder), size=(48, 48)), Silent())
    assert any("green" in note and "no AP is measured" in note for note in splits.notes)


def test_the_report_has_every_section(comparison):
    parts = sections_of(comparison)
    assert {part.name for part in parts if not isinstance(part, str)} >= {
        "significance",
        "class-ap",
        "cost",
        "training",
    }
    assert [part for part in parts if isinstance(part, str)] == ["Published figures: the recipe names none."]


def test_the_chosen_student_is_exported_and_finds_the_same_as_its_run(finished):
    short = Pipeline(finished.recipe.with_value("formats", ("nms",)), finished.out, device="cpu", command="x")
    local.run([short.graph.exported], short.context)
    folder = short.graph.exported.open(short.context)
    result = folder.result()
    assert result["failed"] == {}
    assert {"safetensors", "nms", "config", "example"} <= result["files"].keys()
    assert result["agreement"] == {"safetensors": 1.0, "nms": 1.0}
    (image,) = short.splits.test.fetch(torch.tensor([0]))
    found = Predictor.load(folder.path).objects_in_pixels(image[None], threshold=0.0)
    student = Predictor.load(short.graph.choice.chosen(short.context).open(short.context).path)
    expected = student.objects_in_pixels(image[None], threshold=0.0)
    assert len(expected[0]) > 0
    assert [one.name for one in found[0]] == [one.name for one in expected[0]]
    assert [one.score for one in found[0]] == pytest.approx([one.score for one in expected[0]], abs=1e-4)


def test_a_student_begins_with_its_teachers_head(finished, squares, tmp_path):
    methods = (PKD(),)
    arms = {"pkd": Arm(methods=methods, teachers=IMAGE, inherit_head=True)}
    quick = TRAIN.model_copy(update={"epochs": 1, "lr": 1e-9, "weight_decay": 0.0})
    pipeline = Pipeline(recipe(squares, arms=arms, train=quick), tmp_path, device="cpu")
    pipeline.probe()
    local.run([pipeline.graph.students["pkd", 0]], pipeline.context)
    student, teacher = (
        stage.network(pipeline.context)[0].module
        for stage in (pipeline.graph.students["pkd", 0], pipeline.graph.teachers["image"])
    )
    ours, theirs = (dict(one.head.named_parameters()) for one in (student, teacher))
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in ours)
    plain = recipe(squares, arms={"pkd": Arm(methods=methods, teachers=IMAGE)}, train=quick)
    others = Pipeline(plain, tmp_path, device="cpu").graph
    assert others.students["pkd", 0].key != pipeline.graph.students["pkd", 0].key
    with pytest.raises(UserError, match="name a teacher"):
        Arm(inherit_head=True)
    wide = recipe(squares, arms=arms, student=Model(name="fcos-128:resnet-8"))
    with pytest.raises(UserError, match=r"arm 'pkd': .*cannot begin with the head"):
        Pipeline(wide, tmp_path, device="cpu").probe()


def test_a_plan_counts_no_attacks(squares, tmp_path):
    costs = estimate(Pipeline(recipe(squares, arms={"alone": Arm()}, teachers={}), tmp_path, device="cpu"))
    assert {cost.stage.kind for cost in costs.costs} >= {"student", "evaluation", "cost"}
    assert "evaluate.attacks=()" not in costs.savings


def test_mixed_precision_rounds_no_boxes_and_loses_no_losses(squares, monkeypatch):
    images = load_boxes(Data(source=squares, size=(48, 48)), Silent()).splits.train
    batch = Batch({}, images.fetch_targets(torch.arange(2)), torch.arange(2))
    network, seen = models.build("fcos:resnet-8", 3, 2, (48, 48)).train(), []
    targets = models.Detector._targets
    monkeypatch.setattr(models.Detector, "_targets", lambda *given: (seen.extend(given[1]), targets(*given))[1])
    fabric = make_fabric("cpu", Train(precision="bf16"))
    model, _ = fabric.setup(network, torch.optim.SGD(network.parameters(), lr=0.1))
    output = Detection().forward(model, torch.randn(2, 3, 48, 48), batch)
    assert all(
        torch.equal(one.boxes, other.boxes) for one, other in zip(seen, unpack_objects(batch.target), strict=True)
    )
    assert Detection().criterion(output, batch)["boxes"] > 0


def test_large_images_are_asked_about_in_small_batches():
    sizes = [Detection().fitting(Evaluate(), (3, *size)).batch_size for size in ((48, 48), (240, 320), (3000, 4000))]
    assert sizes == [500, 54, 1]
