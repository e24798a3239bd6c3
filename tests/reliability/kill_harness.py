"""Processes that are killed at work and go on: is what they end with what an uninterrupted run ends with?"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from runs_equal import differences

SERVER = Path(__file__).with_name("kill_server.py")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
ENDED = {
    signal.SIGKILL: {-signal.SIGKILL},
    # A signal that comes before the process has begun to work ends it as the operating system does.
    signal.SIGTERM: {128 + signal.SIGTERM, -signal.SIGTERM},
    signal.SIGINT: {128 + signal.SIGINT, -signal.SIGINT},
    signal.SIGUSR1: {128 + signal.SIGUSR1, -signal.SIGUSR1},
}


class Server:
    """The process that forks a child for every try; a context manager."""

    def __enter__(self) -> Self:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        self._process = subprocess.Popen(
            [sys.executable, str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.plan: list[dict[str, Any]] = self._read()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.communicate()
            raise AssertionError("the server ended; see its standard error")
        return json.loads(line)

    def ask(self, out: Path, **request: Any) -> list[dict[str, Any]]:
        """One request; see ``kill_server.py``."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"out": str(out), **request}) + "\n")
        self._process.stdin.flush()
        return self._read()

    def finish(self, out: Path, **request: Any) -> None:
        """One request that must end well."""
        for answer in self.ask(out, **request):
            assert answer["status"] == 0, answer


@dataclass
class Counts:
    """What was tried.

    Attributes:
        kills: signal's name -> processes that it ended.
        stages: kind -> processes that were ended at work on it.
        compared: stages that were finished and compared with the uninterrupted run.
    """

    kills: Counter[str] = field(default_factory=Counter)
    stages: Counter[str] = field(default_factory=Counter)
    compared: int = 0

    def __str__(self) -> str:
        stages = ", ".join(f"{kind} {count}" for kind, count in sorted(self.stages.items()))
        kills = ", ".join(f"{name} {count}" for name, count in sorted(self.kills.items()))
        return f"{self.kills.total():,} processes ended ({kills}; {stages}), {self.compared:,} stages compared"


class Kills:
    """Kills processes at single stages of a run that went through once, and has others go on.

    Args:
        server: forks them.
        folder: empty; for run folders.
        any_moment: send signals that a process handles at any moment too, and not before chosen file operations alone;
            what then happens depends on how busy the machine is.
    """

    def __init__(self, server: Server, folder: Path, *, any_moment: bool = False) -> None:
        self.server, self.folder, self.any_moment, self.counts = server, folder, any_moment, Counts()
        self.reference = folder / "reference"
        self.operations: dict[str, int] = {}
        for stage in server.plan:
            (answer,) = server.ask(self.reference, stages=[stage["folder"]])
            assert answer["status"] == 0, answer
            self.operations[stage["folder"]] = answer["operations"]

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """The stages of a kind."""
        return [stage for stage in self.server.plan if stage["kind"] == kind]

    def prepared(self, stage: dict[str, Any], name: str) -> Path:
        """A place where all is finished that a stage depends on."""
        plan = {other["folder"]: other for other in self.server.plan}
        out, needed, waiting = self.folder / name, set[str](), list(stage["depends_on"])
        while waiting:
            if (other := waiting.pop()) not in needed:
                needed.add(other)
                waiting += plan[other]["depends_on"]
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        for other in needed:
            # Files are replaced and never written into: links do as well as copies.
            shutil.copytree(self.reference / other, out / other, copy_function=os.link)
        return out

    def chain(self, stage: dict[str, Any], kills: int, chance: random.Random) -> None:
        """Kill one process after another at work on a stage, let the last one finish, and compare."""
        folder = stage["folder"]
        out = self.prepared(stage, "chain")
        number = 0
        while number < kills:
            told = self._end_one(stage, out, chance)
            if told["status"] == 0:  # done before the signal came
                self._compare(out, folder, told)
                shutil.rmtree(out / folder)
            else:
                number += 1
        self.server.finish(out, stages=[folder])
        self._compare(out, folder, {})
        shutil.rmtree(out)

    def _end_one(self, stage: dict[str, Any], out: Path, chance: random.Random) -> dict[str, Any]:
        """Start a process at work on a stage, and end it somewhere."""
        # Half of them by SIGKILL, which may come at any moment.
        signum = chance.choice((*SIGNALS, signal.SIGKILL, signal.SIGKILL))
        if chance.random() < 0.5 or not (self.any_moment or signum == signal.SIGKILL):
            kill_at = chance.randint(1, max(2, self.operations[stage["folder"]]))
            (told,) = self.server.ask(out, stages=[stage["folder"]], kill_at=kill_at, signal=signum)
        else:
            after = chance.uniform(0.02, 0.6)
            (told,) = self.server.ask(out, stages=[stage["folder"]], after=after, signal=signum)
        assert told["status"] == 0 or told["status"] in ENDED[signum], (stage, signum, told)
        if told["status"]:
            self.counts.kills[signal.Signals(signum).name] += 1
            self.counts.stages[stage["kind"]] += 1
        return told

    def _compare(self, out: Path, folder: str, told: dict[str, Any]) -> None:
        assert differences(self.reference / folder, out / folder) == [], (folder, told)
        self.counts.compared += 1

    def beside_each_other(self, stage: dict[str, Any], processes: int = 2) -> None:
        """Several processes at work on one stage at a time: one does it, the others wait."""
        out = self.prepared(stage, "together")
        self.server.finish(out, stages=[stage["folder"]], together=processes)
        self._compare(out, stage["folder"], {})
        shutil.rmtree(out)
