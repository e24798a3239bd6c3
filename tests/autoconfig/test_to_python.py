"""A recipe as text is that recipe, and reads as people write it."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from persistill.api import recipe_files
from persistill.autoconfig import as_python
from persistill.config import Arm, Data, Model, Published, Recipe, Train


def read(text: str, folder: Path) -> Recipe:
    path = folder / "written.py"
    path.write_text(text, encoding="utf-8")
    return recipe_files.read(str(path))


@pytest.mark.parametrize(
    "name", [name for name, path in recipe_files.shipped().items() if len(recipe_files.defined(path)) == 1]
)
def test_every_shipped_recipe_comes_back(name: str, tmp_path: Path) -> None:
    recipe = recipe_files.read(name)
    text = as_python(recipe, "A recipe.")
    assert read(text, tmp_path) == recipe
    assert max(map(len, text.splitlines())) <= 120 or recipe.published


def test_it_is_laid_out_as_the_formatter_does(tmp_path: Path) -> None:
    path = tmp_path / "written.py"
    path.write_text(as_python(recipe_files.read("tgd_cifar10_small"), "One line.\n\nAnd more."), encoding="utf-8")
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length", "120", "--check", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_defaults_are_left_out() -> None:
    recipe = Recipe(name="x", data=Data(source="digits"), student=Model(name="resnet-8"), arms={"a": Arm()})
    text = as_python(recipe, "X.")
    assert "seeds" not in text
    assert "Train" not in text
    assert text.startswith('"""X."""\n\nfrom persistill.config import Arm, Data, Model, Recipe\n')
    assert "lr=0.5" in as_python(recipe.with_value("train.lr", 0.5), "X.")


STRANGE = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
NAMES = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40)


PRINTED = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=40)


@settings(deadline=None, max_examples=40)
@example(name="'", arm='"', said="\\", share=0.1, docstring='ends with "')
@example(name="'\"", arm='"""', said="\n", share=1e-5, docstring='C:\\new """ and \\')
@given(name=NAMES, arm=STRANGE, said=STRANGE, share=st.floats(1e-6, 0.9), docstring=PRINTED)
def test_any_text_and_number_survives(tmp_path_factory, name, arm, said, share, docstring) -> None:
    recipe = Recipe(
        name=name,
        data=Data(source=said, mean=(share,), std=(share,)),
        student=Model(name="resnet-8"),
        arms={arm: Arm()},
        train=Train(lr=share, augment=("flip",)),
        published=(Published(source=said, figures={arm: share}, chosen=name),),
    )
    assert read(as_python(recipe, docstring), tmp_path_factory.mktemp("text")) == recipe
