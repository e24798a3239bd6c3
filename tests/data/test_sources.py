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
from persistill.data import ArrayRows, InMemoryDataset, MaskSource, Source, StreamedDataset, load, splits_reader
from persistill.errors import UserError
from persistill.settings import Settings
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
        ("digitz", r"Or the path of an \.npz file, a folder.*The folders here are|There are no folders here"),
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
    with pytest.raises(UserError, match=r"data\.mean must have one value for each of 1 channel of digits"):
        load(Data(source="digits", mean=(0.1, 0.2, 0.3)))
    with pytest.raises(UserError, match=r"data\.std must"):
        load(Data(source="digits", std=(0.1, 0.2)))


def medmnist(channels=3, seed=0, **changes):
    """The arrays of a file as MedMNIST has them: classes in a column."""
    random = np.random.default_rng(seed)
    arrays = {}
    for part, count in (("train", 40), ("val", 8), ("test", 12)):
        arrays[f"{part}_images"] = random.integers(
            0, 256, (count, 9, 7, channels)[: 3 + (channels > 1)], dtype=np.uint8
        )
        arrays[f"{part}_labels"] = (np.arange(count) % 4)[:, None].astype(np.uint8)
    return {name: array for name, array in {**arrays, **changes}.items() if array is not None}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_as_medmnist_has_it(tmp_path, channels, save):
    arrays = medmnist(channels)
    save(tmp_path / "blood.npz", **arrays)
    splits = load(Data(source=str(tmp_path / "blood.npz")))
    assert splits.classes == ("0", "1", "2", "3")
    for split, part in ((splits.train, "train"), (splits.validation, "val"), (splits.test, "test")):
        images = arrays[f"{part}_images"].reshape(-1, 9, 7, channels).transpose(0, 3, 1, 2)
        assert np.array_equal(everything(split), images)
        assert np.array_equal(split.targets.numpy(), arrays[f"{part}_labels"][:, 0])


def test_a_file_with_a_training_part_alone_is_split(tmp_path):
    np.savez(tmp_path / "a.npz", **{name: value for name, value in medmnist().items() if name.startswith("train")})
    splits = load(Data(source=str(tmp_path / "a.npz"), validation=4))
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [28, 4, 8]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_images": None}, r"no array train_images: .*layout of MedMNIST.*It holds train_labels, val_images"),
        ({"val_labels": None}, r"has val_images and no val_labels"),
        (
            {"test_labels": np.zeros((12, 3), int)},
            r"test_labels holds int64 of shape \(12, 3\); each image has one class",
        ),
        ({"train_labels": np.zeros(40)}, r"train_labels holds float64"),
        ({"train_labels": np.full(40, -1)}, r"train_labels holds -1; classes are numbered from 0"),
        ({"train_labels": np.zeros(39, int)}, r"train_images holds 40 images, and train_labels 39"),
        ({"train_images": np.zeros((40, 9, 7))}, r"train_images holds float64 of shape \(40, 9, 7\); images are uint8"),
        ({"other_images": np.zeros((4, 9, 7), np.uint8)}, r"other_images belongs to no part"),
    ],
)
def test_files_of_other_layouts_are_told_what_it_is(tmp_path, changes, words):
    np.savez(tmp_path / "a.npz", **medmnist(**changes))
    with pytest.raises(UserError, match=words):
        load(Data(source=str(tmp_path / "a.npz")))


def test_files_that_are_no_arrays(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(UserError, match=r"a\.npz cannot be read as \.npz"):
        load(Data(source=str(tmp_path / "a.npz")))
    with pytest.raises(UserError, match=r"Leave data\.label out"):
        load(Data(source=str(tmp_path / "a.npz"), label="kind"))


def stripes():
    """Images of one's own: horizontal and vertical stripes."""
    across = np.zeros((30, 6, 6), np.uint8)
    across[:, ::2] = 255
    pixels = np.concatenate([across, across.transpose(0, 2, 1)])
    return Source(("across", "down"), {"train": ArrayRows(pixels, np.repeat([0, 1], 30), "stripes {}")})


class Stripes(Settings):
    """The same, less of them."""

    count: int = 20

    def __call__(self):
        rows = stripes().parts["train"]
        pixels = np.stack([np.asarray(rows.open(row)) for row in range(0, 60, 60 // self.count)])
        return Source(
            ("across", "down"), {"train": ArrayRows(pixels, np.repeat([0, 1], self.count // 2), "stripes {}")}
        )


def test_a_source_of_ones_own_is_a_function_settings_or_named_by_its_module():
    splits = load(Data(source=stripes, validation=6))
    assert splits.classes == ("across", "down")
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [42, 6, 12]
    assert (everything(splits.train)[:, 0, 0].std(1) == 0).tolist() == (splits.train.targets == 0).tolist()
    assert load(Data(source=f"{__name__}:stripes", validation=6)).fingerprint == splits.fingerprint
    assert len(load(Data(source=Stripes(count=30), validation=4)).train) == 20
    assert Data(source=Stripes(count=30)).to_json()["source"] == {"is": f"{__name__}:Stripes", "count": 30}
    assert Data(source=stripes).to_json()["source"] == {"is": f"{__name__}:stripes"}
    with pytest.raises(UserError, match=r"data\.train asks for 1000 images, and stripes has 48"):
        load(Data(source=stripes, train=1000))


def test_sources_of_ones_own_that_cannot_be():
    with pytest.raises(
        UserError, match=r"the data source <lambda> must return a persistill\.data\.Source; it returned a int"
    ):
        load(Data(source=lambda: 3))
    with pytest.raises(UserError, match=r"<lambda> has masks and no class for an image"):
        load(Data(source=lambda: MaskSource(None, {})))
    with pytest.raises(UserError, match=r"digits has a class for each image and no masks"):
        load(Data(source="digits"), masks=True)
    with pytest.raises(UserError, match=r"unknown name in .*: 'stripe'\. Did you mean 'stripes'"):
        load(Data(source=f"{__name__}:stripe"))
    with pytest.raises(UserError, match="must be a name"):
        Data(source=3)


def test_a_table_whose_column_names_are_no_text_is_named(tmp_path):
    parquet(tmp_path)
    for file in tmp_path.glob("*.parquet"):
        file.write_bytes(file.read_bytes().replace(b"label", b"\xfflbel"))
    with pytest.raises(UserError, match=r"\.parquet cannot be read as Parquet"):
        load(Data(source=str(tmp_path)))
