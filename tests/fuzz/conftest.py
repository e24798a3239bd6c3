"""A finished run of everything that leaves files, as small as it can be."""

from pathlib import Path

import pytest
from tiny_run import run


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tiny") / "runs"
    run(root)
    return root
