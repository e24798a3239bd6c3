"""Images with boxes: one content in four layouts, odd boxes and what is counted, splits, frames, data sets, errors."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up_boxes import BOXES, CLASSES, SIZE, pixels, write_coco, write_table, write_voc, write_yolo
from PIL import Image, ImageDraw

from persistill.config import Data
from persistill.data import InMemoryBoxDataset, StreamedBoxDataset, load_boxes, open_box_source
from persistill.data.detection.balanced_draw import draw_by_objects
from persistill.data.detection.box_source import raw_objects
from persistill.data.detection.check_objects import check_objects
from persistill.data.detection.checked_source import check_source
from persistill.data.detection.frame import frame_objects
from persistill.errors import UserError
from persistill.structures import Objects, pack_objects, unpack_objects
from persistill.utils.preprocessing import Preprocessing, read_pixels
from persistill.utils.progress import Silent

WRITERS = {
    "voc": write_voc,
    "coco": write_coco,
    "yolo": write_yolo,
    "yolo without a description": lambda folder: write_yolo(folder, described=False),
    "table": lambda folder: write_table(folder, stated="xyxy, pixels"),
    "table of widths": lambda folder: write_table(folder, box_format="xywh", stated="xywh"),
    "table that says nothing": write_table,  # the second box of a.png reaches out of the image if it is read as widths
}


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.parametrize("layout", WRITERS)
def test_every_layout_gives_the_same(layout, tmp_path):
    source = open_box_source(str(WRITERS[layout](tmp_path / "data")))
    assert source.classes == CLASSES
    (rows,) = source.parts.values()
    found = {}
    for row in range(len(rows)):
        with rows.open(row) as image:
            assert image.size == SIZE[::-1]
            name = next(name for name in BOXES if np.array_equal(np.asarray(image), pixels(name)))
        assert name in rows.name(row)
        assert rows.length(row) > 0
        objects = rows.objects(row, SIZE)
        found[name] = [
            (tuple(np.round(box, 4)), label) for box, label in zip(objects.boxes, objects.labels, strict=True)
        ]
    assert found == BOXES


def test_images_that_were_drawn_with_boxes_are_no_images_without_objects(tmp_path):
    folder = write_yolo(tmp_path / "data")
    drawn = folder / "images" / "train" / "a.boxes.png"
    drawn.write_bytes((folder / "images" / "train" / "a.png").read_bytes())
    assert len(open_box_source(str(folder)).parts["train"]) == len(BOXES)
    (folder / "labels" / "train" / "a.boxes.txt").write_text("0 0.5 0.5 0.2 0.2\n")  # of somebody's own
    assert len(open_box_source(str(folder)).parts["train"]) == len(BOXES) + 1


def test_parts_and_lists(tmp_path):
    voc = write_voc(tmp_path / "voc", lists={"train": ["a.png", "b.png"], "val": ["c.png"], "test": ["d.png"]})
    assert {part: len(rows) for part, rows in open_box_source(str(voc)).parts.items()} == {
        "train": 2,
        "validation": 1,
        "test": 1,
    }
    for year, lists in (("VOC2007", {"trainval": ["a.png"], "test": ["b.png"]}), ("VOC2012", {"trainval": ["a.png"]})):
        write_voc(tmp_path / "kit" / year, lists=lists)
    source = open_box_source(str(tmp_path / "kit"))
    assert {part: len(rows) for part, rows in source.parts.items()} == {"train": 2, "test": 1}
    assert [source.parts["train"].name(row) for row in range(2)] == [
        f"{year}/JPEGImages/a.png" for year in ("VOC2007", "VOC2012")
    ]
    coco = write_coco(tmp_path / "coco", parts={"train2017": ("a.png",), "val2017": ("b.png", "c.png")})
    assert {part: len(rows) for part, rows in open_box_source(str(coco)).parts.items()} == {"train": 1, "validation": 2}
    yolo = write_yolo(tmp_path / "yolo", parts=("train", "val"))
    assert {part: len(rows) for part, rows in open_box_source(str(yolo)).parts.items()} == {"train": 4, "validation": 4}


def test_crowds_and_difficult_objects(tmp_path):
    flagged = {("a.png", 1)}
    for source in (
        open_box_source(str(write_voc(tmp_path / "voc", difficult=flagged))),
        open_box_source(str(write_table(tmp_path / "table", stated="xyxy", difficult=flagged))),
    ):
        assert source.parts["train"].objects(0, SIZE).difficult.tolist() == [False, True]
        assert not source.parts["train"].objects(0, SIZE).crowd.any()
    source = open_box_source(str(write_coco(tmp_path / "coco", crowd=flagged)))
    assert source.parts["train"].objects(0, SIZE).crowd.tolist() == [False, True]
    assert check_source(source, Silent()).parts["train"].counts(np.arange(4)).by_class == (2, 1)


def test_odd_boxes_are_counted():
    boxes = [[0, 0, 10, 10], [-5, 2, 8, 70], [3, 3, 3, 9], [60, 0, 70, 9], [-9, -9, 0, 0], [0.4, 0, 60.4, 40.4]]
    raw = raw_objects(boxes, [0, 1, 1, 1, 0, 2], [0, 0, 0, 0, 0, 1], [0] * 6)
    objects, counts = check_objects(raw, SIZE, 3)
    assert objects.boxes.tolist() == [[0, 0, 10, 10], [0, 2, 8, 40], [0.4, 0, 60, 40]]
    assert objects.labels.tolist() == [0, 1, 2]
    assert (counts.images, counts.objects, counts.without_objects) == (1, 3, 0)
    assert (counts.clipped, counts.empty, counts.outside, counts.difficult) == (1, 1, 2, 1)
    assert counts.by_class == (1, 1, 0)  # without the difficult one
    both = counts + check_objects(raw_objects([], []), SIZE, 3).counts
    assert (both.images, both.without_objects, both.by_class) == (2, 1, (1, 1, 0))
    assert "1 without area, left out" in both.in_words()


@pytest.mark.parametrize(
    ("boxes", "labels", "said"),
    [
        ([[5, 5, 2, 9]], [0], "ends before it begins"),
        ([[5, 5, np.nan, 9]], [0], "is no box of four finite numbers"),
        ([[5, 5, 9, 9]], [2], "has the class 2, and classes are 0 to 1"),
        ([[5, 5, 9, 9]], [0, 1], "1 boxes and 2 classes"),
    ],
)
def test_boxes_without_sense_are_told(boxes, labels, said):
    with pytest.raises(ValueError, match=said):
        check_objects(raw_objects(boxes, labels), SIZE, 2)


@pytest.mark.parametrize("resize", ["crop", "squash", "letterbox"])
@pytest.mark.parametrize("frame", [(20, 30), (50, 50), (33, 47), (80, 24), (40, 91)])
def test_boxes_move_with_their_pixels(resize, frame):
    """A white box on black: where it is after the image was brought to the frame is where the box is said to be."""
    box = (14, 9, 46, 31)
    image = Image.new("L", SIZE[::-1])
    ImageDraw.Draw(image).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=255)
    white = read_pixels(image, (1, *frame), Preprocessing(resize))[0] > 127
    rows, columns = np.flatnonzero(white.any(1)), np.flatnonzero(white.any(0))
    (found,) = frame_objects(raw_objects([box], [0]), SIZE, frame, resize).boxes
    seen = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    assert np.abs(found - seen).max() <= 0.75


def test_objects_that_a_crop_cuts_off_are_left_out():
    framed = frame_objects(raw_objects([[0, 0, 8, 8], [20, 10, 40, 30]], [0, 1]), SIZE, (40, 20), "crop")
    assert framed.labels.tolist() == [1]
    assert framed.boxes.tolist() == [[0, 10, 20, 30]]


@pytest.mark.parametrize(("width", "height", "side"), [(640, 480, 224), (1024, 768, 512), (1920, 1080, 256)])
def test_objects_that_end_where_a_crop_begins_leave_no_box_without_area(width, height, side):
    """Rounding leaves some of them 1e-14 pixels inside, which float32 makes nothing of, or a flip afterwards."""
    starts = np.arange(width - 9)
    boxes = np.stack([starts, np.zeros_like(starts), starts + 9, np.full_like(starts, height)], 1)
    framed = frame_objects(raw_objects(boxes, np.zeros_like(starts)), (height, width), (side, side), "crop")
    x1, _, x2, _ = framed.boxes.astype(np.float32).T
    assert len(framed.labels) > height - 20
    assert (x2 > x1).all()
    assert (side - x1 > side - x2).all()


def test_packed_objects_come_back():
    found = [
        Objects(torch.rand(count, 4), torch.arange(count), torch.arange(count) == 1, torch.arange(count) == 2)
        for count in (3, 0, 1)
    ]
    packed = pack_objects(found)
    assert packed.shape == (3, 3, 7)
    for one, again in zip(found, unpack_objects(packed), strict=True):
        for field, other in zip(one, again, strict=True):
            assert field.equal(other)
            assert field.dtype == other.dtype
    assert pack_objects(found[1:2]).shape == (1, 0, 7)


def settings(folder, **more):
    return Data(source=str(folder), **{"validation": 0.5, "test": 1, "size": SIZE} | more)


def many(count=12):
    """Images of which every third has no cat."""
    names = [f"{chr(97 + number)}.png" for number in range(count)]
    return {
        name: [((1, 1, 9, 9), 0)] * (number % 3) + [((5, 5, 30, 30), 1)] * (1 + number % 2)
        for number, name in enumerate(names)
    }


def test_splits_are_read(tmp_path, monkeypatch):
    folder = write_coco(tmp_path / "coco", boxes=many())
    found = load_boxes(settings(folder, test=3, validation=3), Silent())
    splits = found.splits
    assert [len(split) for split in (splits.train, splits.validation, splits.test)] == [6, 3, 3]
    assert {name: counts.images for name, counts in found.counts.items()} == {"train": 6, "validation": 3, "test": 3}
    assert found.missing == {"train": (), "validation": (), "test": ()}
    assert isinstance(splits.train, InMemoryBoxDataset)
    assert splits.train.shape == (3, *SIZE)
    index = torch.tensor([2, 0])
    batch, targets = splits.train.fetch(index), splits.train.fetch_targets(index)
    assert batch.shape == (2, 3, *SIZE)
    assert targets.shape[::2] == (2, 7)
    part = splits.train.subset(index)
    assert part.fetch_targets(torch.arange(2)).equal(targets)
    assert part.fingerprint != splits.train.fingerprint
    monkeypatch.setattr("persistill.data.splits_reader.MEMORY_LIMIT", 0)
    streamed = load_boxes(settings(folder, test=3, validation=3), Silent()).splits.train
    assert isinstance(streamed, StreamedBoxDataset)
    assert streamed.fetch(index).equal(batch)
    assert streamed.subset(index).fetch_targets(torch.arange(2)).equal(targets)
    assert not streamed.in_memory
    again = load_boxes(settings(folder, test=3, validation=3), Silent())
    assert again.splits.train.fingerprint == streamed.fingerprint
    other = load_boxes(settings(folder, test=3, validation=3, split_seed=1), Silent())
    assert other.splits.train.fingerprint != streamed.fingerprint


def test_boxes_are_in_pixels_of_the_frame(tmp_path):
    folder = write_coco(tmp_path / "coco", boxes=many())
    splits = load_boxes(settings(folder, size=(20, 60), resize="letterbox"), Silent()).splits
    boxes = torch.cat([objects.boxes for objects in unpack_objects(splits.train.targets)])
    assert {tuple(box) for box in boxes.tolist()} <= {(15.5, 0.5, 19.5, 4.5), (17.5, 2.5, 30, 15)}


@pytest.mark.parametrize("seed", range(3))
def test_objects_are_shared_out_evenly(seed):
    generator = np.random.default_rng(seed)
    counts = generator.poisson([2.0, 0.3, 0.05], (400, 3))
    rows = draw_by_objects(counts, 100, np.random.default_rng(7))
    assert len(rows) == len(set(rows.tolist())) == 100
    assert (np.diff(rows) > 0).all()
    share = counts[rows].sum(0) / counts.sum(0)
    assert np.abs(share - 0.25).max() < 0.03
    by_images = counts[np.sort(generator.permutation(400)[:100])].sum(0) / counts.sum(0)
    assert np.abs(by_images - 0.25).max() > np.abs(share - 0.25).max()
    assert np.array_equal(rows, draw_by_objects(counts, 100, np.random.default_rng(7)))
    assert draw_by_objects(np.zeros((5, 2), dtype=np.int64), 2, generator).shape == (2,)
    with pytest.raises(ValueError, match="from 0 to 400"):
        draw_by_objects(counts, 401, generator)


def test_a_class_that_is_never_trained_is_an_error(tmp_path):
    write_voc(tmp_path / "voc", boxes=many(4), lists={"train": ["a.png", "d.png"], "val": ["b.png"], "test": ["c.png"]})
    with pytest.raises(UserError, match="an object of the class 'cat', which no training image has"):
        load_boxes(settings(tmp_path / "voc", validation=0.5, test=None), Silent())
    boxes = {"a.png": [((1, 1, 9, 9), 0)], "b.png": [((1, 1, 9, 9), 1)], "c.png": [((1, 1, 9, 9), 0)]}
    write_coco(tmp_path / "coco", boxes=boxes, parts={"train": ("a.png", "c.png"), "val": ("b.png",)})
    with pytest.raises(UserError, match="class 'dog' in validation or test and none in training"):
        load_boxes(settings(tmp_path / "coco", validation=1, test=None), Silent())


def test_an_image_with_a_broken_box_is_named_and_can_be_left_out(tmp_path):
    boxes = many() | {"z.png": [((30, 5, 5, 30), 1)]}
    folder = write_voc(tmp_path / "voc", boxes=boxes)
    with pytest.raises(UserError, match=r"JPEGImages/z.png \(the box .* ends before it begins"):
        load_boxes(settings(folder, test=2, validation=2), Silent())
    found = load_boxes(settings(folder, test=2, validation=2, skip_unreadable=True), Silent())
    assert found.splits.unreadable == ("JPEGImages/z.png",)
    assert sum(counts.images for counts in found.counts.values()) == 12


def edit(path: Path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda file: file.write_text("{"), "cannot be read as JSON"),
        (
            lambda file: edit(file, lambda c: c.pop("categories")),
            "must hold the lists images, annotations and categories",
        ),
        (lambda file: edit(file, lambda c: c["annotations"][0].update(bbox=[1])), "has the bbox"),
        (
            lambda file: edit(file, lambda c: c["annotations"][0].update(category_id=9)),
            "the category 9, which is not listed",
        ),
        (lambda file: edit(file, lambda c: c["images"][0].update(height=41)), "and its entry says 41 x 60"),
        (lambda file: (file.parent.parent / "train2017" / "a.png").unlink(), "is in none of"),
    ],
)
def test_faults_of_coco_files_are_told(change, said, tmp_path):
    folder = write_coco(tmp_path / "coco")
    change(folder / "annotations" / "instances_train2017.json")
    with pytest.raises(UserError, match=said):
        load_boxes(settings(folder), Silent())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0 0.5 0.5 0.1", "a line of 4 numbers"),
        ("0 30 20 10 10", "boxes are shares of the image"),
        ("5 .5 .5 .1 .1", "class 5"),
    ],
)
def test_faults_of_yolo_files_are_told(line, said, tmp_path):
    folder = write_yolo(tmp_path / "yolo")
    (folder / "labels" / "train" / "c.txt").write_text(line)
    with pytest.raises(UserError, match=said):
        load_boxes(settings(folder), Silent())


def _nothing(_):
    pass


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: folder.mkdir(), "no layout of images with boxes"),
        (_nothing, "there is no folder"),
        (lambda folder: write_voc(folder, images=("a.png",)), "there is no image for 'b'"),
        (lambda folder: (write_voc(folder) / "Annotations" / "a.xml").write_text("<a>"), "cannot be read as XML"),
        (lambda folder: (write_yolo(folder) / "data.yaml").write_text("train: x\nnames: [a]"), "there is no folder"),
        (
            lambda folder: (write_yolo(folder) / "data.yaml").write_text("train: x\nnames: [a, a]"),
            "must list the classes",
        ),
        (lambda folder: (write_yolo(folder, described=False) / "classes.txt").unlink(), "says no names of classes"),
        (lambda folder: write_table(folder, boxes={"d.png": BOXES["d.png"]}), "nothing tells what the four numbers"),
    ],
)
def test_sources_that_cannot_be_read_are_told(make, said, tmp_path):
    make(tmp_path / "data")
    with pytest.raises(UserError, match=said):
        open_box_source(str(tmp_path / "data"))


def test_a_csv_file_of_classes_is_not_passed_over_in_silence(tmp_path):
    with pytest.raises(UserError, match=r"data\.labels='labels\.csv' .* Leave data\.labels out"):
        load_boxes(Data(source=str(tmp_path), labels="labels.csv"), Silent())
