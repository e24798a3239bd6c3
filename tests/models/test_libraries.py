"""Networks of timm, of torchvision and of users, by name: built, saved, loaded, taught."""

import json
import sys

import pytest
import safetensors.torch
import timm
import torch
from safetensors import safe_open
from torch import nn

from persistill.errors import UserError
from persistill.exporters import export_student
from persistill.losses import AT, KD, SP, TGD
from persistill.models import build, check, load, load_into, save, unwrap
from persistill.structures import FeatureMapSpec

ABOUT = {"classes": list("abcde"), "mean": [0.5] * 3, "std": [0.25] * 3, "shape": [3, 32, 32], "view": "image"}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A user's module, importable as ``own_networks``; importing it leaves a mark."""
    source = """
import pathlib
from torch import nn
from persistill.models import adapt

pathlib.Path(__file__).with_name("imported").touch()
table = {}

class Small(nn.Sequential):
    def __init__(self, in_channels, num_classes):
        super().__init__(
            nn.Conv2d(in_channels, 4, 3, 2, 1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes),
        )

def sized(in_channels, num_classes, image_size):
    height, width = image_size
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * height * width, num_classes))

def tapped(in_channels, num_classes):
    return adapt(Small(in_channels, num_classes), in_channels, num_classes, layers=["0"], image_size=(8, 8))

def stubborn(in_channels, num_classes):
    return tapped(in_channels, 10)

def none(in_channels, num_classes):
    return None

def broken(in_channels, num_classes):
    raise KeyError("layers")

def without(num_classes):
    return None
"""
    (tmp_path / "own_networks.py").write_text(source)
    (tmp_path / "own_ruin.py").write_text("1 / 0")
    (tmp_path / "own_needs.py").write_text("import not_installed_anywhere")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "imported"
    for name in ("own_networks", "own_ruin", "own_needs"):
        sys.modules.pop(name, None)


def error(function, *arguments, **options):
    with pytest.raises(UserError) as caught:
        function(*arguments, **options)
    return str(caught.value)


# --- built -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "channels", "size", "maps", "width"),
    [
        ("timm/test_resnet", 1, (28, 28), [(32, 2), (32, 4), (48, 8), (192, 16), (96, 32)], 96),
        ("timm/test_efficientnet", 6, (48, 32), [(16, 2), (24, 4), (32, 8), (48, 16), (64, 32)], 256),
        ("timm/test_vit.r160_in1k", 3, (32, 64), [(64, 16)] * 4, 64),
        ("torchvision/mobilenet_v3_small", 1, (32, 32), [(16, 2), (16, 4), (24, 8), (48, 16), (96, 32)], 1024),
    ],
)
def test_networks_of_others_by_name(name, channels, size, maps, width):
    check(name)
    network = build(name, channels, 7, size).eval()
    assert network.name == name
    assert network.image_size == size
    assert list(network.spec.feature_maps.values()) == [FeatureMapSpec(*pair) for pair in maps]
    features = network(torch.randn(2, channels, *size))
    assert features.logits.shape == (2, 7)
    assert features.embedding.shape == (2, width)
    assert [tuple(found.shape[:2]) for found in features.feature_maps.values()] == [(2, number) for number, _ in maps]


def test_networks_for_one_size_are_made_for_ours():
    assert unwrap(build("timm/test_vit", 3, 5, (32, 64))).pos_embed.shape == (1, 1 + 2 * 4, 64)


def test_sizes_by_default(own):
    assert build("timm/test_vit", 3, 5).image_size == (160, 160)
    assert build("own_networks:Small", 3, 5).image_size == (32, 32)


def test_weights_follow_the_seed():
    def drawn(seed):
        torch.manual_seed(seed)
        return build("timm/test_resnet", 3, 5, (32, 32)).state_dict()

    one, same, other = drawn(1), drawn(1), drawn(2)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["module.conv1.0.weight"], other["module.conv1.0.weight"])


def test_torchvisions_first_convolution_is_like_the_old_one():
    wanted, found = (unwrap(build("torchvision/mobilenet_v3_small", n, 5, (32, 32))).features[0][0] for n in (3, 6))
    assert found.weight.shape == (16, 6, 3, 3)
    assert (found.stride, found.padding, found.bias) == (wanted.stride, wanted.padding, wanted.bias)


def test_a_users_function_or_class(own):
    network = build("own_networks:Small", 2, 5, (8, 6))
    assert network.name == "own_networks:Small"
    assert network.spec.feature_maps == {"1": FeatureMapSpec(4, 2)}
    assert build("own_networks:sized", 2, 5, (8, 6)).spec.embedding_dim == 2 * 8 * 6
    network = build("own_networks:tapped", 2, 5, (8, 6))
    assert (network.name, list(network.spec.feature_maps)) == ("own_networks:tapped", ["0"])


# --- saved and loaded --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["timm/test_resnet", "timm/test_vit", "torchvision/mobilenet_v3_small", "own_networks:Small"]
)
def test_networks_of_others_come_back(own, tmp_path, name):
    network = build(name, 3, 5, (32, 32))
    network(torch.randn(4, 3, 32, 32))  # moves running statistics
    network.eval()
    path = tmp_path / "model.safetensors"
    save(network, path, ABOUT)
    random = torch.get_rng_state()
    found, about = load(path, model=name)
    assert torch.equal(torch.get_rng_state(), random)
    assert about == ABOUT
    assert (found.name, found.spec, found.image_size) == (name, network.spec, (32, 32))
    assert not found.training
    other = build(name, 3, 5, (32, 32)).eval()
    assert load_into(other, path) == ABOUT
    x = torch.randn(2, 3, 32, 32)
    for again in (found, other):
        assert torch.equal(again(x).logits, network(x).logits)
    found.train()(torch.randn(4, 3, 32, 32)).logits.sum().backward()
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["persistill"])
        names = set(file.keys())
    assert header["image_size"] == [32, 32]
    assert names == {f"module.{name}" for name in unwrap(network).state_dict()}


def test_timm_reads_what_we_write_and_we_what_timm_writes(tmp_path):
    network = build("timm/test_resnet", 3, 5, (32, 32)).eval()
    x = torch.randn(2, 3, 32, 32)
    save(network, tmp_path / "ours.safetensors", {})
    theirs = timm.create_model("test_resnet", num_classes=5).eval()
    tensors = safetensors.torch.load_file(tmp_path / "ours.safetensors")
    theirs.load_state_dict({name.removeprefix("module."): tensor for name, tensor in tensors.items()})
    assert torch.equal(theirs(x), network(x).logits)
    safetensors.torch.save_file(
        timm.create_model("test_resnet", num_classes=5).state_dict(), tmp_path / "theirs.safetensors"
    )
    assert load_into(network, tmp_path / "theirs.safetensors") == {}
    assert not torch.equal(theirs(x), network(x).logits)
    theirs.load_state_dict(safetensors.torch.load_file(tmp_path / "theirs.safetensors"))
    assert torch.equal(theirs(x), network(x).logits)
    wider = build("timm/test_resnet", 3, 9, (32, 32))
    message = error(load_into, wider, tmp_path / "theirs.safetensors")
    assert "fc.weight is expected as (9, 96) float32 and found as (5, 96) float32" in message
    assert "Give the weights of 'timm/test_resnet' with 3 channels and 9 classes." in message
    # Our own networks take their own names without a header, too, and no others.
    assert "Names in the file alone: bn1" in error(load_into, build("wrn-10-1", 3, 5), tmp_path / "theirs.safetensors")


def test_code_that_a_file_names_is_not_run(own, tmp_path):
    path = tmp_path / "model.safetensors"
    header = {"format": 1, "model": "own_networks:Small", "in_channels": 3, "num_classes": 5}
    safetensors.torch.save_file({"weight": torch.zeros(5, 3)}, path, {"persistill": json.dumps(header)})
    message = error(load, path)
    assert "Code that a file names is not run" in message
    assert "--model own_networks:Small, or model='own_networks:Small'" in message
    assert "'timm/test_vit' is expected here" in error(load, path, model="timm/test_vit")
    assert "holds 'own_networks:Small'" in error(load_into, build("wrn-10-1", 3, 5), path)
    assert not own.exists()
    assert "module.0.weight is expected" in error(load, path, model="own_networks:Small")
    assert own.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_classes": 10**9}, "the longest side of any is 192"),
        ({"in_channels": 10**9}, "the longest side of any is 192"),
        ({"num_classes": 6}, "module.fc.weight is expected as (6, 96)"),
        ({"image_size": [10**6, 32]}, "not one that persistill wrote"),
        ({"image_size": [32]}, "not one that persistill wrote"),
        ({"image_size": "32"}, "not one that persistill wrote"),
        ({"model": "timm/hf-hub:somebody/something"}, "unknown timm model"),
        ({"model": "timm/local-dir:/etc"}, "unknown timm model"),
        ({"model": "torchvision/../x"}, "unknown torchvision model"),
    ],
)
def test_headers_that_lie(tmp_path, change, message):
    network = build("timm/test_resnet", 3, 5, (32, 32))
    header = {"format": 1, "model": network.name, "in_channels": 3, "num_classes": 5, "image_size": [32, 32], **change}
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(network.state_dict(), path, {"persistill": json.dumps(header)})
    assert message in error(load, path)


def test_tied_weights_are_written(tmp_path, own):
    network = build("own_networks:Small", 4, 4, (8, 8))
    network.module[0] = nn.Conv2d(4, 4, 1, bias=False)
    network.module[4].weight = nn.Parameter(network.module[0].weight.flatten(1))  # shares its memory
    save(network, tmp_path / "model.safetensors", {})
    tensors = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert torch.equal(tensors["module.0.weight"].flatten(), tensors["module.4.weight"].flatten())


def test_what_cannot_be_made_again_is_not_saved(own, tmp_path):
    build("own_networks:tapped", 3, 5)
    network = sys.modules["own_networks"].tapped(3, 5)
    message = error(save, network, tmp_path / "model.safetensors", {})
    assert "this Small was adapted without a name" in message
    assert list(tmp_path.glob("*.safetensors")) == []
    with pytest.raises(ValueError, match="image_size"):
        save(build("wrn-10-1", 3, 5), tmp_path / "model.safetensors", {"image_size": 3})


# --- taught ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("teacher", "student"),
    [
        ("timm/test_vit", "timm/test_resnet"),
        ("torchvision/mobilenet_v3_small", "timm/test_vit"),
        ("timm/test_efficientnet", "wrn-10-1"),
        ("resnet-8", "timm/test_mambaout"),
    ],
)
def test_families_teach_each_other(teacher, student):
    teachers = [build(name, 3, 5, (32, 32)).eval() for name in (teacher, "wrn-10-1")]
    learner = build(student, 3, 5, (32, 32)).train()
    x, target = torch.randn(4, 3, 32, 32), torch.arange(4)
    with torch.no_grad():
        taught = [network(x) for network in teachers]
    learned = learner(x)
    for method in (KD(), SP(), AT(), TGD()):
        terms = method.terms(learned, taught, target)
        assert terms.keys() == method.weights.keys()
        assert all(term.isfinite() and term > 0 for term in terms.values())
        learner.zero_grad()
        torch.stack(list(terms.values())).sum().backward(retain_graph=True)
        gradients = [parameter.grad for parameter in learner.parameters() if parameter.grad is not None]
        assert all(gradient.isfinite().all() for gradient in gradients)
        assert any(gradient.abs().sum() > 0 for gradient in gradients)


def test_a_student_of_another_family_is_exported(tmp_path):
    student = build("timm/test_vit", 3, 5, (32, 32)).eval()
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    result = export_student(student, ABOUT, images, tmp_path, formats=("onnx", "program"))
    assert result["agreement"] == {"safetensors": 1.0, "onnx": 1.0, "program": 1.0}


# --- errors ------------------------------------------------------------------------------------------------------


def test_unknown_names_are_answered_with_near_ones():
    assert "unknown timm model 'test_rsnet'. Did you mean 'test_resnet'" in error(check, "timm/test_rsnet")
    message = error(check, "timm/test_vit.nothing")
    assert "'test_vit'" in message
    assert "'test_vit.r160_in1k'" in message
    assert "unknown torchvision model 'resnet19'. Did you mean 'resnet18'" in error(check, "torchvision/resnet19")
    message = error(check, "resnet18")
    assert "There are timm/resnet18 and torchvision/resnet18." in message
    assert "timm/NAME, torchvision/NAME, package.module:function" in message
    assert "There" not in error(check, "wrn-10-11")
    check("wrn-10-1")
    for name in ("timm/", "elsewhere/resnet18", ""):
        assert "unknown model" in error(check, name)
    assert len(error(check, "timm/resnet-50")) < 300  # timm has more than a thousand names


def test_sizes_that_do_not_suit():
    message = error(build, "torchvision/vit_b_32", 3, 5, (64, 32))
    assert "takes square images; 64x32 were given" in message
    message = error(build, "torchvision/vit_b_32", 3, 5, (40, 40))
    assert "cannot be made for images of 40x40" in message
    assert "multiple of 32" in message
    message = error(build, "timm/test_vit", 3, 5, (8, 8))
    assert "of 8x8" in message
    assert "needs 1 or more channels" in error(build, "timm/test_vit", 0, 5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_networks:Smal", "unknown name in own_networks: 'Smal'. Did you mean 'Small'"),
        ("own_networks:table", "is no function or class but a dict"),
        ("own_networks:without", "must be callable as without(in_channels=3, num_classes=10)"),
        ("own_networks:", "does not name a network of your own"),
        (":make", "does not name a network of your own"),
        ("own networks:make", "does not name a network of your own"),
        ("own_netwerks:make", "there is no module 'own_netwerks' to import"),
        ("own_networks.sub:make", "there is no module 'own_networks.sub' to import"),
        ("own_ruin:make", "importing 'own_ruin' for the model 'own_ruin:make' raised ZeroDivisionError"),
        ("own_needs:make", "raised ModuleNotFoundError: No module named 'not_installed_anywhere'"),
    ],
)
def test_factories_that_cannot_be_found(own, name, message):
    assert message in error(check, name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_networks:none", "returned a NoneType; it must return the network"),
        ("own_networks:broken", "raised KeyError: 'layers'"),
        ("own_networks:stubborn", "num_classes=5, and returned a network with 3 and 10"),
    ],
)
def test_factories_that_fail(own, name, message):
    assert message in error(build, name, 3, 5)
