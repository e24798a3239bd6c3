"""Locks: one holder at a time, and none left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from persistill.utils.file_lock import LockHeldError, hold, is_held

HOLDER = """
import sys, time
from pathlib import Path
from persistill.utils.file_lock import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    lock = tmp_path / "made" / "a.lock"
    assert not is_held(lock)
    assert not lock.parent.exists()
    with hold(lock):
        assert is_held(lock)
        with pytest.raises(LockHeldError), hold(lock):
            pass
    assert not is_held(lock)
    with hold(lock):
        pass


def test_a_killed_process_holds_no_lock(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "held\n"
        assert is_held(lock)
        with pytest.raises(LockHeldError), hold(lock):
            pass
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not is_held(lock)
    with hold(lock):
        pass
