"""What is typed for ``--set``: a recipe, or a sentence that says what is wrong."""

import random
from pathlib import Path

from mutations import deep
from tiny_run import RECIPE

from persistill.config import Recipe
from persistill.errors import UserError

_PATHS = (
    *(
        "name",
        "seeds",
        "seeds.0",
        "train",
        "train.lr",
        "train.epochs",
        "train.schedule",
        "train.augment",
        "data.source",
    ),
    *("data.train", "data.size", "data.mean", "evaluate.noise", "evaluate.noise.0", "evaluate.corruptions", "student"),
    *("arms", "arms.kd", "arms.kd.methods", "arms.kd.methods.0", "arms.kd.methods.0.weight", "arms.kd.teachers.0"),
    *("teachers.image.model.name", "teachers.image.weights", "published.0.figures.kd", "export", "quantize", "task"),
    *(
        "",
        ".",
        "train.",
        ".train",
        "train.lr.x",
        "arms.9",
        "seeds.99",
        "views.x",
        "a\x00b",
        "__class__",
        "model_config",
    ),
)
_TEXTS = (
    *("", " ", "0", "1", "-1", "1e999", "nan", "inf", "-inf", "1e-320", "1" * 5000, "0x10", "1_000", "True", "none"),
    *("null", "[]", "()", "{}", "[1, 2", "(0,)", "(1.0, 'a')", "'x", "lambda: 0", "__import__('os')", "a" * 10_000),
    *(
        "[[[[1]]]]",
        str(deep(300)),
        "-" * 300 + "1",
        "9" * 400,
        "\ud800",
        "digits",
        "resnet-8",
        "builtins:dict",
        "..",
        "/",
    ),
    *("1j", "b'x'", "...", "{1}", "{'is': 'KD'}", "1.5.5", "٣", "1e5", "sgd", "{'a': {'b': nan}}"),
)


def changes(draw: random.Random, place: Path) -> int:
    """One to three changes, one after the other."""
    recipe = RECIPE
    for _ in range(draw.choice((1, 1, 3))):
        try:
            recipe = recipe.with_value(draw.choice(_PATHS), draw.choice(_TEXTS))
        except UserError as error:
            assert str(error)
        assert isinstance(recipe, Recipe)
    return 1


CASES = {"--set": changes}
