"""Stages as tasks of Ray, one of whose workers is killed."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from runs_equal import differences
from small_walks import (
    RECIPE,
    require_message_of_a_mistake,
    require_stop_of_what_is_taken_back,
    walk_of,
)

from persistill.errors import UserError
from persistill.pipeline import Pipeline
from persistill.pipeline.executors import local
from persistill.pipeline.executors.choose import chosen_executor, devices
from persistill.pipeline.executors.ray_cluster import RayCluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    pytest.importorskip("ray", reason="Ray is an extra: pip install persistill[ray]")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        before = signal.getsignal(signal.SIGTERM)
        with RayCluster(2, "cpu") as started:
            assert signal.getsignal(signal.SIGTERM) is before
            yield started


def titles() -> dict[int, str]:
    """Number -> title of the processes of this machine."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found[int(folder.name)] = (folder / "cmdline").read_text()
        except OSError:
            continue
    return found


def test_results_are_those_of_one_process_though_a_worker_is_killed(cluster: RayCluster, tmp_path: Path) -> None:
    alone = Pipeline(RECIPE, tmp_path / "one", device="cpu")
    stages = [stage for stage in alone.graph.stages() if stage.kind in ("teacher", "student", "evaluation")]
    local.run(stages, alone.context)

    together = Pipeline(RECIPE, tmp_path / "two", device="cpu")
    killed: list[int] = []

    def watch() -> None:
        working = [pid for pid, title in titles().items() if title.startswith("ray::persistill student-")]
        if working and not killed:
            killed.append(working[0])
            os.kill(working[0], signal.SIGKILL)

    cluster.run(walk_of(together, *(together.stage(stage.folder_name) for stage in stages)), watch)
    assert len(killed) == 1
    names = [stage.folder_name for stage in stages]
    assert len(names) == 5 + 5
    assert [name for name in names if differences(tmp_path / "one" / name, tmp_path / "two" / name)] == []


def test_a_mistake_of_the_user_ends_the_run_with_its_message(cluster: RayCluster, tmp_path: Path) -> None:
    require_message_of_a_mistake(cluster, tmp_path)


def test_a_stage_that_is_taken_back_is_stopped(cluster: RayCluster, tmp_path: Path) -> None:
    require_stop_of_what_is_taken_back(cluster, tmp_path)


def test_no_stage_asks_for_more_than_a_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = [(True, {"CPU": 4.0, "memory": 2e9}), (True, {"CPU": 8.0, "memory": 1e9}), (False, {"CPU": 64.0})]
    nodes = [{"Alive": alive, "Resources": resources} for alive, resources in machines]
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(nodes=lambda: nodes))
    assert RayCluster(2, "cpu")._needs(2) == {"num_cpus": 2}
    assert RayCluster(2, "cpu", memory=10**9)._needs(16) == {"num_cpus": 8, "memory": 10**9}
    assert RayCluster(2, "cpu", memory=10**10)._needs(16) == {"num_cpus": 8, "memory": 2e9}


def test_where_ray_is_not_installed_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"not installed: pip install \"persistill\[ray\]\""):
        RayCluster()


@pytest.mark.parametrize(
    ("name", "workers", "said"),
    [("rai", None, "Did you mean 'ray'"), (None, 0, "at least 1"), ("local", 2, "leave out the executor")],
)
def test_executors_that_there_are_not_are_named(name: str | None, workers: int | None, said: str) -> None:
    with pytest.raises(UserError, match=said), chosen_executor(name, workers, "cpu"):
        pass


def test_one_worker_is_this_process() -> None:
    for name, workers in ((None, None), (None, 1), ("local", None)):
        with chosen_executor(name, workers, "cpu") as executor:
            assert executor is None


def test_several_gpus_are_shared_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert devices("auto") == devices("cuda") == ("cuda:0", "cuda:1")
    assert (devices("cpu"), devices("cuda:1")) == (("cpu",), ("cuda:1",))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert devices("auto") == ("auto",)
