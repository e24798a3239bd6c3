"""Costs that can be worked out by hand, and clocks and meters that are not the machine's."""

import json

import pytest
import torch
from safetensors.torch import save
from torch import nn

from persistill.evaluation import efficiency as cost_module
from persistill.evaluation.efficiency import Energy, latency, macs, measure_cost, peak_bytes, stored_bytes
from persistill.models import build
from persistill.structures import ModelOutput
from persistill.utils.thread_count import computing_with


class Small(nn.Module):
    """A convolution, a ReLU, a mean and a linear layer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        maps = self.conv(x)
        active = maps.relu()
        embedding = active.mean((2, 3))
        return ModelOutput(self.head(embedding), embedding, {"stage": active})


def test_macs_by_hand():
    assert macs(Small(), (3, 10, 12)) == 8 * 3 * 9 * 10 * 12 + 8 * 4


@pytest.mark.parametrize("name", ["wrn-16-1", "resnet-20", "mobilenet-v2-half", "shufflenet-v1"])
def test_macs_are_those_of_the_layers(name):
    network, found = build(name, 3, 10), []

    def count(layer, inputs, output):
        if isinstance(layer, nn.Conv2d):
            width, height, kernel = output.shape[2], output.shape[3], layer.kernel_size[0] * layer.kernel_size[1]
            found.append(layer.out_channels * layer.in_channels // layer.groups * kernel * width * height)
        else:
            found.append(layer.in_features * layer.out_features)

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    assert macs(network, (3, 32, 32)) == sum(found)


def test_stored_bytes_are_those_of_a_file():
    network = build("wrn-16-1", 3, 10)
    file = save(network.state_dict())
    assert 0 < len(file) - stored_bytes(network) < 20_000  # the header
    assert stored_bytes(network) > 4 * 175_066


def test_the_peak_is_the_largest_sum_of_what_lives():
    network, images = Small(), torch.rand(2, 3, 10, 10)
    weights, maps = stored_bytes(network), 4 * 2 * 8 * 100
    # Both maps live to the end, and then the embedding and the logits are there too.
    assert peak_bytes(network, images) == weights + 4 * 600 + 2 * maps + 4 * 16 + 4 * 8

    class Thrifty(Small):
        def forward(self, x):
            return self.head(self.conv(x).relu().mean((2, 3)))

    # What relu reads is freed before the mean is made, and what the mean reads before the head.
    assert peak_bytes(Thrifty(), images) == weights + 4 * 600 + 2 * maps

    class InPlace(Small):
        def forward(self, x):
            return self.head(self.conv(x).relu_().flatten(2).mean(2))

    assert peak_bytes(InPlace(), images) == weights + 4 * 600 + maps + 4 * 16


class Clock:
    """A clock on which the n-th timed call takes n seconds."""

    def __init__(self, monkeypatch):
        self.now, self.calls = 0.0, 0
        monkeypatch.setattr(cost_module.time, "perf_counter", lambda: self.now)

    def call(self):
        self.calls += 1
        self.now += max(1, self.calls - 2)  # two calls warm up


def test_latency_is_the_median_of_warm_calls(monkeypatch):
    clock = Clock(monkeypatch)
    monkeypatch.setattr(cost_module, "SECONDS", 28)
    found = latency(clock.call, lambda: None)
    # 1 + 2 + ... + 7 = 28 seconds.
    assert found == {"median": 4, "low": 2.5, "high": 5.5, "calls": 7}


def test_the_device_is_waited_for_within_the_time(monkeypatch):
    clock = Clock(monkeypatch)

    def wait():
        clock.now += 100

    assert latency(clock.call, wait)["calls"] == cost_module.LEAST
    assert latency(clock.call, wait)["low"] > 100


def test_everything_about_a_network(monkeypatch, recorder):
    monkeypatch.setattr(cost_module, "SECONDS", 0.0)
    network = Small().train()
    threads = torch.get_num_threads()
    seen = []
    network.register_forward_hook(lambda *_: seen.append((torch.get_num_threads(), network.training)))
    found = measure_cost(network, (3, 10, 10), torch.device("cpu"), recorder)
    assert found["parameters"] == 8 * 27 + 8 + 8 * 4 + 4
    assert found["bytes"] == 4 * found["parameters"]
    assert found["macs"] == macs(network, (3, 10, 10))
    assert found["memory"] == {str(batch): peak_bytes(network, torch.rand(batch, 3, 10, 10)) for batch in (1, 64)}
    settings = sorted({1, threads})
    assert [(row["batch"], row["threads"]) for row in found["latency"]] == [(b, t) for b in (1, 64) for t in settings]
    assert all(0 < row["low"] <= row["median"] <= row["high"] for row in found["latency"])
    assert {count for count, _ in seen} == set(settings)
    assert not any(training for _, training in seen)
    assert network.training
    assert torch.get_num_threads() == threads
    assert (recorder.units, recorder.finished) == (2 * len(settings), 1)
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("slow", [False, True])
def test_batches_that_take_too_long_or_too_much_memory_are_left_out(monkeypatch, slow):
    monkeypatch.setattr(cost_module, "SECONDS", 0.0)
    if slow:
        monkeypatch.setattr(cost_module, "LONGEST", 0.0)
    network, sizes = Small(), []

    def look(_, inputs):
        sizes.append(len(inputs[0]))
        if len(inputs[0]) > 1 and not slow:
            raise torch.OutOfMemoryError

    network.register_forward_pre_hook(look)
    found = measure_cost(network, (3, 8, 8), torch.device("cpu"))
    assert found["memory"].keys() == {"1"}
    assert {row["batch"] for row in found["latency"]} == {1}
    assert sizes.count(64) == (0 if slow else 1)


def test_memory_that_does_not_suffice_for_one_image_is_an_error(monkeypatch):
    network = Small()

    def fail(*_):
        raise torch.OutOfMemoryError

    network.register_forward_pre_hook(fail)
    with pytest.raises(torch.OutOfMemoryError):
        measure_cost(network, (3, 8, 8), torch.device("cpu"))


def test_threads_are_set_and_brought_back(monkeypatch):
    if torch.get_num_threads() == 1:
        set_to = []
        monkeypatch.setattr(torch, "set_num_threads", set_to.append)
        with computing_with(2):
            assert set_to == [2]
        assert set_to == [2, 1]


@pytest.fixture
def rapl(tmp_path):
    """Two processors with a part each, and a platform that holds both."""

    def zone(name, kind, energy):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "name").write_text(f"{kind}\n")
        (folder / "energy_uj").write_text(f"{energy}\n")
        (folder / "max_energy_range_uj").write_text("1000000000\n")

    def write(first, second):
        zone("intel-rapl:0", "package-0", first)
        zone("intel-rapl:0:0", "core", first // 2)
        zone("intel-rapl:1", "package-1", second)
        zone("intel-rapl:2", "psys", first + second)

    write(5_000_000, 999_000_000)
    return tmp_path, write


def test_energy_is_that_of_all_processors(rapl):
    root, write = rapl
    meter = Energy(root)
    write(7_500_000, 999_500_000)
    assert meter.joules() == pytest.approx(3.0)


def test_counters_that_start_again(rapl):
    root, write = rapl
    meter = Energy(root)
    write(5_000_000, 2_000_000)
    assert meter.joules() == pytest.approx(3.0)


def test_no_energy_where_the_machine_does_not_tell(rapl, tmp_path):
    root, _ = rapl
    assert Energy(tmp_path / "nowhere").joules() is None
    meter = Energy(root)
    (root / "intel-rapl:1" / "energy_uj").unlink()
    assert meter.joules() is None


def test_energy_is_given_per_image(monkeypatch):
    class Meter:
        def joules(self):
            return 64.0 * 7

    monkeypatch.setattr(cost_module, "SECONDS", 0.0)
    monkeypatch.setattr(cost_module, "Energy", Meter)
    # Five calls that were timed and two before them.
    assert measure_cost(Small(), (3, 8, 8), torch.device("cpu"))["joules"] == pytest.approx(1.0)
