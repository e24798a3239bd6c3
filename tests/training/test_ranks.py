"""Several processes do to every loss's training what one does, in double precision; each world is started once."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import training_in_ranks as trainings
from safetensors.torch import load_file

import persistill
from persistill.errors import UserError
from persistill.ranks import Ranks
from persistill.run_folder import DIVERGED

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 1200
"""For all trainings of one number of processes; they take one, on two idle cores."""
STOPPED = {
    "stopped early": ("two epochs", 2),
    "stopped late": ("two epochs", 4),
    "stopped in parts": ("two epochs in parts", 4),
}
"""Run -> its case, and after which step it is stopped."""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def in_processes(root: Path, size: int, plan: list[dict]) -> list[dict]:
    port = str(free_port())
    started = [
        subprocess.Popen(
            [sys.executable, trainings.__file__, str(root), json.dumps(plan)],
            cwd=ROOT,
            env={
                **os.environ,
                "RANK": str(rank),
                "WORLD_SIZE": str(size),
                "LOCAL_RANK": str(rank),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": str(ROOT),
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    said = await_ends(started, SECONDS)
    assert [process.returncode for process in started] == [0] * size, said[0] + said[-1]
    return [torch.load(root / f"{size}-{rank}.pt", weights_only=False) for rank in range(size)]


def await_ends(started: list[subprocess.Popen], seconds: float) -> list[str]:
    """What processes said, once all have ended; those that wait for each other forever are ended."""
    deadline = time.monotonic() + seconds
    try:
        return [process.communicate(timeout=max(0.0, deadline - time.monotonic()))[1] for process in started]
    except subprocess.TimeoutExpired:
        running = [rank for rank, process in enumerate(started) if process.poll() is None]
        for process in started:
            process.kill()
        said = "\n".join(process.communicate()[1] for process in started)
        pytest.fail(f"after {seconds:g} s ranks {running} of {len(started)} were still at work; they said: {said}")


def test_processes_that_wait_for_each_other_are_not_waited_for_forever():
    code = "import time; time.sleep(300)"
    waiting = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    with pytest.raises(pytest.fail.Exception, match=r"after 0\.1 s ranks \[0\] of 1 were still at work"):
        await_ends([waiting], 0.1)
    assert waiting.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """World size -> what each rank's trainings came to. Two ranks stop a training at two places; three go on."""
    root = tmp_path_factory.mktemp("ranks")
    plan = [{"case": name, "run": f"{name} by {{size}}"} for name in (*NAMES, *trainings.FAULTS)]
    stopping = [{"case": case, "run": run, "stop_after": after} for run, (case, after) in STOPPED.items()]
    going_on = [{"case": case, "run": run} for run, (case, _) in STOPPED.items()]
    return {
        size: in_processes(root, size, [{**task, "run": task["run"].format(size=size)} for task in tasks])
        for size, tasks in ((2, [*plan, *stopping]), (3, [*plan, *going_on]))
    }


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Name of a case -> what one process comes to."""
    root, known = tmp_path_factory.mktemp("alone"), {}

    def find(name: str) -> dict:
        if name not in known:
            known[name] = trainings.train(name, root, Ranks())
        return known[name]

    state = torch.get_rng_state()
    yield find
    torch.set_rng_state(state)


NAMES = [*trainings.cases(), *trainings.detectors.cases()]


def differs(found: dict, expected: dict) -> float:
    """Largest difference of all weights and of what losses keep, relative to what the training changed."""
    learned = {name: value for name, value in expected["before"].items() if "running" not in name and value.ndim}
    changed = max((expected["network"][name] - value).abs().max() for name, value in learned.items())
    pairs = [(part, name, value) for part in ("network", "criterion") for name, value in expected[part].items()]
    return max(((found[part][name] - value).abs().max() / changed).item() for part, name, value in pairs)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_several_processes_do_what_one_does(found, alone, name, size):
    expected, ranks = alone(name), [rank[f"{name} by {size}"] for rank in found[size]]
    # torchvision compares what is an object with labels in single precision, and rounds the gradient so.
    most = 1e-7 if name.startswith("Faster R-CNN") else 1e-9
    most, in_terms = (0.1, 1e-2) if "half precision" in name else (most, 1e-6)
    for rank in ranks:
        assert differs(rank, expected) < most
        for part in ("network", "criterion"):
            assert all(torch.equal(value, ranks[0][part][key]) for key, value in rank[part].items())
    assert ranks[0]["record"]["terms"] == pytest.approx(expected["record"]["terms"], rel=in_terms)
    assert ranks[0]["record"]["train_accuracy"] == pytest.approx(expected["record"]["train_accuracy"], nan_ok=True)


@pytest.mark.parametrize("run", STOPPED)
def test_a_signal_to_one_process_stops_all_and_another_number_goes_on(found, alone, run):
    assert [rank[run] for rank in found[2]] == [{"stopped": signal.SIGTERM}] * 2
    for rank in found[3]:
        assert differs(rank[run], alone(STOPPED[run][0])) < 1e-9


@pytest.mark.parametrize("size", [2, 3])
def test_all_processes_end_where_the_loss_is_not_finite_and_the_whole_batch_is_kept(found, size):
    said = [rank[f"diverges by {size}"]["error"] for rank in found[size]]
    assert said == [said[0]] * size
    assert said[0].startswith("NonFiniteLossError: ")
    (kept,) = found[size][0]["root"].glob(f"student-diverges-by-{size}-*/{DIVERGED}")
    batch = load_file(kept)
    assert 3 in batch["index"].tolist()
    assert len(batch["index"]) == len(batch["inputs.image"]) == len(batch["target"]) in trainings.SIZES


def test_compiled_networks_do_not_synchronize_batch_norms(found):
    for size in (2, 3):
        for rank in range(size):
            said = found[size][rank][f"compiled with norm by {size}"]["error"]
            assert "Set train.sync_batchnorm=False" in said


def test_a_batch_must_have_images_for_all_processes(found):
    said = found[3][0]["in too many parts by 3"]["error"]
    assert said.startswith("UserError: a batch of 7 images cannot be shared by 3 devices, each of which needs 3 images")


def test_every_process_drops_out_other_units_and_then_draws_the_same(found):
    for size in (2, 3):
        first, second, after = zip(*(rank["draws"] for rank in found[size]), strict=True)
        assert len({*first, *second}) == 2 * size
        assert len(set(after)) == 1


def test_a_process_alone_tells_nobody_anything():
    ranks, rows = Ranks(), torch.ones(3, requires_grad=True)
    assert ranks.leads
    assert ranks.gather(rows, ranks.counts(3)) is rows
    assert ranks.largest(2, 5) == [2, 5]
    with ranks.own_draws(0):
        state = torch.get_rng_state()
    assert torch.equal(state, torch.get_rng_state())


def test_what_does_not_go_with_several_processes_is_refused(tmp_path, monkeypatch):
    several = Ranks()
    several.size = 2
    message = r"--auto-batch is for one device; on several ones set train\.accumulate"
    with torch.random.fork_rng(), pytest.raises(UserError, match=message):
        trainings.train("SP, with norm", tmp_path, several, auto_batch=True)
    monkeypatch.setattr("persistill.training.process_group.join", lambda _: several)
    for options in ({"auto_batch": True}, {"workers": 2}, {"executor": "processes"}):
        with pytest.raises(UserError, match="2 processes train together here, which goes with neither"):
            persistill.run("kd_digits", out=tmp_path, **options)
