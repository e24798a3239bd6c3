"""Images with a class in every pixel: folders, Parquet files, in memory and streamed, and into batches."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from made_up_images import array, encoded, make_image
from PIL import Image

from persistill.config import Data
from persistill.data import Loader, load, splits_reader
from persistill.errors import UserError

IGNORE = -100
SIZE = (6, 5)  # width, height


def make_mask(seed, size=SIZE, classes=3, ignored=0.2):
    random = np.random.default_rng([seed, 1])
    values = random.integers(0, classes, size[::-1])
    return Image.fromarray(np.where(random.random(size[::-1]) < ignored, 255, values).astype(np.uint8))


def palette(values):
    mask = Image.fromarray(values, "L").convert("P")
    mask.putdata(values.flatten())
    mask.putpalette([200, 10, 10, 10, 200, 10, 255, 255, 255] + [0] * 759)
    return mask


def write_masks(root, count=10, seed=0, size=SIZE, **options):
    """Images and masks in ``root``, numbered from 0."""
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        make_image(seed + i, size).save(root / "images" / f"{i}.png")
        make_mask(seed + i, size, **options).save(root / "masks" / f"{i}.png")
    return root


def write_parts(root, classes="sky\nroad\ntree\n"):
    for part, seed, count in (("train", 0, 8), ("val", 100, 3), ("test", 200, 4)):
        write_masks(root / part, count, seed)
    if classes:
        (root / "classes.txt").write_text(classes)
    return root


def write_table(file, seeds, classes=("sky", "road", "tree"), columns=("image", "mask")):
    layout = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = {
        name: [{"bytes": encoded(make(seed)), "path": f"{seed}.png"} for seed in seeds]
        for name, make in zip(columns, (make_image, make_mask), strict=True)
    }
    table = pa.table({name: pa.array(values, layout) for name, values in rows.items()})
    file.parent.mkdir(parents=True, exist_ok=True)
    if classes:
        table = table.replace_schema_metadata({"classes": json.dumps(list(classes))})
    pq.write_table(table, file)


def write_tables(folder, **options):
    for part, seeds in (("train", range(8)), ("val", range(100, 103)), ("test", range(200, 204))):
        write_table(folder / f"{part}.parquet", seeds, **options)
    return folder


def expected(seed, size=SIZE):
    mask = np.asarray(make_mask(seed, size)).astype(np.int64)
    return np.where(mask == 255, IGNORE, mask)


def everything(split):
    index = torch.arange(len(split))
    return split.fetch(index).numpy(), split.fetch_targets(index).numpy()


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("write", [write_parts, write_tables])
def test_masks_are_read_with_their_images(tmp_path, monkeypatch, write, streamed):
    if streamed:
        monkeypatch.setattr(splits_reader, "MEMORY_LIMIT", 0)
    splits = load(Data(source=str(write(tmp_path))), masks=True)
    assert splits.classes == ("sky", "road", "tree")
    for split, seeds in (
        (splits.train, range(8)),
        (splits.validation, range(100, 103)),
        (splits.test, range(200, 204)),
    ):
        pixels, target = everything(split)
        assert split.in_memory != streamed
        assert len(split) == len(seeds)
        assert split.shape == (3, 5, 6)
        assert (pixels == np.stack([array(make_image(seed)) for seed in seeds])).all()
        assert (target == np.stack([expected(seed) for seed in seeds])).all()
        assert target.dtype == np.int64


@pytest.mark.parametrize("streamed", [False, True])
def test_subsets_devices_and_fingerprints(tmp_path, monkeypatch, streamed):
    if streamed:
        monkeypatch.setattr(splits_reader, "MEMORY_LIMIT", 0)
    split = load(Data(source=str(write_parts(tmp_path))), masks=True).train
    index = torch.tensor([5, 2, 2])
    part = split.subset(index)
    assert len(part) == 3
    assert torch.equal(part.fetch(torch.arange(3)), split.fetch(index))
    assert torch.equal(part.fetch_targets(torch.arange(3)), split.fetch_targets(index))
    same = split.to("cpu")
    assert same.fingerprint == split.fingerprint != part.fingerprint
    assert torch.equal(same.fetch_targets(index), split.fetch_targets(index))


def test_fingerprints_cover_masks(tmp_path):
    write_parts(tmp_path)
    before = load(Data(source=str(tmp_path)), masks=True).fingerprint
    assert before == load(Data(source=str(tmp_path)), masks=True).fingerprint
    make_mask(7).save(tmp_path / "train" / "masks" / "0.png")
    assert before != load(Data(source=str(tmp_path)), masks=True).fingerprint


def test_splits_are_drawn_where_the_folder_has_none(tmp_path):
    write_masks(tmp_path, 20)
    splits = load(Data(source=str(tmp_path), validation=0.25), masks=True)
    assert [len(split) for split in (splits.train, splits.validation, splits.test)] == [12, 4, 4]
    assert splits.classes == ("class 0", "class 1", "class 2")
    masks = [
        mask.tobytes() for split in (splits.train, splits.validation, splits.test) for mask in everything(split)[1]
    ]
    assert sorted(masks) == sorted(expected(i).tobytes() for i in range(20))
    other = load(Data(source=str(tmp_path), validation=0.25, split_seed=1), masks=True)
    assert other.fingerprint != splits.fingerprint
    few = load(Data(source=str(tmp_path), train=5, validation=2), masks=True)
    assert (len(few.train), few.test.fingerprint) == (3, splits.test.fingerprint)


@pytest.mark.parametrize(
    ("mode", "convert"),
    [
        ("P", palette),
        ("1", lambda values: Image.fromarray(values > 0)),
        ("I;16", lambda values: Image.fromarray(values.astype(np.uint16))),
        ("L", Image.fromarray),
    ],
)
def test_masks_may_have_a_palette_or_other_depths(tmp_path, mode, convert):
    values = np.random.default_rng(0).integers(0, 2, (5, 6), dtype=np.uint8)
    write_masks(tmp_path, 10)
    for i in range(10):
        mask = convert(values)
        assert mask.mode == mode
        mask.save(tmp_path / "masks" / f"{i}.png")
    target = everything(load(Data(source=str(tmp_path)), masks=True).train)[1]
    assert (target == values).all()


def test_the_ignored_value_can_be_another(tmp_path):
    write_masks(tmp_path, 10, ignored=0.0)
    target = everything(load(Data(source=str(tmp_path), ignore=0), masks=True).train)[1]
    assert set(np.unique(target)) == {IGNORE, 1, 2}


def test_images_and_masks_are_brought_to_one_size_in_one_frame(tmp_path):
    # The left half is red and of class 200. Scaled and cropped, red pixels away from the edge still have class 200, and
    # nothing is between the classes.
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for i, (height, width) in enumerate([(40, 60), (60, 40), (48, 48), (21, 80)] * 3):
        mask = np.zeros((height, width), np.uint8)
        mask[:, : width // 2] = 200
        image = np.zeros((height, width, 3), np.uint8)
        image[..., 0] = 255 * (mask == 200)
        Image.fromarray(image).save(tmp_path / "images" / f"{i}.png")
        Image.fromarray(mask).save(tmp_path / "masks" / f"{i}.png")
    pixels, target = everything(load(Data(source=str(tmp_path), size=(20, 30)), masks=True).train)
    assert target.shape[1:] == (20, 30)
    assert set(np.unique(target)) == {0, 200}
    assert (target[pixels[:, 0] > 230] == 200).all()
    assert (target[pixels[:, 0] < 25] == 0).all()


def test_batches_hold_masks_that_moved_with_their_images(tmp_path):
    split = load(Data(source=str(write_parts(tmp_path))), masks=True).train
    options = {"batch_size": 3, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    plain = [*Loader(split, {}, shuffle_seed=None, **options).epoch(0)]
    assert torch.equal(torch.cat([batch.target for batch in plain]), split.fetch_targets(torch.arange(8)))
    assert plain[0].target.shape == (3, 5, 6)
    loader = Loader(
        split, {}, shuffle_seed=4, augment=("crop", "flip"), crop_padding=1, crop_size=(4, 4), drop_last=True, **options
    )
    for batch in loader.epoch(1):
        assert batch.inputs["image"].shape == (3, 3, 4, 4)
        assert batch.target.shape == (3, 4, 4)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_number_that_is_no_class_is_told_with_its_image(tmp_path, monkeypatch, streamed):
    write_parts(tmp_path)
    wrong = np.zeros((5, 6), np.uint8)
    wrong[2, 3] = 7
    Image.fromarray(wrong).save(tmp_path / "train" / "masks" / "3.png")
    said = r"train/images/3.png.*holds the class 7: classes are 0 to 2, and 255 is ignored"
    if streamed:
        monkeypatch.setattr(splits_reader, "MEMORY_LIMIT", 0)
        split = load(Data(source=str(tmp_path)), masks=True).train
        with pytest.raises(UserError, match=said):
            split.fetch_targets(torch.arange(len(split)))
    else:
        with pytest.raises(UserError, match=said):
            load(Data(source=str(tmp_path)), masks=True)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda root: (root / "masks" / "2.png").write_bytes(b"no image"),
            r"1 of 8 images.*images/2.png \(no image in a known format",
        ),
        (lambda root: make_mask(0, (6, 6)).save(root / "masks" / "2.png"), r"its mask is 6 x 6 .* the image 5 x 6"),
        (lambda root: make_image(0).save(root / "masks" / "2.png"), r"mode 'RGB', and the class of a pixel is one"),
    ],
)
def test_images_whose_masks_do_not_suit_are_named_and_can_be_left_out(tmp_path, spoil, said):
    write_masks(tmp_path, 8)
    (tmp_path / "classes.txt").write_text("a\nb\nc")
    spoil(tmp_path)
    settings = Data(source=str(tmp_path), validation=2, test=2)
    with pytest.raises(UserError, match=said):
        load(settings, masks=True)
    splits = load(settings.model_copy(update={"skip_unreadable": True}), masks=True)
    assert splits.unreadable == ("images/2.png",)
    assert sum(map(len, (splits.train, splits.validation, splits.test))) == 7


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root: (root / "masks" / "2.png").unlink(), r"there is no mask for .*images/2.png:"),
        (lambda root: (root / "images" / "2.png").unlink(), r"there is no image for .*masks/2.png:"),
        (lambda root: (root / "masks").rename(root / "truth"), r"there is no folder .*masks: segmentation reads"),
        (lambda root: make_image(0).save(root / "images" / "2.jpg"), "differ in their ending only"),
        (lambda root: (root / "classes.txt").write_text("a\na\n"), "two or more names of classes"),
        (lambda root: write_masks(root / "extra", 2), "its name says no part"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path, spoil, said):
    write_masks(tmp_path, 4)
    spoil(tmp_path)
    with pytest.raises(UserError, match=said):
        load(Data(source=str(tmp_path)), masks=True)


def test_columns_of_tables(tmp_path):
    write_tables(tmp_path / "a", columns=("one", "two"))
    with pytest.raises(UserError, match=r"data\.label says which holds the masks"):
        load(Data(source=str(tmp_path / "a")), masks=True)
    assert len(load(Data(source=str(tmp_path / "a"), label="two"), masks=True).train) == 8
    with pytest.raises(UserError, match=r"unknown column of masks \(data.label\) 'three'"):
        load(Data(source=str(tmp_path / "a"), label="three"), masks=True)
    write_tables(tmp_path / "b", classes=None)
    assert load(Data(source=str(tmp_path / "b")), masks=True).classes == ("class 0", "class 1", "class 2")


def test_sources_without_masks_say_so(tmp_path):
    with pytest.raises(UserError, match="digits has a class for each image and no masks"):
        load(Data(source="digits"), masks=True)
    with pytest.raises(UserError, match="there is no folder"):
        load(Data(source="./nowhere"), masks=True)


def test_real_scenes(shared):
    folder = shared("data", "camvid")
    splits = load(Data(source=str(folder)), masks=True)
    assert [len(split) for split in (splits.train, splits.validation, splits.test)] == [367, 101, 233]
    assert splits.train.shape == (3, 180, 240)
    assert splits.classes[:4] == ("sky", "building", "pole", "road")
    assert len(splits.classes) == 11
    row = pq.read_table(folder / "val.parquet").slice(5, 1).to_pylist()[0]
    mask = np.asarray(Image.open(io.BytesIO(row["mask"]["bytes"]))).astype(np.int64)
    target = splits.validation.fetch_targets(torch.tensor([5]))[0]
    assert (target.numpy() == np.where(mask == 255, IGNORE, mask)).all()
