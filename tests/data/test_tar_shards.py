import io
import json
import tarfile

import numpy as np
import pytest
import torch
from made_up_images import array, encoded, make_image, write_folder

from persistill.config import Data
from persistill.data import InMemoryDataset, StreamedDataset, load, splits_reader
from persistill.data.streaming.files import open_stream
from persistill.errors import UserError
from persistill.utils.progress import Silent


def write_tar(file, samples, **options):
    """``samples``: name in the tar file -> bytes, text or JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w", **options) as archive:
        for name, content in samples.items():
            data = content if isinstance(content, bytes) else str(content).encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file


def samples(start, count, label=lambda i: {"cls": i % 2}, folder=""):
    found = {}
    for i in range(start, start + count):
        found[f"{folder}{i:04d}.png"] = encoded(make_image(i))
        found |= {f"{folder}{i:04d}.{ending}": value for ending, value in label(i).items()}
    return found


def shards(folder, **options):
    for number in range(3):
        write_tar(folder / f"train-{number:03d}.tar", samples(10 * number, 10, **options))
    write_tar(folder / "test-000.tar", samples(100, 10, **options))
    return folder


def everything(split):
    return split.fetch(torch.arange(len(split))).numpy()


@pytest.mark.parametrize("limit", [splits_reader.MEMORY_LIMIT, 1])
def test_images_and_classes_of_several_shards(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(splits_reader, "MEMORY_LIMIT", limit)
    splits = load(Data(source=str(shards(tmp_path)), validation=4))
    assert isinstance(splits.train, InMemoryDataset if limit > 1 else StreamedDataset)
    assert splits.classes == ("0", "1")
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [26, 4, 10]
    assert np.array_equal(everything(splits.test), np.stack([array(make_image(100 + i)) for i in range(10)]))
    classes = {array(make_image(i)).tobytes(): i % 2 for i in range(30)}
    for split in (splits.train, splits.validation):
        assert [classes.pop(image.tobytes()) for image in everything(split)] == split.targets.tolist()
    assert not classes
    assert splits.origins["test"] == str(tmp_path / "test-000.tar")


@pytest.mark.parametrize(
    ("label", "classes", "column"),
    [
        (lambda i: {"cls": ("cat", "dog")[i % 2]}, ("cat", "dog"), None),
        (lambda i: {"cls": ("10", "9")[i % 2]}, ("9", "10"), None),
        (lambda i: {"cls": ("cat\n", "7")[i % 2]}, ("7", "cat"), None),
        (lambda i: {"json": json.dumps({"caption": "x", "label": i % 2})}, ("0", "1"), None),
        (lambda i: {"json": json.dumps({"kind": "ab"[i % 2]}), "cls": 0, "txt": "x"}, ("a", "b"), "kind"),
        (lambda i: {"json": json.dumps({"label": "wrong"}), "cls": i % 2}, ("0", "1"), None),
    ],
)
def test_what_says_a_class(tmp_path, label, classes, column):
    splits = load(Data(source=str(shards(tmp_path, label=label)), label=column, validation=4))
    assert splits.classes == classes
    assert splits.test.targets.bincount().tolist() == [5, 5]


@pytest.mark.parametrize("label", [lambda i: {"cls": 2 * (i % 2)}, lambda i: {"cls": ("cat", "cow")[i % 2]}])
def test_names_of_classes_beside_the_shards(tmp_path, label):
    (tmp_path / "classes.txt").write_text("cat\ndog\ncow\n")
    splits = load(Data(source=str(shards(tmp_path, label=label)), validation=4))
    assert splits.classes == ("cat", "cow")
    assert "1 named classes of" in splits.notes[0]


def test_a_range_a_file_and_a_folder_of_parts_are_the_same_images(tmp_path):
    shards(tmp_path)
    by_range = load(Data(source=str(tmp_path / "train-{000..002}.tar"), validation=4, test=10))
    assert [len(by_range.train), len(by_range.validation), len(by_range.test)] == [16, 4, 10]
    assert len(load(Data(source=str(tmp_path / "train-001.tar"), validation=2, test=2)).train) == 6
    folder = tmp_path / "parts"
    for part, name in (("train", "train-{}.tar"), ("val", "test-{}.tar")):
        (folder / part).mkdir(parents=True)
        for file in sorted(tmp_path.glob(name.format("*"))):
            file.rename(folder / part / file.name[-7:])
    splits = load(Data(source=str(folder), validation=4))
    assert [len(splits.train), len(splits.test)] == [26, 10]


def test_the_first_dot_ends_the_name_and_folders_belong_to_it(tmp_path):
    files = samples(0, 10, folder="a/") | samples(10, 10, folder="b.c/") | samples(0, 10, lambda i: {"cls": 1}, "b/")
    files |= {"a/0000.depth.npy": b"x", "__MACOSX/._0000.png": b"x", "./a/.hidden.png": b"x"}
    write_tar(tmp_path / "all.tar", {name.replace("0001.png", "0001.img.png"): data for name, data in files.items()})
    splits = load(Data(source=str(tmp_path), validation=4, test=6))
    assert sum(map(len, (splits.train, splits.validation, splits.test))) == 30


def test_a_tar_file_beside_class_folders_is_left_alone(tmp_path):
    write_folder(tmp_path, {"cat": 10, "dog": 10})
    write_tar(tmp_path / "download.tar", {"x": b"y"})
    assert load(Data(source=str(tmp_path))).classes == ("cat", "dog")


def test_a_test_part_without_classes_is_not_used(tmp_path):
    shards(tmp_path)
    write_tar(tmp_path / "test-000.tar", samples(100, 10, lambda i: {}))
    splits = load(Data(source=str(tmp_path), validation=4))
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [20, 4, 6]
    assert "10 images of the test split of" in splits.notes[0]


def test_what_says_the_class_of_no_image_is_told(tmp_path):
    shards(tmp_path)
    write_tar(tmp_path / "train-002.tar", {"0001.cls": 1, "0002.png": encoded(make_image(2)), "0002.cls": 0})
    assert "1 files of" in (note := " ".join(load(Data(source=str(tmp_path), validation=4)).notes))
    assert "train-002.tar/0001.cls" in note


def cut(file):
    file.write_bytes(file.read_bytes()[:700])


def compress(file):
    write_tar(file, samples(0, 4))
    with tarfile.open(file, "w:gz") as archive:
        archive.add(__file__, "x.py")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut, r"train-001\.tar cannot be read as a tar file .*cut short, or compressed"),
        (compress, r"train-001\.tar cannot be read as a tar file .*compressed"),
        (lambda file: write_tar(file, {"0.cls": 1, "0.png": b"", "0.jpg": b""}), r"two images of one name, 0\.png and"),
        (lambda file: write_tar(file, {"0.png": b"", "0.cls": b"\xff"}), r"001\.tar/0\.cls does not say a class"),
        (lambda file: write_tar(file, {"0.png": b"", "0.json": "{"}), r"001\.tar/0\.json does not say a class"),
        (lambda file: write_tar(file, {"0.png": b"", "0.json": '{"label": 1.5}'}), r"it is 1\.5, and a class is"),
        (lambda file: write_tar(file, {"0.png": b"", "0.cls": b" " * 2**21}), r"it has 2,097,152 bytes"),
        (lambda file: write_tar(file, {"0.png": b""}), r"1 of 21 images of the train split .* whose 'class' is None"),
        (lambda file: write_tar(file, {"0.png": b"", "0.cls": -1}), r"'class' is -1 in row 10"),
        (lambda file: file.rename(file.with_name("more.tar")), r"more\.tar belongs to no part.*of tar files begin"),
    ],
)
def test_what_is_wrong_with_a_shard_is_told(tmp_path, change, message):
    change(shards(tmp_path) / "train-001.tar")
    with pytest.raises(UserError, match=message):
        load(Data(source=str(tmp_path)))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("train-{000..009}.tar", r"7 of 10 tar files of .* are not there: .*train-003\.tar.* and 4 more"),
        ("train-{2..1}.tar", r"\{2\.\.1\} in .* is no range"),
        ("gone.tar", r"there is no file .*gone\.tar"),
        ("test-000.tar", r"has no training images: its tar files belong to test"),
    ],
)
def test_names_of_shards_that_are_not_there(tmp_path, source, message):
    shards(tmp_path)
    with pytest.raises(UserError, match=message):
        load(Data(source=str(tmp_path / source)))


def test_no_images_and_no_classes(tmp_path):
    write_tar(tmp_path / "a" / "x.tar", {"0.cls": 1, "0.txt": "x"})
    with pytest.raises(UserError, match=r"there are no images in .*x\.tar: .*\.cls or \.json"):
        load(Data(source=str(tmp_path / "a")))
    write_tar(tmp_path / "b" / "x.tar", samples(0, 4, lambda i: {"json": '{"label": 1}'}))
    with pytest.raises(UserError, match=r"no training image of .* under kind\. Or leave data\.label out"):
        load(Data(source=str(tmp_path / "b"), label="kind"))


def test_a_damaged_image_and_a_shard_that_changed_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(splits_reader, "MEMORY_LIMIT", 1)
    shards(tmp_path)
    splits = load(Data(source=str(tmp_path), validation=4))
    (tmp_path / "test-000.tar").write_bytes(b"")
    with pytest.raises(UserError, match=r"test-000\.tar/0100\.png cannot be decoded .*shorter"):
        splits.test.fetch(torch.arange(1))
    write_tar(tmp_path / "test-000.tar", samples(100, 10) | {"0103.png": b"no image"})
    with pytest.raises(UserError, match=r"1 of 40 images of .*: test-000\.tar/0103\.png \(no image in a known format"):
        load(Data(source=str(tmp_path), validation=4))


# Without classes, for persistill topology


def test_images_of_tar_files_without_classes_are_streamed(tmp_path):
    for number in range(2):
        write_tar(tmp_path / f"{number}.tar", samples(10 * number, 10) | {"readme.txt": "x", ".hidden.png": b"x"})
    stream = open_stream(tmp_path)
    assert len(stream) == 20
    assert stream.name(13) == "1.tar/0013.png"
    survey = stream.survey(Silent(), grayscale=False, threads=2)
    assert survey.channels == 3
    assert survey.marks.tolist() == [len(encoded(make_image(i))) for i in range(20)]
    for position, pixels in zip((3, 11), stream.read((3, 11), 3, 2), strict=True):
        assert np.array_equal(pixels, array(make_image(position)))
    assert [len(open_stream(tmp_path / name)) for name in ("1.tar", "{0..1}.tar")] == [10, 20]
    write_tar(tmp_path / "1.tar", {"0.txt": "x"})
    with pytest.raises(UserError, match=r"1\.tar holds no images"):
        open_stream(tmp_path / "1.tar")
    with pytest.raises(UserError, match=r"--field x names a column or an array"):
        open_stream(tmp_path, "x")
    (tmp_path / "loose.png").write_bytes(encoded(make_image(0)))
    assert len(open_stream(tmp_path)) == 1
