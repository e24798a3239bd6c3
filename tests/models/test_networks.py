"""Networks: declared shapes and real tensors, parameter counts, and two networks written a second time."""

import math
import warnings

import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.shufflenetv2 import InvertedResidual
from torchvision.models.vgg import make_layers

from persistill.errors import UserError
from persistill.models import NAMES, VGG, ResNet, WideResNet, build

SIZES = [(50, 50), (28, 28), (8, 8), (33, 17)]


def assert_keeps_its_promise(network, x):
    features = network(x)
    spec, batch = network.spec, len(x)
    assert features.logits.shape == (batch, spec.num_classes)
    assert features.embedding.shape == (batch, spec.embedding_dim)
    assert list(features.feature_maps) == list(spec.feature_maps)
    for name, (channels, stride) in spec.feature_maps.items():
        sides = [math.ceil(side / stride) for side in x.shape[2:]]
        assert features.feature_maps[name].shape == (batch, channels, *sides)


@pytest.mark.parametrize("name", NAMES)
def test_spec_agrees_with_real_tensors(name):
    torch.manual_seed(0)
    network = build(name, in_channels=3, num_classes=7).eval()
    assert network.name == name
    with torch.inference_mode():
        assert_keeps_its_promise(network, torch.randn(2, 3, 9, 5))


@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize("name", NAMES)
def test_spec_agrees_for_any_size_and_channels(name, channels):
    with torch.device("meta"):  # shapes as torch computes them, without the arithmetic
        network = build(name, channels, num_classes=11)
        assert network.spec.in_channels == channels
        for size in SIZES:
            assert_keeps_its_promise(network, torch.empty(3, channels, *size))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize("name", ["wrn-16-1", "resnet-8"])
def test_small_networks_take_any_image(name, channels, size):
    network = build(name, channels, num_classes=10)
    assert_keeps_its_promise(network, torch.randn(2, channels, *size))


@pytest.mark.parametrize(
    ("name", "channels", "classes", "count"),
    [
        # the authors' code of TGD
        ("wrn-16-1", 3, 10, 175_066),
        ("wrn-16-3", 3, 10, 1_549_530),
        ("wrn-16-3", 6, 10, 1_549_962),
        ("wrn-28-1", 3, 10, 369_498),
        ("wrn-40-1", 3, 10, 563_930),
        ("wrn-40-2", 3, 10, 2_243_546),
        # RepDistiller's networks, counted by making them with its code (commit b84f547)
        ("resnet-20", 3, 100, 278_324),
        ("resnet-56", 3, 100, 861_620),
        ("resnet-8x4", 3, 100, 1_233_540),
        ("resnet-32x4", 3, 100, 7_433_860),
        # torchvision's resnet50, 25,557,032, with a stem of 3x3 instead of 7x7 and 100 classes instead of 1000
        ("resnet-50-bottleneck", 3, 100, 25_557_032 - 40 * 3 * 64 - 900 * 2049),
        ("vgg-8", 3, 100, 3_965_028),
        ("vgg-13", 3, 100, 9_462_180),
        ("mobilenet-v2-half", 3, 100, 812_836),
        ("shufflenet-v1", 3, 100, 949_258),
        ("shufflenet-v2", 3, 100, 1_355_528),
    ],
)
def test_parameter_counts_are_those_of_the_literature(name, channels, classes, count):
    network = build(name, channels, classes)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


def shake(network):
    """Give batch normalization something to do, as after training."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return network.eval()


def wide_residual(state, x, blocks, stages=3):
    """WRN's formulas, from a dictionary of weights."""

    def norm(x, name):
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        scaled = (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
        return scaled * state[f"{name}.weight"][:, None, None] + state[f"{name}.bias"][:, None, None]

    maps = []
    x = F.conv2d(x, state["conv.weight"], padding=1)
    for stage in range(1, stages + 1):
        for block in range(blocks):
            at = f"stages.stage{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            active = norm(x, f"{at}.norm1").clamp(min=0)
            out = F.conv2d(active, state[f"{at}.conv1.weight"], stride=stride, padding=1)
            out = F.conv2d(norm(out, f"{at}.norm2").clamp(min=0), state[f"{at}.conv2.weight"], padding=1)
            shortcut = state.get(f"{at}.shortcut.weight")
            x = out + (x if shortcut is None else F.conv2d(active, shortcut, stride=stride))
        maps.append(x)
    embedding = norm(x, "norm").clamp(min=0).mean((2, 3))
    return embedding @ state["classifier.weight"].T + state["classifier.bias"], embedding, maps


@pytest.mark.parametrize(("depth", "width"), [(16, 1), (10, 2)])
def test_wide_residual_network_is_its_formulas(depth, width):
    torch.manual_seed(1)
    network = shake(WideResNet(depth, width, in_channels=3, num_classes=5)).double()
    x = torch.randn(2, 3, 12, 9, dtype=torch.float64)
    logits, embedding, maps = wide_residual(network.state_dict(), x, blocks=(depth - 4) // 6)
    features = network(x)
    torch.testing.assert_close(features.logits, logits)
    torch.testing.assert_close(features.embedding, embedding)
    for ours, theirs in zip(features.feature_maps.values(), maps, strict=True):
        torch.testing.assert_close(ours, theirs)
        assert (ours < 0).any(), "the maps are residual sums before ReLU"


@pytest.mark.parametrize(
    ("name", "blocks", "widths"), [("resnet-14", 2, (16, 16, 32, 64)), ("resnet-8x4", 1, (32, 64, 128, 256))]
)
def test_resnet_is_made_of_torchvisions_blocks(name, blocks, widths):
    torch.manual_seed(2)
    network = shake(build(name, 3, 5)).double()
    stem, *wanted = widths
    layers, channels = [nn.Conv2d(3, stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem), nn.ReLU()], stem
    ends = []
    for stage, width in enumerate(wanted):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            down = None
            if channels != width:
                down = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))
            layers.append(BasicBlock(channels, width, stride, down))
            channels = width
        ends.append(len(layers) - 1)
    other = nn.Sequential(*layers, nn.Flatten(2), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(channels, 5))
    # Both hold the same weights in the same order of computation, under different names.
    other.load_state_dict(dict(zip(other.state_dict(), network.state_dict().values(), strict=True)))
    other.double().eval()
    x = torch.randn(2, 3, 12, 9, dtype=torch.float64)
    features = network(x)
    torch.testing.assert_close(features.logits, other(x))
    for end, ours in zip(ends, features.feature_maps.values(), strict=True):
        torch.testing.assert_close(ours, other[: end + 1](x))


def given_the_weights_of(network, other):
    """The second network, holding the first one's weights, which it has in the same order under other names."""
    other.load_state_dict(dict(zip(other.state_dict(), network.state_dict().values(), strict=True)))
    return other.double().eval()


def test_bottleneck_resnet_is_made_of_torchvisions_blocks():
    torch.manual_seed(6)
    network = shake(build("resnet-50-bottleneck", 3, 5)).double()
    parts, channels = [nn.Sequential(nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU())], 64
    for planes, count in ((64, 3), (128, 4), (256, 6), (512, 3)):
        blocks = []
        for block in range(count):
            stride, down = (2 if planes > 64 and not block else 1), None
            if not block:
                down = nn.Sequential(nn.Conv2d(channels, 4 * planes, 1, stride, bias=False), nn.BatchNorm2d(4 * planes))
            blocks.append(Bottleneck(channels, planes, stride, down))
            channels = 4 * planes
        parts.append(nn.Sequential(*blocks))
    other = given_the_weights_of(network, nn.Sequential(*parts, nn.Linear(2048, 5)))
    x = torch.randn(2, 3, 12, 9, dtype=torch.float64)
    features = network(x)
    for end, ours in enumerate(features.feature_maps.values(), 2):
        torch.testing.assert_close(ours, other[:end](x))
    torch.testing.assert_close(features.logits, other[-1](other[:-1](x).mean((2, 3))))


@pytest.mark.parametrize(("name", "each"), [("vgg-8", 1), ("vgg-13", 2)])
def test_vgg_is_made_of_torchvisions_layers(name, each):
    torch.manual_seed(3)
    network = shake(build(name, 3, 5)).double()
    stages = [["M", *[width] * each] for width in (128, 256, 512)] + [[512] * each]
    layers = make_layers([64] * each + [entry for stage in stages for entry in stage], batch_norm=True)
    other = given_the_weights_of(network, nn.Sequential(*layers, nn.Linear(512, 5)))
    x = torch.randn(2, 3, 24, 16, dtype=torch.float64)
    features = network(x)
    end = 3 * each
    for stage, ours in zip(stages, features.feature_maps.values(), strict=True):
        end += 3 * each + ("M" in stage)
        torch.testing.assert_close(ours, other[:end](x))
    torch.testing.assert_close(features.logits, other[-1](other[:-1](x).mean((2, 3))))


def test_shufflenet_2_is_made_of_torchvisions_blocks():
    torch.manual_seed(4)
    network = shake(build("shufflenet-v2", 3, 5)).double()

    def pointwise(channels_in, channels_out):
        return nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU()
        )

    stages, channels = [], 24
    for width, more in [(116, 3), (232, 7), (464, 3)]:
        others = [InvertedResidual(width, width, 1) for _ in range(more)]
        stages.append(nn.Sequential(InvertedResidual(channels, width, 2), *others))
        channels = width
    parts = nn.Sequential(pointwise(3, 24), *stages, pointwise(464, 1024), nn.Linear(1024, 5))
    other = given_the_weights_of(network, parts)
    x = torch.randn(2, 3, 12, 9, dtype=torch.float64)
    features = network(x)
    for end, ours in enumerate(features.feature_maps.values(), 2):
        torch.testing.assert_close(ours, other[:end](x))
    torch.testing.assert_close(features.logits, other[-1](other[:-1](x).mean((2, 3))))


def formulas(network):
    """Batch normalization, convolution and what follows, out of a dictionary of weights."""
    state = network.state_dict()

    def norm(x, name):
        mean, var, weight, bias = (
            state[f"{name}.{key}"][:, None, None] for key in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def convolve(x, name, **options):
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2, groups=x.shape[1] // weight.shape[1], **options)

    def classify(x):
        return x.mean((2, 3)) @ state["classifier.weight"].T + state["classifier.bias"]

    return norm, convolve, classify


def test_mobilenet_is_its_formulas():
    torch.manual_seed(5)
    network = shake(build("mobilenet-v2-half", 3, 5)).double()
    norm, convolve, classify = formulas(network)
    x = torch.randn(2, 3, 17, 12, dtype=torch.float64)
    features = network(x)
    x = norm(convolve(x, "stem.0", stride=2), "stem.1").clamp(min=0)
    strides = {"stage2": [2, 1, 1], "stage3": [2] + 6 * [1], "stage4": [2, 1, 1, 1]}
    for stage, ours in features.feature_maps.items():
        for block, stride in enumerate(strides.get(stage, [1, 1, 1])):
            at = f"stages.{stage}.{block}"
            out = norm(convolve(x, f"{at}.expand"), f"{at}.norm1").clamp(min=0)
            out = norm(convolve(out, f"{at}.filter", stride=stride), f"{at}.norm2").clamp(min=0)
            out = norm(convolve(out, f"{at}.project"), f"{at}.norm3")
            x = x + out if x.shape == out.shape else out
        torch.testing.assert_close(ours, x)
    x = norm(convolve(x, "last.0"), "last.1").clamp(min=0)
    torch.testing.assert_close(features.embedding, x.mean((2, 3)))
    torch.testing.assert_close(features.logits, classify(x))


def test_shufflenet_1_is_its_formulas():
    torch.manual_seed(6)
    network = shake(build("shufflenet-v1", 3, 5)).double()
    norm, convolve, classify = formulas(network)
    x = torch.randn(2, 3, 17, 12, dtype=torch.float64)
    features = network(x)
    x = norm(convolve(x, "stem.0"), "stem.1").clamp(min=0)
    for (stage, ours), blocks in zip(features.feature_maps.items(), (4, 8, 4), strict=True):
        for block in range(blocks):
            at, stride = f"stages.{stage}.{block}", 1 if block else 2
            groups = 1 if x.shape[1] == 24 else 3
            out = norm(convolve(x, f"{at}.conv1"), f"{at}.norm1").clamp(min=0)
            # The shuffle, channel by channel: new channel i comes from group i % groups.
            each = out.shape[1] // groups
            out = out[:, [i % groups * each + i // groups for i in range(out.shape[1])]]
            out = norm(convolve(out, f"{at}.conv2", stride=stride), f"{at}.norm2").clamp(min=0)
            out = norm(convolve(out, f"{at}.conv3"), f"{at}.norm3")
            x = torch.cat([out, F.avg_pool2d(x, 3, 2, 1)], 1).clamp(min=0) if stride == 2 else (x + out).clamp(min=0)
        torch.testing.assert_close(ours, x)
    torch.testing.assert_close(features.logits, classify(x))


@pytest.mark.parametrize(("name", "layer"), [("vgg-8", "stages.stage4.0"), ("mobilenet-v2-half", "last.0")])
def test_weights_of_vgg_and_mobilenet_are_drawn_as_repdistiller_does(name, layer):
    torch.manual_seed(7)
    network = build(name, 3, 10)
    convolution = network.get_submodule(layer)
    expected = math.sqrt(2 / (convolution.kernel_size[0] ** 2 * convolution.out_channels))
    assert convolution.weight.std().item() == pytest.approx(expected, rel=0.05)
    assert network.classifier.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert all(
        module.bias.abs().max() == 0
        for module in network.modules()
        if isinstance(module, nn.Conv2d) and module.bias is not None
    )


@pytest.mark.parametrize("name", ["wrn-16-1", "resnet-20"])
def test_weights_follow_the_seed_and_the_literature(name):
    def drawn(seed):
        torch.manual_seed(seed)
        return build(name, 3, 10)

    one, same, other = drawn(3), drawn(3), drawn(4)
    for a, b in zip(one.parameters(), same.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.conv.weight, other.conv.weight)
    for module in one.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 5000:
            expected = math.sqrt(2 / (module.kernel_size[0] ** 2 * module.out_channels))
            assert module.weight.std().item() == pytest.approx(expected, rel=0.05)
            assert module.weight.mean().abs().item() < 0.05 * expected
    assert one.classifier.bias.abs().max() == 0


@pytest.mark.parametrize("name", ["wrn-10-2", "resnet-8", "vgg-8", "mobilenet-v2-half", "shufflenet-v1"])
def test_channels_last_and_half_precision(name):
    torch.manual_seed(5)
    network = build(name, 3, 10).eval()
    x = torch.randn(4, 3, 16, 16)
    with torch.inference_mode():
        plain = network(x).logits
        last = network.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
        torch.testing.assert_close(last.logits, plain, rtol=1e-4, atol=1e-5)
        assert all(stage.is_contiguous(memory_format=torch.channels_last) for stage in last.feature_maps.values())
        for dtype in (torch.bfloat16, torch.float16):
            half = network.to(dtype)(x.to(dtype)).logits
            assert half.dtype == dtype
            torch.testing.assert_close(half.float(), plain, rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    "name", ["wrn-10-1", "resnet-8", "vgg-8", "mobilenet-v2-half", "shufflenet-v1", "shufflenet-v2"]
)
def test_gradients_reach_every_weight(name):
    network = build(name, 1, 4)
    features = network(torch.randn(4, 1, 8, 8))
    (features.logits.square().sum() + sum(stage.sum() for stage in features.feature_maps.values())).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())


class Logits(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x).logits


@pytest.mark.parametrize("name", ["wrn-10-1", "resnet-8", "vgg-8", "shufflenet-v1"])
def test_onnx_gives_the_same_logits_for_any_batch(name, tmp_path):
    torch.manual_seed(6)
    network = shake(build(name, 3, 10))
    batch = torch.export.Dim("batch", min=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(
            Logits(network),
            (torch.randn(2, 3, 9, 11),),
            tmp_path / "network.onnx",
            dynamo=True,
            dynamic_shapes=({0: batch},),
            input_names=["x"],
            verbose=False,
        )
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx")
    x = torch.randn(5, 3, 9, 11)
    with torch.inference_mode():
        torch.testing.assert_close(
            torch.from_numpy(session.run(None, {"x": x.numpy()})[0]), network(x).logits, rtol=1e-4, atol=1e-4
        )


def test_unknown_names_and_numbers_say_what_is_allowed():
    with pytest.raises(UserError, match=r"unknown model 'wrn16-1'.*Did you mean .*'wrn-16-1'"):
        build("wrn16-1", 3, 10)
    with pytest.raises(UserError, match=r"0 channels and 10 classes were given"):
        build("wrn-16-1", 0, 10)
    with pytest.raises(UserError, match=r"3 channels and 1 classes were given"):
        build("wrn-16-1", 3, 1)
    with pytest.raises(UserError, match=r"6n \+ 4 .*; 18 was given"):
        WideResNet(18, 1)
    with pytest.raises(UserError, match=r"6n \+ 2 .*; 18 was given"):
        ResNet(18)
    with pytest.raises(UserError, match=r"VGG-8 and VGG-13 .*; the depth 16 was given"):
        VGG(16)
    with pytest.raises(UserError, match="width"):
        WideResNet(16, 0)
    with pytest.raises(UserError, match="width"):
        ResNet(20, 0)
