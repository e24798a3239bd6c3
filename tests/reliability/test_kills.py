"""Runs that are killed go on to the same bits, and two runs of one recipe do not hurt each other."""

import random
import signal
from typing import get_args

import pytest
from kill_harness import Kills, ask_afresh
from runs_equal import differences

from persistill.run_folder import Kind

CHAINS = {
    # kind: (chains, kills in each)
    "view": (4, 4),
    "teacher": (4, 4),
    "features": (3, 4),
    "preparation": (3, 4),
    "student": (4, 4),
    "evaluation": (3, 4),
    "quantized": (2, 4),
    "export": (1, 4),
    "choice": (1, 3),
    "cost": (2, 3),
    "comparison": (2, 4),
}


def test_every_kind_of_stage_is_there(kills: Kills) -> None:
    assert {job.kind for job in kills.jobs} == set(get_args(Kind)) == set(CHAINS)


@pytest.mark.parametrize("kind", CHAINS)
def test_killed_stages_end_with_the_same_bits(kind: str, kills: Kills) -> None:
    chance = random.Random(f"kills of {kind}")  # the same in every run; make soak draws others
    chains, length = CHAINS[kind]
    for _ in range(chains):
        kills.chain(chance.choice(kills.of_kind(kind)), length, chance)


@pytest.mark.parametrize("command", range(5))
def test_killed_commands_leave_nothing_in_the_way(command: int, kills: Kills) -> None:
    job = kills.commands[command]
    kills.chain(job, 3, random.Random(f"kills of {job.kind}"))


def test_a_fresh_process_goes_on_where_a_forked_one_was_killed(kills: Kills) -> None:
    """What is forked here for every try is in no other state than a process that was just started."""
    job = kills.of_kind("student")[0]
    out = kills.prepared(job, "fresh")
    (killed,) = kills.server.ask(out, **job.request(out), kill_at=job.operations * 2 // 3, signal=signal.SIGKILL)
    assert killed["status"] == -signal.SIGKILL
    fresh = ask_afresh(out, **job.request(out), state=True)
    assert fresh["status"] == 0, fresh
    assert differences(kills.reference / job.folder, out / job.folder) == []
    (forked,) = kills.server.ask(out, **job.request(out), state=True)
    assert forked["state"] == fresh["state"] != {}


def test_there_are_a_hundred_kills() -> None:
    assert sum(chains * length for chains, length in CHAINS.values()) >= 100


@pytest.mark.parametrize("kind", ["view", "teacher", "student", "evaluation"])
def test_two_runs_of_one_stage_do_it_once(kind: str, kills: Kills) -> None:
    kills.beside_each_other(kills.of_kind(kind)[0])


def test_two_runs_share_the_stages_of_a_recipe(kills: Kills) -> None:
    students = [job.folder for job in kills.of_kind("student")]
    out = kills.folder / "shared"
    kills.server.finish(out, stages=students, together=2)
    made = [job.folder for job in kills.jobs if (out / job.folder).exists()]
    assert set(students) < set(made)
    assert [name for name in made if differences(kills.reference / name, out / name)] == []
