"""Shards made by processes of this machine and by Ray, some of which are killed."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from extraction_inputs import call
from pool_tasks import always_killed, full_disk, square_once_killed, until_stopped

from persistill.errors import UserError
from persistill.extraction.chosen_pool import open_pool
from persistill.extraction.process_pool import ProcessPool
from persistill.extraction.ray_pool import RayPool
from persistill.extraction.task_pool import LocalPool, TaskPool
from persistill.topology import Diagrams, StoredDiagrams, load_diagrams


@pytest.fixture(scope="module")
def python_path() -> Iterator[None]:
    """Workers of Ray find these files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        yield


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPool]:
    with ProcessPool(2, 1) as pool:
        yield pool


@pytest.fixture(scope="module")
def ray_pool(python_path) -> Iterator[RayPool]:
    pytest.importorskip("ray", reason="Ray is an extra: pip install persistill[ray]")
    with RayPool(2, 1) as pool:
        yield pool


@pytest.fixture(params=["processes", "ray_pool"])
def pool(request: pytest.FixtureRequest) -> TaskPool:
    return request.getfixturevalue(request.param)


def test_a_killed_process_loses_no_task(pool: TaskPool, tmp_path: Path) -> None:
    tasks = [(number, tmp_path / "killed") for number in range(7)]
    found = {task[0]: result for task, result in pool.run(square_once_killed, tasks)}
    assert found == {number: number**2 for number in range(7)}
    assert (tmp_path / "killed").exists()


def test_a_mistake_of_the_user_comes_as_it_was_raised(pool: TaskPool, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^7 cannot be squared$"):
        list(pool.run(square_once_killed, [(7, tmp_path / "killed")]))
    with pytest.raises(OSError, match="No space left") as found:
        list(pool.run(full_disk, [0]))
    assert found.value.errno == 28


def test_processes_that_are_lost_again_and_again_end_it(pool: TaskPool) -> None:
    with pytest.raises(UserError, match=r"3 times.*What was finished is whole"):
        list(pool.run(always_killed, [0]))


def test_workers_give_up_when_the_pool_ends(tmp_path: Path) -> None:
    with ProcessPool(1, 1) as pool:
        thread = threading.Thread(target=lambda: list(pool.run(until_stopped, [tmp_path / "a"])))
        thread.start()
        while not (tmp_path / "a").exists():
            time.sleep(0.01)
    assert (tmp_path / "a.stopped").exists()
    thread.join()


def test_pools_are_chosen_by_name() -> None:
    with open_pool(None, None, 3) as found:
        assert isinstance(found, LocalPool)
        assert found.threads == 3
    with open_pool(None, 2, None) as found:
        assert isinstance(found, ProcessPool)
        assert found.workers == 2
    for name, workers, said in (("rai", None, "Did you mean 'ray'"), ("local", 2, "leave out --executor")):
        with pytest.raises(UserError, match=said), open_pool(name, workers, None):
            pass


def test_a_killed_command_is_gone_on_with_by_another_number_of_workers(tmp_path: Path, python_path) -> None:
    batch = np.random.default_rng(0).integers(0, 256, (120, 96, 96), np.uint8)
    np.save(tmp_path / "x.npy", batch)
    arguments = [tmp_path / "x.npy", "--to", "diagrams", "--out", tmp_path / "out", "--images-per-shard", "4"]
    command = [sys.executable, "-m", "persistill", "topology", *map(str, arguments), "--workers", "2"]
    place = tmp_path / "out" / "diagrams"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        while not list(place.glob("*.json")):
            assert running.poll() is None
            time.sleep(0.005)
        workers = children(running.pid)
        running.kill()
    assert len(workers) >= 2
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline, "workers outlive the command"
        time.sleep(0.01)
    there = {path: path.stat().st_mtime_ns for path in place.glob("*.npz")}
    assert 0 < len(there) < 30
    assert call(*arguments).code == 0
    assert call(tmp_path / "x.npy", "--to", "diagrams", "--out", tmp_path / "one").code == 0
    assert {path: path.stat().st_mtime_ns for path in there} == there
    found, expected = (
        Diagrams.stack(list(StoredDiagrams(tmp_path / "out").batches())),
        load_diagrams(tmp_path / "one" / "diagrams.npz"),
    )
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.offsets, expected.offsets)


def children(pid: int) -> list[int]:
    """Numbers of the processes that a process started."""
    return [int(found) for found in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
