"""A small data set, and a small recipe that ran once, with everything that happened on the way."""

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from persistill import evaluation
from persistill.config import Arm, Data, Evaluate, Model, Recipe, Teacher, Train
from persistill.data import Splits, load
from persistill.losses import KD, SP
from persistill.pipeline import Pipeline, network_training
from persistill.run_folder import RunFolder
from persistill.training import trainer

State = dict[str, Tensor]


@dataclass
class Run:
    """A recipe that ran.

    Attributes:
        out: where its run folders lie.
        calls: "fit" or "evaluate", and what was fetched from the splits meanwhile: (part, number of images).
        states: label of a training -> the network's tensors before and after it.
    """

    out: Path
    calls: list[tuple[str, list[tuple[str, int]]]] = field(default_factory=list)
    states: dict[str, tuple[State, State]] = field(default_factory=dict)

    def folder(self, kind: str, name: str) -> RunFolder:
        (path,) = self.out.glob(f"{kind}-{name}-*")
        return RunFolder.open(path)


@pytest.fixture(scope="session")
def digits() -> Data:
    """80 training images, 40 for validation, 50 for the test."""
    return Data(source="digits", train=120, validation=40, test=50)


@pytest.fixture(scope="session")
def splits(digits: Data) -> Splits:
    return load(digits)


@pytest.fixture(scope="session")
def recipe(digits: Data) -> Recipe:
    return Recipe(
        name="small",
        data=digits,
        student=Model(name="resnet-8"),
        teachers={"image": Teacher(model=Model(name="wrn-10-1"))},
        arms={
            "alone": Arm(),
            "kd": Arm(cross_entropy=0.1, methods=(KD(weight=0.9),), teachers=("image",)),
            "started": Arm(cross_entropy=0.1, methods=(KD(weight=0.9), SP()), teachers=("image",), start="alone"),
        },
        train=Train(epochs=2, batch_size=20, lr=0.05, schedule="constant"),
        evaluate=Evaluate(
            noise=(0.05,),
            attacks=(8.0,),
            corruptions=("contrast",),
            corruption_images=50,
            attack_images=50,
            batch_size=25,
        ),
        seeds=(3,),
    )


@pytest.fixture(scope="session")
def run(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The recipe's stages, one after another, but for the report."""
    run = Run(tmp_path_factory.mktemp("runs"))
    line = Pipeline(recipe, run.out, device="cpu")
    real_fit, real_evaluate = trainer.fit, evaluation.evaluate
    outside: list[tuple[str, int]] = []
    now = [outside]

    def called(name: str) -> None:
        now.append([])
        run.calls.append((name, now[-1]))

    def fit(network: Any, *args: Any, label: str, **options: Any) -> Any:
        called("fit")
        before = copy.deepcopy(network.state_dict())
        record = real_fit(network, *args, label=label, **options)
        run.states[label] = before, copy.deepcopy(network.state_dict())
        now.append(outside)
        return record

    def evaluate(*args: Any, **options: Any) -> Any:
        called("evaluate")
        result = real_evaluate(*args, **options)
        now.append(outside)
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network_training, "fit", fit)
        patch.setattr(evaluation, "evaluate", evaluate)
        for part in ("train", "validation", "test"):
            images = getattr(line.splits, part)

            def fetch(index: Tensor, part: str = part, real: Any = images.fetch) -> Tensor:
                now[-1].append((part, len(index)))
                return real(index)

            patch.setattr(images, "fetch", fetch)
        for stage in line.stages():
            if stage.kind != "comparison":
                stage.run(line.context)
    return run
