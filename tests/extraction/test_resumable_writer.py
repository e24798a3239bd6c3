"""A folder of the topology command has one writer at a time, and keeps nothing of one that was killed."""

from pathlib import Path

import pytest

from persistill.errors import UserError
from persistill.extraction.resumable_writer import ResumableWriter
from persistill.utils.atomic_io import atomic


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with ResumableWriter(folder, {}, ["a.bin"]) as writer:
        assert not folder.exists()
        writer.append("a.bin", b"1")
        with pytest.raises(UserError, match="another process is writing into"):
            ResumableWriter(folder, {}, ["a.bin"])
        writer.advance(1, 1, "x")
    with ResumableWriter(folder, {}, ["a.bin"]) as writer:
        assert writer.reached.position == 1
        writer.append("a.bin", b"2")
        writer.advance(2, 2, "y")
        writer.close()
        writer.finish(["a.bin"], {})
    assert sorted(path.name for path in folder.iterdir()) == ["a.bin", "settings.json"]
    assert (folder / "a.bin").read_bytes() == b"12"


def test_temporary_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with ResumableWriter(folder, {}, ["a.bin"]) as writer:
        writer.append("a.bin", b"1")
        writer.advance(1, 1, "x")
    with atomic(folder / "sheet.png") as temporary:
        left = temporary.parent
    left.mkdir()
    (left / "sheet.png").write_bytes(b"half a sheet")
    with ResumableWriter(folder, {}, ["a.bin"]):
        assert not left.exists()


def test_what_a_process_left_that_was_killed_behind_the_settings_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with ResumableWriter(folder, {}, ["a.bin", "b.bin"]) as writer:
        writer.append("a.bin", b"1")
        writer.advance(1, 1, "x")
        writer.close()
        note, part = (folder / "unfinished.json").read_bytes(), (folder / "b.bin.unfinished").read_bytes()
        writer.finish(["a.bin"], {})
    (folder / "unfinished.json").write_bytes(note)
    (folder / "b.bin.unfinished").write_bytes(part)
    with ResumableWriter(folder, {}, ["a.bin", "b.bin"]) as writer:
        assert writer.complete
    assert sorted(path.name for path in folder.iterdir()) == ["a.bin", "settings.json"]
