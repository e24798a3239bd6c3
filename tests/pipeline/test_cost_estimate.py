"""What a recipe will cost: every stage is there, counts are exact, and measuring changes nothing."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from persistill.config import Arm, Data, Evaluate, Model, Recipe, Teacher, Train
from persistill.data import FittedPersistenceView
from persistill.losses import KD, TGD
from persistill.perturbations import fgsm, pgd
from persistill.perturbations.adversarial import PGD_STEPS
from persistill.pipeline import Pipeline, cost_estimate, stress_cost
from persistill.pipeline.cost_estimate import Cost, Estimate, estimate
from persistill.pipeline.dry_run import DryRun
from persistill.pipeline.network_stage import WEIGHTS

RECIPE = Recipe(
    name="test",
    data=Data(source="digits", train=220, validation=20, test=70),
    views={"persistence": FittedPersistenceView(pixels=(8, 8))},
    teachers={
        "image": Teacher(model=Model(name="resnet-8"), train=Train(epochs=5, batch_size=50, schedule="constant")),
        "topology": Teacher(model=Model(name="resnet-8"), view="persistence"),
    },
    student=Model(name="resnet-8"),
    arms={
        "alone": Arm(),
        "kd": Arm(methods=(KD(),), teachers=("image",)),
        "tgd": Arm(methods=(TGD(),), teachers=("image", "topology"), start="alone"),
    },
    train=Train(epochs=2, batch_size=30, schedule="constant"),
    evaluate=Evaluate(noise=(0.1, 0.2), attacks=(2.0, 8.0), corruptions=("gaussian_noise",)),
    teacher_cache="half",
    seeds=(0, 1),
)


def pipeline(out: Path, recipe: Recipe = RECIPE) -> Pipeline:
    return Pipeline(recipe, out, device="cpu")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pipeline, Estimate]:
    """A recipe that ran after it was measured."""
    real = pipeline(tmp_path_factory.mktemp("runs"))
    found = estimate(real)
    assert list(real.out.iterdir()) == []
    real.run()
    return real, found


def named(found: Estimate) -> dict[str, Cost]:
    return {f"{cost.stage.kind} {cost.stage.name}": cost for cost in found.costs}


def test_every_stage_is_there_in_order(both) -> None:
    real, found = both
    assert [cost.stage.key for cost in found.costs] == [stage.key for stage in real.stages()]
    assert not any(cost.complete for cost in found.costs)
    assert all(cost.seconds > 0 for cost in found.costs if cost.stage.kind != "choice")
    assert found.seconds == sum(cost.seconds for cost in found.costs)
    assert found.dry_run_seconds > 0
    assert found.device_memory is None


def test_steps_are_counted(both) -> None:
    costs = named(both[1])
    assert costs["teacher image"].steps == 5 * (200 // 50)
    assert costs["teacher topology"].steps == 2 * (200 // 30)
    for arm in ("alone", "kd", "tgd"):
        assert costs[f"student {arm}-seed1"].steps == 2 * (200 // 30)
    assert costs["evaluation kd-seed0"].steps is None


def test_disk_is_what_the_stages_take(both) -> None:
    real, found = both
    for cost in found.costs:
        if cost.stage.kind in ("view", "features", "teacher", "student"):
            folder = real.out / cost.stage.folder_name
            taken = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            assert cost.bytes == pytest.approx(taken, rel=0.25), cost.stage.name


def test_what_is_done_costs_nothing(both) -> None:
    found = estimate(pipeline(both[0].out))
    assert all(cost.complete for cost in found.costs)
    assert (found.seconds, found.bytes, found.dry_run_seconds, found.memory) == (0, 0, 0, None)


def test_what_is_left_is_measured_and_the_rest_not_counted(both) -> None:
    found = named(estimate(pipeline(both[0].out, RECIPE.with_value("arms.kd.methods.0.weight", 0.5))))
    assert found["teacher image"].complete
    assert found["teacher image"].seconds == 0
    assert not found["student kd-seed0"].complete
    assert found["student kd-seed0"].steps == 12


def test_measuring_changes_no_result(both, tmp_path: Path) -> None:
    other = pipeline(tmp_path)
    other.run()
    for (_, stage), (_, same) in zip(both[0].graph.students.items(), other.graph.students.items(), strict=True):
        weights = load_file(both[0].out / stage.folder_name / WEIGHTS)
        for name, tensor in load_file(tmp_path / same.folder_name / WEIGHTS).items():
            assert torch.equal(tensor, weights[name])


def test_given_weights_are_taken_over_without_a_step(both, tmp_path: Path) -> None:
    real, _ = both
    weights = real.out / real.graph.teachers["image"].folder_name / WEIGHTS
    found = named(estimate(pipeline(tmp_path, RECIPE.with_value("teachers.image.weights", str(weights)))))
    assert found["teacher image"].steps is None
    assert found["teacher topology"].steps == 12


def test_an_evaluation_is_counted_answer_by_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stress_cost, "_STEP", 0.0)

    def seconds(gradient: float = 0.0, corruption: float = 0.0, **changes) -> dict[str, float]:
        settings = Evaluate(**({"noise": (), "attacks": (), "corruptions": ()} | changes))
        found = stress_cost.stress_seconds(settings, 70, answer=0.5, gradient=gradient, corruption=corruption)
        return {setting: spent for setting, spent in found.items() if spent}

    attacks, corruptions = "evaluate.attacks=()", "evaluate.corruptions=()"
    assert seconds() == {}
    assert seconds(noise=(0.1, 0.2)) == {"": 0.5 * 2 * 70}
    # Three answers and eleven gradients, for two strengths.
    assert seconds(2.0, attacks=(2.0, 8.0), attack_images=20) == {attacks: 2 * 20 * (3 * 0.5 + 11 * 2.0)}
    assert seconds(2.0, attacks=(2.0,)) == {attacks: 70 * (3 * 0.5 + 11 * 2.0)}
    assert seconds(ood="digits", ood_images=30) == {"": 0.5 * 30}
    few = seconds(0.0, 2.0, corruptions=("fog", "snow"), corruption_images=7)
    assert few == {corruptions: (0.5 + 2.0) * 7 * 10}
    assert seconds(0.0, 2.0, corruptions=("standard",)) == {corruptions: (0.5 + 2.0) * 70 * 75}


def test_what_a_setting_saves_is_what_it_leaves_out(both, tmp_path: Path) -> None:
    found = both[1].savings
    assert set(found) == {stress_cost.CORRUPTIONS, stress_cost.ATTACKS, cost_estimate.SIMILARITY}
    assert all(seconds > 0 for seconds in found.values())
    assert sum(found.values()) < both[1].seconds
    quick = RECIPE
    for setting in found:
        field, _, value = setting.partition("=")
        quick = quick.with_value(field, value)
    assert estimate(pipeline(tmp_path, quick)).savings == {}


def test_attacks_ask_as_often_as_they_are_counted() -> None:
    asked = torch.zeros(2, dtype=torch.int64)

    def answer(images: torch.Tensor) -> torch.Tensor:
        asked[int(images.requires_grad)] += 1
        return images.flatten(1)[:, :3]

    images, target = torch.rand(2, 1, 3, 3), torch.tensor([0, 1])
    fgsm(answer, images, target, 0.1)
    pgd(answer, images, target, 0.1)
    assert asked.tolist() == [0, 1 + PGD_STEPS]


def test_the_dry_run_has_as_many_steps_as_asked_of_every_class(tmp_path: Path) -> None:
    dry = DryRun(pipeline(tmp_path), tmp_path, 2)
    splits = dry.splits
    assert len(splits.train) == 2 * 50
    assert set(splits.train.targets.tolist()) == set(range(10))
    assert len(splits.test) == 2 * 35
    trainings = [dry.recipe.train, dry.recipe.teachers["image"].train]
    assert [train and train.epochs for train in trainings] == [1, 1]
    assert dry.recipe.seeds == (0,)
