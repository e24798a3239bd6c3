from urllib.parse import urlparse

import pytest

from persistill.errors import UserError
from persistill.training.process_group import _meet, own_device
from persistill.utils.process_place import Place, find_place

TORCHRUN = {
    "RANK": "9",
    "WORLD_SIZE": "16",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "8",
    "MASTER_ADDR": "node1",
    "MASTER_PORT": "29500",
}
SRUN = {
    "SLURM_JOB_ID": "123456",
    "SLURM_NTASKS": "16",
    "SLURM_PROCID": "9",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NUM_TASKS": "16",
    "SLURM_STEP_TASKS_PER_NODE": "8(x2)",
    "SLURM_STEP_NODELIST": "gpu[03-04,12],login",
}


def test_places_of_torchrun_and_srun():
    assert find_place(TORCHRUN) == Place(9, 16, 1, 8, "node1", 29500)
    assert find_place(SRUN) == Place(9, 16, 1, 8, "gpu03", 23456)
    assert find_place({**SRUN, "SLURM_STEP_NODELIST": "a,b", "MASTER_PORT": "5"}) == Place(9, 16, 1, 8, "a", 5)


@pytest.mark.parametrize(
    "environment",
    [{}, {"WORLD_SIZE": "1", "RANK": "0"}, {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "16", "SLURM_PROCID": "0"}],
)
def test_a_process_alone_has_no_place(environment):
    assert find_place(environment) is None


@pytest.mark.parametrize("environment", [TORCHRUN, SRUN])
def test_what_is_missing_is_named(environment):
    for name in environment.keys() - {"WORLD_SIZE", "LOCAL_WORLD_SIZE", "SLURM_NTASKS", "SLURM_STEP_NUM_TASKS"}:
        with pytest.raises(UserError, match=rf"one of several processes, and not which \(KeyError: '{name}'\)"):
            find_place({key: value for key, value in environment.items() if key != name})
    with pytest.raises(UserError, match=r"one of several processes, and not which.*ValueError"):
        find_place({**environment, "RANK": "first", "SLURM_PROCID": "first"})


def test_a_rank_behind_the_last_is_not_waited_with():
    with pytest.raises(UserError, match=r"and not which \(ValueError: 16 is not in range\)"):
        find_place({**TORCHRUN, "RANK": "16"})


def test_processes_meet_at_addresses_of_both_kinds(monkeypatch):
    met = []
    monkeypatch.setattr("torch.distributed.init_process_group", lambda _, *, init_method, **__: met.append(init_method))
    for address in ("node1", "::1"):
        _meet(Place(0, 2, 0, 2, address, 29500))
    assert [(urlparse(url).hostname, urlparse(url).port) for url in met] == [("node1", 29500), ("::1", 29500)]


def test_every_process_has_a_gpu_of_its_own(monkeypatch):
    place = Place(9, 16, 1, 8, "there", 1)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    assert [own_device(name, place) for name in ("auto", "cuda", "cpu")] == ["cuda:1", "cuda:1", "cpu"]
    assert own_device("cuda:1", None) == "cuda:1"
    for name in ("cuda:1", "mps"):
        with pytest.raises(UserError, match=f"--device {name} is one device, and 16 processes train here"):
            own_device(name, place)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    with pytest.raises(UserError, match=r"8 processes were started on this machine, which has 4 GPU\(s\)"):
        own_device("auto", place)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert own_device("auto", place) == "cpu"
