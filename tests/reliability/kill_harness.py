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
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from runs_equal import differences

SERVER = Path(__file__).with_name("kill_server.py")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
ENDED = {
    signal.SIGKILL: {-signal.SIGKILL},
    # A signal that comes before the process has begun to work ends it as the operating system does.
    signal.SIGTERM: {128 + signal.SIGTERM, -signal.SIGTERM},
    signal.SIGINT: {128 + signal.SIGINT, -signal.SIGINT, 1},
    signal.SIGUSR1: {128 + signal.SIGUSR1, -signal.SIGUSR1},
}
MADE = "made"
"""The folder into which commands write."""


class Server:
    """The process that forks a child for every try; a context manager."""

    def __enter__(self) -> Self:
        # In a session of its own: ctrl-C is for the one that asks.
        self._process = _python(SERVER, start_new_session=True)
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


def ask_afresh(out: Path, **request: Any) -> dict[str, Any]:
    """One request to a process that was not forked from another, and ends with it."""
    process = _python(SERVER, "--fresh")
    text, _ = process.communicate(json.dumps({"out": str(out), **request}) + "\n")
    told = json.loads(text) if text else {"operations": None, "said": "", "state": {}}
    return {"status": process.returncode, **told}


def _python(*words: Any, **options: Any) -> "subprocess.Popen[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment = {**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


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

    def add(self, other: Self) -> None:
        """Count in what was tried elsewhere."""
        self.kills += other.kills
        self.stages += other.stages
        self.compared += other.compared

    def __str__(self) -> str:
        stages = ", ".join(f"{kind} {count:,}" for kind, count in sorted(self.stages.items()))
        kills = ", ".join(f"{name} {count:,}" for name, count in sorted(self.kills.items()))
        return f"{self.kills.total():,} processes ended ({kills}; {stages}), {self.compared:,} stages compared"


@dataclass(frozen=True)
class Job:
    """What a process is killed at.

    Attributes:
        kind: of the stage, or the name of the command.
        folder: what it makes, below the place where all is written.
        needs: the folders that must be finished before.
        operations: on files, of a process that was let be.
        seconds: that one took.
        words: of the command, where it is one; "{out}" is the place where all is written.
    """

    kind: str
    folder: str
    needs: tuple[str, ...]
    operations: int = 0
    seconds: float = 0.0
    words: tuple[str, ...] = ()

    def request(self, out: Path) -> dict[str, Any]:
        """What the server is asked for."""
        if self.words:
            return {"command": [word.replace("{out}", str(out)) for word in self.words]}
        return {"stages": [self.folder]}


class Kills:
    """Kills processes at single stages of a run that went through once, and at commands, and has others go on.

    Args:
        server: forks them.
        folder: empty; for run folders.
        any_moment: send signals that a process handles at any moment too, and not before chosen file operations alone;
            what then happens depends on how busy the machine is.
    """

    def __init__(self, server: Server, folder: Path, *, any_moment: bool = False) -> None:
        self.server, self.folder, self.any_moment, self.counts = server, folder, any_moment, Counts()
        self.reference = folder / "reference"
        plan = {stage["folder"]: stage["depends_on"] for stage in server.plan}
        self.jobs = [
            self._let_be(Job(stage["kind"], stage["folder"], _all_before(stage["folder"], plan)), self.reference)
            for stage in server.plan
        ]
        self.made: dict[str, Path] = {}
        self._shortest: dict[Job, float] = {}

    def _let_be(self, job: Job, out: Path) -> Job:
        (answer,) = self.server.ask(out, **job.request(out))
        assert answer["status"] == 0, answer
        return Job(job.kind, job.folder, job.needs, answer["operations"], answer["seconds"], job.words)

    def of_kind(self, kind: str) -> list[Job]:
        """The stages of a kind."""
        return [job for job in self.jobs if job.kind == kind]

    @cached_property
    def commands(self) -> list[Job]:
        """Commands that write."""
        (student, *_), (comparison,) = self.of_kind("student"), self.of_kind("comparison")
        images = self.folder / "images.npy"
        if not images.exists():
            np.save(images, np.random.default_rng(0).integers(0, 256, (30, 1, 12, 12), np.uint8))
        export = ("export", f"{{out}}/{student.folder}", "--formats", "safetensors", "--out", f"{{out}}/{MADE}")
        all_stages = tuple(job.folder for job in self.jobs)
        jobs = [
            *(
                Job(
                    f"topology --to {what}",
                    MADE,
                    (),
                    words=("topology", str(images), "--to", what, "--out", f"{{out}}/{MADE}"),
                )
                for what in ("images", "diagrams", "curves")
            ),
            Job("report", comparison.folder, all_stages, words=("report", f"{{out}}/{comparison.folder}")),
            Job("export of a run", MADE, (*student.needs, student.folder), words=export),
        ]
        found = []
        for job in jobs:
            out = self.prepared(job, f"command {job.kind}")
            found.append(self._let_be(job, out))
            self.made[job.kind] = out
        return found

    def prepared(self, job: Job, name: str) -> Path:
        """A place where all is finished that is needed before."""
        out = self.folder / name
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        for other in job.needs:
            # Files are replaced and never written into: links do as well as copies.
            shutil.copytree(self.reference / other, out / other, copy_function=os.link)
        return out

    def chain(self, job: Job, kills: int, chance: random.Random) -> None:
        """Kill one process after another at the same work, let the last one finish, and compare."""
        out = self.prepared(job, "chain")
        number = 0
        while number < kills:
            told = self._end_one(job, out, chance)
            if _done(job, told):  # before the signal came
                self._shortest[job] = min(told["seconds"], self._shortest.get(job, job.seconds))
                self._compare(out, job, told)
                out = self.prepared(job, "chain")
            else:
                number += 1
        (told,) = self.server.ask(out, **job.request(out))
        assert _done(job, told), (job, told)
        self._compare(out, job, told)
        shutil.rmtree(out)

    def _end_one(self, job: Job, out: Path, chance: random.Random) -> dict[str, Any]:
        """Start a process at work, and end it somewhere."""
        # Half of them by SIGKILL, which may come at any moment.
        signum = chance.choice((*SIGNALS, signal.SIGKILL, signal.SIGKILL))
        if chance.random() < 0.5 or not (self.any_moment or signum == signal.SIGKILL):
            how = {"kill_at": chance.randint(1, max(2, job.operations))}
        else:
            # Whatever slowed the first one down must not let the signals come when all is done.
            how = {"after": chance.uniform(0.02, max(0.1, self._shortest.get(job, job.seconds)))}
        (told,) = self.server.ask(out, **job.request(out), **how, signal=signum)
        if not _done(job, told):
            assert told["status"] in ENDED[signum], (job, signum, told)
            self.counts.kills[signal.Signals(signum).name] += 1
            self.counts.stages[job.kind] += 1
        return told

    def _compare(self, out: Path, job: Job, told: dict[str, Any]) -> None:
        reference = self.made.get(job.kind, self.reference)
        assert differences(reference / job.folder, out / job.folder, report=job.kind == "report") == [], (job, told)
        if job.words:
            names = [
                sorted(path.name for path in place.iterdir() if path.name != ".locks") for place in (reference, out)
            ]
            assert names[0] == names[1], (job, names)
        self.counts.compared += 1

    def beside_each_other(self, job: Job, processes: int = 2) -> None:
        """Several processes at work on one stage at a time: one does it, the others wait."""
        out = self.prepared(job, "together")
        self.server.finish(out, **job.request(out), together=processes)
        self._compare(out, job, {})
        shutil.rmtree(out)


def _done(job: Job, told: dict[str, Any]) -> bool:
    """Whether all is there that was asked for: an export is refused where one was killed that was whole already."""
    return told["status"] == 0 or (job.kind == "export of a run" and "exists already" in told["said"])


def _all_before(folder: str, depends_on: dict[str, list[str]]) -> tuple[str, ...]:
    """The folders that one depends on, and all that those depend on."""
    needed, waiting = set[str](), list(depends_on[folder])
    while waiting:
        if (other := waiting.pop()) not in needed:
            needed.add(other)
            waiting += depends_on[other]
    return tuple(sorted(needed))
