"""One run without interruption, for all tests of this folder."""

from collections.abc import Iterator

import pytest
from kill_harness import Kills, Server


@pytest.fixture(scope="session")
def kills(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kills]:
    with Server() as server:
        yield Kills(server, tmp_path_factory.mktemp("kills"))
