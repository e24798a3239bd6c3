"""Layouts that people have: what is understood of them, and what a user is told."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up_images import array, encoded, make_image, write_folder, write_parquet
from PIL import Image

from persistill.config import Data
from persistill.data import load
from persistill.errors import UserError
from persistill.inference import find_images
from persistill.utils.image_files import find_image_files, image_names

LABELS = {"label": [0, 1] * 10}
NAMES = {"label": ["cat", "dog"]}


def twenty(seed=0):
    return [encoded(make_image(seed + i)) for i in range(20)]


def notes(settings):
    return " ".join(load(settings).notes)


# --- links and hidden folders


def test_a_link_to_the_folder_above_the_classes_is_not_followed(tmp_path):
    write_folder(tmp_path / "photos", {"cat": 10, "dog": 10})
    (tmp_path / "photos" / "cat" / "all").symlink_to("../../photos")
    (tmp_path / "photos" / "everything").symlink_to("../photos")
    splits = load(Data(source=str(tmp_path / "photos"), test=4, validation=2))
    assert splits.classes == ("cat", "dog")
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 20
    assert "cat/all, everything below" in splits.notes[0]
    assert "not followed" in splits.notes[0]
    assert len(find_images([tmp_path / "photos"])) == 20
    assert len(find_images([tmp_path / "photos" / "cat"])) == 10


def test_one_file_by_several_links_is_taken_once_and_told(tmp_path):
    write_folder(tmp_path, {"cat": 10, "dog": 10})
    (tmp_path / "cat" / "again.png").symlink_to("3.png")
    (tmp_path / "cat" / "more").symlink_to(".")
    splits = load(Data(source=str(tmp_path), test=4, validation=2))
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 20
    assert "cat/again.png below" in " ".join(splits.notes)
    assert find_image_files(tmp_path / "cat").repeated == ("again.png",)


def test_one_file_in_two_classes_by_a_link_is_told(tmp_path):
    write_folder(tmp_path, {"cat": 10, "dog": 10})
    (tmp_path / "dog" / "strange.png").symlink_to("../cat/3.png")
    assert "dog/strange.png = cat/3.png: by links one file in two class folders" in notes(Data(source=str(tmp_path)))


def test_a_test_folder_that_is_a_link_to_the_training_folder_is_told(tmp_path):
    write_folder(tmp_path, {"train/cat": 10, "train/dog": 10})
    (tmp_path / "test").symlink_to("train")
    assert "test/cat/0.png = train/cat/0.png" in notes(Data(source=str(tmp_path)))


def test_links_to_folders_elsewhere_are_followed_once(tmp_path):
    write_folder(tmp_path / "elsewhere", {"a": 2, "b": 2})
    (tmp_path / "elsewhere" / "a" / "other").symlink_to("../b")
    (tmp_path / "elsewhere" / "b" / "other").symlink_to("../a")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path / "elsewhere")
    assert image_names(tmp_path / "here") == [
        "link/a/0.png",
        "link/a/1.png",
        "link/a/other/0.png",
        "link/a/other/1.png",
    ]


def test_links_to_nothing_are_told(tmp_path):
    write_folder(tmp_path, {"cat": 10, "dog": 10})
    (tmp_path / "cat" / "gone.png").symlink_to("nowhere.png")
    assert "cat/gone.png below" in notes(Data(source=str(tmp_path)))


@pytest.mark.parametrize("hidden", [".ipynb_checkpoints", ".thumbnails"])
def test_hidden_folders_hold_no_images_in_any_reader(tmp_path, hidden):
    write_folder(tmp_path / "classes", {"cat": 10, f"cat/{hidden}": 10, "dog": 10, hidden: 4})
    assert len(find_images([tmp_path / "classes"])) == 20
    splits = load(Data(source=str(tmp_path / "classes"), test=4, validation=2))
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 20
    for name in ("images", "masks"):
        write_folder(tmp_path / "scenes", {name: 10, f"{name}/{hidden}": 3}, mode="L")
        for file in (tmp_path / "scenes" / name).rglob("*.png"):
            Image.fromarray(np.zeros((5, 6), np.uint8)).save(file)
    masked = load(Data(source=str(tmp_path / "scenes")), masks=True)
    assert len(masked.train) + len(masked.validation) + len(masked.test) == 10


def test_hidden_parquet_files_are_passed_over(tmp_path):
    write_parquet(tmp_path / "train.parquet", twenty(), LABELS, NAMES)
    write_parquet(tmp_path / ".cache" / "train.parquet", twenty(50), LABELS, NAMES)
    splits = load(Data(source=str(tmp_path), test=4, validation=2))
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 20


def test_masks_may_be_links_to_one_file(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for i in range(10):
        (tmp_path / "images" / f"{i}.png").write_bytes(encoded(make_image(i)))
        if i:
            (tmp_path / "masks" / f"{i}.png").symlink_to("0.png")
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(tmp_path / "masks" / "0.png")
    assert len(load(Data(source=str(tmp_path), test=2, validation=2), masks=True).train) == 6


# --- formats


def test_files_in_other_formats_are_counted(tmp_path):
    write_folder(tmp_path, {"cat": 10, "dog": 10})
    for name in ("a.heic", "b.HEIC", "c.svg"):
        (tmp_path / "cat" / name).write_bytes(b"")
    assert "2 .heic, 1 .svg below" in notes(Data(source=str(tmp_path)))


@pytest.mark.parametrize(("ending", "kind"), [("jfif", "JPEG"), ("jpe", "JPEG"), ("pnm", "PPM"), ("apng", "PNG")])
def test_other_endings_of_formats_that_are_read(tmp_path, ending, kind):
    (tmp_path / f"a.{ending}").write_bytes(encoded(make_image(0), kind))
    assert [file.name for file in find_images([tmp_path])] == [f"a.{ending}"]


def test_a_class_of_unread_formats_alone_says_so(tmp_path):
    write_folder(tmp_path, {"cat": 10, "dog": 0})
    (tmp_path / "dog" / "a.heic").write_bytes(b"")
    with pytest.raises(UserError, match=r"dog holds no images .*, but 1 \.heic"):
        load(Data(source=str(tmp_path)))


# --- parts without class folders


def test_train_and_test_without_class_folders_are_no_classes(tmp_path):
    with pytest.raises(UserError, match=r"test and train in .* are names of parts.*train/CLASS.*data\.labels"):
        load(Data(source=str(write_folder(tmp_path, {"train": 10, "test": 10}))))


@pytest.mark.parametrize("part", ["test", "val"])
def test_images_of_a_part_without_class_folders_are_not_used_and_told(tmp_path, part):
    write_folder(tmp_path, {"train/cat": 10, "train/dog": 10, part: 5})
    splits = load(Data(source=str(tmp_path), validation=2))
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [14, 2, 4]
    assert f"The 5 images of {tmp_path / part} lie in no class folders" in splits.notes[0]
    assert splits.origins == dict.fromkeys(("train", "validation", "test"), str(tmp_path / "train"))


def test_it_is_told_where_each_split_comes_from(tmp_path):
    write_folder(tmp_path, {"train/cat": 6, "train/dog": 5, "test/dog": 3})
    origins = load(Data(source=str(tmp_path), validation=2)).origins
    assert origins == {part: str(tmp_path / ("test" if part == "test" else "train")) for part in origins}
    assert list(origins) == ["train", "validation", "test"]
    assert load(Data(source="digits")).origins["test"] == "the train part of digits"


@pytest.mark.parametrize("name", ["testudo", "valley", "trainers", "devil"])
def test_a_class_whose_name_begins_like_a_part_is_a_class(tmp_path, name):
    splits = load(Data(source=str(write_folder(tmp_path, {f"{name}/young": 10, "cat/young": 10}))))
    assert set(splits.classes) == {"cat", name}


# --- Parquet


def test_the_layout_of_the_hub_with_a_configuration(tmp_path):
    write_parquet(tmp_path / "default" / "train" / "0000.parquet", twenty(), LABELS, NAMES)
    write_parquet(tmp_path / "default" / "test" / "0000.parquet", twenty(50), LABELS, NAMES)
    splits = load(Data(source=str(tmp_path), validation=2))
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [18, 2, 20]
    assert splits.origins["test"] == f"the split test of {tmp_path}"


def test_two_configurations_are_not_mixed(tmp_path):
    for name in ("small", "large"):
        write_parquet(tmp_path / name / "train-0.parquet", twenty(), LABELS, NAMES)
    with pytest.raises(UserError, match=r"several data sets or configurations: large, small\..*data\.source="):
        load(Data(source=str(tmp_path)))


def test_the_column_called_label_is_proposed(tmp_path):
    write_parquet(tmp_path / "train.parquet", twenty(), {"id": range(20), "kind_of_label": LABELS["label"], **LABELS})
    with pytest.raises(UserError, match=r"id, kind_of_label, label\. Say which: --set data\.label=label"):
        load(Data(source=str(tmp_path)))


def test_class_names_without_images_are_left_out_and_told(tmp_path):
    write_parquet(tmp_path / "train.parquet", twenty(), {"label": [0, 2] * 10}, {"label": ["cat", "cow", "dog"]})
    splits = load(Data(source=str(tmp_path)))
    assert splits.classes == ("cat", "dog")
    assert sorted(splits.train.targets.unique().tolist()) == [0, 1]
    assert "1 named classes of" in splits.notes[0]
    assert splits.notes[0].endswith("left out: cow.")


def test_numbers_below_0_are_no_classes(tmp_path):
    write_parquet(tmp_path / "train.parquet", twenty(), {"label": [-1, 0, 1, 1] * 5})
    with pytest.raises(UserError, match=r"5 of 20 images of the train split .* 'label' is -1 in row 0"):
        load(Data(source=str(tmp_path)))


@pytest.mark.parametrize("path", ["/etc/hostname", "../outside.png", "sub/../../outside.png"])
def test_a_path_in_a_row_must_not_lead_out_of_the_folder(tmp_path, path):
    (tmp_path / "outside.png").write_bytes(encoded(make_image(0)))
    (tmp_path / "data").mkdir()
    write_parquet(tmp_path / "data" / "train.parquet", [None, *twenty()[1:]], LABELS, NAMES, [path, *["x"] * 19])
    with pytest.raises(UserError, match=r"1 of 20 .* leads out of"):
        load(Data(source=str(tmp_path / "data")))


def test_a_relative_path_in_a_row_begins_in_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    files = write_folder(tmp_path, {"files": 20})
    write_parquet(tmp_path / "train.parquet", [None] * 20, LABELS, NAMES, [f"files/{i}.png" for i in range(20)])
    splits = load(Data(source=str(files), validation=2, test=2))
    assert splits.train.fetch(torch.tensor([0]))[0].numpy().tobytes() in {
        array(make_image(i)).tobytes() for i in range(21)
    }


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        ("{", "described wrongly"),
        ('{"info": null}', "described wrongly"),
        ('{"info": {"features": [1]}}', "described wrongly"),
        ('{"info": {"features": {"label": {"_type": "Nope"}}}}', "Feature type 'Nope' not found"),
        (
            '{"info": {"features": {"label": {"_type": "ClassLabel", "names": ["a", "a"]}}}}',
            "label names are duplicated",
        ),
    ],
)
def test_broken_metadata_is_a_users_error(tmp_path, meta, words):
    import pyarrow.parquet as pq

    file = write_parquet(tmp_path / "train.parquet", twenty(), LABELS, NAMES)
    pq.write_table(pq.read_table(file).replace_schema_metadata({"huggingface": meta}), file)
    with pytest.raises(UserError, match=rf"train\.parquet.*{words}"):
        load(Data(source=str(tmp_path)))


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_part_without_rows_is_a_users_error(tmp_path, part):
    write_parquet(tmp_path / "train.parquet", twenty(), LABELS)
    write_parquet(tmp_path / f"{part}.parquet", [], {"label": np.zeros(0, int)})
    with pytest.raises(UserError, match=rf"{part}\.parquet holds no rows"):
        load(Data(source=str(tmp_path)))


def test_images_that_are_null_are_named(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = write_parquet(tmp_path / "train.parquet", twenty(), LABELS, NAMES)
    table = pq.read_table(file)
    rows = table["img"].to_pylist()
    rows[3] = None
    pq.write_table(table.set_column(0, "img", pa.array(rows, table["img"].type)), file)
    with pytest.raises(UserError, match=r"1 of 20 .*row 3 of train"):
        load(Data(source=str(tmp_path)))
    assert load(Data(source=str(tmp_path), skip_unreadable=True)).unreadable == ("row 3 of train",)


# --- CSV


def table(folder, text, name="labels.csv"):
    write_folder(folder, {"images": 20})
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def rows(form="images/{}.png,{}", count=20):
    return "\n".join(form.format(i, ("cat", "dog")[i % 2]) for i in range(count))


@pytest.mark.parametrize(
    "text",
    [
        rows(),
        "file,label\n" + rows(),
        "\ufefffile;kind\n" + rows("{}.png;{}"),
        "image_id\tclass\n" + rows("{}\t{}"),
        "id,file,label\n" + rows("7,{}.png,{}"),
        rows('"images/{}.png", "{}"').replace(', "', ',"'),
        "label,file_name\n" + "\n".join(f"{('cat', 'dog')[i % 2]},images\\{i}.png" for i in range(20)),
    ],
)
def test_a_csv_beside_the_images_says_the_classes(tmp_path, text):
    splits = load(Data(source=str(table(tmp_path, text)), validation=2, test=4))
    assert splits.classes == ("cat", "dog")
    of = {array(make_image(i + 1)).tobytes(): i % 2 for i in range(20)}
    for split in (splits.train, splits.validation, splits.test):
        for pixels, target in zip(split.fetch(torch.arange(len(split))), split.targets.tolist(), strict=True):
            assert of[pixels.numpy().tobytes()] == target
    assert "Files and classes come from" in splits.notes[0]
    named = Data(source=str(tmp_path), labels="labels.csv", validation=2, test=4)
    assert load(named).fingerprint == splits.fingerprint
    assert load(Data(source=str(tmp_path / "labels.csv"), validation=2, test=4)).fingerprint == splits.fingerprint


def test_a_csv_may_say_the_splits(tmp_path):
    text = "file,label,split\n" + "\n".join(
        f"{i}.png,{i % 2},{'train' if i < 12 else 'val' if i < 16 else 'test'}" for i in range(20)
    )
    splits = load(Data(source=str(table(tmp_path, text))))
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [12, 4, 4]
    assert splits.origins["test"].endswith("labels.csv, split test")


def test_numbers_as_classes_are_sorted_by_size(tmp_path):
    text = "file,label\n" + "\n".join(f"{i}.png,{(2, 10)[i % 2]}" for i in range(20))
    assert load(Data(source=str(table(tmp_path, text)))).classes == ("2", "10")


def test_images_that_a_csv_leaves_out_are_told(tmp_path):
    assert "2 images below" in notes(Data(source=str(table(tmp_path, rows(count=18))), validation=2))


def test_one_line_for_each_kind_of_bad_row(tmp_path):
    text = (
        "file,label\n"
        + rows()
        + "\ngone.png,cat\nlost.png,dog\n0.png,\n/etc/x.png,cat\n../y.png,cat\n1.png\n2.png,dog\n,cat"
    )
    with pytest.raises(UserError) as caught:
        load(Data(source=str(table(tmp_path, text))))
    lines = str(caught.value).splitlines()
    assert len(lines) == 6
    assert "2 of 28 rows of" in lines[0]
    assert "line 22, 'gone.png'; line 23, 'lost.png'" in lines[0]
    for words in (
        "have no class: line 24",
        "outside of",
        "too few cells: line 27",
        "name a file again",
        "name no file",
    ):
        assert any(words in line for line in lines), words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("file,label\n", "no column of .* holds names of image files"),
        ("a,b\nc,d", "holds names of image files"),
        (
            "file,x,y1\n" + rows("{}.png,{},0"),
            r"several columns .*: x, y1\. Say which: --set data.label=x",
        ),
        (rows("{}.png,{},0"), "no header and 3 column"),
        ('file,label\n"0.png,cat', "cannot be read as CSV"),
        ("file\n" + "\n".join(f"{i}.png" for i in range(20)), "no column of classes"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, words):
    with pytest.raises(UserError, match=words):
        load(Data(source=str(table(tmp_path, text))))


def test_the_class_column_of_a_csv_can_be_named(tmp_path):
    text = "file,fine,label\n" + rows("{}.png,{},0")
    folder = str(table(tmp_path, text))
    assert load(Data(source=folder, label="fine")).classes == ("cat", "dog")
    with pytest.raises(UserError, match=r"'fin'\. Did you mean 'fine'"):
        load(Data(source=folder, label="fin"))


def test_several_tables_or_none_of_this_name(tmp_path):
    folder = table(tmp_path, rows())
    table(tmp_path, "file\n0.png", "test.csv")
    with pytest.raises(UserError, match=r"2 tables, labels\.csv, test\.csv.*--set data\.labels=labels\.csv"):
        load(Data(source=str(folder)))
    assert load(Data(source=str(folder), labels="labels.csv")).classes == ("cat", "dog")
    with pytest.raises(UserError, match=r"'label\.csv'\. Did you mean 'labels\.csv'"):
        load(Data(source=str(folder), labels="label.csv"))
    with pytest.raises(UserError, match=r"Leave data\.labels out"):
        load(Data(source="digits", labels="labels.csv"))


def test_a_csv_beside_class_folders_is_not_read(tmp_path):
    write_folder(tmp_path, {"cat": 10, "dog": 10})
    (tmp_path / "notes.csv").write_text("anything")
    assert load(Data(source=str(tmp_path))).classes == ("cat", "dog")


def test_a_table_that_is_no_text(tmp_path):
    folder = table(tmp_path, "")
    (folder / "labels.csv").write_bytes(os.urandom(64) + b"\xff")
    with pytest.raises(UserError, match="no text in UTF-8"):
        load(Data(source=str(folder)))


def test_folders_that_are_removed_while_images_are_looked_for_hold_nothing(tmp_path, monkeypatch):
    write_folder(tmp_path, {"kept": 1, "removed": 0})
    scandir = os.scandir

    def removing(folder):
        if Path(folder).name == "removed":
            Path(folder).rmdir()
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", removing)
    assert find_image_files(tmp_path).names == ("kept/0.png",)
    assert not (tmp_path / "removed").exists()
