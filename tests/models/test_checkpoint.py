"""Weights files: what comes back, and what a file that does not fit is answered."""

import json
import pickle

import pytest
import safetensors.torch
import torch

from persistill.errors import UserError
from persistill.models import build, load, load_into, save

ABOUT = {"classes": ["ant", "bee"], "mean": [0.5], "std": [0.25], "view": "image"}


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = build("wrn-10-1", 1, 2)
    network(torch.randn(4, 1, 8, 8))  # moves the running statistics
    return network.eval()


@pytest.fixture
def path(network, tmp_path):
    save(network, tmp_path / "model.safetensors", ABOUT)
    return tmp_path / "model.safetensors"


def assert_same_state(one, other):
    for (name, a), (also, b) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert name == also
        assert a.dtype == b.dtype
        assert torch.equal(a, b)


def test_a_network_comes_back_bit_for_bit(network, path):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    found, about = load(path)
    assert torch.equal(torch.get_rng_state(), before)
    assert about == ABOUT
    assert (found.name, found.spec) == (network.name, network.spec)
    assert_same_state(found, network)
    x = torch.randn(3, 1, 8, 8)
    assert torch.equal(found(x).logits, network(x).logits)


def test_no_weights_are_drawn_that_those_of_the_file_replace(path, monkeypatch):
    def drawn(*_: object, **__: object) -> None:
        raise AssertionError("weights were drawn, for which torch imports a compiler where they have no memory")

    monkeypatch.setattr(torch.nn.init, "kaiming_normal_", drawn)
    load(path)


def test_a_loaded_network_can_be_trained(path):
    found, _ = load(path)
    assert not found.training
    found.train()(torch.randn(4, 1, 8, 8)).logits.sum().backward()
    assert all(parameter.is_leaf and parameter.grad is not None for parameter in found.parameters())


def test_weights_go_into_a_network_that_exists(network, path):
    other = build("wrn-10-1", 1, 2)
    assert load_into(other, path) == ABOUT
    assert_same_state(other, network)


def test_memory_format_does_not_matter(network, path):
    save(network.to(memory_format=torch.channels_last), path, ABOUT)
    assert_same_state(load(path)[0], network)


def test_the_header_can_be_read_by_anyone(path):
    with safetensors.safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["persistill"])
    assert header == {"format": 1, "model": "wrn-10-1", "in_channels": 1, "num_classes": 2, **ABOUT}


def test_about_must_not_overrule_the_header(network, tmp_path):
    with pytest.raises(ValueError, match="model"):
        save(network, tmp_path / "model.safetensors", {"model": "resnet-8"})
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize("share", [0.0, 0.00001, 0.001, 0.5, 0.99999])
def test_a_file_cut_short_is_named(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=r"model\.safetensors is not a whole safetensors file .*cut short"):
        load(path)


def test_missing_files_and_folders_are_named(tmp_path, network):
    for read in (load, lambda path: load_into(network, path)):
        with pytest.raises(UserError, match=r"there is no weights file .*nothing\.safetensors"):
            read(tmp_path / "nothing.safetensors")
        with pytest.raises(UserError, match="there is no weights file"):
            read(tmp_path)


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('code was run')",)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n" + bytes(100), pickle.dumps(Bomb()), b"{}", b"\xff" * 64])
def test_other_kinds_of_file_are_refused_and_run_nothing(path, content):
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a whole safetensors file"):
        load(path)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"format": "pt"},
        {"persistill": "{not json"},
        {"persistill": "[1]"},
        {"persistill": json.dumps({"format": 1, "model": "wrn-10-1", "in_channels": 1})},
        {"persistill": json.dumps({"format": 1, "model": "wrn-10-1", "in_channels": "1", "num_classes": 2})},
        {"persistill": json.dumps({"format": 1, "model": "wrn-10-1", "in_channels": 1.5, "num_classes": 2})},
        {"persistill": json.dumps({"format": 1, "model": "wrn-10-1", "in_channels": True, "num_classes": 2})},
        {"persistill": json.dumps({"format": 1, "model": "wrn-10-1", "in_channels": 10**12, "num_classes": 2})},
        {"persistill": json.dumps({"format": 1, "model": 5, "in_channels": 1, "num_classes": 2})},
    ],
)
def test_safetensors_of_others_are_refused(network, path, metadata):
    safetensors.torch.save_file(network.state_dict(), path, metadata)
    with pytest.raises(UserError, match="not one that persistill wrote"):
        load(path)


def with_header(network, path, **changes):
    header = {"format": 1, "model": "wrn-10-1", "in_channels": 1, "num_classes": 2, **changes}
    safetensors.torch.save_file(network.state_dict(), path, {"persistill": json.dumps(header)})


def test_a_header_that_does_not_fit_its_tensors(network, path):
    with_header(network, path, in_channels=3)
    with pytest.raises(
        UserError,
        match=r"conv\.weight is expected as \(16, 3, 3, 3\) float32 and found as \(16, 1, 3, 3\) float32\.",
    ):
        load(path)
    with_header(network, path, num_classes=5)
    with pytest.raises(UserError, match=r"classifier\.weight is expected .*; classifier\.bias is expected"):
        load(path)
    with_header(network, path, model="resnet-8")
    with pytest.raises(UserError, match=r"norm\.weight is expected.* and \d+ more"):
        load(path)
    with_header(network, path, num_classes=2**31 - 1, in_channels=2**31 - 1)  # allocates nothing
    with pytest.raises(UserError, match=r"conv\.weight"):
        load(path)


def test_formats_and_models_of_the_future(network, path):
    with_header(network, path, format=2)
    with pytest.raises(UserError, match="has format 2; this version of persistill reads format 1"):
        load(path)
    with_header(network, path, model="wrn-10-11")
    with pytest.raises(UserError, match=r"unknown model 'wrn-10-11'.*Did you mean 'wrn-10-1'"):
        load(path)


def test_tensors_of_another_type_are_refused(network, path):
    save(network.to(torch.bfloat16), path, ABOUT)
    with pytest.raises(UserError, match=r"expected as \(16, 1, 3, 3\) float32 and found as \(16, 1, 3, 3\) bfloat16"):
        load(path)


@pytest.mark.parametrize(
    ("name", "channels", "classes", "message"),
    [
        ("resnet-8", 1, 2, r"holds 'wrn-10-1' with 1 channel and 2 classes; 'resnet-8' with 1 channel"),
        (
            "wrn-10-1",
            3,
            2,
            r"with 1 channel and 2 classes; 'wrn-10-1' with 3 channels and 2 classes is expected",
        ),
        (
            "wrn-10-1",
            1,
            9,
            r"with 1 channel and 2 classes; 'wrn-10-1' with 1 channel and 9 classes is expected",
        ),
    ],
)
def test_a_network_that_does_not_fit_stays_as_it_is(path, name, channels, classes, message):
    other = build(name, channels, classes)
    before = {key: value.clone() for key, value in other.state_dict().items()}
    with pytest.raises(UserError, match=message):
        load_into(other, path)
    assert all(torch.equal(value, before[key]) for key, value in other.state_dict().items())


def test_a_tensor_too_few_or_too_many(network, path):
    state = network.state_dict()
    header = {"persistill": json.dumps({"format": 1, "model": "wrn-10-1", "in_channels": 1, "num_classes": 2})}
    safetensors.torch.save_file({**state, "extra": torch.zeros(2)}, path, header)
    with pytest.raises(UserError, match=r"extra is expected nowhere and found as \(2,\) float32"):
        load_into(network, path)
    del state["classifier.bias"]
    safetensors.torch.save_file(state, path, header)
    with pytest.raises(UserError, match=r"classifier\.bias is expected as \(2,\) float32 and found nowhere"):
        load(path)
