"""Run folders at a URL: what two machines, which are two caches here, leave to each other."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import pytest
import torch

from persistill.errors import UserError
from persistill.pipeline.executors.job import Job
from persistill.pipeline.stage import Stage
from persistill.ranks import Ranks
from persistill.run_folder import CHECKPOINT, RunFolder
from persistill.storage import lease as leases
from persistill.storage import local_copy, open_runs
from persistill.storage import object_store as stores
from persistill.storage import remote_runs as remote
from persistill.storage import unfinished as checkpoints
from persistill.storage.remote_runs import RemoteRuns
from persistill.utils.file_lock import LockHeldError
from persistill.utils.progress import Silent


class Told(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def finish(self, note: str = "") -> None:
        self.notes.append(note)


class Training(Stage):
    """Writes two epochs, with a checkpoint after each; is interrupted after the first one ``stops`` times."""

    kind = "student"

    def __init__(self, stops: int = 0, depends_on: tuple[Stage, ...] = (), name: str = "one") -> None:
        super().__init__(name, {"name": name}, depends_on)
        self.stops, self.epochs = stops, list[int]()

    def work(self, context: Any, folder: RunFolder) -> dict[str, Any]:
        checkpoint = folder.file(CHECKPOINT)
        for epoch in range(int(checkpoint.read_text()) if checkpoint.exists() else 0, 2):
            self.epochs.append(epoch)
            folder.log(type="epoch", epoch=epoch)
            checkpoint.write_text(str(epoch + 1))
            if self.stops > epoch:
                raise KeyboardInterrupt
        (folder.path / "deep").mkdir(exist_ok=True)
        folder.file("deep/weights").write_bytes(b"weights" * 1000)
        return {}


def machine(url: str, cache: Path) -> SimpleNamespace:
    """What a stage is worked with on a machine of this cache."""
    runs = RemoteRuns(url, cache)
    runs.require()
    about = {"device": torch.device("cpu"), "progress": Told(), "recipe": SimpleNamespace(to_json=dict)}
    return SimpleNamespace(runs=runs, out=cache, ranks=Ranks(), **about)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((stores, "_PAUSES"), (remote, "_LOOK"), (leases, "_LOOK")):
        monkeypatch.setattr(module, name, (0.0, 0.0) if name == "_PAUSES" else 0.0)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return (tmp_path / "there").as_uri()


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def test_a_stage_is_worked_at_once_on_all_machines(url: str, tmp_path: Path) -> None:
    first, second = machine(url, tmp_path / "first"), machine(url, tmp_path / "second")
    before, after = Training(name="before"), Training(name="before")
    before.run(first)
    later = Training(depends_on=(after,))
    assert after.finished(second) is not None
    later.run(second)
    assert (before.epochs, after.epochs, later.epochs) == ([0, 1], [], [0, 1])
    assert later.open(first).built_on() == {before.folder_name: before.open(first).digest()}
    left = sorted(path.name for path in (tmp_path / "there" / later.folder_name).rglob("*") if path.is_file())
    assert left == ["done.json", "files.json", "log.jsonl", "run.json", "weights"]
    assert list((tmp_path / "there" / ".leases").iterdir()) == []


def test_what_is_lost_on_the_way_is_not_taken_for_finished(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, order = machine(url, tmp_path / "first"), machine(url, tmp_path / "second"), list[str]()
    upload = stores.ObjectStore.upload

    def refused(store: stores.ObjectStore, path: Path, name: str) -> None:
        order.append(path.name)
        if path.name == "files.json" and len(order) < 6:
            raise UserError("403")
        upload(store, path, name)

    monkeypatch.setattr(stores.ObjectStore, "upload", refused)
    stage = Training()
    with pytest.raises(UserError, match="403"):
        stage.run(first)
    assert stage.finished(second) is None
    assert stage.finished(first) is None  # it is to be handed on yet
    stage.run(first)
    assert stage.epochs == [0, 1]
    assert order[-2:] == ["files.json", "done.json"]
    assert stage.finished(second) is not None


def test_what_did_not_arrive_whole_is_said(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = machine(url, tmp_path / "first")

    def cut(store: stores.ObjectStore, path: Path, name: str) -> None:
        store.write(name, path.read_bytes()[:-1])

    monkeypatch.setattr(stores.ObjectStore, "upload", cut)
    stage = Training()
    with pytest.raises(UserError, match=r"deep/weights did not arrive whole|did not arrive whole.*same command"):
        stage.run(here)
    assert not (tmp_path / "there" / stage.folder_name / "done.json").exists()


def test_damage_there_and_here(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, stage = machine(url, tmp_path / "first"), Training()
    stage.run(first)
    # Here: it is brought again.
    own = tmp_path / "first" / stage.folder_name / "deep" / "weights"
    own.write_bytes(b"damaged" * 1000)
    again = machine(url, tmp_path / "first")
    stage.run(again)
    assert stage.epochs == [0, 1]
    assert own.read_bytes().startswith(b"weights")
    assert "brought again" in again.progress.notes[-1]
    # There: nobody believes it, and it is replaced.
    there = tmp_path / "there" / stage.folder_name / "deep" / "weights"
    there.write_bytes(b"damaged" * 1000)
    monkeypatch.setenv("PERSISTILL_CACHE", str(tmp_path / "read"))
    (tmp_path / "taken").touch()
    with pytest.raises(UserError, match="There is a file where a folder is needed"):
        open_runs((tmp_path / "taken").as_uri()).require()
    assert [path.name for path in tmp_path.rglob("*") if "secret" in path.name or "token" in path.name] == []
    with pytest.raises(UserError, match="no finished run folder"):
        local_copy(f"{url}/{stage.folder_name}")
    second = machine(url, tmp_path / "second")
    assert stage.finished(second) is None
    upload, marked = stores.ObjectStore.upload, list[bool]()

    def noted(store: stores.ObjectStore, path: Path, name: str) -> None:
        marked.append((there.parent.parent / "done.json").exists())
        upload(store, path, name)

    monkeypatch.setattr(stores.ObjectStore, "upload", noted)
    stage.run(second)
    assert stage.epochs == [0, 1, 0, 1]
    assert not any(marked[1:])
    assert local_copy(f"{url}/{stage.folder_name}")[0].is_dir()
    assert there.read_bytes().startswith(b"weights")


def test_the_url_counts_where_a_cache_holds_another_result(url: str, tmp_path: Path) -> None:
    first, second, stage = machine(url, tmp_path / "first"), machine(url, tmp_path / "second"), Training()
    stage.run(first)
    stage.run(machine((tmp_path / "elsewhere").as_uri(), tmp_path / "second"))
    assert len(stage.epochs) == 4
    found = stage.finished(second)
    assert found is not None
    assert found.about["created"] == stage.open(first).about["created"]


def test_an_outdated_stage_is_computed_again_for_all(url: str, tmp_path: Path) -> None:
    first, second = machine(url, tmp_path / "first"), machine(url, tmp_path / "second")
    before = Training(name="before")
    stage = Training(depends_on=(before,))
    before.run(first)
    stage.run(first)
    entry = tmp_path / "first" / before.folder_name
    first.runs.retract(before.folder_name)
    entry.joinpath("done.json").unlink()
    entry.joinpath("extra").write_text("more")
    before.run(first)
    assert stage.finished(first) is None
    stage.run(first)
    assert stage.epochs == [0, 1, 0, 1]
    assert "has changed since" in first.progress.notes[-1]
    assert stage.finished(second) is not None


def test_a_training_goes_on_from_the_checkpoint_of_a_machine_that_was_stopped(url: str, tmp_path: Path) -> None:
    first, second = machine(url, tmp_path / "first"), machine(url, tmp_path / "second")
    stopped = Training(stops=1)
    with pytest.raises(KeyboardInterrupt):
        stopped.run(first)
    resumed = Training()
    folder = resumed.run(second)
    assert (stopped.epochs, resumed.epochs) == ([0], [1])
    assert [record["epoch"] for record in folder.records()] == [0, 1]
    assert checkpoints.UNFINISHED not in second.runs._store.sizes(stopped.folder_name)


def test_a_checkpoint_is_handed_on_on_the_way(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS", 0.01)
    here = machine(url, tmp_path / "first")
    name = Training().folder_name
    folder = RunFolder.create(here.out, "student", "one", {"name": "one"})
    with here.runs.handing_on(name):
        folder.log(type="epoch", epoch=0)
        folder.file(CHECKPOINT).write_text("1")
        wait_until(lambda: checkpoints.UNFINISHED in here.runs._store.sizes(name))
    # A machine that is further keeps what it has.
    other = machine(url, tmp_path / "second")
    own = RunFolder.create(other.out, "student", "one", {"name": "one"})
    own.log(type="epoch", epoch=0)
    own.log(type="epoch", epoch=1)
    own.file(CHECKPOINT).write_text("2")
    other.runs.take_up(name)
    assert own.file(CHECKPOINT).read_text() == "2"
    own.file(CHECKPOINT).unlink()
    other.runs.take_up(name)
    assert own.file(CHECKPOINT).read_text() == "1"
    assert len(own.records()) == 1


@pytest.mark.parametrize("content", [b"no archive", b""])
def test_a_checkpoint_that_is_none_is_passed_over(url: str, tmp_path: Path, content: bytes) -> None:
    here, stage = machine(url, tmp_path / "first"), Training()
    here.runs._store.write(f"{stage.folder_name}/{checkpoints.UNFINISHED}", content)
    stage.run(here)
    assert stage.epochs == [0, 1]


def test_a_stage_at_which_another_machine_works_is_left_to_it(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, stage = machine(url, tmp_path / "first"), machine(url, tmp_path / "second"), Training()
    with first.runs.leased(stage.folder_name, wait=False):
        with pytest.raises(LockHeldError):
            stage.run(second, wait=False)
        # Left over by a process of the same cache, whose lock is free.
        with machine(url, tmp_path / "first").runs.leased(stage.folder_name, wait=False):
            pass
    first._ = first.runs._store.write(f"{leases.FOLDER}/{stage.folder_name}.json", b'{"cache": "of a lost machine"}')
    with pytest.raises(LockHeldError):
        stage.run(second, wait=False)
    monkeypatch.setattr(leases, "STALE", 0.0)
    stage.run(second, wait=False)
    assert stage.epochs == [0, 1]


@pytest.mark.parametrize("fault", [None, TypeError, NotImplementedError])
def test_a_lease_is_respected_in_a_store_that_cannot_write_new_files_only(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: type[Exception] | None
) -> None:
    system = type(fsspec.filesystem("file"))
    written = system.pipe_file

    def overwrite(self: Any, path: str, content: bytes, **options: Any) -> None:
        if fault is not None and options:
            raise fault
        written(self, path, content)

    monkeypatch.setattr(system, "pipe_file", overwrite)
    first, second, stage = machine(url, tmp_path / "first"), machine(url, tmp_path / "second"), Training()
    with first.runs.leased(stage.folder_name, wait=False), pytest.raises(LockHeldError):
        stage.run(second, wait=False)
    stage.run(second, wait=False)
    assert stage.epochs == [0, 1]


def test_a_lease_that_is_written_again_is_not_stale(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = machine(url, tmp_path / "first"), machine(url, tmp_path / "second")
    monkeypatch.setattr(leases, "BEAT", 0.01)
    file = tmp_path / "there" / leases.FOLDER / "student-one.json"
    with first.runs.leased("student-one", wait=False):
        wait_until(lambda: json.loads(file.read_text() or "{}").get("beat", 0) > 1)
        with pytest.raises(LockHeldError), second.runs.leased("student-one", wait=False):
            pass
    assert not file.exists()
    with second.runs.leased("student-one", wait=True):
        assert "second" not in file.read_text()  # no names of folders


def test_places_that_cannot_be(tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSISTILL_CACHE", str(tmp_path))
    for place, said in {
        "nowhere://bucket": "protocol that is not known",
        "gs://bucket/runs": "pip install gcsfs",
        "s3://key:secret@bucket/runs": r"s3://\.\.\. holds a password",
        "simplecache::ftp://me:secret@host/runs": r"simplecache::ftp://\.\.\. holds a password",
        "https://token@host/runs": r"https://\.\.\. holds a password",
        "s3://": "s3:// names no place",
        "file:///": "file:/// names no place",
        Path("s3://bucket/runs"): "give it as text",
    }.items():
        with pytest.raises(UserError, match=said):
            open_runs(place).require()
    with pytest.raises(UserError, match=r"could not write \.persistill \(FileNotFoundError.*folder.*same command"):
        open_runs((tmp_path / "no" / "such").as_uri()).require()
    with pytest.raises(UserError, match="no finished run folder"):
        local_copy("memory://runs/student-one")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="a folder is needed"):
        open_runs(tmp_path / "file")


def test_what_fails_is_tried_again_and_said_in_the_end(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store, tries = stores.ObjectStore("memory://runs"), list[str]()

    def refuse(_self: Any, path: str, *_: Any, **__: Any) -> None:
        tries.append(path)
        raise (PermissionError if "forbidden" in path else ConnectionError)("Forbidden" * 2 + "\nand more")

    monkeypatch.setattr(type(memory), "pipe_file", refuse)
    with pytest.raises(UserError, match=r"memory://runs: could not write a/b \(ConnectionError: Forbid.*be reached"):
        store.write("a/b", b"")
    assert len(tries) == 3
    with pytest.raises(UserError, match="credentials are found and may read, write, list and remove"):
        store.write("forbidden", b"")
    assert len(tries) == 4


def test_what_cannot_be_listed_does_not_count_as_missing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store, system = stores.ObjectStore(url), type(fsspec.filesystem("file"))
    assert store.sizes("a") == {}
    store.write("a/b/c", b"123")
    assert store.sizes("a") == {"b/c": 3}
    listed = system.ls

    def refuse(self: Any, path: str, *arguments: Any, **options: Any) -> Any:
        if path.endswith("/b"):
            raise ConnectionError("lost")
        return listed(self, path, *arguments, **options)

    monkeypatch.setattr(system, "ls", refuse)
    with pytest.raises(UserError, match=r"could not list a \(ConnectionError: lost"):
        store.sizes("a")


def test_the_memory_of_one_process_is_no_place_for_several(memory: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="memory of one process"):
        Job.of(machine("memory://runs", tmp_path))


def test_caches_are_told_apart_by_their_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSISTILL_CACHE", str(tmp_path))
    names = [open_runs(url).path for url in ("memory://a/runs", "memory://b/runs", "memory://a/runs/")]
    assert names[0] == names[2] != names[1]
    assert {path.parent for path in names} == {tmp_path}
