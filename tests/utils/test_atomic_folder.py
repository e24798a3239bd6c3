from pathlib import Path

import pytest

from persistill.utils import file_lock
from persistill.utils.atomic_folder import atomic_folder, unfinished


def test_a_folder_is_there_once_all_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "made"
    with atomic_folder(path) as folder:
        (folder / "model.onnx").write_bytes(b"x")
        assert not path.exists()
    assert [one.relative_to(tmp_path).as_posix() for one in sorted(tmp_path.rglob("*"))] == [
        "deep",
        "deep/made",
        "deep/made/model.onnx",
    ]


def test_nothing_is_left_where_it_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "made") as folder:
        (folder / "model.onnx").write_bytes(b"x")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    left = unfinished(tmp_path / "made")
    (left / ".model.onnx.abc").mkdir(parents=True)
    (left / "model.onnx").write_bytes(b"half")
    (left / ".lock").touch()
    with atomic_folder(tmp_path / "made") as folder:
        (folder / "model.json").write_bytes(b"{}")
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "model.json"]


def test_two_do_not_write_one_folder(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "made") as folder:
        (folder / "model.onnx").write_bytes(b"x")
        with pytest.raises(file_lock.LockHeldError), atomic_folder(tmp_path / "made"):
            pass
        assert (folder / "model.onnx").exists()
    assert (tmp_path / "made" / "model.onnx").exists()
