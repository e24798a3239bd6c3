"""Rounding in training, against loops, against ONNX's own operators, and as a part of a training."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_trainer import StopsAfter, fresh, train
from tiny_training import SyntheticBatches, TinyNet
from torch import nn

from persistill.errors import UserError
from persistill.models import build
from persistill.training import fake_quantized
from persistill.training.qat import MOMENTUM, FakeInput, FakeWeight, fake_quantize


def by_loop(values: list[float], scale: float, zero: int, lowest: int, highest: int) -> list[float]:
    return [(max(lowest, min(highest, round(v / scale) + zero)) - zero) * scale for v in values]


def rounded(values: torch.Tensor, scale: float, zero: int, lowest: int = -128, highest: int = 127) -> torch.Tensor:
    return fake_quantize(values, torch.tensor(scale), torch.tensor(float(zero)), lowest, highest)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20),
    st.sampled_from([2.0**-6, 0.25, 1.0]),  # exact in both precisions, so that halves are halves in both
    st.integers(-128, 127),
)
def test_rounding_is_that_of_a_loop(values: list[float], scale: float, zero: int) -> None:
    found = rounded(torch.tensor(values), scale, zero)
    assert found.tolist() == pytest.approx(by_loop(values, scale, zero, -128, 127))
    for value, result in zip(values, found.tolist(), strict=True):
        if (-128 - zero) * scale <= value <= (127 - zero) * scale:
            assert abs(value - result) <= scale / 2


def test_halves_go_to_even_steps() -> None:
    assert rounded(torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5]), 1.0, 3).tolist() == [0, 2, 2, 0, -2]


def test_the_gradient_passes_inside_the_range_and_stops_outside() -> None:
    values = torch.tensor([-200.0, -128.4, -3.3, 0.0, 5.5, 127.4, 128.0, 1e9], requires_grad=True)
    slopes = torch.arange(1.0, 9.0)
    (rounded(values, 1.0, 0) * slopes).sum().backward()
    assert values.grad.tolist() == [0, 2, 3, 4, 5, 6, 0, 0]


def test_every_output_channel_of_a_weight_has_its_own_scale() -> None:
    torch.manual_seed(0)
    weight = torch.randn(5, 3, 2, 2) * 10.0 ** torch.arange(-2, 3).reshape(5, 1, 1, 1)
    weight[3] = 0
    found = FakeWeight()(weight)
    for channel in range(5):
        largest = max(abs(v) for v in weight[channel].flatten().tolist())
        expected = by_loop(weight[channel].flatten().tolist(), largest / 64 or 1.0, 0, -64, 64)
        assert found[channel].flatten().tolist() == pytest.approx(expected, rel=1e-5)


def test_folding_a_batch_norm_commutes_with_the_rounding_of_weights() -> None:
    torch.manual_seed(1)
    weight, factors = torch.randn(6, 4, 3, 3), torch.tensor([0.01, -3.0, 1.0, 40.0, -0.2, 7.0]).reshape(6, 1, 1, 1)
    assert torch.allclose(FakeWeight()(weight * factors), FakeWeight()(weight) * factors, rtol=1e-5)


def test_ranges_are_running_means_of_the_extremes_and_hold_zero() -> None:
    torch.manual_seed(2)
    layer, low, high = FakeInput(), math.nan, math.nan
    for step in range(5):
        batch = torch.rand(4, 7) * 3 + (1.0 if step < 3 else -2.0)
        least, most = min(0.0, batch.min().item()), max(0.0, batch.max().item())
        low, high = (least, most) if step == 0 else (low + MOMENTUM * (least - low), high + MOMENTUM * (most - high))
        found = layer(batch)
        assert (layer.low.item(), layer.high.item()) == pytest.approx((low, high), rel=1e-5)
        scale = (high - low) / 255
        expected = by_loop(batch.flatten().tolist(), scale, round(-128 - low / scale), -128, 127)
        assert found.flatten().tolist() == pytest.approx(expected, abs=1.001 * scale)  # a float may fall on either side
        assert (found.flatten() - torch.tensor(expected)).abs().mean() < 0.1 * scale
    layer.eval()
    layer(torch.full((3,), 1e6))
    assert layer.high.item() == pytest.approx(high)


def test_zero_is_a_step_of_every_range() -> None:
    layer = FakeInput()
    layer(torch.tensor([-0.3, 1.7]))
    assert layer(torch.zeros(3)).tolist() == [0, 0, 0]


def test_edges_are_finite() -> None:
    for batch in (torch.zeros(2, 3), torch.full((2, 3), 5.0), torch.full((2, 3), -1e-30), torch.ones(1, 1)):
        batch.requires_grad_()
        layer = FakeInput()
        layer(batch).sum().backward()
        assert torch.allclose(layer(batch), batch, rtol=1e-5, atol=1e-29)
        assert bool(batch.grad.isfinite().all())
    half = torch.randn(4, 4, dtype=torch.bfloat16)
    assert FakeInput()(half).dtype == FakeWeight()(half).dtype == torch.bfloat16


def test_after_the_block_the_network_is_plain_and_has_the_trained_weights() -> None:
    torch.manual_seed(3)
    network, images = build("mobilenet-v2-half", 3, 4), torch.randn(8, 3, 32, 32)
    kinds, names = [type(module) for module in network.modules()], set(network.state_dict())
    with fake_quantized(network):
        assert [name for name, _ in network.named_parameters() if name.endswith("original")]
        optimizer = torch.optim.SGD(network.parameters(), lr=0.001)
        for _ in range(2):
            optimizer.zero_grad()
            network(images).logits.square().sum().backward()
            optimizer.step()
        originals = {
            name.replace("parametrizations.weight.original", "weight"): value.detach().clone()
            for name, value in network.named_parameters()
        }
        network.eval()
        in_eight_bits = network(images).logits.detach()
    assert [type(module) for module in network.modules()] == kinds
    assert set(network.state_dict()) == names
    assert not any(module._forward_pre_hooks for module in network.modules())
    for name, value in network.named_parameters():
        assert torch.equal(value, originals[name]), name
    assert not torch.equal(network(images).logits, in_eight_bits)
    fresh_one = build("mobilenet-v2-half", 3, 4).eval()
    fresh_one.load_state_dict(network.state_dict())
    assert torch.equal(fresh_one(images).logits, network(images).logits)


def test_weights_and_inputs_of_every_layer_are_rounded_inside() -> None:
    torch.manual_seed(4)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    images, seen = torch.rand(5, 1, 4, 4), []
    with fake_quantized(network):
        network[3].register_forward_hook(lambda layer, given, _: seen.append((given[0], layer.weight)))
        network(images)
    ((given, weight),) = seen
    assert len(given.unique()) <= 256
    assert len((weight / weight.abs().amax(1, keepdim=True) * 64).round(decimals=3).unique()) <= 24
    steps = weight / weight.abs().amax(1, keepdim=True) * 64
    assert torch.allclose(steps, steps.round(), atol=1e-3)


def test_a_network_that_was_not_called_in_training_mode_rounds_its_weights_only() -> None:
    network = nn.Sequential(nn.Linear(3, 2)).eval()
    given = torch.randn(4, 3)
    with fake_quantized(network):
        assert torch.equal(network(given), nn.functional.linear(given, network[0].weight, network[0].bias))
        assert not network[0].fake_quantized_input.started


def test_a_failure_inside_leaves_a_plain_network() -> None:
    network = fresh()
    names = set(network.state_dict())
    with pytest.raises(ZeroDivisionError), fake_quantized(network):
        raise ZeroDivisionError
    assert set(network.state_dict()) == names


def test_weights_that_two_layers_share_stay_shared() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    with fake_quantized(network):
        network(torch.randn(2, 3)).sum().backward()
    assert network[0].weight is network[1].weight


def test_a_network_without_such_layers_is_refused() -> None:
    said = r"Sequential has no layer that computes in 8 bits .*leave quantize out"
    with pytest.raises(UserError, match=said), fake_quantized(nn.Sequential(nn.ReLU())):
        pass


def test_a_training_in_eight_bits_learns_and_resumes_bit_for_bit(tmp_path: Path) -> None:
    def begun() -> TinyNet:
        network = fresh()
        network.norm.momentum = 0.5
        return network

    whole, cut = begun(), begun()
    torch.manual_seed(7)
    with fake_quantized(whole):
        train(tmp_path, whole, name="whole")
        ranges = whole.head.fake_quantized_input.high.item()
    torch.manual_seed(7)
    with fake_quantized(cut), pytest.raises(KeyboardInterrupt):
        train(tmp_path, cut, name="cut", loader=StopsAfter(9))
    torch.manual_seed(99)
    resumed = begun()
    with fake_quantized(resumed):
        train(tmp_path, resumed, name="cut", loader=SyntheticBatches())
        assert resumed.head.fake_quantized_input.high.item() == ranges
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    plain = begun()
    torch.manual_seed(7)
    train(tmp_path, plain, name="plain")
    assert not torch.equal(plain.conv.weight, whole.conv.weight)
