import math

import pytest

from persistill.config import Arm, Data, Evaluate, Model, Published, Recipe, Teacher, Train
from persistill.errors import UserError
from persistill.losses import KD, SP


def recipe(**changes) -> Recipe:
    values = {
        "name": "test",
        "data": Data(source="digits"),
        "student": Model(name="resnet-8"),
        "teachers": {"image": Teacher(model=Model(name="resnet-8"))},
        "arms": {"alone": Arm(), "kd": Arm(methods=(KD(),), teachers=("image",), start="alone")},
    }
    return Recipe(**(values | changes))


def test_a_recipe_is_made() -> None:
    made = recipe()
    assert list(made.arms) == ["alone", "kd"]
    assert made.seeds == (0, 1, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": {}}, "at least one arm"),
        ({"seeds": ()}, "Recipe.seeds"),
        ({"seeds": (1, 1)}, "seeds must differ"),
        ({"export": "kdd"}, r"^unknown arm to export \(--export\): 'kdd'\. Did you mean 'kd'"),
        (
            {"arms": {"kd": Arm(methods=(KD(),), teachers=("imgae",))}},
            r"teacher of arm 'kd': 'imgae'\. Did you mean 'image'",
        ),
        ({"arms": {"kd": Arm(start="alone"), "alone": Arm()}}, r"start of arm 'kd' \(an arm before it\): 'alone'"),
        ({"teachers": {"t": Teacher(model=Model(name="x"), view="pi")}}, "view of teacher 't': 'pi'"),
        ({"views": {"image": Model(name="x")}}, "the view 'image' is the image itself"),
    ],
)
def test_names_that_lead_nowhere_are_told(changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        recipe(**changes)


def test_an_arm_needs_teachers_for_its_methods() -> None:
    with pytest.raises(UserError, match=r"KD needs 1 teacher, and this arm names 0"):
        Arm(methods=(KD(),))


def test_an_arm_needs_something_to_learn_from() -> None:
    with pytest.raises(UserError, match="nothing to learn from"):
        Arm(cross_entropy=0.0)


def test_only_methods_are_methods() -> None:
    with pytest.raises(UserError, match=r"Arm\.methods\.0: .*instance of DistillationLoss"):
        Arm(methods=(Train(),), teachers=("a",))
    assert [type(method) for method in Arm(methods=(KD(), SP()), teachers=("a",)).methods] == [KD, SP]


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_weights_are_numbers_that_are_not_negative(weight: float) -> None:
    for make in (lambda: Arm(cross_entropy=weight), lambda: KD(weight=weight), lambda: SP(weight=weight)):
        with pytest.raises(UserError, match=r"weight|cross_entropy"):
            make()


@pytest.mark.parametrize(
    "values",
    [
        {"epochs": 0},
        {"batch_size": 1},
        {"lr": 0.0},
        {"momentum": 1.0},
        {"precision": "fp8"},
        {"milestones": (0,)},
        {"label_smoothing": 1.0},
    ],
)
def test_training_settings_have_ranges(values: dict) -> None:
    with pytest.raises(UserError, match=f"Train.{next(iter(values))}"):
        Train(**values)


def test_a_size_of_crops_needs_crops() -> None:
    assert Train(augment=("crop",), crop_size=(96, 128)).crop_size == (96, 128)
    with pytest.raises(UserError, match='add "crop" to augment'):
        Train(augment=("flip",), crop_size=(96, 128))


def test_parts_of_a_batch_hold_two_images_at_least() -> None:
    assert Train(batch_size=8, accumulate=4).to_json()["accumulate"] == 4
    with pytest.raises(UserError, match=r"accumulate=5 takes a batch in so many parts.*it can be 4 at most"):
        Train(batch_size=8, accumulate=5)
    # Left out where they change nothing, so that run folders of before keep their keys.
    assert not {"accumulate", "compile", "sync_batchnorm"} & Train().to_json().keys()


def test_a_share_or_a_count_of_images_is_held_out() -> None:
    assert Data(source="digits", validation=0.2).validation == 0.2
    assert Data(source="digits", validation=200).validation == 200
    for wrong in (0, 0.0, 1.5, -3):
        with pytest.raises(UserError, match=r"Data\.validation"):
            Data(source="digits", validation=wrong)


@pytest.mark.parametrize(
    ("epochs", "images", "corrupted", "attacked"),
    [(1, 10, 15, 10), (20, 400, 53, 26), (20, 6000, 800, 400), (20, 7500, 1000, 500), (200, 50_000, 1000, 500)],
)
def test_images_of_an_evaluation_suit_the_training(epochs: int, images: int, corrupted: int, attacked: int) -> None:
    found = recipe(train=Train(epochs=epochs)).evaluation(images)
    assert (found.corruption_images, found.attack_images) == (corrupted, attacked)


def test_stated_numbers_and_published_recipes_keep_theirs() -> None:
    short, stated = Train(epochs=1), Evaluate(corruption_images=7, attack_images=600, similarity=False)
    assert recipe(train=short, evaluate=stated).evaluation(10) == stated.model_copy(update={"similarity": True})
    published = Published(source="a paper", figures={"alone": 0.5}, chosen="last epoch")
    full = recipe(train=short, published=(published,)).evaluation(10)
    assert (full.corruption_images, full.attack_images) == (1000, 500) == (Evaluate().corrupted, Evaluate().attacked)


def test_quick_leaves_out_what_takes_long() -> None:
    quick = recipe(evaluate=Evaluate(noise=(0.5,))).quick().evaluate
    assert quick == Evaluate(noise=(0.5,), corruptions=(), attacks=(), similarity=False)


def test_similarity_stands_in_a_recipe_where_it_is_left_out() -> None:
    assert "similarity" not in Evaluate().to_json()
    assert Evaluate(similarity=False).to_json()["similarity"] is False


def test_one_corruption_may_be_named_without_a_tuple() -> None:
    assert Evaluate(corruptions="all").corruptions == ("all",)
    assert Evaluate().with_value("corruptions", "fog").corruptions == ("fog",)
    assert Evaluate().with_value("corruptions", "()").corruptions == ()
    with pytest.raises(UserError, match=r"Evaluate\.ood: must be a name, .*; \(\) was given"):
        Evaluate(ood=())
