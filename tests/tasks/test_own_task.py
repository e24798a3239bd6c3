"""A task of one's own that shares nothing with those of the package: images of several sizes, a network that computes
its own losses, and answers of which each image has its own number, as detectors have them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from persistill.config import Arm, Data, Model, Recipe, Train
from persistill.errors import UserError
from persistill.evaluation import collect
from persistill.exporters import CLASSIFY
from persistill.pipeline import Pipeline
from persistill.run_folder import RunFolder
from persistill.structures import Batch
from persistill.tasks import Classification, Measure, Task
from persistill.training import Criterion, fit, make_fabric

COUNT = Measure("within_one", "Within one")


class Output(NamedTuple):
    """The three fields that every network returns, and more."""

    logits: Tensor
    embedding: Tensor
    feature_maps: dict[str, Tensor]
    losses: Mapping[str, Tensor]
    points: list[Tensor]


class Points(nn.Module):
    """Says of every pixel whether it is bright; in training it is given the targets, and computes its losses."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)

    def forward(self, images: list[Tensor], targets: list[Tensor] | None = None) -> Output:
        maps = [self.conv(image[None])[0, 0] for image in images]
        losses = {}
        if self.training:
            assert targets is not None
            wrong = [
                nn.functional.binary_cross_entropy_with_logits(one, true.float())
                for one, true in zip(maps, targets, strict=True)
            ]
            losses = {"bright": torch.stack(wrong).mean(), "size": 0.01 * self.conv.weight.square().sum()}
        embedding = torch.stack([one.mean() for one in maps])[:, None]
        return Output(embedding, embedding, {}, losses, [(one > 0).nonzero() for one in maps])


class Pointing(Task):
    """Finds bright pixels."""

    name = "pointing"
    pipeline_tag = "other"
    terms = ("bright", "size")
    measures = columns = differences = (COUNT,)
    sections = ("accuracy",)

    def load(self, settings: Data, progress: Any) -> Any:
        raise NotImplementedError

    sample = image_classes = evaluation_steps = compare = load

    def forward(self, network: nn.Module, inputs: Any, batch: Batch) -> Any:
        return network(inputs, batch.target)

    def criterion(self, output: Any, batch: Batch, *, label_smoothing: float = 0.0) -> dict[str, Tensor]:
        return dict(output.losses)

    def accuracy(self, output: Any, batch: Batch) -> Tensor:
        return torch.tensor(float("nan"))

    def observe(self, output: Any, batch: Batch) -> Mapping[str, Any]:
        return {"points": output.points, "target": batch.target, "index": batch.index}

    def validate(self, observed: Mapping[str, Any]) -> dict[str, float]:
        close = [
            abs(len(found) - int(true.sum())) <= 1
            for found, true in zip(observed["points"], observed["target"], strict=True)
        ]
        return {"within_one": sum(close) / len(close)}

    @property
    def export(self) -> Any:
        return CLASSIFY


class Images:
    """Batches of three images of other sizes each."""

    def __len__(self) -> int:
        return 5

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        for step in range(start, len(self)):
            random = torch.Generator().manual_seed(step)
            images = [torch.rand(1, 4 + place, 6 - place, generator=random) for place in range(3)]
            masks: Any = [image[0] > 0.5 for image in images]
            yield Batch({"image": images}, masks, torch.arange(3) + 3 * step)


def test_it_trains_and_is_validated_over_all_images(tmp_path):
    task, network, settings = Pointing(), Points(), Train(epochs=60, batch_size=3, lr=0.5, schedule="constant")
    folder = RunFolder.create(tmp_path, "student", "points", {})
    record = fit(
        network,
        Images(),
        criterion=Criterion(task=task, cross_entropy=1.0),
        settings=settings.model_copy(update={"weight_decay": 0.0}),
        folder=folder,
        fabric=make_fabric("cpu", settings),
        validate=lambda trained: task.validate(collect(trained, Images(), "image", task.observe)),
    )
    assert list(record["terms"]) == ["bright", "size"]
    assert record["validation"]["within_one"] > 0.5
    first = next(line for line in folder.records() if line["type"] == "epoch")
    assert record["terms"]["bright"] < 0.7 * first["terms"]["bright"]
    observed = collect(network, Images(), "image", task.observe)
    assert (len(observed["points"]), observed["index"].tolist()) == (15, list(range(15)))


class Coarse(Classification):
    """Classification under another name."""

    name = "coarse"


def recipe(task: Any) -> Recipe:
    return Recipe(
        name="own",
        task=task,
        data=Data(source="digits", train=60, validation=10, test=20),
        student=Model(name="resnet-8"),
        arms={"alone": Arm()},
        seeds=(0,),
    )


def test_a_recipe_may_bring_its_task_along():
    stages = {
        name: Pipeline(recipe(task), Path("nowhere"), device="cpu").stages()[0]
        for name, task in {"classification": "classification", "own": Coarse, "named": f"{__name__}:Coarse"}.items()
    }
    assert "task" not in stages["classification"].inputs
    assert "Coarse" in str(stages["own"].inputs["task"])
    assert len({stage.key for stage in stages.values()}) == 3


@pytest.mark.parametrize("task", ["clasification", "math:sqrt", "nowhere:Task"])
def test_what_is_no_task_is_told_before_anything_is_read(task):
    with pytest.raises(UserError, match="task"):
        Pipeline(recipe(task), Path("nowhere"), device="cpu")
