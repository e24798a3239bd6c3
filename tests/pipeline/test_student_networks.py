"""A method that puts another head on the student: trained, evaluated, rounded and exported as one network."""

from pathlib import Path

import pytest
import torch

from persistill import models
from persistill.config import Arm, Data, Evaluate, Model, Quantize, Recipe, Teacher, Train
from persistill.exporters import load_student
from persistill.losses import KD, SRRL, SimKD
from persistill.pipeline import Pipeline
from persistill.run_folder import RunFolder

NAME = "resnet-8+projector-64-2"


def recipe(cache: str) -> Recipe:
    return Recipe(
        name="heads",
        data=Data(source="digits", train=60, validation=20, test=20),
        teachers={"image": Teacher(model=Model(name="resnet-14"))},
        student=Model(name="resnet-8"),
        arms={
            "simkd": Arm(cross_entropy=0.0, methods=(SimKD(),), teachers=("image",)),
            "srrl": Arm(methods=(SRRL(),), teachers=("image",)),
            "simkd, then kd": Arm(methods=(KD(),), teachers=("image",), start="simkd"),
        },
        export="simkd",
        teacher_cache=cache,
        train=Train(epochs=1, batch_size=20, lr=0.05),
        seeds=(0,),
        evaluate=Evaluate(corruptions=(), attacks=()),
        quantize=Quantize(epochs=1),
    )


@pytest.mark.parametrize("cache", ["off", "half"])
def test_the_student_with_its_new_head_is_what_is_measured_and_exported(tmp_path: Path, cache: str) -> None:
    pipeline = Pipeline(recipe(cache), tmp_path, device="cpu")
    pipeline.run()
    (student,) = tmp_path.glob("student-simkd-seed0*")
    network, about = models.load(student / "model.safetensors")
    assert (network.name, about["view"]) == (NAME, "image")
    (further,) = tmp_path.glob("student-simkd*then*")
    assert models.load(further / "model.safetensors", "resnet-8")[0].name == NAME
    (teacher,) = tmp_path.glob("teacher-*")
    kept = models.load(teacher / "model.safetensors")[0].get_classifier()
    assert torch.equal(network.get_classifier().weight, kept.weight)
    parameters = RunFolder.open(student).result()["parameters"]
    assert parameters == sum(one.numel() for one in network.parameters())
    (exported,) = tmp_path.glob("export-*")
    assert {"model.onnx", "model.int8.onnx", "model.safetensors"} <= {path.name for path in exported.iterdir()}
    assert load_student(exported).network.name == NAME
