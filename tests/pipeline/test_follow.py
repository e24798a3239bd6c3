"""What ranks but the first do."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from persistill.errors import UserError
from persistill.pipeline.executors.follow import follow

ABOUT = {"created": "today"}


def followed(out: Path, work: Any, about: dict[str, str] = ABOUT, keep_resized: Any = print) -> Path:
    """Follow a first rank through two stages."""
    context = SimpleNamespace(data=SimpleNamespace(keep_resized=keep_resized))

    def stage(name: str) -> SimpleNamespace:
        folder = SimpleNamespace(about=about)
        return SimpleNamespace(kind="student", name=name, folder_name=name, open=lambda _: folder, work=work)

    pipeline = SimpleNamespace(out=out, context=context, stage=stage)
    told = iter([("teacher", 1, "today"), ("student", 1, "today"), out / "comparison"])
    return follow(lambda: pipeline, SimpleNamespace(rank=1, size=2, from_leader=lambda _: next(told)))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    for name in ("teacher", "student"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps(ABOUT))
    return tmp_path


def test_images_are_read_from_the_cache_before_the_first_stage_and_once(out: Path) -> None:
    done: list[object] = []
    found = followed(out, lambda _, folder: done.append(folder.about), keep_resized=done.append)
    assert found == out / "comparison"
    assert done == [out, ABOUT, ABOUT]


def test_folders_that_the_first_rank_does_not_see_are_not_worked_at(out: Path, tmp_path: Path) -> None:
    done: list[object] = []
    said = "process 2 of 2 does not see the run folder teacher in .*: name the same place with --out on all machines"
    with pytest.raises(UserError, match=said):
        followed(out, lambda *_: done.append(1), {"created": "yesterday"})
    (tmp_path / "teacher" / "run.json").unlink()
    with pytest.raises(UserError, match=said):
        followed(out, lambda *_: done.append(1))
    assert not done


def test_memory_that_runs_out_is_told_as_of_the_first_rank(out: Path) -> None:
    def work(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(UserError, match=r"student teacher: memory ran out.*with --devices, --set train\.accumulate="):
        followed(out, work)
