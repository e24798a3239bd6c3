import logging
import os

from numba import njit

from persistill.topology._jit_cache import drop_stale_kernels


def test_kernels_older_than_what_is_compiled_into_them_are_dropped(tmp_path):
    (tmp_path / "words.py").write_text("")
    (tmp_path / "middle.py").write_text("from persistill.topology._numba import words\n")
    (tmp_path / "a.py").write_text("import math\nfrom persistill.topology._numba.middle import thing\n")
    (tmp_path / "b.py").write_text("import math\n")
    caches = tmp_path / "__pycache__"
    caches.mkdir()
    indices = [caches / f"{name}.run-1.py311.nbi" for name in ("a", "b")]
    for index in indices:
        index.write_text("")

    def touch(name, seconds):
        os.utime(tmp_path / name, (seconds, seconds))

    for name in ("words.py", "middle.py", "a.py", "b.py"):
        touch(name, 1000)
    for index in indices:
        os.utime(index, (2000, 2000))
    drop_stale_kernels(tmp_path)
    assert all(index.exists() for index in indices)
    touch("words.py", 3000)
    drop_stale_kernels(tmp_path)
    assert [index.exists() for index in indices] == [False, True]


def test_the_first_compilation_is_announced_once(caplog, monkeypatch):
    from numba.core import event

    import persistill.topology._jit_cache as compiling

    heard = compiling.Announcement()
    with caplog.at_level(logging.WARNING, "persistill.topology"), event.install_listener("numba:compile", heard):
        njit(lambda x: x)(1)
        assert not heard.told

        def ours(x):
            return x

        ours.__module__ = "persistill.topology.made_up"
        njit(ours)(1)
        njit(ours)(1.0)
    assert heard.told
    # The listener that importing the package has registered may have told as well, once.
    assert 1 <= sum("compiling kernels" in record.message for record in caplog.records) <= 2
