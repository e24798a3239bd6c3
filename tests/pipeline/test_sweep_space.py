"""What a sweep varies, as it is typed."""

import pytest

from persistill.config import Arm, Data, Model, Recipe, Teacher
from persistill.errors import UserError
from persistill.losses import KD
from persistill.pipeline.sweep.space import Dimension, check_space, parse_dimension, parse_over
from persistill.pipeline.sweep.trials import chosen_arm

RECIPE = Recipe(
    name="test",
    data=Data(source="digits"),
    teachers={"image": Teacher(model=Model(name="resnet-8"))},
    student=Model(name="resnet-8"),
    arms={"alone": Arm(), "kd": Arm(methods=(KD(),), teachers=("image",))},
)


def test_values_are_read_as_they_are_typed() -> None:
    found = parse_over(
        [
            "train.lr=log(0.01, 0.3)",
            "train.momentum = uniform(0,1)",
            "train.epochs=int(1,9)",
            "train.batch_size=logint(8,256)",
            "arms.tgd.methods.0.alphas=choice((0.9, 0.1), (0.5, 0.5))",
            "train.optimizer=choice(sgd, adamw)",
        ]
    )
    assert found == {
        "train.lr": Dimension("log", 0.01, 0.3),
        "train.momentum": Dimension("uniform", 0.0, 1.0),
        "train.epochs": Dimension("int", 1, 9),
        "train.batch_size": Dimension("logint", 8, 256),
        "arms.tgd.methods.0.alphas": Dimension("choice", options=("(0.9, 0.1)", "(0.5, 0.5)")),
        "train.optimizer": Dimension("choice", options=("sgd", "adamw")),
    }
    assert [parse_dimension("x", str(dimension)) for dimension in found.values()] == list(found.values())
    assert parse_dimension("x", [(0.9, 0.1), "sgd"]).options == ("(0.9, 0.1)", "sgd")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train.lr", "no FIELD=VALUES: write --over train.lr='log"),
        ("train.lr=0.1", "no range and no choice"),
        ("train.lr=lg(0.1, 1)", r"unknown kind of values.*Did you mean 'log'"),
        ("train.lr=log(0.1)", "takes two numbers"),
        ("train.lr=log(1, 0.1)", "must be smaller"),
        ("train.lr=log(0, 1)", "needs numbers above 0; 0 was given"),
        ("train.lr=log(a, 1)", "'a' is no number"),
        ("train.lr=log(0.1, 1e999)", "'1e999' is no number"),
        ("train.epochs=int(0.5, 2)", "'0.5' is no whole number"),
        ("train.lr=choice(0.1)", "two or more different values"),
        ("train.lr=choice(0.1, 0.1)", "two or more different values"),
    ],
)
def test_what_cannot_be_read_is_said(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_over([text])


def test_a_field_is_named_once() -> None:
    with pytest.raises(UserError, match=r"names train\.lr twice"):
        parse_over(["train.lr=log(0.1, 1)", "train.lr=log(0.01, 1)"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train.lrr=log(0.1, 1)", "unknown field of Train"),
        ("train.epochs=log(0.5, 2)", "0.5 was given"),
        ("train.momentum=uniform(0, 2)", "2.0 was given"),
        ("train.precision=choice(fp32, fp31)", "'fp31' was given"),
    ],
)
def test_a_recipe_must_take_both_ends_and_every_choice(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_space(RECIPE, parse_over([text]))


def test_there_must_be_something_to_vary() -> None:
    with pytest.raises(UserError, match="something to vary"):
        check_space(RECIPE, {})


def test_the_arm_is_the_one_that_is_meant() -> None:
    everywhere, of_kd = parse_over(["train.lr=log(0.1, 1)"]), parse_over(["arms.kd.cross_entropy=uniform(0, 1)"])
    assert chosen_arm(RECIPE, everywhere, "alone") == "alone"
    assert chosen_arm(RECIPE, of_kd, None) == "kd"
    assert chosen_arm(RECIPE.with_value("export", "kd"), everywhere, None) == "kd"
    with pytest.raises(UserError, match="one of alone, kd with --arm"):
        chosen_arm(RECIPE, everywhere, None)
    with pytest.raises(UserError, match="Did you mean 'kd'"):
        chosen_arm(RECIPE, everywhere, "kdd")


@pytest.mark.parametrize(
    ("dimension", "value", "share"),
    [
        (Dimension("log", 0.01, 1.0), 0.1, 0.5),
        (Dimension("uniform", 1.0, 3.0), 2.0, 0.5),
        (Dimension("logint", 1, 16), 4, 0.5),
        (Dimension("choice", options=("a", "b", "c")), "b", 0.5),
    ],
)
def test_places_between_the_ends(dimension: Dimension, value: float | str, share: float) -> None:
    assert dimension.share(value) == pytest.approx(share)
