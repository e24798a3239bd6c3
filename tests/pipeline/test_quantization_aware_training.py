"""From a recipe's ``quantize`` to the int8 file: the stage, what it depends on, and what comes of it."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from persistill import models
from persistill.autoconfig import Options, as_python, make_recipe
from persistill.config import Arm, Data, Evaluate, Model, Quantize, Recipe, Teacher, Train
from persistill.data.sources.inspect import outline
from persistill.errors import UserError
from persistill.exporters import FORMATS, int8_file, onnx_file
from persistill.exporters.student import Student
from persistill.losses import KD
from persistill.pipeline import Pipeline
from persistill.pipeline.cost_estimate import estimate
from persistill.pipeline.dry_run import DryRun
from persistill.pipeline.network_stage import WEIGHTS
from persistill.pipeline.stages.export import CALIBRATING
from persistill.report.export_text import int8_sentence, processor_sentence
from persistill.run_folder import RunFolder

RECIPE = Recipe(
    name="test",
    data=Data(source="digits", train=120, validation=20, test=60),
    teachers={"image": Teacher(model=Model(name="resnet-8"))},
    student=Model(name="resnet-8"),
    arms={
        "kd": Arm(cross_entropy=0.2, methods=(KD(),), teachers=("image",)),
        "alone": Arm(train=Train(epochs=1, batch_size=20, lr=0.3, schedule="constant")),
    },
    train=Train(epochs=2, batch_size=25, lr=0.05, schedule="one-cycle"),
    evaluate=Evaluate(noise=(), attacks=(), corruptions=()),
    seeds=(3, 4),
    export="kd",
    quantize=Quantize(epochs=3, rate=0.2),
)


def keys(recipe: Recipe) -> dict[str, str]:
    stages = Pipeline(recipe, Path("nowhere"), device="cpu").stages()
    return {f"{stage.kind} {stage.name}": stage.key for stage in stages}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pipeline, RunFolder]:
    pipeline = Pipeline(RECIPE, tmp_path_factory.mktemp("runs"), device="cpu")
    return pipeline, pipeline.run()


def test_without_it_nothing_but_the_export_has_another_key() -> None:
    asked, plain = keys(RECIPE), keys(RECIPE.model_copy(update={"quantize": None}))
    assert set(asked) - set(plain) == {"quantized kd"}
    assert {name for name in plain if asked[name] != plain[name]} == {"export kd", "comparison test"}
    longer = keys(RECIPE.with_value("quantize.epochs", "4"))
    changed = {name for name in asked if asked[name] != longer[name]}
    assert changed == {"quantized kd", "export kd", "comparison test"}
    other = keys(RECIPE.with_value("arms.alone.cross_entropy", 0.5))
    assert other["quantized kd"] == asked["quantized kd"]


def test_the_stage_goes_on_with_the_objective_of_the_arm(finished: tuple[Pipeline, RunFolder]) -> None:
    pipeline, _ = finished
    assert pipeline.graph.quantized is not None
    folder = RunFolder.open(pipeline.out / pipeline.graph.quantized.folder_name)
    epochs = [record for record in folder.records() if record["type"] == "epoch"]
    assert len(epochs) == 3
    assert epochs[0]["weights"] == {"ce": 0.2, "kd": 0.9}
    rates = [record["lr"] for record in folder.records()]
    assert max(rates) <= 0.2 * 0.05
    assert rates[-1] < 0.1 * max(rates)
    student = RunFolder.open(pipeline.out / pipeline.graph.students["kd", 3].folder_name)
    # It begins where the student ended, and not anew.
    assert epochs[0]["loss"] < student.records()[0]["loss"]


def test_the_copy_is_an_ordinary_network_with_other_weights(finished: tuple[Pipeline, RunFolder]) -> None:
    pipeline, _ = finished
    assert pipeline.graph.quantized is not None
    copy = load_file(pipeline.out / pipeline.graph.quantized.folder_name / WEIGHTS)
    student = load_file(pipeline.out / pipeline.graph.students["kd", 3].folder_name / WEIGHTS)
    assert {name: value.shape for name, value in copy.items()} == {name: v.shape for name, v in student.items()}
    assert not torch.equal(copy["classifier.weight"], student["classifier.weight"])
    network, about = models.load(pipeline.out / pipeline.graph.quantized.folder_name / WEIGHTS)
    assert network.name == about.get("model", "resnet-8")


def test_the_int8_file_is_made_of_the_copy_and_the_float_files_of_the_student(
    finished: tuple[Pipeline, RunFolder], tmp_path: Path
) -> None:
    pipeline, _ = finished
    assert pipeline.graph.quantized is not None
    export = RunFolder.open(pipeline.out / pipeline.graph.exported.folder_name)
    student = load_file(pipeline.out / pipeline.graph.students["kd", 3].folder_name / WEIGHTS)
    delivered = load_file(export.file(WEIGHTS))
    assert all(torch.equal(value, student[name]) for name, value in delivered.items())
    images = torch.rand(30, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    train = pipeline.splits.train
    calibration = train.fetch(torch.arange(min(CALIBRATING, len(train))))
    answers = {}
    for stage in (pipeline.graph.quantized, pipeline.graph.students["kd", 3]):
        network, about = models.load(pipeline.out / stage.folder_name / WEIGHTS)
        content = onnx_file.to_onnx(Student(network, about["mean"], about["std"]).eval(), (1, 8, 8), {}).content
        int8_file.write(content, {}, calibration, tmp_path / "int8.onnx")
        answers[stage.kind] = onnx_file.open_session(tmp_path / "int8.onnx")(images)[0]
        answers[f"float {stage.kind}"] = network.eval()((images - about["mean"][0]) / about["std"][0]).logits.detach()
    int8 = onnx_file.open_session(export.file("model.int8.onnx"))(images)[0]
    assert torch.equal(int8, answers["quantized"])
    assert not torch.equal(int8, answers["student"])
    exact = onnx_file.open_session(export.file("model.onnx"))(images)[0]
    assert torch.allclose(exact, answers["float student"], atol=1e-4)


def test_result_and_report_say_what_the_training_changed(finished: tuple[Pipeline, RunFolder]) -> None:
    pipeline, comparison = finished
    result = RunFolder.open(pipeline.out / pipeline.graph.exported.folder_name).result()
    said = int8_sentence(result)
    assert "by static quantization after quantization-aware training: the checkpoint's class " in said
    for figure in (
        result["agreement"]["int8"],
        result["accuracy"]["int8"],
        result["int8"]["static"]["agreement"],
        result["int8"]["static"]["accuracy"],
        result["accuracy"]["checkpoint"],
    ):
        assert f"{figure:.2%}" in said
    assert said.split(": ")[0] in comparison.file("report.html").read_text(encoding="utf-8")
    total = sum(
        json.loads(path.read_text())["seconds"]
        for path in pipeline.out.glob("*/done.json")
        if not path.parent.name.startswith(("comparison", "export"))
    )
    assert comparison.result()["seconds"] == pytest.approx(total)


def test_sentences_of_other_exports() -> None:
    assert int8_sentence({}) == ""
    assert int8_sentence({"files": {}, "agreement": {"onnx": 1.0}, "int8": {}}) == ""
    old = {"agreement": {"int8": 0.5}, "images": 8}  # of an export before int8 files said how they were made
    assert int8_sentence(old) == ""
    assert int8_sentence({**old, "int8": {"made": "by static quantization"}}) == (
        "The int8 file was made by static quantization: the checkpoint's class 50.00% of the time on 8 test images."
    )
    boxes = {**old, "figure": "ap", "ap": {"int8": 0.25, "checkpoint": 0.5}, "int8": {"made": "so"}}
    assert int8_sentence(boxes) == (
        "The int8 file was made so: 50.00% of the boxes are the checkpoint's on 8 test images, AP 25.00%. "
        "The checkpoint's AP on them is 50.00%."
    )


@pytest.mark.parametrize(
    ("saturating", "said"),
    [
        ([], "its sums of products stay within 16 bits, so processors without VNNI answer alike."),
        (["conv1", "head"], "sums of products may leave 16 bits and answers differ, in conv1, head."),
    ],
)
def test_sentences_say_how_other_processors_answer(saturating: list[str], said: str) -> None:
    made = {"made": "by static quantization", "saturating": saturating}
    export = {"agreement": {"int8": 0.5}, "images": 8, "instructions": "avx2", "int8": made}
    for sentence in (int8_sentence(export), processor_sentence(export)):
        assert "measured with the instructions avx2; " in sentence
        assert sentence.endswith(said)
    assert processor_sentence({"int8": {}}) == ""


def test_an_interrupted_pipeline_ends_with_the_same_copy(
    finished: tuple[Pipeline, RunFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from persistill.data import Loader

    pipeline, _ = finished
    epoch, served = Loader.epoch, 0

    def stops(self, number, start=0):
        nonlocal served
        for batch in epoch(self, number, start):
            if number == 2 and self._batch_size == 25:
                served += 1
                if served == 2:
                    raise KeyboardInterrupt
            yield batch

    again = Pipeline(RECIPE, tmp_path, device="cpu")
    assert again.graph.quantized is not None
    assert pipeline.graph.quantized is not None
    assert again.graph.quantized.key == pipeline.graph.quantized.key
    monkeypatch.setattr(Loader, "epoch", stops)
    with pytest.raises(KeyboardInterrupt):
        again.run()
    monkeypatch.undo()
    cut = tmp_path / again.graph.quantized.folder_name
    assert any("fake_quantized" in name for name in load_file(cut / "checkpoint.safetensors"))
    assert not (cut / WEIGHTS).exists()
    Pipeline(RECIPE, tmp_path, device="cpu").run()
    expected = load_file(pipeline.out / pipeline.graph.quantized.folder_name / WEIGHTS)
    for name, value in load_file(cut / WEIGHTS).items():
        assert torch.equal(value, expected[name]), name


def test_the_estimate_counts_its_steps(finished: tuple[Pipeline, RunFolder], tmp_path: Path) -> None:
    found = {f"{c.stage.kind} {c.stage.name}": c for c in estimate(Pipeline(RECIPE, tmp_path, device="cpu")).costs}
    cost = found["quantized kd"]
    assert cost.steps == 3 * (100 // 25)
    assert cost.seconds > 0
    pipeline, _ = finished
    assert DryRun(pipeline, tmp_path, steps=1).recipe.quantize == Quantize(epochs=1, rate=0.2)
    assert pipeline.graph.quantized is not None
    folder = pipeline.out / pipeline.graph.quantized.folder_name
    taken = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert cost.bytes == pytest.approx(taken, rel=0.25)


def test_it_cannot_be_asked_for_where_no_int8_file_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, "int8", dataclasses.replace(FORMATS["int8"], packages=("no_such_package",)))
    with pytest.raises(UserError, match=r"quantize trains for the int8 file, .*no_such_package cannot be imported"):
        Pipeline(RECIPE, Path("nowhere"), device="cpu")
    Pipeline(RECIPE.model_copy(update={"quantize": None}), Path("nowhere"), device="cpu")


@pytest.mark.parametrize(("values", "said"), [({"epochs": 0}, "Quantize.epochs"), ({"rate": 1.5}, "Quantize.rate")])
def test_wrong_settings_are_named(values: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Quantize(**values)


def test_distill_asks_for_it() -> None:
    options = Options(data="digits", teacher="resnet-20", student="resnet-8", methods=("kd",), epochs=1)
    seen = outline(Data(source="digits"))
    assert make_recipe(options, seen).recipe.quantize is None
    recipe = make_recipe(options.with_value("int8_epochs", 4), seen).recipe
    assert recipe.quantize == Quantize(epochs=4)
    text = as_python(recipe, "One.")
    namespace: dict = {}
    exec(text, namespace)
    assert namespace["recipe"] == recipe
