"""Range of values and change of size: the same in training, evaluation and prediction."""

import numpy as np
import pytest
import torch
from made_up_images import array, make_image
from PIL import Image

from persistill.config import Data
from persistill.data import load
from persistill.data.sources.registry import open_source
from persistill.data.splits import draw_splits
from persistill.errors import UserError
from persistill.inference import Predictor
from persistill.models import build, save
from persistill.utils.image_reader import read_mask
from persistill.utils.preprocessing import Preprocessing, read_pixels


def deep_folder(folder, low=0, high=4095, dtype=np.uint16, suffix="png", size=(8, 8)):
    """12-bit images in 16-bit files, two classes of ten."""
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for i in range(10):
            values = random.integers(low, high + 1, size).astype(dtype)
            values[0, :2] = low, high
            Image.fromarray(values).save(folder / name / f"{i}.{suffix}")
    return str(folder)


def levels(splits):
    return np.unique(splits.train.fetch(torch.arange(len(splits.train))).numpy())


def test_12_bits_in_16_bit_files_keep_their_gray_levels(tmp_path):
    source = deep_folder(tmp_path)
    assert len(levels(load(Data(source=source)))) <= 17
    measured = load(Data(source=source, range="measured"))
    assert measured.preprocessing == Preprocessing(range=(0.0, 4095.0))
    assert len(levels(measured)) > 200
    stated = load(Data(source=source, range=(0.0, 4095.0)))
    assert stated.fingerprint == measured.fingerprint != load(Data(source=source)).fingerprint


def test_the_range_is_measured_on_training_images_alone(tmp_path):
    source = deep_folder(tmp_path / "train", high=1023)
    deep_folder(tmp_path / "test", high=60000)
    splits = load(Data(source=str(tmp_path), range="measured"))
    assert source.endswith("train")
    assert splits.preprocessing.range == (0.0, 1023.0)
    assert int(splits.test.fetch(torch.arange(1)).max()) == 255  # what lies above is cut


def test_images_of_the_training_folder_that_are_held_out_are_not_measured(tmp_path):
    deep_folder(tmp_path)
    files = sorted(tmp_path.glob("*/*.png"))
    for i, file in enumerate(files):
        Image.fromarray(np.array([[0, 1000 + i]], np.uint16)).save(file)
    for seed in range(4):
        settings = Data(source=str(tmp_path), range="measured", validation=2, test=4, split_seed=seed)
        targets = open_source(settings).parts["train"].targets
        rows = draw_splits({"train": targets}, settings, ("cat", "dog"))["train"].rows
        assert load(settings).preprocessing.range == (0.0, 1000.0 + rows.max())


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_32_bit_values_can_be_read_with_a_range(tmp_path, dtype):
    source = deep_folder(tmp_path, low=-100, high=900, dtype=dtype, suffix="tif")
    with pytest.raises(UserError, match=r"no known range.*data\.range=measured"):
        load(Data(source=source))
    assert load(Data(source=source, range="measured")).preprocessing.range == (-100.0, 900.0)
    pixels = read_pixels(
        Image.fromarray(np.array([[-100, 400, 900]], dtype)), (1, 1, 3), Preprocessing("crop", (-100, 900))
    )
    assert pixels.tolist() == [[[0, 128, 255]]]  # 127.5 is rounded to even


def test_a_range_of_one_value_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"hold one value, 7"):
        load(Data(source=deep_folder(tmp_path, low=7, high=7), range="measured"))


def test_values_that_are_not_finite_are_refused(tmp_path):
    source = deep_folder(tmp_path, dtype=np.float32, suffix="tif")
    Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(tmp_path / "cat" / "nan.tif")
    with pytest.raises(UserError, match=r"cat/nan\.tif \(it holds values that are not finite\)"):
        load(Data(source=source, range=(0.0, 4095.0), validation=2, test=2))


def test_a_range_must_rise():
    with pytest.raises(UserError, match=r"the lower value first; \(5.0, 5.0\)"):
        Data(source="digits", range=(5.0, 5.0))


def test_8_bit_images_are_read_as_they_are_whatever_the_range():
    image = make_image(0)
    assert np.array_equal(read_pixels(image, (3, 5, 6), Preprocessing("crop", (0, 4095))), array(image))


def test_three_ways_to_a_size():
    # Left half black, right half white, twice as wide as high.
    image = Image.fromarray(np.repeat([[0] * 8 + [255] * 8], 8, 0).astype(np.uint8))
    crop, squash, box = (
        read_pixels(image, (1, 8, 8), Preprocessing(resize))[0] for resize in ("crop", "squash", "letterbox")
    )
    assert (crop == [[0] * 4 + [255] * 4] * 8).all()
    assert (squash[:, [0, 7]] == [0, 255]).all()
    assert squash.shape == crop.shape == box.shape == (8, 8)
    assert (box[[0, 1, 6, 7]] == 0).all()
    assert (box[2:6, -1] == 255).all()


@pytest.mark.parametrize("size", [(8, 8), (3, 9), (64, 5)])
def test_a_letterbox_shows_the_whole_image(size):
    image = Image.new("RGB", (37, 53), "white")
    pixels = read_pixels(image, (3, *size), Preprocessing("letterbox"))
    rows, columns = np.nonzero(pixels[0] == 255)
    scale = min(size[0] / 53, size[1] / 37)
    assert np.ptp(rows) + 1 == max(1, round(53 * scale))
    assert np.ptp(columns) + 1 == max(1, round(37 * scale))


def test_masks_move_with_their_images():
    mask = Image.fromarray(np.repeat([[0] * 8 + [1] * 8], 8, 0).astype(np.uint8))
    box = read_mask(mask, (8, 8), 2, 255, Preprocessing("letterbox"))
    assert (box[[0, 1, 6, 7]] == 255).all()  # no class
    assert (box[2:6] == [0] * 4 + [1] * 4).all()
    assert (read_mask(mask, (8, 8), 2, 255, Preprocessing("squash")) == [0] * 4 + [1] * 4).all()


def test_a_student_reads_images_as_its_training_did(tmp_path):
    source = deep_folder(tmp_path / "images", size=(8, 12))
    splits = load(Data(source=source, range="measured", resize="letterbox", size=(8, 8)))
    header = {"classes": ["cat", "dog"], "mean": [0.5], "std": [0.25], "view": "image", "shape": [1, 8, 8]}
    save(
        build("wrn-10-1", 1, 2),
        tmp_path / "model.safetensors",
        {**header, "preprocessing": splits.preprocessing.to_json()},
    )
    student = Predictor.load(tmp_path / "model.safetensors")
    assert student.preprocessing == splits.preprocessing == Preprocessing("letterbox", (0.0, 4095.0))
    file = tmp_path / "images" / "cat" / "0.png"
    with Image.open(file) as image:
        pixels = read_pixels(image, (1, 8, 8), splits.preprocessing)
    assert student.predict(file).guesses == student.predict_pixels(pixels[None])[0].guesses
    plain = Predictor.load(_saved_without(tmp_path, header))
    assert plain.preprocessing == Preprocessing()
    assert plain.predict(file).confidence != student.predict(file).confidence


def _saved_without(folder, header):
    torch.manual_seed(1)
    (folder / "old").mkdir()
    save(build("wrn-10-1", 1, 2), folder / "old" / "model.safetensors", header)
    return folder / "old" / "model.safetensors"


@pytest.mark.parametrize(
    "content",
    [
        {"resize": "stretch", "range": None},
        {"resize": "crop", "range": [5, 1]},
        {"resize": "crop", "range": [0, float("inf")]},
        {"resize": "crop", "range": [True, 5]},
        {"resize": "crop"},
        ["crop"],
    ],
)
def test_preprocessing_of_a_foreign_file_is_checked(content):
    with pytest.raises(ValueError, match="preprocessing"):
        Preprocessing.from_json(content)


def test_images_that_use_little_of_16_bits_are_told(tmp_path):
    source = deep_folder(tmp_path)
    (note,) = load(Data(source=source)).notes
    assert "images of more than 8 bits, largest value 4095 of 65535: " in note
    assert note.endswith("--set data.range=measured")
    assert (
        load(Data(source=source, range="measured")).notes == load(Data(source=source, range=(0.0, 4095.0))).notes == ()
    )


def test_images_that_use_16_bits_are_not_told(tmp_path):
    assert load(Data(source=deep_folder(tmp_path, high=40_000))).notes == ()


def test_one_deep_image_among_others_is_told(tmp_path):
    source = deep_folder(tmp_path, high=200, dtype=np.uint8)
    for file in sorted(tmp_path.rglob("*.png"))[:1]:
        Image.fromarray(np.full((8, 8), 50_000, np.uint16)).save(file)
    told = [load(Data(source=source, split_seed=seed)).notes for seed in range(6)]
    # In some of the splits it is drawn for validation or the test.
    assert any(
        "training images has more than 8 bits, and the others have 8" in note for notes in told for note in notes
    )
