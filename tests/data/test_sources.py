import io
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from made_up_images import SUFFIX, array, encoded, make_image, write_folder, write_parquet
from PIL import Image

from persistill.config import Data
from persistill.data import InMemoryDataset, StreamedDataset, load, splits_reader
from persistill.errors import UserError
from persistill.utils.progress import Silent

NAMES = ["cat", "dog"]


def everything(split):
    return split.fetch(torch.arange(len(split))).numpy()


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    splits = load(Data(source="digits"))
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [1294, 144, 359]
    assert splits.classes == tuple("0123456789")
    assert splits.train.shape == (1, 8, 8)
    digits = load_digits()
    known = {
        np.array([int(level * 255 / 16 + 0.5) for level in image.ravel()], dtype=np.uint8).tobytes(): target
        for image, target in zip(digits.images, digits.target, strict=True)
    }
    seen = set()
    for split in (splits.train, splits.validation, splits.test):
        for pixels, target in zip(everything(split), split.targets.tolist(), strict=True):
            assert known[pixels.tobytes()] == target
            seen.add(pixels.tobytes())
    assert len(seen) == len(known)
    assert everything(splits.train).max() == 255


def test_fingerprints_follow_the_splits():
    one, same, other = (load(Data(source="digits", split_seed=seed)).fingerprint for seed in (0, 0, 1))
    assert one == same != other


def test_real_images_decode_as_by_hand(shared, tmp_path):
    table = pq.read_table(shared("data", "cifar10", "test.parquet")).slice(0, 400)
    pq.write_table(table, tmp_path / "train.parquet")
    splits = load(Data(source=str(tmp_path), train=200, validation=50, test=100))
    assert splits.classes[:3] == ("airplane", "automobile", "bird")
    assert splits.train.shape == (3, 32, 32)
    assert splits.train.targets.bincount().tolist() == [15] * 10
    assert splits.validation.targets.bincount().tolist() == [5] * 10
    assert splits.test.targets.bincount().tolist() == [10] * 10
    stored = {array(Image.open(io.BytesIO(row["img"]["bytes"]))).tobytes(): row["label"] for row in table.to_pylist()}
    seen = []
    for split in (splits.train, splits.validation, splits.test):
        for pixels, target in zip(everything(split), split.targets.tolist(), strict=True):
            assert stored[pixels.tobytes()] == target
            seen.append(pixels.tobytes())
    assert len(set(seen)) == 300


def test_two_columns_of_classes_in_real_data(shared, tmp_path):
    pq.write_table(pq.read_table(shared("data", "cifar100", "test.parquet")).slice(0, 500), tmp_path / "train.parquet")
    with pytest.raises(UserError, match="fine_label, coarse_label"):
        load(Data(source=str(tmp_path)))
    splits = load(Data(source=str(tmp_path), label="coarse_label"))
    assert len(splits.classes) == 20
    assert splits.classes[0] == "aquatic_mammals"
    assert splits.test.targets.bincount().tolist() == [5] * 20


def parquet(folder, count=20, test=10, **options):
    for name, number, seed in (("train-00000-of-00001", count, 0), ("test", test, 100)):
        images = [encoded(make_image(seed + i), "WEBP") for i in range(number)]
        labels = [i % 2 for i in range(number)]
        write_parquet(folder / f"{name}.parquet", images, {"label": labels}, **options)
    return folder


@pytest.mark.parametrize("names", [{"label": NAMES}, None])
def test_parquet(tmp_path, names):
    splits = load(Data(source=str(parquet(tmp_path, names=names)), validation=4))
    assert splits.classes == (("cat", "dog") if names else ("0", "1"))
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [16, 4, 10]
    assert np.array_equal(everything(splits.test), np.stack([array(make_image(100 + i)) for i in range(10)]))
    assert splits.test.targets.tolist() == [0, 1] * 5
    assert isinstance(splits.train, InMemoryDataset)


def test_parquet_in_several_shards_and_folders(tmp_path):
    half = lambda start: [encoded(make_image(start + i)) for i in range(10)]
    labels = {"label": [0, 1] * 5}
    for name, start in (("train/0000", 0), ("train/0001", 10), ("validation/0000", 20), ("test/0000", 30)):
        write_parquet(tmp_path / f"[v1] x*/{name}.parquet", half(start), labels, {"label": NAMES})
    splits = load(Data(source=str(tmp_path / "[v1] x*")))
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [20, 10, 10]
    assert np.array_equal(everything(splits.train), np.stack([array(make_image(i)) for i in range(20)]))
    assert np.array_equal(everything(splits.validation), np.stack([array(make_image(20 + i)) for i in range(10)]))


def test_parquet_with_names_for_classes_and_files_without_a_part(tmp_path):
    images = [encoded(make_image(i)) for i in range(30)]
    write_parquet(tmp_path / "all.parquet", images, {"kind": ["dog", "cat", "dog"] * 10})
    splits = load(Data(source=str(tmp_path), validation=3))
    assert splits.classes == ("cat", "dog")
    assert splits.test.targets.bincount().tolist() == [2, 4]


def test_parquet_with_images_in_files(tmp_path):
    files = [tmp_path / f"{i}.png" for i in range(10)]
    for i, file in enumerate(files):
        file.write_bytes(encoded(make_image(i)))
    write_parquet(tmp_path / "train.parquet", [None] * 10, {"label": [0, 1] * 5}, paths=[str(f) for f in files])
    splits = load(Data(source=str(tmp_path), test=2, validation=2))
    assert everything(splits.train)[0].tobytes() in {array(make_image(i)).tobytes() for i in range(10)}


def test_two_class_columns_are_one_too_many(tmp_path):
    labels = {"fine": [0, 1, 2, 3] * 5, "coarse": [0, 0, 1, 1] * 5}
    names = {"fine": list("abcd"), "coarse": ["low", "high"]}
    write_parquet(tmp_path / "train.parquet", [encoded(make_image(i)) for i in range(20)], labels, names)
    with pytest.raises(UserError, match=r"several columns.*fine, coarse.*--set data\.label=fine"):
        load(Data(source=str(tmp_path)))
    assert load(Data(source=str(tmp_path), label="coarse", validation=2)).classes == ("low", "high")
    with pytest.raises(UserError, match=r"'coarze'. Did you mean 'coarse'"):
        load(Data(source=str(tmp_path), label="coarze"))


def test_a_test_split_without_classes_is_passed_over(tmp_path):
    parquet(tmp_path, names={"label": NAMES})
    write_parquet(tmp_path / "test.parquet", [encoded(make_image(9))] * 4, {"label": [-1] * 4}, {"label": NAMES})
    splits = load(Data(source=str(tmp_path), validation=4))
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [12, 4, 4]


def test_a_test_split_with_some_classes_is_not(tmp_path):
    parquet(tmp_path, names={"label": NAMES})
    write_parquet(tmp_path / "test.parquet", [encoded(make_image(9))] * 4, {"label": [0, -1, 1, 0]}, {"label": NAMES})
    with pytest.raises(UserError, match=r"1 of 4 images of the test split.*row 1, whose 'label' is -1"):
        load(Data(source=str(tmp_path)))


def test_a_image_without_a_class_is_named(tmp_path):
    images = [encoded(make_image(i)) for i in range(4)]
    write_parquet(tmp_path / "train.parquet", images, {"label": [0, 1, None, 0]}, {"label": NAMES})
    with pytest.raises(UserError, match=r"1 of 4 images of the train split.*row 2, whose 'label' is None"):
        load(Data(source=str(tmp_path)))


def test_no_columns_that_suit(tmp_path):
    images = [encoded(make_image(i)) for i in range(4)]
    write_parquet(tmp_path / "a" / "train.parquet", images, {"share": [0.5] * 4})
    with pytest.raises(UserError, match=r"no column that can be the class: img, share.*integers or strings"):
        load(Data(source=str(tmp_path / "a")))
    (tmp_path / "b").mkdir()
    pq.write_table(pa.table({"label": [0, 1]}), tmp_path / "b" / "train.parquet")
    with pytest.raises(UserError, match=r"must have one column of images.*it has none, among the columns label"):
        load(Data(source=str(tmp_path / "b")))


def test_parquet_that_is_cut_short_or_does_not_match(tmp_path):
    parquet(tmp_path, names={"label": NAMES})
    file = tmp_path / "test.parquet"
    whole = file.read_bytes()
    file.write_bytes(whole[:-50])
    with pytest.raises(UserError, match=r"test\.parquet cannot be read as Parquet.*cut short"):
        load(Data(source=str(tmp_path)))
    write_parquet(file, [encoded(make_image(0))] * 2, {"label": [0, 1]}, {"label": ["dog", "cat"]})
    with pytest.raises(UserError, match=r"different columns, types or class names"):
        load(Data(source=str(tmp_path)))
    file.rename(tmp_path / "more.parquet")
    (tmp_path / "more.parquet").write_bytes(whole)
    with pytest.raises(UserError, match=r"more\.parquet belongs to no part"):
        load(Data(source=str(tmp_path)))


@pytest.mark.parametrize("kind", SUFFIX)
def test_a_folder_of_class_folders(tmp_path, kind):
    write_folder(tmp_path, {"dog": 10, "cat": 10}, kind)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "cat" / "Thumbs.db").write_text("no image")
    (tmp_path / ".git").mkdir()
    (tmp_path / "cat" / f".hidden.{SUFFIX[kind]}").write_text("no image")
    splits = load(Data(source=str(tmp_path), test=4, validation=2))
    assert splits.classes == ("cat", "dog")
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [14, 2, 4]
    assert splits.train.targets.bincount().tolist() == [7, 7]
    of_cats = {array(Image.open(file)).tobytes() for file in (tmp_path / "cat").glob(f"[0-9]*.{SUFFIX[kind]}")}
    for pixels, target in zip(everything(splits.train), splits.train.targets.tolist(), strict=True):
        assert (pixels.tobytes() in of_cats) is (target == 0)


def test_class_folders_may_be_links_and_have_folders_of_their_own(tmp_path):
    write_folder(tmp_path / "elsewhere", {"dogs/old": 6, "dogs/young/brown": 4})
    write_folder(tmp_path / "here", {"cat": 10})
    (tmp_path / "here" / "dog").symlink_to(tmp_path / "elsewhere" / "dogs")
    splits = load(Data(source=str(tmp_path / "here"), test=4, validation=2))
    assert splits.train.targets.tolist() == [0] * 7 + [1] * 7


def test_a_folder_of_parts(tmp_path):
    counts = {"train/cat": 6, "train/dog": 5, "val/cat": 2, "val/dog": 2, "test/dog": 3}
    splits = load(Data(source=str(write_folder(tmp_path, counts))))
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [11, 4, 3]
    assert splits.test.targets.tolist() == [1, 1, 1]


def test_a_class_called_train_is_a_class(tmp_path):
    splits = load(Data(source=str(write_folder(tmp_path, {"train": 10, "bus": 10})), test=4, validation=2))
    assert splits.classes == ("bus", "train")


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({}, "holds no class folders and no Parquet files"),
        ({"cat": 3, "dog": 0}, "dog holds no images"),
        ({"cat": 3, "": 1}, "outside of the class folders"),
        ({"train/cat": 3, "train/dog": 3, "test/dgo": 1}, "'dgo'. Did you mean 'dog'"),
        ({"train/cat": 3, "val/cat": 3, "validation/cat": 3}, "both the validation part"),
        ({"train/cat": 3, "extra/cat": 3}, "extra has no place beside"),
        ({"cat": 10, "dog": 1}, "'dog' has 1 training images"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path, counts, words):
    with pytest.raises(UserError, match=words):
        load(Data(source=str(write_folder(tmp_path, counts))))


def test_different_sizes_are_listed_and_can_be_brought_to_one(tmp_path):
    write_folder(tmp_path, {"cat": 12, "dog": 8})
    write_folder(tmp_path, {"dog": 4}, "BMP", seed=50, size=(9, 7))
    with pytest.raises(UserError) as caught:
        load(Data(source=str(tmp_path)))
    message = str(caught.value)
    assert "2 sizes (height x width): 5 x 6 (20 images), 7 x 9 (4 images)" in message
    assert "data.size=(h, w)" in message
    assert load(Data(source=str(tmp_path), size=(4, 3))).train.shape == (3, 4, 3)
    suggested = re.search(r'--set "data\.size=(.*)"', message)
    assert suggested is not None
    assert load(Data(source=str(tmp_path)).with_value("size", suggested[1])).train.shape == (3, 5, 6)


def test_gray_and_color(tmp_path):
    write_folder(tmp_path / "gray", {"cat": 10, "dog": 10}, mode="L")
    assert load(Data(source=str(tmp_path / "gray"))).train.shape == (1, 5, 6)
    write_folder(tmp_path / "gray", {"dog": 4}, "BMP")
    assert load(Data(source=str(tmp_path / "gray"))).train.shape == (3, 5, 6)
    assert load(Data(source=str(tmp_path / "gray"), grayscale=True)).train.shape == (1, 5, 6)


def test_unreadable_images_are_named_and_counted(tmp_path):
    write_folder(tmp_path, {"cat": 20, "dog": 20})
    whole = (tmp_path / "cat" / "0.png").read_bytes()
    (tmp_path / "cat" / "0.png").write_bytes(whole[:60])  # its header is fine
    (tmp_path / "dog" / "1.png").write_bytes(b"no image at all")
    (tmp_path / "dog" / "2.png").write_bytes(b"")
    with pytest.raises(UserError) as caught:
        load(Data(source=str(tmp_path)))
    message = str(caught.value)
    assert message.startswith(f"3 of 40 images of {tmp_path} cannot be read: cat/0.png (")
    assert "dog/1.png" in message
    assert "--set data.skip_unreadable=true" in message
    splits = load(Data(source=str(tmp_path), skip_unreadable=True))
    assert splits.unreadable == ("cat/0.png", "dog/1.png", "dog/2.png")
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 37
    cats = {array(Image.open(file)).tobytes() for file in (tmp_path / "cat").glob("*.png") if file.name != "0.png"}
    for split in (splits.train, splits.validation, splits.test):
        for pixels, target in zip(everything(split), split.targets.tolist(), strict=True):
            assert (pixels.tobytes() in cats) is (target == 0)


def test_unreadable_images_of_tables_are_named(tmp_path):
    images = [encoded(make_image(i)) for i in range(20)]
    images[7] = b"broken"
    write_parquet(
        tmp_path / "train.parquet", images, {"label": [0, 1] * 10}, paths=[f"/at/p{i}.png" for i in range(20)]
    )
    with pytest.raises(UserError, match=r"1 of 20 .*: row 7 of train \(p7\.png\)"):
        load(Data(source=str(tmp_path)))


def test_nothing_readable_is_an_error_even_if_asked_to_go_on(tmp_path):
    write_folder(tmp_path, {"cat": 10, "dog": 10})
    for file in tmp_path.glob("*/*.png"):
        file.write_bytes(b"")
    with pytest.raises(UserError, match=r"20 of 20 images.*Nothing is left of the train split"):
        load(Data(source=str(tmp_path), skip_unreadable=True))


@pytest.mark.parametrize("make", [parquet, lambda folder: write_folder(folder, {"cat": 10, "dog": 10})])
def test_large_sets_are_streamed_and_are_the_same(tmp_path, monkeypatch, make):
    settings = Data(source=str(make(tmp_path)), validation=4)
    memory = load(settings)
    size = sum(len(split) for split in (memory.train, memory.validation, memory.test)) * 3 * 5 * 6
    monkeypatch.setattr(splits_reader, "MEMORY_LIMIT", size)
    assert isinstance(load(settings).train, InMemoryDataset)
    monkeypatch.setattr(splits_reader, "MEMORY_LIMIT", size - 1)
    streamed = load(settings)
    for one, other in zip(
        (memory.train, memory.validation, memory.test),
        (streamed.train, streamed.validation, streamed.test),
        strict=True,
    ):
        assert isinstance(other, StreamedDataset)
        assert np.array_equal(everything(one), everything(other))
        assert torch.equal(one.targets, other.targets)
    assert streamed.fingerprint == load(settings).fingerprint != memory.fingerprint
    moved = tmp_path.rename(tmp_path.parent / f"{tmp_path.name}-moved")
    assert load(settings.with_value("source", str(moved))).fingerprint == streamed.fingerprint


def test_progress_is_told(tmp_path):
    class Told(Silent):
        def __init__(self):
            self.stages, self.units = [], 0

        def start(self, stage, total, done=0):
            self.stages.append((stage, total))

        def advance(self, units, note="", values=None):
            self.units += units

    told = Told()
    load(Data(source=str(write_folder(tmp_path, {"cat": 10, "dog": 10}))), told)
    assert told.stages == [("looking at images", 20), ("decoding images", 20)]
    assert told.units == 40


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("digit", "unknown data source 'digit'. Did you mean 'digits'"),
        ("cifar10", "Did you mean 'uoft-cs/cifar10'"),
        ("digitz", r"Or the path of a folder.*The folders here are|There are no folders here"),
        (__file__, "is a file; data.source names the folder"),
    ],
)
def test_unknown_sources(source, words):
    with pytest.raises(UserError, match=words):
        load(Data(source=source))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("photos/brids", r"there is no folder photos/brids\. Did you mean photos/birds\?"),
        ("./photo/birds", r"there is no folder \./photo/birds\. Did you mean photos\?"),
        ("fotos/2024/birds", r"there is no folder fotos/2024/birds\. Did you mean photos\?"),
        ("photos/xylo", r"The folders in photos are birds, cats\."),
        ("photos/cats/x", r"There are no folders in photos/cats\."),
        ("{root}/photos/cat", r"Did you mean .*/photos/cats\?"),
        ("photo", r"unknown data source 'photo'.*Did you mean photos\?"),
    ],
)
def test_a_folder_that_is_not_there_is_no_name_on_the_hub(tmp_path, monkeypatch, source, words):
    for name in ("photos/birds", "photos/cats", "photos/.hidden", "unlike"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("persistill.data.sources.registry.read_hub", lambda *_: pytest.fail("the hub was asked"))
    with pytest.raises(UserError, match=words):
        load(Data(source=source.format(root=tmp_path)))


def test_settings_that_do_not_apply(tmp_path):
    with pytest.raises(UserError, match=r"data\.label='label' names a column, and digits has none"):
        load(Data(source="digits", label="label"))
    with pytest.raises(UserError, match=r"data\.mean must have one value for each of the 1 channel"):
        load(Data(source="digits", mean=(0.1, 0.2, 0.3)))
    with pytest.raises(UserError, match=r"data\.std must"):
        load(Data(source="digits", std=(0.1, 0.2)))
