"""A recipe of a few seconds and one that does not end, for those who have stages worked at elsewhere."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from persistill.config import Arm, Data, Evaluate, Model, Recipe, Teacher, Train
from persistill.errors import UserError
from persistill.losses import KD
from persistill.pipeline import Pipeline
from persistill.pipeline.executors.base import Executor
from persistill.pipeline.executors.walk import Walk
from persistill.pipeline.stage import Stage

RECIPE = Recipe(
    name="tiny",
    data=Data(source="digits", train=60, validation=20, test=20),
    teachers={"image": Teacher(model=Model(name="resnet-8"))},
    student=Model(name="resnet-8"),
    arms={"alone": Arm(), "kd": Arm(methods=(KD(),), teachers=("image",))},
    train=Train(epochs=2, batch_size=20, lr=0.05, schedule="constant"),
    evaluate=Evaluate(noise=(), corruptions=(), attacks=()),
    seeds=(0, 1),
    formats=(),
)
LONG = RECIPE.with_values({"train.epochs": 10_000, "seeds": (0,)})


def walk_of(pipeline: Pipeline, *stages: Stage) -> Walk:
    walk = Walk()
    walk.add(stages, pipeline.context)
    return walk


def wait_for(condition: Callable[[], bool], seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def epochs_logged(out: Path, kind: str = "student") -> bool:
    return any('"epoch"' in log.read_text() for log in out.glob(f"{kind}-*/log.jsonl"))


def require_stop_of_what_is_taken_back(executor: Executor, out: Path) -> None:
    """A stage that is taken back from the walk while it is worked at stops with a checkpoint."""
    pipeline = Pipeline(LONG, out, device="cpu")
    student = pipeline.graph.students["alone", 0]
    walk = walk_of(pipeline, student)

    def watch() -> None:
        if epochs_logged(out):
            walk.keep([])

    executor.run(walk, watch)
    assert not student.complete(pipeline.context)
    assert (out / student.folder_name / "checkpoint.safetensors").is_file()


def require_message_of_a_mistake(executor: Executor, out: Path) -> None:
    """A mistake of the user ends the run with its message."""
    pipeline = Pipeline(RECIPE.with_value("train.lr", 1e12), out, device="cpu")
    with pytest.raises(UserError, match="persistill replay RECIPE"):
        executor.run(walk_of(pipeline, pipeline.graph.students["alone", 0]))
