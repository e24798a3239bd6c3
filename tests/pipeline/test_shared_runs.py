"""Stages that several processes work at, and stages that go on under other circumstances."""

import json
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from persistill import run_folder
from persistill.pipeline.executors import local
from persistill.pipeline.stage import Stage
from persistill.ranks import Ranks
from persistill.storage import Runs
from persistill.utils.file_lock import LockHeldError
from persistill.utils.progress import Silent
from persistill.utils.units import counted


class Told(Silent):
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def finish(self, note: str = "") -> None:
        self.notes.append(note)


class Counting(Stage):
    """Notes with how many threads it works; stops the first ``stops`` times."""

    kind = "student"

    def __init__(self, name: str, depends_on: tuple[Stage, ...] = (), stops: int = 0) -> None:
        super().__init__(name, {"name": name}, depends_on)
        self.stops, self.threads = stops, list[int]()

    def work(self, context: Any, folder: run_folder.RunFolder) -> dict[str, Any]:
        self.threads.append(torch.get_num_threads())
        if len(self.threads) <= self.stops:
            raise KeyboardInterrupt
        return {"answer": 42}


@pytest.fixture
def context(tmp_path: Path) -> SimpleNamespace:
    recipe = SimpleNamespace(to_json=dict)
    about = {"device": torch.device("cpu"), "progress": Told(), "recipe": recipe, "ranks": Ranks()}
    return SimpleNamespace(out=tmp_path, runs=Runs(tmp_path), **about)


def test_a_stage_at_which_another_process_works_is_left_for_later(context: SimpleNamespace) -> None:
    first, second = Counting("first"), Counting("second")
    order: list[str] = []
    held, free = threading.Event(), threading.Event()

    def work_elsewhere() -> None:
        with run_folder.locked(context.out / first.folder_name):
            held.set()
            free.wait(60)

    def done(stage: Stage, _: run_folder.RunFolder) -> None:
        order.append(stage.name)
        threading.Timer(0.5, free.set).start()

    other = threading.Thread(target=work_elsewhere)
    other.start()
    held.wait(60)
    with pytest.raises(LockHeldError):
        first.run(context, wait=False)
    local.run([first, second], context, done)
    other.join()
    assert order == ["second", "first"]
    (note,) = context.progress.notes
    assert "another process" in note
    assert first.folder_name in note
    assert second.folder_name not in note


def test_what_depends_on_a_held_stage_waits_for_it(context: SimpleNamespace) -> None:
    first = Counting("first")
    second = Counting("second", (first,))
    began = time.monotonic()
    with run_folder.locked(context.out / first.folder_name):
        walk = threading.Thread(target=local.run, args=([second], context))
        walk.start()
        time.sleep(0.6)
        assert second.threads == first.threads == []
    walk.join(60)
    assert second.complete(context)
    assert time.monotonic() - began > 0.6


def test_a_stage_goes_on_with_the_threads_it_began_with(context: SimpleNamespace) -> None:
    before = torch.get_num_threads()
    stage = Counting("a", stops=1)
    with pytest.raises(KeyboardInterrupt):
        stage.run(context)
    try:
        torch.set_num_threads(before + 1)
        stage.run(context)
        assert stage.threads == [before, before]
        assert torch.get_num_threads() == before + 1
        assert context.progress.notes == [
            f"goes on with {counted(before, 'thread')}, as it began, instead of {before + 1}"
        ]
    finally:
        torch.set_num_threads(before)


def test_a_device_that_changed_is_named(context: SimpleNamespace) -> None:
    stage = Counting("a", stops=1)
    with pytest.raises(KeyboardInterrupt):
        stage.run(context)
    context.device = torch.device("meta")
    stage.run(context)
    assert context.progress.notes == ["goes on on meta what began on cpu: its last digits are another's"]


def test_finished_stages_of_other_threads_are_named_once(context: SimpleNamespace) -> None:
    before = torch.get_num_threads()
    stages = [Counting(name) for name in "abc"]
    local.run(stages, context)
    local.run(stages, context)
    assert context.progress.notes == []
    try:
        torch.set_num_threads(before + 1)
        local.run(stages, context)
    finally:
        torch.set_num_threads(before)
    (note,) = context.progress.notes
    assert note.startswith(f"3 stages on cpu with {counted(before, 'thread')}; here it is cpu with {before + 1}")


@pytest.mark.parametrize("stated", [None, 3, {"threads": "two"}, {"threads": 0}, {"threads": True, "device": 5}])
def test_circumstances_that_nobody_wrote_so_are_passed_over(stated: object, tmp_path: Path) -> None:
    folder = run_folder.RunFolder.create(tmp_path, "student", "a", {}, {"computed": stated})
    assert folder.computed == {}
    about = json.loads(folder.file("run.json").read_text())
    assert run_folder.RunFolder(folder.path, {**about, "context": []}).computed == {}
