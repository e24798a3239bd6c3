"""Weights that somebody brings along: what fits, what does not, and how their images are normalized."""

from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

from persistill import models
from persistill.autoconfig import Options, TeacherCheckpoint, TeacherTrial, look_at_weights, make_recipe, try_teacher
from persistill.config import Data
from persistill.data import load
from persistill.data.sources.inspect import Outline
from persistill.errors import UserError

SEEN = Outline(("a", "b"), 900, 0.1, None, {(32, 32): 9}, gray=False)


def look(path: Path, model: str = "resnet-8", seen: Outline = SEEN) -> TeacherCheckpoint:
    return look_at_weights(path, model, seen, (32, 32), "images")


def saved(path: Path, model: str = "resnet-8", channels: int = 3, **about) -> Path:
    classes = about.setdefault("classes", ["a", "b"])
    models.save(models.build(model, channels, len(classes)), path, about)
    return path


def test_the_file_of_a_run_says_how_it_was_trained(tmp_path: Path) -> None:
    about = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "shape": [3, 48, 40], "view": "image"}
    found = look(saved(tmp_path / "w.safetensors", **about))
    assert found == TeacherCheckpoint((48, 40), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "as w.safetensors says")


def test_plain_weights_are_normalized_as_their_library_does(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(timm.create_model("test_resnet", num_classes=2).state_dict(), path)
    found = look(path, "timm/test_resnet")
    config = timm.get_pretrained_cfg("test_resnet")
    assert (found.mean, found.std, found.size) == (tuple(config.mean), tuple(config.std), None)
    gray = timm.create_model("test_resnet", num_classes=2, in_chans=1).state_dict()
    safetensors.torch.save_file(gray, path)
    assert (
        look(path, "timm/test_resnet", Outline(("a", "b"), 9, 0.1, None, {(32, 32): 9}, gray=True))
        == TeacherCheckpoint()
    )


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"classes": ["a", "c", "d"]}, "does not know b.*tell the 2 classes of images apart"),
        ({"view": "persistence"}, "was trained on the view 'persistence'"),
        ({"model": "resnet-14"}, "'resnet-14'.*'resnet-8'"),
    ],
)
def test_weights_of_something_else_are_refused(tmp_path: Path, about, message: str) -> None:
    with pytest.raises(UserError, match=f"(?s)--teacher-weights: .*{message}"):
        look(saved(tmp_path / "w.safetensors", **about))


def test_other_channels_and_another_order_of_classes_fit(tmp_path: Path) -> None:
    about = {"mean": [0.3], "std": [0.4], "shape": [1, 48, 40], "classes": ["b", "z", "a"]}
    found = look(saved(tmp_path / "w.safetensors", channels=1, **about))
    assert found == TeacherCheckpoint((48, 40))  # its normalization is for one channel, and its own


def test_a_missing_file_and_a_pickle_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        look(tmp_path / "w.safetensors")
    torch.save({}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"persistill import-checkpoint .*w\.pth"):
        look(tmp_path / "w.pth")


def test_a_teacher_is_tried_on_validation_images(tmp_path: Path) -> None:
    splits = load(Data(source="digits", train=200, validation=80, test=20))
    network = models.build("resnet-8", 1, 10)
    with torch.no_grad():
        # It names the digit 3 whatever it sees.
        for name, parameter in network.named_parameters():
            if parameter.shape[0] == 10:
                parameter.zero_()
                if name.endswith("bias"):
                    parameter[3] = 1.0
    models.save(network, tmp_path / "w.safetensors", {"classes": list("0123456789")})
    seen = Outline(tuple("0123456789"), 120, 0.1, None, {(8, 8): 9}, gray=True)
    options = Options(
        data="digits", teacher="resnet-8", student="resnet-8", teacher_weights=str(tmp_path / "w.safetensors")
    )
    recipe = make_recipe(options, seen, TeacherCheckpoint()).recipe
    trial = try_teacher(recipe, splits, ((0.3,), (0.4,)), torch.device("cpu"))
    assert trial.asked == 80
    assert trial.right == int((splits.validation.targets == 3).sum())
    assert trial.chance == pytest.approx(trial.right / 80)
    assert not trial.better_than_chance


@pytest.mark.parametrize(
    ("right", "asked", "chance", "better"),
    [
        (80, 100, 0.5, True),  # two classes
        (55, 100, 0.5, False),
        (95, 100, 0.905, False),  # nearly always the class that nearly all images have
        (500, 500, 0.905, True),
        (3, 3, 0.5, False),  # three images tell nothing
        (15, 500, 0.01, True),
    ],
)
def test_chance_is_told_by_a_binomial_test(right: int, asked: int, chance: float, better: bool) -> None:
    assert TeacherTrial(right, asked, chance).better_than_chance is better
