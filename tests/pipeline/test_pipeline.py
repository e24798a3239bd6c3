"""What depends on what, and what is found out before any training."""

import json
import pickle
import shutil
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from persistill.api.result import Result
from persistill.config import Arm, Data, Evaluate, Model, Recipe, Teacher, Train
from persistill.data import FittedPersistenceView, Loader, open_view
from persistill.errors import UserError
from persistill.losses import KD, SP, TGD, DistillationLoss, LossModule
from persistill.pipeline import Pipeline, network_training
from persistill.pipeline.network_stage import WEIGHTS
from persistill.pipeline.stage import Stage, in_order
from persistill.run_folder import RunFolder
from persistill.settings import Settings
from persistill.training import OnlineTeacher, fit


def recipe(**changes) -> Recipe:
    values = {
        "name": "test",
        "data": Data(source="digits", train=120, validation=20, test=60),
        "views": {"persistence": FittedPersistenceView(pixels=(8, 8))},
        "teachers": {
            "image": Teacher(model=Model(name="resnet-8")),
            "topology": Teacher(model=Model(name="resnet-8"), view="persistence"),
        },
        "student": Model(name="resnet-8"),
        "arms": {
            "alone": Arm(),
            "tgd": Arm(methods=(TGD(),), teachers=("image", "topology"), start="alone"),
        },
        "train": Train(epochs=1, batch_size=25, lr=0.05, schedule="constant"),
        "evaluate": Evaluate(noise=(0.1,), corruptions=("contrast",)),
        "seeds": (0,),
    }
    return Recipe(**(values | changes))


def keys(given: Recipe) -> dict[str, str]:
    return {
        f"{stage.kind} {stage.name}": stage.key for stage in Pipeline(given, Path("nowhere"), device="cpu").stages()
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return Pipeline(recipe(), tmp_path_factory.mktemp("runs"), device="cpu", command="persistill run test").run()


BEFORE = keys(recipe())


@pytest.mark.parametrize(
    ("path", "value", "changed"),
    [
        ("evaluate.ece_bins", 5, {"evaluation", "export"}),
        ("arms.tgd.methods.0.temperature", 2.0, {"student tgd", "choice", "evaluation tgd", "export"}),
        ("arms.alone.cross_entropy", 0.5, {"student", "choice", "evaluation alone", "evaluation tgd", "export"}),
        ("teacher_seed", 1, {"teacher", "evaluation image", "evaluation t", "student tgd", "choice", "export"}),
        (
            "views.persistence.quantile",
            0.9,
            {"view", "teacher topology", "student tgd", "choice", "evaluation t", "export"},
        ),
        ("train.lr", 0.1, {"teacher", "student", "choice", "evaluation", "export"}),
        ("data.split_seed", 5, {"view", "teacher", "student", "choice", "evaluation", "export"}),
        ("data.skip_unreadable", "true", set()),
        ("formats", ("onnx",), {"export"}),
    ],
)
def test_a_change_reaches_exactly_what_depends_on_it(path: str, value: object, changed: set[str]) -> None:
    after = keys(recipe().with_value(path, value))
    for stage, key in BEFORE.items():
        if stage.startswith("comparison"):
            assert after[stage] != key
        else:
            assert (after[stage] != key) == any(stage.startswith(prefix) for prefix in changed), stage


def test_a_run_leaves_what_the_contract_names(finished: RunFolder) -> None:
    root, result = finished.path.parent, finished.result()
    assert result["command"] == "persistill run test"
    assert result["classes"] == [str(digit) for digit in range(10)]
    assert [(row["arm"], row["seed"]) for row in result["rows"]] == [("alone", 0), ("tgd", 0)]
    for entry in [*result["rows"], *result["teachers"].values()]:
        trained = RunFolder.open(root / entry["run"])
        assert trained.file(WEIGHTS).is_file()
        assert not trained.file("checkpoint.safetensors").exists()
        assert trained.records()[-1]["type"] == "epoch"
        assert trained.about["context"]["computed"] == {"device": "cpu", "threads": torch.get_num_threads()}
        evaluation = RunFolder.open(root / entry["evaluation"])
        stored = np.load(evaluation.file("predictions.npz"))
        accuracy = (stored["logits"].argmax(1) == stored["target"]).mean()
        assert evaluation.result()["metrics"]["accuracy"] == pytest.approx(accuracy)
        assert len(stored["target"]) == 60
    assert finished.file("report.html").is_file()
    assert (root / result["export"] / "model.onnx").is_file()
    total = sum(
        RunFolder.open(path.parent).result()["seconds"]
        for path in root.glob("*/done.json")
        if not path.parent.name.startswith(("comparison", "export"))
    )
    assert result["seconds"] == pytest.approx(total)


def test_stages_run_one_by_one_as_in_processes_of_their_own(finished: RunFolder, tmp_path: Path) -> None:
    def fresh() -> Pipeline:
        return Pipeline(recipe(), tmp_path, device="cpu", command="persistill run test")

    names = [stage.folder_name for stage in fresh().stages()]
    assert names[-2:] == [fresh().graph.comparison.folder_name, fresh().graph.exported.folder_name]
    for name in names[:-2]:
        assert fresh().run_stage(name).complete
    for name in ("alone", "tgd"):
        stage = fresh().graph.students[name, 0]
        ours, theirs = (load_file(root / stage.folder_name / WEIGHTS) for root in (tmp_path, finished.path.parent))
        assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    with pytest.raises(UserError, match=r"unknown stage of this recipe: 'student-alone'.*student-alone-seed0-"):
        fresh().run_stage("student-alone")


def test_a_stage_holds_nothing_but_settings_and_stages() -> None:
    """So it can be sent to another process as it is."""
    pipeline = Pipeline(recipe(), Path("nowhere"), device="cpu")
    sent = pickle.loads(pickle.dumps([pipeline.graph.comparison, pipeline.graph.exported]))
    assert [stage.folder_name for stage in in_order(sent)] == [stage.folder_name for stage in pipeline.stages()]
    assert len(pickle.dumps(sent)) < 100_000


def test_stages_come_after_what_they_depend_on_and_once() -> None:
    class Step(Stage):
        kind = "view"

        def __init__(self, name: str, *depends_on: Stage) -> None:
            super().__init__(name, {"name": name}, depends_on)

        def work(self, context, folder):
            raise AssertionError

    first, second = Step("first"), Step("second")
    both = Step("both", second, first)
    last = Step("last", both, Step("first"))
    assert [stage.name for stage in in_order([last, first])] == ["second", "first", "both", "last"]
    assert in_order([]) == []


def test_errors_under_corruption_are_set_beside_those_of_the_first_arm(finished: RunFolder) -> None:
    root, result = finished.path.parent, finished.result()
    relative = result["relative_corruption_error"]
    assert relative["baseline"] == "alone"

    def error(entry: dict) -> float:
        found = RunFolder.open(root / entry["evaluation"]).result()["metrics"]["corruptions"]
        return sum(1 - accuracy for accuracy in found["accuracy"]["contrast"].values())

    alone, tgd = result["rows"]
    image = result["teachers"]["image"]  # the other teacher sees no images
    assert relative["of"] == {entry["run"]: pytest.approx(error(entry) / error(alone)) for entry in (image, alone, tgd)}


def test_likeness_and_costs_stand_in_the_comparison(finished: RunFolder) -> None:
    root, result = finished.path.parent, finished.result()
    entries = [*result["rows"], *result["teachers"].values()]
    answers = {e["run"]: np.load(root / e["evaluation"] / "predictions.npz")["logits"].argmax(1) for e in entries}
    assert set(result["likeness"]) == {row["run"] for row in result["rows"]}
    for student, likeness in result["likeness"].items():
        assert set(likeness) == set(result["teachers"])
        for name, found in likeness.items():
            expected = (answers[student] == answers[result["teachers"][name]["run"]]).mean()
            assert found["agreement"] == pytest.approx(expected)
    costs = {name: RunFolder.open(root / place) for name, place in result["costs"]["teachers"].items()}
    # Student and teacher of one architecture and one view share a measurement, the teacher of another view does not.
    assert root / result["costs"]["student"] == costs["image"].path != costs["topology"].path
    parameters = RunFolder.open(root / result["teachers"]["topology"]["run"]).result()["parameters"]
    assert costs["topology"].result()["parameters"] == parameters


def test_telling_images_are_kept_with_what_the_topology_teacher_sees(finished: RunFolder) -> None:
    root, result = finished.path.parent, finished.result()
    test = Pipeline(recipe(), root, device="cpu").splits.test
    with np.load(finished.file("images.npz")) as file:
        found = dict(file)
    rows = found["rows"]
    assert (found["images"] == test.fetch(torch.from_numpy(rows)).numpy()).all()
    assert (found["target"] == test.targets.numpy()[rows]).all()
    assert (found["view_persistence"] == np.load(root / result["views"]["persistence"] / "test.npy")[rows]).all()

    def stored(entry: dict) -> tuple[torch.Tensor, torch.Tensor]:
        answers = np.load(root / entry["evaluation"] / "predictions.npz")
        return torch.from_numpy(answers["logits"]), torch.from_numpy(answers["target"])

    students = [stored(row) for row in result["rows"]]
    surprise = sum(-logits.log_softmax(1)[range(60), target] for logits, target in students)
    assert rows[found["hardest"]].tolist() == surprise.sort(descending=True).indices[:24].tolist()
    (image, target), (topology, _) = (stored(result["teachers"][name]) for name in ("image", "topology"))
    alone = {row for row in range(60) if topology[row].argmax() == target[row] != image[row].argmax()}
    assert set(rows[found["only_topology_not_image"]].tolist()) <= alone
    assert len(found["only_topology_not_image"]) == min(12, len(alone))


def test_embedding_maps_lie_in_the_comparison(finished: RunFolder) -> None:
    root, result = finished.path.parent, finished.result()
    entries = [*result["teachers"].values(), *result["rows"]]
    with np.load(finished.file("embedding_maps.npz")) as file:
        found = dict(file)
    named = {f"{what}_{entry['run']}" for entry in entries for what in ("map", "answer")}
    assert set(found) == {"rows", "target", *named}
    assert sorted(found["rows"]) == list(range(60))
    for entry in entries:
        stored = np.load(root / entry["evaluation"] / "predictions.npz")
        assert (found["target"] == stored["target"][found["rows"]]).all()
        assert (found[f"answer_{entry['run']}"] == stored["logits"][found["rows"]].argmax(1)).all()
        assert np.isfinite(found[f"map_{entry['run']}"]).all()


def test_images_of_other_things_are_part_of_what_an_evaluation_depends_on(tmp_path: Path) -> None:
    given = recipe(evaluate=Evaluate(noise=(), attacks=(), corruptions=(), ood="digits", ood_images=30))
    before, after = keys(given), keys(given.with_value("evaluate.ood_images", 20))
    assert {name.split()[0] for name in before if after[name] != before[name]} == {
        "evaluation",
        "export",  # it carries the temperature that the evaluation fits
        "comparison",
    }
    pipeline = Pipeline(given, tmp_path, device="cpu")
    assert "ood" in pipeline.graph.evaluations[pipeline.graph.students["alone", 0].key].inputs
    assert "ood" not in pipeline.graph.evaluations[pipeline.graph.teachers["topology"].key].inputs
    alone = given.model_copy(update={"arms": {"alone": Arm()}, "teachers": {}})
    result = Pipeline(alone, tmp_path, device="cpu").run().result()
    found = RunFolder.open(tmp_path / result["rows"][0]["evaluation"]).result()["metrics"]["ood"]
    assert (found["source"], found["images"]) == ("digits", 30)
    assert 0 <= found["energy"] <= 1


class Center(Settings):
    """A preparation: the mean of the first teacher's embeddings over one epoch."""

    factor: float = 1.0

    def prepare(self, teacher_batches, folder, progress):
        progress.start("center", 1)
        seen = torch.cat([taught[0].embedding for taught in teacher_batches(0)])
        np.save(folder / "center.npy", self.factor * seen.mean(0).cpu().numpy())
        progress.finish()
        return {"images": len(seen)}


class Near(DistillationLoss):
    """A loss whose trainable part starts from what its preparation left."""

    required_outputs: ClassVar[frozenset[str]] = frozenset({"embedding"})

    weight: float = 1.0
    factor: float = 1.0

    @property
    def preparation(self):
        return Center(factor=self.factor) if self.factor else None

    def build(self, context):
        return Bias(self, context)


class Bias(LossModule):
    def __init__(self, loss, context):
        super().__init__(loss)
        start = torch.zeros(context.teachers[0].embedding.shape[1])
        if context.prepared is not None:
            start = torch.from_numpy(np.load(context.prepared / "center.npy"))
        SEEN.append((start, context))
        self.bias = torch.nn.Parameter(start.clone())

    def terms(self, student, teachers, batch):
        return {"near": (student.embedding + self.bias - teachers[0].embedding).square().mean()}


SEEN = []


@pytest.mark.parametrize("cache", ["off", "exact"])
def test_a_preparation_is_a_stage_between_teachers_and_students(tmp_path: Path, cache: str) -> None:
    SEEN.clear()
    arms = {
        "alone": Arm(),
        "plain": Arm(methods=(Near(factor=0.0),), teachers=("image",)),
        "near": Arm(methods=(KD(), Near(weight=0.5)), teachers=("image",)),
        "nearer": Arm(methods=(Near(weight=2.0),), teachers=("image",)),
    }
    pipeline = Pipeline(recipe(arms=arms, teacher_cache=cache), tmp_path, device="cpu")
    pipeline.run()
    kinds = [stage.kind for stage in pipeline.stages()]
    last_teacher = max(i for i, kind in enumerate(kinds) if kind in ("teacher", "features"))
    first_student = kinds.index("student")
    # One stage serves both arms, for both prepare the same.
    assert kinds[last_teacher + 1 : first_student] == ["preparation"]
    (folder,) = tmp_path.glob("preparation-*")
    assert RunFolder.open(folder).result()["images"] == 100
    center = torch.from_numpy(np.load(folder / "center.npy"))
    built = [(start, setting) for start, setting in SEEN if setting.prepared is not None]
    assert [setting.prepared for _, setting in built] == [folder, folder]
    assert all(torch.equal(start, center) and start.any() for start, _ in built)
    assert all(torch.equal(s.targets, pipeline.splits.train.targets) for _, s in SEEN)
    (last,) = tmp_path.glob("student-near-*")
    assert set(RunFolder.open(last).records()[-1]["terms"]) == {"ce", "kd", "near"}

    changed = Pipeline(recipe(arms=arms, teacher_cache=cache).with_value("arms.near.methods.1.factor", 2.0), tmp_path)
    differ = [name for name, stage in changed.graph.students.items() if stage.key != pipeline.graph.students[name].key]
    assert differ == [("near", 0)]


def test_the_annealing_start_is_the_student_alone(finished: RunFolder, tmp_path: Path) -> None:
    """With no weight on anything but a tiny learning rate, the student stays where it started."""
    still = Train(epochs=1, batch_size=25, lr=1e-12, weight_decay=0.0, schedule="constant")
    arms = {"alone": Arm(), "tgd": Arm(methods=(KD(),), teachers=("image",), start="alone", train=still)}
    pipeline = Pipeline(recipe(arms=arms), tmp_path, device="cpu")
    pipeline.run()
    from persistill import models

    alone, _ = models.load(tmp_path / pipeline.graph.students["alone", 0].folder_name / WEIGHTS)
    tgd, _ = models.load(tmp_path / pipeline.graph.students["tgd", 0].folder_name / WEIGHTS)
    for (name, one), (_, other) in zip(alone.named_parameters(), tgd.named_parameters(), strict=True):
        torch.testing.assert_close(one, other, msg=name)


def test_seeds_start_from_different_weights(finished: RunFolder, tmp_path: Path) -> None:
    pipeline = Pipeline(recipe(seeds=(0, 1), arms={"alone": Arm()}), tmp_path, device="cpu")
    pipeline.run()
    from persistill import models

    first, second = (
        models.load(tmp_path / pipeline.graph.students["alone", seed].folder_name / WEIGHTS)[0] for seed in (0, 1)
    )
    assert not torch.equal(next(first.parameters()), next(second.parameters()))


def test_a_teacher_from_a_file_is_adopted(finished: RunFolder, tmp_path: Path) -> None:
    root = finished.path.parent
    weights = root / finished.result()["teachers"]["image"]["run"] / WEIGHTS
    teachers = {"image": Teacher(model=Model(name="resnet-8"), weights=str(weights))}
    arms = {"kd": Arm(methods=(KD(),), teachers=("image",))}
    pipeline = Pipeline(recipe(teachers=teachers, views={}, arms=arms), tmp_path, device="cpu")
    pipeline.run()
    adopted = tmp_path / pipeline.graph.teachers["image"].folder_name
    assert RunFolder.open(adopted).result()["epochs"] == 0
    predictions = [
        np.load(folder / "predictions.npz")["logits"]
        for folder in (
            root / finished.result()["teachers"]["image"]["evaluation"],
            tmp_path / pipeline.graph.evaluations[pipeline.graph.teachers["image"].key].folder_name,
        )
    ]
    np.testing.assert_allclose(*predictions, rtol=1e-5, atol=1e-5)


def test_a_teacher_of_another_view_is_named(finished: RunFolder, tmp_path: Path) -> None:
    root = finished.path.parent
    weights = root / finished.result()["teachers"]["topology"]["run"] / WEIGHTS
    teachers = {"image": Teacher(model=Model(name="resnet-8"), weights=str(weights))}
    arms = {"kd": Arm(methods=(KD(),), teachers=("image",))}
    with pytest.raises(UserError, match=r"teacher 'image'.*was trained on the view 'persistence' and not on images"):
        Pipeline(recipe(teachers=teachers, views={}, arms=arms), tmp_path, device="cpu").run()


def test_what_does_not_fit_together_is_found_before_any_training(tmp_path: Path) -> None:
    cases = [
        (recipe(student=Model(name="resnet-9")), r"student: unknown model"),
        (recipe(evaluate=Evaluate(corruptions=("fogg",))), r"evaluate.corruptions: unknown corruption: 'fogg'"),
        (recipe().with_value("data.mean", (0.5, 0.5, 0.5)).with_value("data.std", (1.0, 1.0, 1.0)), r"1 channel"),
        (recipe().with_value("data.mean", (0.5,)), r"data.mean and data.std"),
        (recipe(train=Train(batch_size=500)), r"batch_size=500 is more than the 100 training images"),
    ]
    for given, message in cases:
        with pytest.raises(UserError, match=message):
            Pipeline(given, tmp_path / "runs", device="cpu").run()
        assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").glob("teacher*/log.jsonl"))


def test_teachers_and_alphas_must_agree(tmp_path: Path) -> None:
    arms = {"tgd": Arm(methods=(TGD(alphas=(1.0,)),), teachers=("image", "topology"))}
    with pytest.raises(UserError, match=r"arm 'tgd': TGD has 1 alphas"):
        Pipeline(recipe(arms=arms), tmp_path, device="cpu").probe()


def test_a_view_of_other_images_is_refused(finished: RunFolder, tmp_path: Path) -> None:
    """A forged view folder: right key, wrong images."""
    pipeline = Pipeline(recipe(), tmp_path, device="cpu")
    stage = pipeline.graph.views["persistence"]
    folder = RunFolder.create(tmp_path, stage.kind, stage.name, stage.inputs)
    source = finished.path.parent / stage.folder_name
    for name in ("train.npy", "validation.npy", "test.npy", "gallery.npz"):
        folder.file(name).write_bytes((source / name).read_bytes())
    result = json.loads((source / "done.json").read_text())
    folder.finish({**result, "fingerprint": "0" * 64})
    with pytest.raises(UserError, match="stale"):
        pipeline.run()


@pytest.mark.parametrize(("cache", "tolerance"), [("exact", 1e-5), ("half", 5e-3)])
def test_a_stored_teacher_teaches_like_a_live_one(
    finished: RunFolder, tmp_path: Path, cache: str, tolerance: float
) -> None:
    given = recipe(teacher_cache=cache)
    pipeline = Pipeline(given, tmp_path, device="cpu")
    shutil.copytree(finished.path.parent, tmp_path, dirs_exist_ok=True)
    asked: list[int] = []
    live = OnlineTeacher.__call__

    def counted(teacher: OnlineTeacher, batch) -> object:
        asked.append(len(batch.target))
        return live(teacher, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OnlineTeacher, "__call__", counted)
        pipeline.run()
    # beside the examples on which all is tried before: each of two teachers, once about each training image
    assert [count for count in asked if count > 2] == [100, 100]
    folders = (
        tmp_path / pipeline.graph.students["tgd", 0].folder_name,
        finished.path.parent / Pipeline(recipe(), tmp_path, device="cpu").graph.students["tgd", 0].folder_name,
    )
    first, second = (RunFolder.open(folder).records()[-1]["loss"] for folder in folders)
    assert first == pytest.approx(second, rel=tolerance)
    if cache != "exact":  # and what it learned from is not what the live one said
        one, other = (load_file(folder / WEIGHTS) for folder in folders)
        assert any(not torch.equal(one[name], other[name]) for name in one)


def test_crops_and_flips_reach_the_topology_teacher(tmp_path: Path) -> None:
    """In its own training and in the student's, every batch holds the persistence images of its cropped images."""
    loaders: dict[str, Loader] = {}

    def watched(network, loader, *, label, **options):
        loaders[label] = loader
        return fit(network, loader, label=label, **options)

    pipeline = Pipeline(recipe(train=Train(epochs=1, batch_size=25, augment=("crop",))), tmp_path, device="cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network_training, "fit", watched)
        for stage in pipeline.stages():
            if stage.kind in ("view", "teacher", "student"):
                stage.run(pipeline.context)
    made = RunFolder.open(tmp_path / pipeline.graph.views["persistence"].folder_name)
    view = open_view(made.path, made.result(), pipeline.splits)
    (mean,), (std,) = pipeline.normalization
    assert list(next(loaders["student alone, seed 0"].epoch(0)).inputs) == ["image"]
    for label in ("teacher topology", "student tgd, seed 0"):
        for batch in loaders[label].epoch(0):
            pixels = ((batch.inputs["image"] * std + mean) * 255).round().to(torch.uint8)
            whole = pipeline.splits.train.fetch(batch.index)
            assert sum(not torch.equal(one, other) for one, other in zip(pixels, whole, strict=True)) > 20
            unit = batch.inputs["persistence"] * torch.tensor(view.std)[:, None, None]
            unit += torch.tensor(view.mean)[:, None, None]
            torch.testing.assert_close(unit, view.online(pipeline.graph.views["persistence"].view).compute(pixels))


def test_a_stored_teacher_and_augmentation_exclude_each_other(tmp_path: Path) -> None:
    arms = {"kd": Arm(methods=(KD(),), teachers=("image",))}
    teachers = {"image": Teacher(model=Model(name="resnet-8"))}
    image = recipe(arms=arms, teachers=teachers, views={}, teacher_cache="half", train=Train(augment=("flip",)))
    topology = recipe(teacher_cache="exact", train=Train(augment=("crop",)))
    for given in (image, topology):
        with pytest.raises(UserError, match="set teacher_cache=off"):
            Pipeline(given, tmp_path, device="cpu")


def test_only_what_the_methods_read_is_stored(tmp_path: Path) -> None:
    arms = {"kd": Arm(methods=(KD(),), teachers=("image",)), "sp": Arm(methods=(SP(),), teachers=("topology",))}
    pipeline = Pipeline(recipe(arms=arms, teacher_cache="exact"), tmp_path, device="cpu")
    assert pipeline.graph.features["image"].inputs["parts"] == ["logits"]
    assert pipeline.graph.features["topology"].inputs["parts"] == ["feature_maps"]


def test_a_network_of_another_library_learns_and_ships(tmp_path: Path) -> None:
    given = recipe(
        data=Data(source="digits", train=120, validation=20, test=60, size=(32, 32)),
        student=Model(name="timm/test_efficientnet"),
        teachers={"image": Teacher(model=Model(name="resnet-8"))},
        views={},
        arms={"kd": Arm(methods=(KD(),), teachers=("image",))},
    )
    folder = Pipeline(given, tmp_path, device="cpu").run()
    result = RunFolder.open(tmp_path / folder.result()["export"]).result()
    assert result["agreement"]["onnx"] == 1.0


def test_the_report_is_there_whatever_becomes_of_the_export(tmp_path: Path, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr("persistill.exporters.export_student", fail)
    alone = recipe(
        arms={"alone": Arm()}, teachers={}, views={}, evaluate=Evaluate(noise=(), attacks=(), corruptions=())
    )
    pipeline = Pipeline(alone, tmp_path, device="cpu")
    with pytest.raises(RuntimeError, match="no such operator"):
        pipeline.run()
    comparison = pipeline.graph.comparison.open(pipeline.context)
    assert comparison.file("report.html").is_file()
    result = Result(comparison.path)
    assert result.comparison.export is None
    with pytest.raises(UserError, match=r"is not in .*, or not whole\. Run the recipe again"):
        result.require_exported()
    monkeypatch.undo()
    pipeline.run()
    assert result.require_exported() == result.exported
    ours = load_file(result.exported / WEIGHTS)
    theirs = load_file(result.student("alone") / WEIGHTS)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_an_export_of_another_student_is_not_the_one_that_was_chosen(finished: RunFolder, tmp_path: Path) -> None:
    shutil.copytree(finished.path.parent, tmp_path / "runs")
    result = Result(tmp_path / "runs" / finished.path.name)
    assert result.require_exported() == result.exported
    export = RunFolder.open(result.exported)
    export.finish(
        {**export.result(), "student": {"arm": "other", "seed": 0, "run": "student-other-seed0-0123456789ab"}}
    )
    with pytest.raises(UserError, match=r"holds the student student-other-seed0-0123456789ab, and .* was chosen"):
        result.require_exported()
