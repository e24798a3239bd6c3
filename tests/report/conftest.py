"""Comparisons for the report to read."""

from pathlib import Path

import pytest
from made_up_runs import Maker


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path / "runs")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole comparison. Tests only read it."""
    return Maker(tmp_path_factory.mktemp("report") / "runs").comparison()


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Likewise, with everything that evaluations and comparisons measure."""
    return Maker(tmp_path_factory.mktemp("full") / "runs").comparison(full=True)
