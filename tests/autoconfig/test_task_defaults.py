"""Detection and segmentation by ``persistill distill``: told from the data, and planned with what suits them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from persistill.api import recipe_files
from persistill.api.distillation import plan
from persistill.autoconfig import Options, as_command, guess_task, make_recipe
from persistill.autoconfig.level_methods import level_methods
from persistill.autoconfig.task_defaults import choose_large_size, defaults_of
from persistill.config import Data
from persistill.data import load_boxes
from persistill.data.detection.outline import outline_boxes
from persistill.data.sources.inspect import Outline
from persistill.errors import UserError
from persistill.losses import CWD, SEKD, AutoconfigContext
from persistill.losses.detection import DenseKD, OnLevels
from persistill.pipeline.validate import problems
from persistill.utils.progress import Silent

SEEN = Outline(
    ("cell", "platelet"), train=200, validation=0.1, test=None, sizes={(240, 320): 200}, gray=False, notes=("Boxes.",)
)


def options(**changes) -> Options:
    wish = {"data": "boxes", "task": "detection", "teacher": "fcos:resnet-20", "student": "fcos:resnet-8"}
    return Options(**(wish | changes))


@pytest.fixture(scope="module")
def squares(write_squares, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_squares(tmp_path_factory.mktemp("boxes") / "squares")


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen images with masks of three classes without names, of two sizes."""
    folder = tmp_path_factory.mktemp("masks")
    draws = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for number in range(16):
        size = (64 + 8 * (number % 2), 96)
        Image.fromarray(draws.integers(256, size=(*size, 3), dtype=np.uint8)).save(folder / f"images/{number}.png")
        Image.fromarray(draws.integers(3, size=size, dtype=np.uint8)).save(folder / f"masks/{number}.png")
    return folder


def test_the_task_is_told_from_the_layout(squares: str, masks: Path, tmp_path: Path) -> None:
    assert guess_task(squares) == (
        "detection",
        f"The task is detection, because the images of {squares} have boxes (layout of YOLO); --task names another.",
    )
    assert guess_task(str(masks))[0] == "segmentation"
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
    for other in (tmp_path, "digits", "owner/name"):
        assert guess_task(str(other)) == ("classification", "")


def test_files_that_cannot_be_read_speak_for_no_task(tmp_path: Path) -> None:
    for name in ("cats/cat", "cats/dog", "table"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "cats" / "notes.yaml").write_text("one: [")
    (tmp_path / "table" / "train.parquet").write_bytes(b"cut")
    for name in ("cats", "table"):
        assert guess_task(str(tmp_path / name)) == ("classification", "")
    for task in ("classification", "segmentation", "detection"):
        with pytest.raises(UserError, match=r"train\.parquet cannot be read as Parquet"):
            defaults_of(task).outline(Data(source=str(tmp_path / "table")))


def test_a_folder_that_speaks_for_two_tasks_speaks_for_none(squares: str, tmp_path: Path) -> None:
    for name in ("images", "labels", "masks"):
        (tmp_path / name).mkdir()
    (tmp_path / "classes.txt").write_text("a\nb")
    assert guess_task(str(tmp_path)) == ("classification", "")


def test_what_suits_detectors_is_chosen() -> None:
    recipe, reasons = make_recipe(options(methods=("kd", "sekd", "sekd+kd")), SEEN)
    assert recipe.task == "detection"
    assert (recipe.data.size, recipe.data.resize) == ((240, 320), "letterbox")
    assert (recipe.train.optimizer, recipe.train.batch_size, recipe.train.augment) == ("adamw", 16, ("flip", "scale"))
    assert recipe.arms["kd"].methods == (DenseKD(),)
    assert recipe.arms["sekd"].methods == (OnLevels(loss=SEKD()),)
    assert recipe.arms["sekd+kd"].methods == (OnLevels(loss=SEKD()), DenseKD())
    assert reasons[0] == "Boxes."
    assert problems(recipe) == []
    still = make_recipe(options(augment=False), SEEN)
    assert still.recipe.teacher_cache == "off"  # what heads say at each place is not stored
    assert "GiB" not in " ".join(still.reasons)
    assert make_recipe(options(size=(32, 32)), SEEN).recipe.evaluate.attacks == ()
    assert "--set evaluate.corruptions=standard." in " ".join(reasons)
    changed = make_recipe(options(), SEEN, changes={"evaluate.corruptions": "standard", "evaluate.attacks": "8"})
    assert "corrupted test images" in " ".join(changed.reasons)
    assert not any("attack" in reason for reason in (*reasons, *changed.reasons))  # detectors are not attacked


def test_every_method_for_detectors_fits_the_task() -> None:
    known = level_methods()
    assert {"kd", "dist", "pkd", "fgd", "mgd", "boxfeature", "sekd", "at", "fitnet", "ickd", "sp"} <= known.keys()
    assert not {"tgd", "topkd", "dkd", "rkd", "ab"} & known.keys()
    recipe = make_recipe(options(methods=tuple(known)), SEEN).recipe
    assert set(recipe.arms) == {"alone", *known}
    assert problems(recipe) == []
    with pytest.raises(UserError, match=r"unknown method of detection 'tgd'.*Known: .*sekd"):
        make_recipe(options(methods=("tgd",)), SEEN)


def test_pixels_get_weights_of_pixels() -> None:
    recipe = make_recipe(options(task="segmentation", methods=("kd", "cwd")), SEEN).recipe
    assert recipe.task == "segmentation"
    (cwd,) = recipe.arms["cwd"].methods
    assert isinstance(cwd, CWD)
    assert cwd.on == "logits"
    assert recipe.arms["kd"].methods[0].weight == 10.0
    assert defaults_of("segmentation").methods()["sp"](AutoconfigContext((64, 64), 8, 3)).loss.weight > 0


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({(240, 320): 5}, (240, 320)),
        ({(1080, 1920): 5}, (288, 512)),
        ({(240, 320): 3, (250, 330): 1}, (256, 320)),
        ({(20, 20): 3, (10, 10): 1}, (32, 32)),
    ],
)
def test_large_images_stay_large(sizes, expected) -> None:
    assert choose_large_size(sizes) == expected


def test_the_outline_counts_what_training_will_see(squares: str) -> None:
    seen = outline_boxes(Data(source=squares))
    recipe = make_recipe(options(data=squares), seen).recipe
    splits = load_boxes(recipe.data, Silent()).splits
    assert (seen.train, seen.classes) == (len(splits.train), splits.classes)
    assert sum(seen.sizes.values()) == len(splits.train) + len(splits.validation) + len(splits.test)
    assert "layout of YOLO" in seen.notes[0]


def test_plans_of_boxes_and_masks_say_what_they_saw_and_come_back_as_recipes(
    squares: str, masks: Path, tmp_path: Path
) -> None:
    boxes = plan(squares, "fcos:resnet-8", "fcos:resnet-8", method="sekd", seeds=(0,), out=tmp_path / "runs")
    assert "The task is detection" in boxes.reasons[0]
    assert "layout of YOLO" in boxes.reasons[1]
    assert f"distill --data {squares} --task detection" in boxes.command
    path = boxes.save(tmp_path / "boxes.py")
    assert "from persistill.losses.detection import OnLevels\n" in path.read_text()
    assert recipe_files.read(str(path)) == boxes.recipe

    pixels = plan(masks, "lraspp:resnet-8", "lraspp:resnet-8", task="segmentation", seeds=(0,), out=tmp_path / "runs")
    assert pixels.recipe.task == "segmentation"
    assert pixels.recipe.data.size == (64, 96)
    assert "The task is" not in " ".join(pixels.reasons)


def test_unknown_tasks_are_named() -> None:
    with pytest.raises(UserError, match=r"unknown task \(--task\): 'detectoin'. Did you mean 'detection'"):
        plan("digits", "fcos:resnet-8", "fcos:resnet-8", task="detectoin")
    assert "--task" not in as_command(options(task="classification"), {}, "runs")
