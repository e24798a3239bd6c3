"""Stages that several ranks work at leave what one leaves, bit for bit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from shared_stages import assert_same_in_ranks, worked

from persistill.config import Arm, Data, Evaluate, Model, Quantize, Recipe, Teacher, Train
from persistill.data import PersistenceView
from persistill.evaluation import corruptions
from persistill.losses import KD, TopKD
from persistill.pipeline import Pipeline, network_stage
from persistill.pipeline.data_module import DataModule
from persistill.pipeline.shape_check import check_shapes
from persistill.pipeline.validate import problems
from persistill.ranks import Ranks, holds_parts, shard_weights
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


SHARDED = RECIPE.model_copy(
    update={"teachers": {name: one.model_copy(update={"shard": True}) for name, one in RECIPE.teachers.items()}}
)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_teachers_that_are_held_in_parts_answer_as_whole_ones(finished, tmp_path, kind, monkeypatch):
    pipeline = Pipeline(SHARDED, finished.out, device="cpu")
    asked = []

    def shard(network: Any, ranks: Any) -> None:
        shard_weights(network, ranks)
        asked.append((ranks.rank, holds_parts(network)))

    monkeypatch.setattr(network_stage, "shard_weights", shard)
    stages = [stage for stage in pipeline.stages() if stage.kind == kind][:2]
    for stage in stages:
        assert_same_in_ranks(pipeline.context, stage, 3, tmp_path)
    if kind != "preparation":  # which reads stored features
        assert sorted(asked) == sorted([(rank, True) for rank in range(3)] * len(stages))


def test_what_does_not_go_with_teachers_in_parts_is_left_out_or_refused(tmp_path):
    assert "shard" not in RECIPE.to_json()["teachers"]["image"]
    assert SHARDED.to_json()["teachers"]["image"]["shard"] is True
    quantized = SHARDED.model_copy(update={"quantize": Quantize()})
    told = [[one.partition(",")[0] for one in problems(quantized, ranks) if "shard" in one] for ranks in (1, 2)]
    assert told == [[], [f"teacher {name!r}: shard=True splits it over 2 devices" for name in ("image", "topology")]]
    pipeline = Pipeline(SHARDED, tmp_path, device="cpu")
    assert list(pipeline.graph.costs) == [""]


def test_networks_are_tried_where_whole_teachers_fit(finished, monkeypatch):
    several, asked, data = Ranks(), [], finished.context.data
    several.size = 2
    moved = data.on(torch.device("meta"))
    assert (moved.device.type, moved.splits.train.device.type) == ("meta", "meta")
    assert (data.device.type, data.splits.train.device.type) == ("cpu", "cpu")
    assert moved.normalization == data.normalization
    monkeypatch.setattr(DataModule, "on", lambda self, device: asked.append(device.type) or self)
    for recipe in (RECIPE, SHARDED):
        check_shapes(replace(finished.context, recipe=recipe, ranks=several))
    assert asked == ["cpu"]


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
