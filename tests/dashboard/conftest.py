"""A server on a free port, and what is asked of it."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from asking import Client, epoch

from persistill.dashboard import DashboardServer
from persistill.run_folder import RunFolder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    root.mkdir()
    return root


@pytest.fixture
def client(runs: Path) -> Iterator[Client]:
    with DashboardServer(runs) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield Client(server)
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def student(runs: Path) -> RunFolder:
    """A training that is under way: two epochs, and two steps of the third."""
    folder = RunFolder.create(runs, "student", "tgd-seed0", {"seed": 0})
    folder.log(type="step", step=5, epoch=1, loss=9.0, terms={"ce": 9.0})
    folder.log(**epoch(1, 0.25, ce=2.0, kd=0.5))
    folder.log(type="step", step=15, epoch=2, loss=9.0, terms={"ce": 9.0})
    folder.log(**epoch(2, 0.5, ce=1.5, kd=float("nan")))
    folder.log(type="step", step=25, epoch=3, loss=1.75, terms={"ce": 1.25, "kd": 0.5})
    return folder
