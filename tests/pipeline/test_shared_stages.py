"""Stages that several ranks work at leave what one leaves, bit for bit."""

from pathlib import Path
from typing import Any

import pytest
from shared_stages import assert_same_in_ranks, worked

from persistill.config import Arm, Data, Evaluate, Model, Recipe, Teacher, Train
from persistill.data import PersistenceView
from persistill.evaluation import corruptions
from persistill.losses import KD, TopKD
from persistill.pipeline import Pipeline
from persistill.run_folder import RunFolder


def asks_first(network: Any, loader: Any, view: str) -> dict[str, float]:
    """An evaluator of one's own."""
    return {"logit": float(network(next(loader.epoch(0)).inputs[view]).logits[0, 0].detach())}


RESNET = Model(name="resnet-8")
RECIPE = Recipe(
    name="shared",
    data=Data(source="digits", train=96, validation=30, test=45),
    student=RESNET,
    views={"topology": PersistenceView(pixels=(8, 8))},
    teachers={"image": Teacher(model=RESNET), "topology": Teacher(model=RESNET, view="topology")},
    arms={
        "kd": Arm(teachers=("image", "topology"), methods=(KD(),)),
        "topkd": Arm(teachers=("image",), methods=(TopKD(compare="image"),)),
    },
    train=Train(epochs=1, batch_size=16, schedule="constant"),
    teacher_cache="half",
    seeds=(0,),
    evaluate=Evaluate(
        batch_size=8,
        noise=(0.1,),
        attacks=(1.0, 2.0),
        attack_images=20,
        corruptions=("contrast",),
        corruption_images=20,
        evaluators=(asks_first,),
    ),
)
KINDS = ("view", "features", "preparation", "evaluation")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    pipeline = Pipeline(RECIPE, tmp_path_factory.mktemp("runs"), device="cpu")
    for stage in pipeline.stages():
        if stage.kind in (*KINDS, "teacher", "student"):
            stage.run(pipeline.context)
    return pipeline


def told(folder: Path) -> dict[str, float]:
    """Name of a step of an evaluation -> when its file was written."""
    return {file.name: file.stat().st_mtime_ns for file in folder.glob("part-*.json")}


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_several_ranks_leave_what_one_leaves(finished, tmp_path, kind, size):
    stages = [stage for stage in finished.stages() if stage.kind == kind]
    assert stages
    for stage in stages[-2:]:
        assert stage.shared
        assert_same_in_ranks(finished.context, stage, size, tmp_path)


def test_an_evaluation_that_was_interrupted_goes_on_with_another_number_of_ranks(finished, tmp_path, monkeypatch):
    *_, stage = (one for one in finished.stages() if one.kind == "evaluation")

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(corruptions, "corrupt", interrupted)
        worked(finished.context, stage, 2, tmp_path)
    folder = RunFolder.create(tmp_path, stage.kind, stage.name, stage.inputs)
    before = told(folder.path)
    assert set(before) == {"part-clean.json", "part-noise-0.1.json", "part-attack-1.json", "part-attack-2.json"}
    assert_same_in_ranks(finished.context, stage, 3, tmp_path)
    assert before.items() <= told(folder.path).items()
