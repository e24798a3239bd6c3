"""Foreign modules as networks of ours: what is tapped, what is left alone, and what does not fit."""

import copy
import math
import threading
import warnings

import onnxruntime
import pytest
import timm
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import Block, ConvNet, LastNet, TokenNet
from torch import nn

from persistill.errors import UserError
from persistill.models import adapt, unwrap
from persistill.models.feature_extraction.feature_layout import Layout, grid, infer_layout, stride, to_feature_map
from persistill.structures import FeatureMapSpec


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def assert_keeps_its_promise(network, x):
    features = network(x)
    spec, batch = network.spec, len(x)
    assert features.logits.shape == (batch, spec.num_classes)
    assert features.embedding.shape == (batch, spec.embedding_dim)
    assert list(features.feature_maps) == list(spec.feature_maps)
    for name, (channels, step) in spec.feature_maps.items():
        sides = [math.ceil(side / step) for side in x.shape[2:]]
        assert features.feature_maps[name].shape == (batch, channels, *sides)
    return features


# --- features ----------------------------------------------------------------------------------------------------


def test_a_networks_own_numbers_come_out():
    module = ConvNet().eval()
    network = adapt(module, 3, 5, image_size=(16, 12))
    x = torch.randn(3, 3, 16, 12)
    features = assert_keeps_its_promise(network, x)
    half = module.body[:2](module.stem(x))
    quarter = module.body[2:](half)
    assert torch.equal(features.logits, module(x))
    assert torch.equal(features.embedding, quarter.mean((2, 3)))
    assert list(features.feature_maps) == ["stem", "body.1", "body.3"]
    assert network.spec.feature_maps == {
        "stem": FeatureMapSpec(4, 1),
        "body.1": FeatureMapSpec(6, 2),
        "body.3": FeatureMapSpec(8, 4),
    }
    for name, expected in {"stem": module.stem(x), "body.1": half, "body.3": quarter}.items():
        assert torch.equal(features.feature_maps[name], expected)


def test_a_network_inside_a_wrapper_is_found():
    network = adapt(nn.Sequential(ConvNet(), nn.Identity()), 3, 5, image_size=(16, 16))
    assert list(network.spec.feature_maps) == ["0.stem", "0.body.1", "0.body.3"]


def test_layers_without_blocks_and_what_pooling_leaves():
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3, padding=1), nn.ReLU()]
    module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    assert list(adapt(module, 1, 3, image_size=(8, 8)).spec.feature_maps) == ["1", "4"]
    # A block that ends at 1x1 counts, if its input was as small as that of a block would be.
    module = nn.Sequential(Block(1, 4, 2), Block(4, 4, 2), Block(4, 8, 2), nn.Flatten(), nn.Linear(8, 3))
    assert list(adapt(module, 1, 3, image_size=(8, 8)).spec.feature_maps) == ["0", "1", "2"]


class Pooled(nn.Module):
    """A block that averages over all positions, as heads of some networks do."""

    def __init__(self, channels):
        super().__init__()
        self.inner = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1))

    def forward(self, x):
        return self.inner(x).relu()


class Split(nn.Module):
    """Windows, stacked along the batch."""

    def forward(self, x):
        return x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


class Join(nn.Module):
    """The windows of images of 8x8, put together again."""

    def forward(self, x):
        return x.unflatten(0, (-1, 2, 2)).permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def test_pooling_in_a_block_identities_and_windows_are_seen_through():
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.block, self.pooled, self.head = Block(1, 4, 2), Pooled(4), nn.Linear(4, 3)

        def forward(self, x):
            return self.head(self.pooled(self.block(x)).flatten(1))

    assert list(adapt(Net(), 1, 3, image_size=(8, 8)).spec.feature_maps) == ["block"]
    module = nn.Sequential(Block(1, 4, 1), nn.Identity(), Block(4, 4, 2), nn.Identity(), *end)
    assert list(adapt(module, 1, 3, image_size=(8, 8)).spec.feature_maps) == ["0", "2"]
    module = nn.Sequential(nn.Conv2d(1, 4, 1), Split(), nn.ReLU(), Join(), *end)
    assert adapt(module, 1, 3, image_size=(8, 8)).spec.feature_maps == {"3": FeatureMapSpec(4, 1)}


def test_a_module_of_many_stages_is_opened_and_the_way_back_up_is_not_followed():
    class Hourglass(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.third = Block(4, 4, 2), Block(4, 4, 2), Block(4, 4, 2)
            self.up = nn.Upsample(scale_factor=2)
            self.merge = Block(4, 4, 1)

        def forward(self, x):
            half = self.first(x)
            quarter = self.second(half)
            eighth = self.third(quarter)
            return self.merge(self.up(eighth) + quarter)

    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)]
    network = adapt(nn.Sequential(Block(1, 4, 1), Hourglass(), *head), 1, 3, image_size=(16, 16))
    assert list(network.spec.feature_maps) == ["0", "1.first", "1.second", "1.third"]


def test_a_stated_classifier_is_believed():
    class Helped(ConvNet):
        def __init__(self):
            super().__init__()
            self.helper = nn.Linear(4, 5)

        def forward(self, x):
            return super().forward(x) + self.helper(self.stem(x).mean((2, 3)))

    module = Helped()
    assert adapt(module, 3, 5, image_size=(8, 8)).spec.embedding_dim == 4
    module.pretrained_cfg = {"classifier": ("head", "helper")}
    assert adapt(module, 3, 5, image_size=(8, 8)).spec.embedding_dim == 8


def test_other_sizes_come_later():
    network = adapt(ConvNet(), 3, 5, image_size=(32, 32))
    for size in [(32, 32), (9, 5), (40, 64)]:
        assert_keeps_its_promise(network, torch.randn(2, 3, *size))


def test_gradients_reach_the_network_through_its_maps():
    network = adapt(ConvNet(), 3, 5, layers=["body.0"], image_size=(8, 8)).train()
    network(torch.randn(2, 3, 8, 8)).feature_maps["body.0"].square().mean().backward()
    assert network.module.stem.weight.grad.abs().sum() > 0
    assert network.module.head.weight.grad is None


@pytest.mark.parametrize("extra", [0, 1, 5])
@pytest.mark.parametrize("size", [(16, 16), (24, 40)])
def test_tokens_lie_on_the_grid_of_their_patches(size, extra):
    module = TokenNet(extra=extra).eval()
    network = adapt(module, 3, 5, image_size=size)
    x = torch.randn(2, 3, *size)
    assert_keeps_its_promise(network, x)
    (found,) = adapt(module, 3, 5, layers=["blocks.0"], image_size=size)(x).feature_maps.values()
    patches = module.patches(x)
    expected = patches + module.blocks[0].dense(patches.movedim(1, 3)).tanh().movedim(3, 1)
    torch.testing.assert_close(found, expected)


def test_a_deep_network_of_one_stride_is_tapped_at_its_quarters():
    module = TokenNet(depth=8)
    assert list(adapt(module, 3, 5, image_size=(16, 16)).spec.feature_maps) == [f"blocks.{i}" for i in (1, 3, 5, 7)]
    assert list(adapt(TokenNet(depth=3), 3, 5, image_size=(16, 16)).spec.feature_maps) == [
        f"blocks.{i}" for i in range(3)
    ]


def test_stated_tokens_are_believed():
    module = TokenNet(patch=8, extra=5)  # 4 + 5 tokens could be a grid of 3x3
    assert adapt(module, 3, 5, image_size=(16, 16)).spec.feature_maps["blocks.7"].stride == 5  # 16 / 3
    module.num_prefix_tokens = 5
    assert adapt(module, 3, 5, image_size=(16, 16)).spec.feature_maps["blocks.7"].stride == 8


def test_channels_last_are_turned():
    module = LastNet().eval()
    network = adapt(module, 3, 5, layers=["stem", "stage"], image_size=(16, 12))
    x = torch.randn(2, 3, 16, 12)
    features = assert_keeps_its_promise(network, x)
    assert torch.equal(features.feature_maps["stage"].permute(0, 2, 3, 1), module.stage(module.turn(module.stem(x))))
    assert torch.equal(features.embedding, features.feature_maps["stage"].mean((2, 3)))


def test_the_last_call_counts():
    class Twice(ConvNet):
        def forward(self, x):
            return super().forward(self.stem(x)[:, :3])

    module = Twice().eval()
    network = adapt(module, 3, 5, layers=["stem"], image_size=(8, 8))
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(network(x).feature_maps["stem"], module.stem(module.stem(x)[:, :3]))


@pytest.mark.parametrize(
    "wrap", [lambda y: {"logits": y}, lambda y: (y, None), lambda y: type("Out", (), {"logits": y})()]
)
def test_logits_in_wrappings(wrap):
    class Wrapped(ConvNet):
        def forward(self, x):
            return wrap(super().forward(x))

    module = Wrapped().eval()
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(adapt(module, 3, 5, image_size=(8, 8))(x).logits, ConvNet.forward(module, x))


def test_a_head_that_is_a_convolution():
    module = nn.Sequential(Block(3, 6, 2), nn.Conv2d(6, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    features = adapt(module, 3, 4, image_size=(8, 8))(torch.randn(2, 3, 8, 8))
    weight, bias = module[1].weight.flatten(1), module[1].bias
    torch.testing.assert_close(features.embedding @ weight.T + bias, features.logits)


def test_a_head_can_be_named():
    module = nn.Sequential(nn.Flatten(), nn.Linear(48, 7), nn.ReLU(), nn.Linear(7, 5))
    assert adapt(module, 3, 5, image_size=(4, 4)).spec.embedding_dim == 7
    assert adapt(module, 3, 5, head="1", image_size=(4, 4)).spec.embedding_dim == 48
    assert adapt(module, 3, 5, image_size=(4, 4)).spec.feature_maps == {}


# --- what is left alone ------------------------------------------------------------------------------------------


class Restless(ConvNet):
    """Changes a buffer, replaces another and draws numbers whenever it is called."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("noise", torch.zeros(2))

    def forward(self, x):
        self.calls += 1
        self.noise = torch.randn(2)
        return super().forward(x)


def test_the_probe_leaves_no_trace():
    module = Restless().train()
    module.body[1].eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    modes = [one.training for one in module.modules()]
    noise = module.noise
    random = torch.get_rng_state()
    network = adapt(module, 3, 5, image_size=(8, 8))
    assert torch.equal(torch.get_rng_state(), random)
    assert [one.training for one in module.modules()] == modes
    assert module.noise is noise
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in module.parameters())
    assert unwrap(network) is module


def hooks(module):
    return sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in module.modules())


def test_no_hooks_are_left_even_by_failures():
    module = ConvNet()
    network = adapt(module, 3, 5, image_size=(8, 8))
    network(torch.randn(2, 3, 8, 8))
    with pytest.raises(RuntimeError):
        network(torch.randn(2, 4, 8, 8))
    with pytest.raises(UserError):
        adapt(module, 4, 5, image_size=(8, 8))
    assert hooks(module) == 0


def test_hooks_may_be_kept_for_many_passes():
    module = ConvNet().eval()
    network = adapt(module, 3, 5, image_size=(8, 8))
    images = [torch.randn(2, 3, 8, 8) for _ in range(2)]
    expected = [network(x) for x in images]
    with network.keep_hooks():
        kept = hooks(module)
        with pytest.raises(RuntimeError):
            network(torch.randn(2, 4, 8, 8))
        found = [network(x) for x in images]
        assert hooks(module) == kept == 4
    assert hooks(module) == 0
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.embedding, other.embedding)
        assert [*one.feature_maps] == [*other.feature_maps]
        assert all(torch.equal(one.feature_maps[name], value) for name, value in other.feature_maps.items())
    assert torch.equal(network(images[0]).logits, expected[0].logits)


def test_a_copy_sees_its_own_modules():
    network = adapt(ConvNet(), 3, 5, image_size=(8, 8)).eval()
    other = copy.deepcopy(network)
    nn.init.zeros_(other.module.stem.weight)
    nn.init.ones_(other.module.stem.bias)
    x = torch.randn(2, 3, 8, 8)
    before = network(x).feature_maps["stem"]
    assert (other(x).feature_maps["stem"] == 1).all()
    assert torch.equal(network(x).feature_maps["stem"], before)


def test_threads_do_not_see_each_other():
    barrier = threading.Barrier(2, timeout=30)

    class Meeting(ConvNet):
        def forward(self, x):
            if threading.current_thread() is threading.main_thread():
                return super().forward(x)
            barrier.wait()  # both have hooks on the same modules now
            logits = super().forward(x)
            barrier.wait()  # and keep them until both are through
            return logits

    network = adapt(Meeting(), 3, 5, image_size=(8, 8)).eval()
    images = [torch.randn(2, 3, 8, 8) for _ in range(2)]
    found = {}

    def work(i):
        with torch.no_grad():
            found[i] = network(images[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, x in enumerate(images):
        alone = network(x)
        assert torch.equal(found[i].embedding, alone.embedding)
        assert all(torch.equal(found[i].feature_maps[name], alone.feature_maps[name]) for name in alone.feature_maps)


def test_names_in_the_state_are_the_modules_own():
    module = ConvNet()
    network = adapt(module, 3, 5, image_size=(8, 8))
    assert [name.removeprefix("module.") for name in network.state_dict()] == list(module.state_dict())
    assert len(list(network.parameters())) == len(list(module.parameters()))


def test_autocast_half_precision_and_inference():
    network = adapt(ConvNet(), 3, 5, image_size=(8, 8)).eval()
    x = torch.randn(2, 3, 8, 8)
    with torch.inference_mode():
        expected = network(x)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half = network(x)
    assert half.logits.dtype == torch.bfloat16
    torch.testing.assert_close(half.logits.float(), expected.logits, rtol=0.1, atol=0.1)
    assert not half.feature_maps["stem"].requires_grad
    whole = adapt(ConvNet().double(), 3, 5, image_size=(8, 8))
    assert whole(x.double()).embedding.dtype == torch.float64


class Logits(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x).logits


@pytest.mark.parametrize("module", [ConvNet(), TokenNet()], ids=["maps", "tokens"])
def test_onnx_gives_the_same_logits_for_any_batch(module, tmp_path):
    network = adapt(module, 3, 5, image_size=(8, 8)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(
            Logits(network),
            (torch.randn(2, 3, 8, 8),),
            tmp_path / "network.onnx",
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            input_names=["x"],
            verbose=False,
        )
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx")
    x = torch.randn(5, 3, 8, 8)
    with torch.inference_mode():
        found = torch.from_numpy(session.run(None, {"x": x.numpy()})[0])
        torch.testing.assert_close(found, module(x), rtol=1e-4, atol=1e-4)
    assert hooks(module) == 0


# --- timm and torchvision ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "layers", "kinds"),
    [
        ("test_resnet", ["act1", "layer1", "layer2", "layer3", "layer4"], {"channels_first"}),
        ("test_efficientnet", [f"blocks.{i}" for i in range(5)], {"channels_first"}),
        ("test_mambaout", [f"stages.{i}" for i in range(4)], {"channels_last"}),
        ("test_vit", [f"blocks.{i}" for i in (1, 2, 4, 5)], {"tokens"}),
    ],
)
def test_timms_feature_information_is_followed(name, layers, kinds):
    module = timm.create_model(name, num_classes=5).eval()
    network = adapt(module, 3, 5, image_size=(160, 160))
    x = torch.randn(2, 3, 160, 160)
    with torch.no_grad():
        features = assert_keeps_its_promise(network, x)
        # timm's own way to the same maps, which needs no hooks.
        expected = module.forward_intermediates(x, norm=False, intermediates_only=True)
        assert torch.equal(features.logits, module(x))
    assert list(features.feature_maps) == layers
    assert {layout.kind for layout in network._layers.values()} == kinds
    for found in features.feature_maps.values():
        assert any(found.shape == other.shape and torch.equal(found, other) for other in expected)


def test_torchvisions_networks():
    network = adapt(torchvision.models.resnet18(num_classes=5), 3, 5, image_size=(64, 64))
    assert network.spec.feature_maps == {
        "relu": FeatureMapSpec(64, 2),
        "layer1": FeatureMapSpec(64, 4),
        "layer2": FeatureMapSpec(128, 8),
        "layer3": FeatureMapSpec(256, 16),
        "layer4": FeatureMapSpec(512, 32),
    }
    assert network.spec.embedding_dim == 512
    with torch.no_grad():
        assert_keeps_its_promise(network, torch.randn(2, 3, 64, 64))
    network = adapt(torchvision.models.mobilenet_v3_small(num_classes=5), 3, 5, image_size=(64, 64))
    assert [stride for _, stride in network.spec.feature_maps.values()] == [2, 4, 8, 16, 32]
    assert network.spec.embedding_dim == 1024
    transformer = torchvision.models.VisionTransformer(32, 8, 4, 2, 8, 16, num_classes=5)
    network = adapt(transformer, 3, 5, image_size=(32, 32))
    assert network.spec.feature_maps == {f"encoder.layers.encoder_layer_{i}": FeatureMapSpec(8, 8) for i in range(4)}
    swin = torchvision.models.SwinTransformer([4, 4], 8, [1, 1], [1, 2], [4, 4], num_classes=5)
    network = adapt(swin, 3, 5, image_size=(32, 32))
    assert network.spec.feature_maps == {"features.1": FeatureMapSpec(8, 4), "features.3": FeatureMapSpec(16, 8)}


# --- layouts -----------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    stride=st.integers(1, 16),
    channels=st.integers(17, 40),
    extra=st.integers(0, 8),
    known=st.booleans(),
)
def test_tokens_of_any_grid_are_read_in_their_order(size, stride, channels, extra, known):
    height, width = size
    image = (height * stride, width * stride)
    values = torch.arange(2.0 * channels * height * width).reshape(2, channels, height, width)
    tokens = torch.cat([torch.full((2, extra, channels), -1.0), values.flatten(2).transpose(1, 2)], 1)
    layout = infer_layout(tokens.shape, image, channels, extra if known else None)
    assert layout is not None
    found = to_feature_map(tokens, layout, image)
    if known:
        assert torch.equal(found, values)
    else:
        # The fewest extra tokens that leave a grid; ours, unless fewer do.
        assert layout.extra <= extra
        assert layout.extra == extra or grid(height * width + extra - layout.extra, image) is not None
        if layout.extra == extra:
            assert torch.equal(found, values)


def test_what_is_no_map_is_not_taken_for_one():
    assert infer_layout((2, 10), (8, 8)) is None
    assert infer_layout((2, 5, 3), (8, 8)) == Layout("tokens", 1)
    assert infer_layout((2, 5, 3), (8, 8), extra=0) is None
    assert infer_layout((2, 24, 3), (8, 8)) == Layout("tokens", 8)
    assert infer_layout((2, 80, 3), (8, 8)) is None  # 64 + 16
    assert infer_layout((2, 4, 4, 7), (8, 8)) == Layout("channels_last")
    assert infer_layout((2, 7, 4, 4), (8, 8)) == Layout("channels_first")
    assert infer_layout((2, 7, 4, 4), (8, 8), channels=4) is None
    assert infer_layout((2, 4, 4, 4), (8, 8)) == Layout("channels_first")
    assert infer_layout((2, 3, 16, 16), (8, 8)) is None
    assert grid(0, (8, 8)) is None


def test_strides_are_powers_of_two_where_these_explain_the_size():
    assert stride((7, 7), (224, 224)) == 32
    assert stride((4, 4), (28, 28)) == 8  # 28, 14, 7, 4: not 7
    assert stride((1, 1), (28, 28)) == 32
    assert stride((3, 2), (9, 5)) == stride((5, 4), (17, 13)) == 4
    assert stride((149, 149), (299, 299)) == 2
    assert stride((17, 17), (299, 299)) == 18
    assert stride((16, 16), (8, 8)) == 1
    assert stride((1, 1), (1, 1)) == 1


# --- errors ------------------------------------------------------------------------------------------------------


def error(module=None, in_channels=3, num_classes=5, image_size=(8, 8), **options):
    with pytest.raises(UserError) as caught:
        adapt(module or ConvNet(), in_channels, num_classes, image_size=image_size, **options)
    return str(caught.value)


def test_wrong_paths_are_answered_with_near_ones():
    message = error(layers=["body.4"])
    assert "unknown module path in ConvNet: 'body.4'. Did you mean 'body." in message
    assert "Did you mean 'head'?" in error(head="heed")
    assert "lists all" in error(layers=["nothing like it"])


def test_paths_that_lead_to_no_map():
    assert "'unused' in ConvNet was not called" in error(layers=["unused"])
    message = error(TokenNet(), layers=["blocks"])
    assert "was not called" in message
    assert "blocks.7" in message
    assert "'head' in ConvNet returns (2, 5) for 2 images: neither a map" in error(layers=["head"])


def test_tokens_without_a_grid():
    message = error(TokenNet(extra=9), layers=["blocks.0"], image_size=(20, 20))
    assert "the 34 tokens that 'blocks.0' in TokenNet returns for images of 20x20 form no grid" in message
    module = TokenNet(extra=9)
    module.num_prefix_tokens = 9
    assert adapt(module, 3, 5, image_size=(20, 20)).spec.feature_maps["blocks.7"] == FeatureMapSpec(6, 4)


def test_tokens_that_stop_forming_a_grid():
    network = adapt(TokenNet(), 3, 5, image_size=(16, 16))
    with pytest.raises(UserError, match="for images of 17x35 form no grid"):
        network.module.patches.stride = (4, 3)
        network(torch.randn(1, 3, 17, 35))


def test_heads_that_do_not_fit():
    assert "ConvNet has 5 classes and 9 are needed" in error(num_classes=9)
    assert "ConvNet has 5 classes and 2 are needed" in error(num_classes=2)
    assert "returns (2, 4, 6, 6)" in error(nn.Sequential(nn.Conv2d(3, 4, 3)), num_classes=4)
    assert "does not return logits" in error(type("Silent", (ConvNet,), {"forward": lambda self, x: {"answer": x}})())
    message = error(nn.Sequential(nn.Conv2d(3, 5, 8), nn.Flatten()))
    assert "called no linear layer with 5 outputs" in message
    assert "head=" in message
    assert "'0' in _Text was given no tensor" in error(_Text(), head="0")


class _Text(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Identity(), ConvNet())

    def forward(self, x):
        self[0]("text")
        return self[1](x)


def test_a_module_that_fails_is_quoted():
    message = error(in_channels=4)
    assert "ConvNet cannot take images with 4 channels of 8x8: it raised RuntimeError" in message
    assert "weight of size [4, 3, 3, 3]" in message


def test_a_tap_that_is_skipped_later():
    class Moody(ConvNet):
        def forward(self, x):
            return self.head(x[:, :1, :2, :4].flatten(1)) if self.training else super().forward(x)

    network = adapt(Moody(), 3, 5, image_size=(8, 8))
    network.train()
    with pytest.raises(UserError, match=r"did not call stem, body\.1, body\.3 this time"):
        network(torch.randn(2, 3, 8, 8))


def test_a_network_of_ours_is_plain_already():
    network = adapt(ConvNet(), 3, 5, image_size=(8, 8))
    assert unwrap(network) is network.module
    assert unwrap(network.module) is network.module
