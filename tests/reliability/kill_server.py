"""A process that has imported everything, and forks a child for every try: to be killed, stopped or let be.

    python kill_server.py           reads a JSON object a line on standard input, answers with one a line
    python kill_server.py --fresh   does what one such object asks for in this process, which forks nothing

What a request holds: ``out``, below which all is written; ``stages``, the names of those to work at, or ``command``,
words of a persistill command, or neither for the whole recipe; ``kill_at``, the number of the file operation before
which the child sends itself the ``signal``; ``after``, seconds after which it is sent to the child instead; ``limits``,
names of ``resource`` -> number; ``together``, how many children do the same at the same time; ``state``, true if it
is to be told. The answer holds for each child its ``status`` (exit code, or minus the signal), how many ``operations``
it did on files below ``out``, the ``seconds`` it took, the ``state`` that it began in, and what it ``said``.
"""

import contextlib
import importlib
import io
import json
import os
import resource
import signal
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import torch  # noqa: E402
from tiny_recipe import RECIPE  # noqa: E402

from persistill.cli.entry_point import main  # noqa: E402
from persistill.errors import UserError  # noqa: E402
from persistill.pipeline import Pipeline  # noqa: E402
from persistill.pipeline.executors import local  # noqa: E402
from persistill.utils.stop_signals import STOP_SIGNALS, Stopped, stop_at_once  # noqa: E402

_LATER = (
    *("filelock", "matplotlib.pyplot", "networkx", "onnxscript", "persistill.cli.topology_run", "sklearn.cluster"),
    *("sklearn.decomposition", "sklearn.manifold", "torch._dynamo", "torch.export", "torch.onnx"),
    *("torch.onnx._internal.exporter._core", "torch.utils.tensorboard"),
)
"""What stages import when they come to it: imported once, and not in every child. ONNX Runtime opens a file and starts
threads when it is imported, and is left to those that need it."""
_WATCHED = {"open", "os.rename", "os.remove", "os.mkdir", "os.truncate", "os.chmod"}
_state: dict[str, Any] = {"root": None, "count": 0, "kill_at": None, "signal": signal.SIGKILL}


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Count what is done to files below the root; end before the operation of the wanted number."""
    root = _state["root"]
    if root is None or event not in _WATCHED or not isinstance(arguments[0], str | os.PathLike):
        return
    if not os.fspath(arguments[0]).startswith(root):
        return
    _state["count"] += 1
    if _state["count"] == _state["kill_at"]:
        os.kill(os.getpid(), _state["signal"])


def _work(request: dict[str, Any], splits: Any) -> tuple[int, str]:
    """Exit code, and what was printed."""
    if "command" in request:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            try:
                main(request["command"])
            except SystemExit as left:
                return int(left.code or 0), printed.getvalue()
    with stop_at_once():
        pipeline = Pipeline(RECIPE, Path(request["out"]), device="cpu", command="persistill run tiny", splits=splits)
        if "stages" not in request:
            pipeline.run()
        else:
            stages = {stage.folder_name: stage for stage in pipeline.stages()}
            local.run([stages[name] for name in request["stages"]], pipeline.context)
    return 0, ""


def _limit(name: str, limit: int) -> None:
    """Set a limit of this process, so that it can be lifted again."""
    _, hard = resource.getrlimit(getattr(resource, name))
    resource.setrlimit(getattr(resource, name), (limit, hard))


def _began_in() -> dict[str, Any]:
    """What may tell a forked process from a fresh one, beside modules that were imported."""
    mask = os.umask(0)
    os.umask(mask)
    return {
        "handlers": {sig.name: str(signal.getsignal(sig)) for sig in (*STOP_SIGNALS, signal.SIGPIPE, signal.SIGCHLD)},
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "threads": [thread.name for thread in threading.enumerate()],
        "tasks": _tasks(),
        "folder": str(Path.cwd()),
        "mask": mask,
        "torch": [torch.get_num_threads(), str(torch.get_default_dtype()), torch.is_grad_enabled()],
        # scikit-learn sets variables of Intel's OpenMP when it is imported.
        "environment": {name: value for name, value in os.environ.items() if not name.startswith("KMP_")},
        "files": _open_files(),
    }


def _tasks() -> list[str]:
    """Names of the threads that the operating system knows, but one of an allocator, which tidies up behind others."""
    names = [(path / "comm").read_text().strip() for path in Path("/proc/self/task").glob("*")]
    return [name for name in names if name != "jemalloc_bg_thd"]


def _open_files() -> list[str]:
    """Files, and no pipes, that are open beside the usual three: a lock would be among them."""
    found = []
    for path in Path("/proc/self/fd").iterdir() if Path("/proc/self/fd").exists() else ():
        with contextlib.suppress(OSError):
            if int(path.name) > 2 and path.readlink().is_file():
                found.append(str(path.readlink()))
    return sorted(found)


def _child(request: dict[str, Any], splits: Any, told: int) -> None:
    """Work, and tell the parent the number of file operations and what went wrong."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code, said, state = 1, "", _began_in() if request.get("state") else {}
    for name, limit in request.get("limits", {}).items():
        _limit(name, limit)
    _state.update(root=str(Path(request["out"]).resolve()), count=0)
    _state.update(kill_at=request.get("kill_at"), signal=request.get("signal"))
    try:
        code, said = _work(request, splits)
    except KeyboardInterrupt as stop:
        code, said = 128 + (stop.signum if isinstance(stop, Stopped) else signal.SIGINT), str(stop)
    except (UserError, OSError, MemoryError) as error:
        code, said = 2, f"{type(error).__name__}: {error}"
    except BaseException:  # noqa: BLE001 - told to the test
        said = traceback.format_exc()
    finally:
        _state["root"] = None
        for name in request.get("limits", {}):
            _limit(name, resource.RLIM_INFINITY)
        os.write(told, json.dumps({"operations": _state["count"], "said": said, "state": state}).encode())
        os._exit(code)


def answer(request: dict[str, Any], splits: Any) -> list[dict[str, Any]]:
    """Fork the children of one request, and wait for them."""
    children, began = [], time.monotonic()
    for _ in range(request.get("together", 1)):
        reads, writes = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reads)
            try:
                _child(request, splits, writes)
            finally:
                os._exit(1)
        os.close(writes)
        children.append((pid, reads))
    if "after" in request:
        time.sleep(request["after"])
        for pid, _ in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, request["signal"])
    answers = []
    for pid, reads in children:
        with os.fdopen(reads) as pipe:
            text = pipe.read()
        _, status = os.waitpid(pid, 0)
        told = json.loads(text) if text else {"operations": None, "said": "", "state": {}}
        answers.append({"status": os.waitstatus_to_exitcode(status), "seconds": time.monotonic() - began, **told})
    return answers


def serve() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not stand between answers
    torch.set_num_threads(1)
    for module in _LATER:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    with tempfile.TemporaryDirectory() as nowhere:
        pipeline = Pipeline(RECIPE, Path(nowhere), device="cpu")
        splits, stages = pipeline.splits, pipeline.stages()
    sys.addaudithook(_watch)
    plan = [
        {"kind": stage.kind, "folder": stage.folder_name, "depends_on": [one.folder_name for one in stage.depends_on]}
        for stage in stages
    ]
    print(json.dumps(plan), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line), splits)), file=answers, flush=True)


def work_afresh() -> None:
    """Do what one request asks for in this process."""
    told = os.dup(1)
    os.dup2(2, 1)
    torch.set_num_threads(1)
    sys.addaudithook(_watch)
    _child(json.loads(sys.stdin.readline()), None, told)


if __name__ == "__main__":
    work_afresh() if sys.argv[1:] == ["--fresh"] else serve()
