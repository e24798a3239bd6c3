"""A training that diverges keeps its batch, and is replayed to the layer at which it did."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from typer.testing import CliRunner

from persistill.api import recipe_files
from persistill.cli.app import app
from persistill.config import Recipe
from persistill.errors import UserError
from persistill.pipeline import Pipeline
from persistill.pipeline.replay import replay
from persistill.run_folder import DIVERGED, RunFolder, find
from persistill.training import NonFiniteLossError

TEXT = """
from persistill.config import Arm, Data, Evaluate, Model, Recipe, Train

recipe = Recipe(
    name="wild",
    data=Data(source="digits", train=120, validation=10, test=20),
    student=Model(name="resnet-8"),
    arms={"alone": Arm()},
    train=Train(epochs=4, batch_size=20, lr=1e12, schedule="constant"),
    evaluate=Evaluate(noise=(), corruptions=(), attacks=()),
    seeds=(0,),
)
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "wild.py").write_text(TEXT)
    return recipe_files.read(str(tmp_path / "wild.py"))


def test_a_training_that_diverged_is_replayed(tmp_path: Path, recipe: Recipe) -> None:
    runs, file = tmp_path / "runs", tmp_path / "wild.py"
    pipeline = Pipeline(recipe, runs, device="cpu", command="persistill run wild.py --set 'a=b'")
    (student,) = pipeline.graph.students.values()
    with pytest.raises(NonFiniteLossError, match=r"persistill replay wild\.py --set 'a=b' --run ") as caught:
        student.run(pipeline.context)
    (run,) = find(runs)
    before = {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}

    found = replay(pipeline, run.path.name)
    assert found.step == caught.value.step + 1
    assert found.terms.keys() == {"ce"}
    assert "of ResNet" in found.layer
    with safe_open(found.batch, "pt") as batch:
        assert int(batch.metadata()["step"]) == found.step
        index = batch.get_tensor("index")
        torch.testing.assert_close(batch.get_tensor("target"), pipeline.splits.train.fetch_targets(index))
        assert batch.get_tensor("inputs.image").shape == (20, 1, 8, 8)
    assert {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()} == before

    told = CliRunner().invoke(app, ["replay", str(file), "--run", str(run.path), "--device", "cpu"])
    assert told.exit_code == 0, told.exception
    assert f"Step {found.step}: ce" in told.output
    assert found.layer in told.output


def test_layers_are_those_of_the_network_itself_where_it_was_compiled(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[object] = []
    monkeypatch.setattr(torch, "compile", lambda network, **_: compiled.append(network) or network)
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"compile": "default"})})
    pipeline = Pipeline(recipe, tmp_path / "runs", device="cpu")
    (student,) = pipeline.graph.students.values()
    with pytest.raises(NonFiniteLossError):
        student.run(pipeline.context)
    assert len(compiled) == 1
    assert "of ResNet" in replay(pipeline, student.folder_name).layer
    assert len(compiled) == 1


def test_what_did_not_diverge_is_not_replayed(tmp_path: Path, recipe: Recipe) -> None:
    pipeline = Pipeline(recipe, tmp_path, device="cpu")
    (student,) = pipeline.graph.students.values()
    with pytest.raises(UserError, match="not a run folder"):
        replay(pipeline, student.folder_name)
    RunFolder.create(tmp_path, "student", student.name, student.inputs)
    with pytest.raises(UserError, match=f"holds no {DIVERGED}"):
        replay(pipeline, student.folder_name)
