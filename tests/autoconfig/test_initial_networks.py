"""Weights from which trainings start, on the way from a wish to a recipe."""

from pathlib import Path

import pytest
import safetensors.torch
import timm

from persistill.autoconfig import Initial, Options, TeacherCheckpoint, as_python, look_at_initial, make_recipe
from persistill.autoconfig.train_defaults import choose_epochs, choose_training
from persistill.config import Model
from persistill.data.sources.inspect import Outline
from persistill.errors import UserError

SEEN = Outline(("a", "b"), 900, 0.1, None, {(32, 32): 9}, gray=False)
RESNET = Initial(
    "the published weights timm/x",
    ("the classifier starts fresh: no",),
    (224, 224),
    (0.1,) * 3,
    (0.2,) * 3,
    "as x says",
)
PLAIN = Initial("w.safetensors", (), None, (0.3,) * 3, (0.4,) * 3, "as w says")


def options(**changes) -> Options:
    values = {"data": "images", "teacher": "timm/test_resnet", "student": "wrn-16-1", "methods": ("tgd",)}
    return Options(**(values | changes))


def test_networks_are_looked_at_before_anything_else(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(timm.create_model("test_resnet", num_classes=9).state_dict(), path)
    found = look_at_initial(str(path), "timm/test_resnet", "--teacher-initial", SEEN, (32, 32))
    config = timm.get_pretrained_cfg("test_resnet")
    assert found == Initial(
        str(path),
        (f"the classifier starts fresh: the file {path} has 9 classes, the data 2",),
        None,
        tuple(config.mean),
        tuple(config.std),
        "as timm states for test_resnet",
    )
    gray = Outline(("a", "b"), 9, 0.1, None, {(32, 32): 9}, gray=True)
    found = look_at_initial(str(path), "timm/test_resnet", "--teacher-initial", gray, (32, 32))
    assert (found.mean, len(found.notes)) == (None, 2)
    with pytest.raises(UserError, match=r"--student-initial: nobody publishes weights of 'resnet-8'"):
        look_at_initial("pretrained", "resnet-8", "--student-initial", SEEN, (32, 32))
    with pytest.raises(UserError, match=r"--student-initial: .*cannot start from the file"):
        look_at_initial(str(path), "timm/test_vit", "--student-initial", SEEN, (32, 32))


def test_each_network_is_trained_as_it_starts() -> None:
    plain = make_recipe(options(methods=("tgd",)), SEEN).recipe
    asked = options(teacher_initial="pretrained", methods=("tgd",))
    recipe, said = make_recipe(asked, SEEN, None, {"teacher": RESNET})
    assert recipe.teachers["image"].model == Model(name="timm/test_resnet", initial="pretrained")
    assert recipe.student == Model(name="wrn-16-1")
    assert recipe.train == plain.train
    topology, before = recipe.teachers["topology"].train, plain.teachers["topology"].train
    assert topology == before
    trained, scratch = recipe.teachers["image"].train, plain.teachers["image"].train
    assert trained is not None
    assert scratch is not None
    assert trained.lr < scratch.lr
    assert trained.epochs == scratch.epochs // 3
    text = " ".join(said)
    assert "on these images, from the published weights timm/x: the classifier starts fresh: no." in text
    assert "was given no weights" not in text
    assert "are of images of 224x224 (timm/test_resnet), and those here have 32x32" in text
    assert "up to --size 224" in text
    started = make_recipe(options(student_initial="w"), SEEN, None, {"student": PLAIN})
    assert started.recipe.student.initial == "w"
    assert started.recipe.train.epochs == plain.train.epochs // 3
    assert "Every student starts from w.safetensors." in " ".join(started.reasons)
    assert "are of images of" not in " ".join(started.reasons)
    assert "--teacher-initial pretrained lets it start from published weights" in " ".join(started.reasons)
    assert "--teacher-initial" not in " ".join(make_recipe(options(teacher="wrn-16-2"), SEEN).reasons)


def test_what_is_stated_holds_for_all() -> None:
    wish = options(teacher_initial="t", student_initial="s", epochs=7, lr=0.5)
    recipe = make_recipe(wish, SEEN, None, {"teacher": PLAIN, "student": RESNET}).recipe
    assert recipe.train.lr == 0.5
    assert {recipe.train.epochs, *(teacher.train.epochs for teacher in recipe.teachers.values() if teacher.train)} == {
        7
    }
    assert '"wrn-16-1", initial="s"' in as_python(recipe, "A recipe.")


def test_the_normalization_is_the_teachers_before_the_students() -> None:
    given = TeacherCheckpoint(None, (0.7,) * 3, (0.8,) * 3, "as the file says")
    both = {"teacher": PLAIN, "student": RESNET}
    assert make_recipe(options(teacher_weights="w"), SEEN, given, {"student": RESNET}).recipe.data.mean == (0.7,) * 3
    assert make_recipe(options(), SEEN, None, both).recipe.data.mean == (0.3,) * 3
    assert make_recipe(options(), SEEN, None, {"student": RESNET}).recipe.data.std == (0.2,) * 3
    unknown = Initial("w.safetensors")
    assert make_recipe(options(), SEEN, None, {"teacher": unknown}).recipe.data.mean is None


def test_trained_weights_are_trained_gently() -> None:
    common = {"epochs": 3, "batch_size": 128, "lr": None, "augment": (), "size": (32, 32), "started": True}
    assert choose_training("wrn-16-1", **common).lr == 0.01
    assert choose_training("timm/test_vit", **common).lr == 3e-4
    assert [choose_epochs(steps, started=True) for steps in (1, 100, 200, 5000)] == [33, 33, 16, 10]


def test_a_teacher_has_weights_or_starts_from_some() -> None:
    with pytest.raises(UserError, match="Give one of the two"):
        make_recipe(options(teacher_weights="w", teacher_initial="pretrained"), SEEN)
