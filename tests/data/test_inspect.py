"""A source in outline: what is found out before anything is decoded."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from persistill.config import Data
from persistill.data import load
from persistill.data.sources.inspect import outline
from persistill.errors import UserError


def folders(root: Path, counts: dict[str, int], size=(9, 7), mode="RGB") -> Path:
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.new(mode, size, number % 200).save(root / name / f"{number}.png")
    return root


def test_counts_are_those_of_the_splits(tmp_path: Path) -> None:
    seen = outline(Data(source=str(folders(tmp_path / "a", {"cat": 30, "dog": 20}))))
    splits = load(Data(source=str(tmp_path / "a"), validation=seen.validation, test=seen.test))
    assert seen.classes == splits.classes == ("cat", "dog")
    assert seen.train == len(splits.train)
    assert (seen.validation, seen.test) == (0.1, None)
    assert seen.sizes == {(7, 9): 50}
    assert not seen.gray


def test_shares_grow_until_every_class_is_everywhere(tmp_path: Path) -> None:
    # Of 40 and 4 images, a tenth of what the test leaves is 3.5: the small class would give 0.35 of an image.
    source = str(folders(tmp_path / "a", {"many": 40, "few": 4}))
    with pytest.raises(UserError, match="no image in the validation split"):
        load(Data(source=source))
    seen = outline(Data(source=source))
    assert seen.validation > 0.1
    splits = load(Data(source=source, validation=seen.validation, test=seen.test))
    for split in (splits.train, splits.validation, splits.test):
        assert np.unique(split.targets.numpy()).tolist() == [0, 1]


def test_test_images_of_the_source_are_left_to_it(tmp_path: Path) -> None:
    for part, count in {"train": 20, "test": 6}.items():
        folders(tmp_path / part, {"a": count, "b": count})
    seen = outline(Data(source=str(tmp_path)))
    assert (seen.train, seen.test) == (36, None)


def test_gray_and_different_sizes_are_seen(tmp_path: Path) -> None:
    folders(tmp_path / "a", {"x": 12}, (8, 8), "L")
    (tmp_path / "a" / "y").mkdir()
    for number in range(12):
        Image.new("L", (10, 12), number).save(tmp_path / "a" / "y" / f"{number}.png")
    seen = outline(Data(source=str(tmp_path / "a")))
    assert seen.gray
    assert seen.sizes == {(8, 8): 12, (12, 10): 12}


def test_no_more_headers_are_read_than_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("persistill.data.sources.inspect.LOOKED_AT", 10)
    seen = outline(Data(source=str(folders(tmp_path / "a", {"x": 30, "y": 30}))))
    assert sum(seen.sizes.values()) == 10


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"only": 30}, "one class only, 'only'"),
        ({"many": 30, "two": 2}, "'two' of .* has 2 image"),
    ],
)
def test_too_little_is_told(tmp_path: Path, counts: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        outline(Data(source=str(folders(tmp_path / "a", counts))))


def test_unreadable_images_are_passed_over_unless_all_are(tmp_path: Path) -> None:
    root = folders(tmp_path / "a", {"x": 12, "y": 12})
    files = sorted(root.rglob("*.png"))
    files[3].write_bytes(b"nothing")
    assert sum(outline(Data(source=str(root))).sizes.values()) == 23
    for file in files:
        file.write_bytes(b"nothing")
    with pytest.raises(UserError, match="none of 24 images"):
        outline(Data(source=str(root)))
