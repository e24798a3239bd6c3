"""Images that stand in a data set twice."""

import shutil

import numpy as np
import platformdirs
import pytest
import torch
from made_up_images import array, make_image, write_folder
from PIL import Image, ImageEnhance

from persistill.config import Data
from persistill.data import InMemoryDataset, load, splits_reader
from persistill.data.near_duplicates import near_duplicates
from persistill.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """Images of two classes, all different: 16 to train on, 4 to choose with, 8 to test on."""
    counts = {"train": 8, "val": 2, "test": 4}
    write_folder(tmp_path / "images", {f"{part}/{name}": counts[part] for part in counts for name in ("cat", "dog")})
    return tmp_path / "images"


def data(folder, **changes):
    return Data(source=str(folder), **changes)


def pixels(split):
    return {image.numpy().tobytes() for image in split.fetch(torch.arange(len(split)))}


def copy(folder, source, target):
    """Save the same pixels in another file format, under another name."""
    with Image.open(folder / source) as image:
        image.save(folder / target)


def test_nothing_is_said_of_different_images(folder):
    assert load(data(folder)).notes == ()


def test_test_images_among_training_images_are_counted_and_named(folder):
    for i in range(4):
        copy(folder, f"train/cat/{i}.png", f"test/cat/copy{i}.bmp")
    note, advice = load(data(folder)).notes
    assert note.startswith("4 of 12 test images are training images, pixel for pixel: test/cat/copy0.bmp = train/cat/")
    assert note.endswith("and 1 more.")
    assert advice.startswith("--set data.duplicates=drop takes")
    with pytest.raises(UserError, match=r"4 of 12 test images are training images.*data\.duplicates=drop"):
        load(data(folder, duplicates="refuse"))


def test_the_training_copy_is_dropped(folder):
    splits = load(data(folder))
    index = int((splits.train.targets == 0).nonzero()[0])
    in_train = splits.train.fetch(torch.tensor([index]))[0].numpy()
    Image.fromarray(in_train.transpose(1, 2, 0)).save(folder / "test" / "cat" / "copy.png")
    before, after = load(data(folder)), load(data(folder, duplicates="drop"))
    assert len(after.train) == len(before.train) - 1
    assert pixels(after.train) == pixels(before.train) - {in_train.tobytes()}
    assert pixels(after.test) == pixels(before.test) >= {in_train.tobytes()}
    assert pixels(after.validation) == pixels(before.validation)
    (note,) = after.notes
    assert note.startswith(
        "Duplicates taken out: 1 of the train split. Without data.duplicates=drop: 1 of 9 test images are training "
    )
    assert after.fingerprint != before.fingerprint
    assert not pixels(after.train) & pixels(after.test)


def test_a_validation_copy_of_a_test_image_is_dropped(tmp_path):
    write_folder(tmp_path, {f"{part}/{name}": 4 for part in ("train", "val", "test") for name in ("cat", "dog")})
    shutil.copy(tmp_path / "test" / "cat" / "1.png", tmp_path / "val" / "cat" / "x.png")
    splits = load(Data(source=str(tmp_path)))
    assert splits.notes[0].startswith("1 of 8 test images are validation images")
    assert len(load(Data(source=str(tmp_path), duplicates="drop")).validation) == len(splits.validation) - 1


def test_one_image_in_two_classes_is_told_and_dropped_from_training(folder):
    copy(folder, "train/cat/0.png", "train/dog/same.png")
    settings = data(folder)
    splits = load(settings)
    assert any("2 images are equal to others with another target" in note for note in splits.notes)
    dropped = load(settings.with_value("duplicates", "drop"))
    same = array(Image.open(folder / "train/cat/0.png")).tobytes()
    assert same not in pixels(dropped.train)
    with pytest.raises(UserError, match="another target"):
        load(settings.with_value("duplicates", "refuse"))


def test_copies_within_a_class_are_a_remark_and_no_reason_to_refuse(folder):
    copy(folder, "train/cat/0.png", "train/cat/00.png")
    for duplicates in ("warn", "refuse", "drop"):
        splits = load(data(folder, duplicates=duplicates))
        assert len(splits.notes) == 1
        assert "1 of 17 training images are others again, pixel for pixel" in splits.notes[0]
        assert "train/cat/00.png = train/cat/0.png" in splits.notes[0]
        assert len(splits.train) == 17


def test_all_images_equal(tmp_path):
    write_folder(tmp_path, {"cat": 10, "dog": 10})
    for file in tmp_path.rglob("*.png"):
        make_image(0).save(file)
    assert load(data(tmp_path, validation=2)).notes[0] == "All 20 images are equal, pixel for pixel."
    with pytest.raises(UserError, match="All 20 images are equal"):
        load(data(tmp_path, duplicates="refuse", validation=2))
    with pytest.raises(UserError, match=r"drop leaves nothing in the train split"):
        load(data(tmp_path, duplicates="drop", validation=2))


def test_masks_count_as_targets(write_scenes, tmp_path):
    root = write_scenes(tmp_path / "scenes", count=20)
    shutil.copy(f"{root}/images/00.png", f"{root}/images/copy.png")
    shutil.copy(f"{root}/masks/01.png", f"{root}/masks/copy.png")
    found = " ".join(load(Data(source=root), masks=True).notes)
    assert "2 images are equal to others with another target" in found


def test_streamed_images_are_looked_at_where_it_is_asked_for_and_once(folder, monkeypatch, tmp_path):
    copy(folder, "train/cat/0.png", "test/cat/copy.png")
    monkeypatch.setattr(splits_reader, "MEMORY_LIMIT", 1)
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    assert load(data(folder)).notes[0].startswith("Duplicates were not looked for")
    with pytest.raises(UserError, match="1 of 9 test images"):
        load(data(folder, duplicates="refuse"))
    kept = list((tmp_path / "persistill" / "pixel_hashes").glob("*.npz"))
    assert len(kept) == 1
    from persistill.data.dataset import StreamedDataset

    monkeypatch.setattr(StreamedDataset, "fetch", lambda *_: pytest.fail("decoded again"))
    dropped = load(data(folder, duplicates="drop"))
    kept[0].write_bytes(b"damaged")
    monkeypatch.undo()
    monkeypatch.setattr(splits_reader, "MEMORY_LIMIT", 1)
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    assert load(data(folder, duplicates="drop")).fingerprint == dropped.fingerprint
    assert len(dropped.test) == 9


def photographs(count, size=48, seed=0):
    """Smooth random images, as different as photographs are."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return [Image.fromarray(one).resize((size, size), Image.Resampling.BICUBIC) for one in small]


def dataset(images):
    stacked = np.stack([np.asarray(image).transpose(2, 0, 1) for image in images])
    return InMemoryDataset(torch.from_numpy(stacked), torch.zeros(len(images), dtype=torch.int64))


def test_images_that_were_saved_again_or_brightened_look_alike(tmp_path):
    train = photographs(200)
    train[7].save(tmp_path / "a.jpg", quality=60)
    with Image.open(tmp_path / "a.jpg") as image:
        saved = image.convert("RGB")
    brighter = ImageEnhance.Brightness(train[11]).enhance(1.1)
    resized = train[13].resize((30, 30)).resize((48, 48), Image.Resampling.BICUBIC)
    held_out = [saved, *photographs(50, seed=1), brighter, resized]
    assert list(near_duplicates(dataset(held_out), dataset(train))) == [(0, 7), (51, 11), (52, 13)]


def test_looking_alike_is_a_hint(tmp_path):
    images = photographs(24)
    for i, image in enumerate(images):
        place = tmp_path / ("train", "val", "test")[i % 3] / ("cat", "dog")[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        image.save(place / f"{i}.png")
    images[3].save(tmp_path / "test" / "dog" / "again.webp", quality=70)
    splits = load(data(tmp_path))
    assert splits.notes == (
        "A hint: 1 of 9 test images look like training images: test/dog/again.webp ~ train/dog/3.png.",
    )
    assert load(data(tmp_path, duplicates="refuse")).fingerprint == splits.fingerprint


def test_small_or_plain_images_do_not_look_alike():
    plain = [Image.new("RGB", (32, 32), (shade, shade, shade)) for shade in range(60)]
    assert list(near_duplicates(dataset(plain[:20]), dataset(plain[20:]))) == []
    tiny = photographs(10, size=8)
    assert list(near_duplicates(dataset(tiny), dataset(tiny))) == []
