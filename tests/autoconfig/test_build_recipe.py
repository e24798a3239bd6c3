"""What is chosen for whoever says nothing, and why."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from persistill import losses, models
from persistill.autoconfig import Options, TeacherCheckpoint, as_command, choose_size, make_recipe, names
from persistill.autoconfig.build_recipe import STORED_AT_MOST, stored_bytes
from persistill.autoconfig.method_defaults import make_arms
from persistill.autoconfig.train_defaults import choose_batch_size, choose_epochs, choose_training
from persistill.config import Arm, Evaluate, Recipe
from persistill.data import FittedPersistenceView
from persistill.data.sources.inspect import Outline
from persistill.errors import UserError
from persistill.losses import AMD, AT, KD, SP, TGD, DistillationLoss
from persistill.pipeline import Pipeline

SEEN = Outline(("a", "b", "c"), train=900, validation=0.1, test=None, sizes={(32, 32): 500}, gray=False)
GRAY = Outline(("a", "b", "c"), train=900, validation=0.1, test=None, sizes={(8, 8): 500}, gray=True)


def options(**changes) -> Options:
    return Options(**({"data": "images", "teacher": "wrn-16-2", "student": "resnet-8"} | changes))


def made(seen: Outline = SEEN, given: TeacherCheckpoint | None = None, **changes) -> Recipe:
    return make_recipe(options(**changes), seen, given).recipe


def test_the_student_alone_comes_first_and_one_arm_a_method() -> None:
    recipe = made(methods=("kd", "SP"))
    assert list(recipe.arms) == ["alone", "kd", "sp"]
    assert recipe.arms["alone"].methods == ()
    assert recipe.teachers.keys() == {"image"}
    assert recipe.views == {}


def test_tgd_brings_a_teacher_of_persistence_images_and_a_start() -> None:
    recipe = made(methods=("tgd",))
    assert recipe.arms["tgd"].teachers == ("image", "topology")
    assert recipe.arms["tgd"].start == "alone"
    assert recipe.arms["tgd"].cross_entropy == 0.1
    assert recipe.teachers["topology"].view == "persistence"
    assert isinstance(recipe.views["persistence"], FittedPersistenceView)
    assert "starts from the one trained alone" in " ".join(make_recipe(options(methods=("tgd",)), SEEN).reasons)


def test_kd_beside_all_of_the_cross_entropy_is_the_default() -> None:
    recipe = made()
    assert list(recipe.arms) == ["alone", "kd"]
    assert recipe.arms["kd"] == Arm(methods=(KD(weight=2.0, temperature=4.0),), teachers=("image",))
    assert recipe.export == "best"
    assert made(export="alone").export == "alone"
    with pytest.raises(UserError, match=r"unknown arm to export \(--export\): 'kdd'. Did you mean 'kd'"):
        made(export="kdd")


@pytest.mark.parametrize(
    ("name", "left_out"), [("dist", "dist_inter"), ("dkd", "nckd"), ("nkd", "nkd_others"), ("kd", None), ("tgd", None)]
)
def test_two_classes_get_no_term_that_is_constant(name: str, left_out: str | None) -> None:
    two = replace(SEEN, classes=("a", "b"))
    recipe, reasons = make_recipe(options(methods=(name,)), two)
    (loss,) = recipe.arms[name].methods
    dead = loss.constant_terms(2)
    assert set(dead) == ({left_out} if left_out else set())
    assert all(loss.weights[term] == 0 for term in dead)
    assert any("with two classes it is constant" in reason for reason in reasons) == bool(left_out)
    (of_three,) = made(methods=(name,)).arms[name].methods
    assert of_three.constant_terms(3) == {}
    assert not left_out or of_three.weights[left_out] > 0


def make_arm(wish: str, size: tuple[int, int], batch_size: int) -> Arm:
    return make_arms(wish, size, batch_size, 10)[wish.lower()]


def test_boundaries_are_a_training_that_comes_before() -> None:
    start, then = make_arms("AB", (32, 32), 128, 10).values()
    assert (start.cross_entropy, then.cross_entropy, then.start) == (0.0, 1.0, "ab start")
    assert then.methods == then.teachers == ()
    _, then = make_arms("ab+kd", (32, 32), 128, 10).values()
    assert [type(method) for method in then.methods] == [KD]
    assert (then.cross_entropy, then.start) == (1.0, "ab+kd start")
    recipe = made(methods=("ab", "kd"))
    assert list(recipe.arms) == ["alone", "ab start", "ab", "kd"]


def test_methods_add_up() -> None:
    arm = make_arm("kd+tgd", (32, 32), 128)
    assert [type(method) for method in arm.methods] == [KD, TGD]
    assert arm.teachers == ("image", "topology")
    assert make_arm("kd+tgd", (32, 32), 128).cross_entropy == 0.1
    assert make_arm("at", (32, 32), 128).cross_entropy == 1.0


def test_every_method_of_the_package_can_be_named() -> None:
    public = [getattr(losses, name) for name in losses.__all__]
    known = {one.__name__.lower() for one in public if isinstance(one, type) and issubclass(one, DistillationLoss)}
    assert set(names()) == known - {"distillationloss"}
    assert {"kd", "tgd", "sp", "at", "amd", "dkd"} <= known
    for name in names():
        method = next(iter(make_arms(name, (32, 32), 64, 10).values())).methods[0]
        assert isinstance(method, DistillationLoss)


@pytest.mark.parametrize(("wish", "message"), [("tdg", "Did you mean 'tgd'"), ("kd+kd", "twice"), ("", "unknown")])
def test_a_wrong_method_is_told(wish: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_arm(wish, (32, 32), 128)


def test_weights_follow_what_their_terms_depend_on() -> None:
    def weight(wish: str, size: int, batch: int) -> float:
        (found,) = make_arm(wish, (size, size), batch).methods
        return max(found.weights.values())

    for wish, published in (("tgd", 3000), ("sp", 3000), ("at", AT().weight), ("amd", AMD().weight), ("kd", 2.0)):
        assert weight(wish, 32, 128) == published
        assert weight(wish, 224, 512) == published
    assert weight("sp", 32, 32) == SP().weight * 32 / 128
    assert weight("tgd", 8, 64) == 1500
    assert weight("at", 8, 128) == pytest.approx(1000 / 16, rel=0.05)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({(32, 32): 9}, (32, 32)),
        ({(40, 56): 9}, (40, 56)),
        ({(256, 256): 9}, (256, 256)),
        ({(1024, 768): 9}, (224, 224)),
        ({(480, 640): 5, (640, 480): 5}, (224, 224)),
        ({(40, 60): 1, (44, 66): 1, (48, 70): 1}, (40, 64)),
        ({(5, 6): 1, (6, 5): 1}, (8, 8)),
    ],
)
def test_images_keep_their_size_unless_they_differ_or_are_large(sizes, expected) -> None:
    assert choose_size(sizes) == expected


def test_a_stated_size_wins_over_the_teachers_and_that_over_their_own() -> None:
    given = TeacherCheckpoint(size=(48, 48), mean=(0.5,) * 3, std=(0.2,) * 3)
    assert made().data.size == (32, 32)
    assert made(given=given, teacher_weights="w").data.size == (48, 48)
    assert made(given=given, teacher_weights="w", size=(64, 64)).data.size == (64, 64)
    assert any("as the teacher was trained" in one for one in make_recipe(options(), SEEN, given).reasons)


def test_reasons_are_those_of_the_changed_recipe() -> None:
    many = replace(SEEN, sizes={(64, 64): 5, (70, 66): 5})
    changes = {"data.size": "32,32", "data.resize": "squash", "train.epochs": "7", "train.augment": "()"}
    recipe, reasons = make_recipe(options(), many, changes=changes)
    said = " ".join(reasons)
    assert recipe.data.size == (32, 32)
    assert "Images are scaled to 32x32, whatever their proportions, as data.size says." in reasons
    assert "64x64" not in said
    assert "--size" not in said
    assert "7 epochs of" in said
    assert "at random" not in said
    assert recipe.train.batch_size == make_recipe(options(size=(32, 32)), many).recipe.train.batch_size
    assert "to 64x64" in " ".join(make_recipe(options(), many, changes={"data.resize": "squash"}).reasons)


def test_a_given_teacher_sees_images_normalized_as_it_knows_them() -> None:
    given = TeacherCheckpoint(None, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "as somebody says")
    recipe = made(given=given, teacher_weights="w.safetensors")
    assert (recipe.data.mean, recipe.data.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert recipe.teachers["image"].weights == "w.safetensors"
    assert made().data.mean is None


def test_augmentation_flips_what_has_color_and_can_be_left_out() -> None:
    assert made().train.augment == ("crop", "flip")
    assert made(GRAY).train.augment == ("crop",)
    assert made(augment=False).train.augment == ()
    assert made().train.crop_padding == 4
    assert made(GRAY).train.crop_padding == 1


def test_teachers_are_asked_once_where_images_stay_the_same() -> None:
    assert made().teacher_cache == "off"
    assert made(augment=False).teacher_cache == "half"
    many = Outline(SEEN.classes, 10**6, 0.1, None, SEEN.sizes, gray=False)
    assert made(many, augment=False, methods=("tgd",)).teacher_cache == "off"
    assert made(many, augment=False, methods=("kd",)).teacher_cache == "half"
    asked = options(augment=False, methods=("tgd",))
    assert any("8 GiB" in reason for reason in make_recipe(asked, many).reasons)
    assert STORED_AT_MOST == 8 * 2**30


def test_stored_bytes_are_those_of_the_answers() -> None:
    network = models.build("wrn-16-2", 3, 10)
    import torch

    logits, embedding, maps = network(torch.zeros(1, 3, 20, 28))
    assert stored_bytes("wrn-16-2", (3, 20, 28), 10, frozenset({"feature_maps"})) == 2 * sum(
        m.numel() for m in maps.values()
    )
    everything = frozenset({"logits", "embedding", "feature_maps"})
    assert stored_bytes("wrn-16-2", (3, 20, 28), 10, everything) == sum(
        [4 * logits.numel(), 4 * embedding.numel(), *(2 * one.numel() for one in maps.values())]
    )


@pytest.mark.parametrize(
    ("images", "size", "expected"),
    [(45_000, 32, 128), (45_000, 224, 64), (300, 32, 32), (40, 32, 8), (9, 32, 8), (3, 32, 3)],
)
def test_batches_leave_steps_in_an_epoch(images: int, size: int, expected: int) -> None:
    assert choose_batch_size(images, (size, size)) == expected


def test_epochs_fill_about_ten_thousand_steps() -> None:
    assert [choose_epochs(steps) for steps in (1, 100, 200, 351, 5000)] == [100, 100, 50, 30, 30]


def test_foreign_networks_have_adamw_and_ours_the_rates_of_the_literature() -> None:
    common = {"epochs": 3, "batch_size": 64, "augment": (), "size": (32, 32)}
    ours, mobile, foreign = (
        choose_training(name, lr=None, **common) for name in ("wrn-16-1", "shufflenet-v1", "timm/mobilenetv3_small_100")
    )
    assert (ours.optimizer, ours.lr) == ("sgd", 0.05)
    assert (mobile.optimizer, mobile.lr) == ("sgd", 0.01)
    assert (foreign.optimizer, foreign.lr, foreign.clip_norm) == ("adamw", 0.001, 1.0)
    assert choose_training("wrn-16-1", lr=0.3, **common).lr == 0.3


def test_a_stated_rate_is_the_students_alone() -> None:
    recipe = made(lr=0.5, epochs=7, batch_size=16)
    assert recipe.train.lr == 0.5
    for teacher in recipe.teachers.values():
        assert teacher.train is not None
        assert (teacher.train.lr, teacher.train.epochs, teacher.train.batch_size) == (0.013, 7, 16)


def test_a_batch_that_cannot_be_filled_is_told() -> None:
    with pytest.raises(UserError, match=r"--batch-size 1000.*at most 900"):
        made(batch_size=1000)


def test_large_images_are_asked_about_less_often_and_fewer_at_a_time() -> None:
    large = Outline(SEEN.classes, 900, 0.1, None, {(224, 224): 9}, gray=False)
    assert made().evaluate == Evaluate()
    found = made(large).evaluate
    assert (found.batch_size, found.attacks, found.corruptions) == (64, (), ())
    assert found.noise == Evaluate().noise
    assert any("evaluate.corruptions=standard" in one for one in make_recipe(options(), large).reasons)
    assert Evaluate().with_value("corruptions", "standard").with_value("attacks", "8") == Evaluate(attacks=(8,))


def test_quick_measures_less_and_says_so() -> None:
    quick = make_recipe(options(quick=True), SEEN)
    assert (quick.recipe.evaluate.corruptions, quick.recipe.evaluate.attacks) == ((), ())
    assert not quick.recipe.evaluate.similarity
    assert "As --quick says" in " ".join(quick.reasons)
    assert "--quick" in as_command(options(quick=True), {}, "runs")
    assert "--quick" not in as_command(options(), {}, "runs")


def test_how_many_images_are_corrupted_is_said() -> None:
    said = " ".join(make_recipe(options(epochs=8), SEEN).reasons)
    assert "up to 48 corrupted and 24 attacked test images" in said


def test_the_name_says_what_and_fits_a_folder() -> None:
    name = made(data="some where/my cats", student="timm/test_vit", methods=("kd+sp",)).name
    assert name == "distill_my-cats_test-vit_kd+sp"


def test_choices_are_those_of_a_recipe_that_runs(tmp_path: Path) -> None:
    seen = Outline(tuple("0123456789"), 1294, 0.1, None, {(8, 8): 500}, gray=True)
    recipe = make_recipe(options(data="digits", student="resnet-8", seeds=(0,), methods=("tgd", "kd+sp")), seen).recipe
    pipeline = Pipeline(recipe, tmp_path, device="cpu")
    pipeline.probe()
    assert len(pipeline.splits.train) == seen.train
    assert math.prod(pipeline.splits.train.shape) == 64


def test_the_example_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "distill.md"
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (block,) = [block for block in blocks if not block.startswith("--8<--")]
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "docs/distill.md", "exec"), {})
    assert re.fullmatch(r"\d+ s, \d+\.\d MB\n", capsys.readouterr().out)
    assert list(tmp_path.iterdir()) == []
