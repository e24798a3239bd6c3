"""Compiled kernels on disk: never a stale one, no file touched by an import, no error where nothing can be written."""

import errno
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from numba import njit
from numba.core import event
from numba.core.caching import IndexDataCacheFile

from persistill.topology._numba import jit


def run(code):
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], capture_output=True, text=True, check=False, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr
    return done


def double(x):
    return 2 * x


@pytest.fixture
def unwarned(monkeypatch):
    monkeypatch.setattr(jit, "_warned", [])


def test_the_stamp_covers_all_files_that_are_compiled_into_a_kernel(tmp_path):
    (tmp_path / "words.py").write_text("")
    (tmp_path / "first.py").write_text("")
    (tmp_path / "middle.py").write_text("from persistill.topology._numba import words\n")
    (tmp_path / "a.py").write_text(
        "import math\nfrom persistill.topology._numba.first import thing\n"
        "from persistill.topology._numba.middle import (\n    thing,\n    other,\n)\n"
    )
    (tmp_path / "b.py").write_text("import math\n")

    def stamps():
        jit.source_stamp.cache_clear()
        return [jit.source_stamp(tmp_path / name) for name in ("a.py", "b.py")]

    a, b = stamps()
    assert stamps() == [a, b]
    (tmp_path / "words.py").write_text("x = 1\n")
    changed, same = stamps()
    assert changed != a
    assert same == b
    jit.source_stamp.cache_clear()


def test_a_kernel_with_another_stamp_on_disk_is_compiled_again(tmp_path, monkeypatch):
    # A folder of its own, where numba keeps what it compiles.
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path))

    def hits(stamp):
        monkeypatch.setattr(jit, "source_stamp", lambda _source: stamp)
        compiled = jit.kernel(double)
        assert compiled(21) == 42
        return sum(compiled.stats.cache_hits.values())

    assert [hits("old"), hits("old"), hits("new"), hits("new")] == [0, 1, 0, 1]
    assert list(tmp_path.rglob("*.nbi"))


def test_importing_writes_and_removes_nothing():
    run("""
import sys
events = []
def watch(event, arguments):
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
    if writes or event in ("os.remove", "os.rename", "os.mkdir", "tempfile.mkstemp"):
        events.append((event, str(arguments[0])))
import matplotlib, numba, torch
sys.addaudithook(watch)
from persistill.topology import cubical_persistence, rips_persistence, scan_persistence_images, wasserstein
ours = [event for event in events if "persistill" in event[1] or "numba" in event[1]]
assert not ours, ours
""")


def test_without_a_folder_to_write_to_kernels_run_and_that_is_said_once():
    done = run("""
from numba.core.caching import FunctionCache
FunctionCache._impl_class._locator_classes = []  # as on a read-only disk
import numpy as np
from persistill.topology import sublevel_persistence
found = sublevel_persistence(np.array([3.0, 1.0, 4.0, 2.0, 5.0]))
assert found.values.tolist() == [[2.0, 4.0]], found.values
""")
    assert done.stderr.count("cannot be kept on disk") == 1
    assert "NUMBA_CACHE_DIR" in done.stderr


def test_a_full_disk_is_no_error(tmp_path, monkeypatch, caplog, unwarned):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(IndexDataCacheFile, "save", full)
    compiled = jit.kernel(double)
    with caplog.at_level(logging.WARNING, "persistill.topology"):
        assert (compiled(1), compiled(1.5)) == (2, 3.0)
    (message,) = [record.message for record in caplog.records if "cannot be kept" in record.message]
    assert "No space left" in message


def test_the_first_compilation_is_announced_once(caplog):
    heard = jit.Announcement()
    with caplog.at_level(logging.WARNING, "persistill.topology"), event.install_listener("numba:compile", heard):
        njit(lambda x: x)(1)
        assert not heard.said

        def ours(x):
            return x

        ours.__module__ = "persistill.topology.made_up"
        njit(ours)(1)
        njit(ours)(1.0)
    assert heard.said
    # The listener that importing the package has registered may have spoken as well, once.
    assert 1 <= sum("compiling kernels" in record.message for record in caplog.records) <= 2


def test_kernels_that_were_just_compiled_give_the_same_bits_as_kept_ones(tmp_path):
    # Where helpers are not inlined, a process that compiles them calls other machine code than one that reads what
    # was kept; the sums of the two differ in the last digit, and so would an interrupted run from another.
    script = Path(__file__).with_name("kernel_digests.py")
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    printed = [
        subprocess.run([sys.executable, "-B", script], capture_output=True, text=True, check=True, env=environment)
        for _ in range(2)
    ]
    assert "compiling kernels" in printed[0].stderr
    assert "compiling kernels" not in printed[1].stderr
    assert printed[0].stdout == printed[1].stdout
    assert printed[0].stdout.count("\n") == 2
