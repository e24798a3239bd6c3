"""Threads of a group of ranks end before Python does."""

import sys
from pathlib import Path

import pytest
from torch import distributed

from persistill.ranks import Ranks

TASKS = Path("/proc/self/task")


@pytest.mark.skipif(sys.platform != "linux", reason="threads of libraries are counted as Linux shows them")
def test_whoever_leaves_has_no_thread_left_that_holds_tensors(tmp_path: Path) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'met'}", rank=0, world_size=1)
    try:
        alone = len(list(TASKS.iterdir()))
        ranks = Ranks(0, 2)  # the other one is missing, and not asked for anything
        assert ranks.from_leader("told") == "told"
        assert len(list(TASKS.iterdir())) > alone
        ranks.leave()
        assert len(list(TASKS.iterdir())) <= alone
        ranks.leave()
    finally:
        distributed.destroy_process_group()
