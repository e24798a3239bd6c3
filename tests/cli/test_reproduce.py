"""Published rows: files with several recipes, small siblings, and ours beside what was published."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from persistill.api import recipe_files
from persistill.cli import main
from persistill.cli.reproduce import reproduce
from persistill.config import Published
from persistill.errors import UserError

FILE = """
from persistill.losses import KD
from persistill.config import Arm, Data, Model, Published, Recipe, Teacher, Train

def row(student, accuracy):
    return Recipe(
        name=f"row_{student}",
        data=Data(source="digits", train=700, test=300),
        teachers={"image": Teacher(model=Model(name="resnet-14"))},
        student=Model(name=student),
        arms={"alone": Arm(), "kd": Arm(methods=(KD(),), teachers=("image",))},
        train=Train(epochs=3, batch_size=50),
        published=(
            Published(
                source="A table.", figures={"image": 0.99, "kd": accuracy}, chosen="best of 9 epochs",
                differences=("Our pencils are red.",),
            ),
        ),
        small={"data.train": 240, "data.test": 100, "train.epochs": 1, "teachers.image.model.name": "resnet-8"},
        seeds=(0, 1),
    )

recipes = {"eight": row("resnet-8", 0.9125), "ten": row("wrn-10-1", 0.92)}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.py"
    path.write_text(FILE)
    return path


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return (stop.value.code, *capsys.readouterr())


def test_a_file_may_define_several_recipes(file: Path) -> None:
    assert recipe_files.read(f"{file}:ten").student.name == "wrn-10-1"
    with pytest.raises(UserError, match=r"2 recipes; name one of them: .*:eight, .*:ten"):
        recipe_files.read(str(file))
    with pytest.raises(UserError, match="Did you mean 'ten'"):
        recipe_files.read(f"{file}:tenn")
    file.write_text(FILE.replace("recipes = {", "recipes = {'bad': 3,"))
    with pytest.raises(UserError, match="defines no recipe"):
        recipe_files.read(f"{file}:ten")


def test_a_path_may_hold_a_colon(file: Path) -> None:
    path = file.with_name("C:rows.py")
    path.write_text(
        FILE.replace('recipes = {"eight": row("resnet-8", 0.9125), "ten": ', "recipe = (").replace("92)}", "92))")
    )
    assert recipe_files.read(str(path)).student.name == "wrn-10-1"


def test_the_small_sibling_is_the_recipe_with_its_changes(file: Path) -> None:
    whole = recipe_files.read(f"{file}:eight")
    small = recipe_files.read(f"{file}:eight", {"train.epochs": 2}, small=True)
    assert (small.name, small.data.train, small.train.epochs) == ("row_resnet-8_small", 240, 2)
    assert small.teachers["image"].model.name == "resnet-8"
    assert whole.smaller().with_value("train.epochs", 2).to_json() == small.to_json()
    with pytest.raises(UserError, match="no small sibling"):
        whole.with_value("small", {}).smaller()
    with pytest.raises(UserError, match=r"'epocs'.*Did you mean 'epochs'"):
        whole.with_value("small", {"train.epocs": 1}).smaller()


def test_published_figures_belong_to_arms_or_teachers(file: Path) -> None:
    whole = recipe_files.read(f"{file}:eight")
    entry = Published(source="x", figures={"kdd": 0.5}, chosen="last epoch")
    with pytest.raises(UserError, match=r"published arm or teacher.*'kdd'.*Did you mean 'kd'"):
        whole.with_value("published", (entry,))
    with pytest.raises(UserError, match="figures"):
        Published(source="x", figures={"kd": 71.7}, chosen="last epoch")


def test_ours_stand_beside_the_published_figures(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("persistill.api.recipe_files.shipped", lambda: {"rows": file})
    code, out, _ = call(capsys, "reproduce")
    assert code == 0
    assert "rows:eight" in out
    assert "image 99.00, kd 91.25" in out
    code, out, _ = call(capsys, "reproduce", "rows:eight", "--small", "--out", tmp_path / "runs", "--device", "cpu")
    assert code == 0
    (beside,) = [line for line in out[out.index("A table.") :].splitlines() if line.split()[:1] == ["kd"]]
    name, seeds, mean, _, deviation, published, difference = beside.split()
    assert (name, seeds, published) == ("kd", "2", "91.25")
    assert float(difference.replace("\N{MINUS SIGN}", "-")) == pytest.approx(float(mean) - 91.25, abs=0.011)
    assert float(deviation) >= 0
    assert "best of 9 epochs" in out
    assert "small sibling" in out
    assert "- Our pencils are red." in out
    code, _, err = call(capsys, "reproduce", "rows:eigth")
    assert code == 2
    assert "Did you mean 'rows:eight'" in re.sub(r"\s+", " ", err)


def test_of_several_processes_the_first_alone_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr("persistill.cli.published_rows.rows", lambda: {"row": None})
    monkeypatch.setattr("persistill.cli.published_rows.print_beside", lambda *_, **__: told.append(1))
    monkeypatch.setattr("persistill.cli.reproduce.run_named", lambda *_, **__: SimpleNamespace(comparison=None))
    for name, value in {"WORLD_SIZE": 2, "LOCAL_RANK": 0, "MASTER_ADDR": "there", "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    for rank in (1, 0):
        assert told == []
        monkeypatch.setenv("RANK", str(rank))
        reproduce("row")
    assert told == [1]
