"""The layers that methods share: what they compute, in which precision, and of one value a channel."""

import pytest
import torch

from persistill.losses.adapters import ConvNorm, apply


@pytest.mark.parametrize("kernel", [1, 3])
def test_it_is_a_convolution_and_batch_normalization(kernel):
    torch.manual_seed(0)
    layer, features = ConvNorm(2, 3, kernel).double(), torch.randn(4, 2, 5, 6, dtype=torch.float64)
    (weight,) = [value for name, value in layer.named_parameters() if value.ndim == 4]
    padded = torch.nn.functional.pad(features, [kernel // 2] * 4)
    expected = torch.zeros(4, 3, 5, 6, dtype=torch.float64)
    for y in range(5):
        for x in range(6):
            window = padded[:, :, y : y + kernel, x : x + kernel]
            expected[:, :, y, x] = torch.einsum("bcij,dcij->bd", window, weight)
    mean, variance = expected.mean((0, 2, 3)), expected.var((0, 2, 3), unbiased=False)
    expected = (expected - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
    torch.testing.assert_close(layer(features), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_weights_decide_the_precision(dtype):
    torch.manual_seed(1)
    layer, features = ConvNorm(2, 3).eval(), torch.randn(4, 2, 5, 5).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        inside = layer(features)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, layer(features.float()))
    linear = torch.nn.Linear(2, 3)
    with torch.autocast("cpu", torch.bfloat16):
        inside = apply(linear, features[:, :, 0, 0])
    assert torch.equal(inside, linear(features[:, :, 0, 0].float()))


def test_one_value_a_channel_is_normalized_by_the_running_statistics():
    torch.manual_seed(2)
    layer, one = ConvNorm(2, 3), torch.randn(1, 2, 1, 1, requires_grad=True)
    layer(torch.randn(4, 2, 5, 5))
    found = layer(one)
    found.sum().backward()
    assert one.grad.isfinite().all()
    assert one.grad.any()
    assert torch.equal(found, layer.eval()(one))


def test_rounding_of_a_constant_channel_is_no_signal():
    torch.manual_seed(3)
    layer, constant = ConvNorm(8, 3), torch.rand(8, 1, 1).expand(2, 8, 5, 7).clone().requires_grad_()
    convolution, norm = layer.layers
    assert convolution(constant).flatten(2).std(2).max() > 0, "rounding does not show on this machine"
    torch.nn.init.normal_(norm.bias)
    found = layer(constant)
    found.square().sum().backward()
    assert torch.equal(found, norm.bias[:, None, None].expand(2, 3, 5, 7))
    assert constant.grad.eq(0).all()
    assert norm.bias.grad.any()
