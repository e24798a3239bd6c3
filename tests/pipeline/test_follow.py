"""What ranks but the first do."""

from pathlib import Path
from types import SimpleNamespace

from persistill.pipeline.executors.follow import follow


def test_images_are_read_from_the_cache_before_the_first_stage_and_once(tmp_path: Path) -> None:
    done: list[object] = []
    stage = SimpleNamespace(open=lambda _: "folder", work=lambda _, folder: done.append(folder))
    context = SimpleNamespace(data=SimpleNamespace(keep_resized=done.append))
    pipeline = SimpleNamespace(out=tmp_path, context=context, stage=lambda _: stage)
    told = iter([("teacher", 1), ("student", 1), tmp_path / "comparison"])
    ranks = SimpleNamespace(from_leader=lambda _: next(told))
    assert follow(lambda: pipeline, ranks) == tmp_path / "comparison"
    assert done == [tmp_path, "folder", "folder"]
