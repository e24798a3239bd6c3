"""Weights from which a training starts: taken whole but for what cannot fit, refused where something else differs.

Nothing is downloaded: timm and torchvision read files that are made here, by their own code.
"""

import dataclasses
import re
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from timm.models import _registry

from persistill import models
from persistill.errors import UserError
from persistill.models import build, find_pretrained, initial_normalization, load_initial_weights, unwrap

SIZE = (32, 32)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def published(monkeypatch, tmp_path):
    """Let timm find the weights that it publishes in a file."""

    def publish(name: str, **options):
        made = timm.create_model(name, **options)
        path = tmp_path / f"{name}.safetensors"
        safetensors.torch.save_file(made.state_dict(), path)
        for key in (name, f"{name}.r160_in1k"):
            config = dataclasses.replace(_registry._model_pretrained_cfgs[key], file=str(path))
            monkeypatch.setitem(_registry._model_pretrained_cfgs, key, config)
        return made

    return publish


@pytest.fixture
def torchvisions(monkeypatch):
    """Let torchvision find its weights where it would have downloaded them from."""

    def publish(name: str):
        options = {"init_weights": False} if name == "googlenet" else {}
        made = torchvision.models.get_model(name, weights=None, **options)
        monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", lambda *_, **__: made.state_dict())
        return made

    return publish


def same(network, other, but=()):
    """Names of the tensors in which two networks of one module differ, without those that may."""
    one, two = unwrap(network).state_dict(), other.state_dict()
    assert one.keys() <= two.keys()
    return {name for name in one if one[name].shape != two[name].shape or not one[name].equal(two[name])} - set(but)


def refusal(function, *arguments):
    with pytest.raises(UserError) as caught:
        function(*arguments)
    return str(caught.value)


# --- published by a library --------------------------------------------------------------------------------------


def test_timms_own_code_brings_weights_to_classes_channels_and_size(published):
    theirs = published("test_vit")
    network = build("timm/test_vit", 3, 1000, (160, 160))
    assert load_initial_weights(network, "pretrained") == ()
    assert not same(network, theirs)
    network = build("timm/test_vit", 1, 7, SIZE)
    fresh = unwrap(network).head.weight.clone()
    assert load_initial_weights(network, "pretrained") == (
        "the classifier starts fresh: what is published has 1000 classes, the data 7",
        "timm made 1 of the 3 channels of the first convolution",
    )
    ours = unwrap(network).state_dict()
    assert ours["blocks.1.mlp.fc1.weight"].equal(theirs.state_dict()["blocks.1.mlp.fc1.weight"])
    torch.testing.assert_close(
        ours["patch_embed.proj.weight"], theirs.state_dict()["patch_embed.proj.weight"].sum(1, keepdim=True)
    )
    assert ours["pos_embed"].shape == (1, 5, 64)  # 10 x 10 positions brought to 2 x 2
    assert unwrap(network).head.weight.shape == fresh.shape


def test_the_random_state_is_left_alone_and_decides_the_classifier(published):
    published("test_resnet")
    heads = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        network = build("timm/test_resnet", 3, 7, SIZE)
        before = torch.get_rng_state()
        load_initial_weights(network, "pretrained")
        assert torch.get_rng_state().equal(before)
        heads.append(unwrap(network).fc.weight)
    assert heads[0].equal(heads[1])
    assert not heads[0].equal(heads[2])


def test_torchvisions_weights_but_for_the_classifier(torchvisions):
    theirs = torchvisions("resnet18")
    network = build("torchvision/resnet18", 3, 7, SIZE)
    fresh = unwrap(network).fc.weight.clone()
    assert load_initial_weights(network, "pretrained") == (
        "the classifier starts fresh: what is published has 1000 classes, the data 7",
    )
    assert not same(network, theirs, ("fc.weight", "fc.bias"))
    assert unwrap(network).fc.weight.equal(fresh)
    network = build("torchvision/resnet18", 1, 1000, SIZE)
    assert load_initial_weights(network, "pretrained") == (
        "the first convolution starts fresh: what is published is for images of 3 channels, these have 1",
    )
    assert not same(network, theirs, ("conv1.weight",))


def test_auxiliary_heads_are_left_out_and_the_normalization_inside_is_made_good(torchvisions):
    theirs = torchvisions("googlenet").eval()
    network = build("torchvision/googlenet", 3, 1000, (64, 64)).eval()
    assert load_initial_weights(network, "pretrained") == ()
    theirs.transform_input = True  # as torchvision sets it with published weights
    images = torch.rand(2, 3, 64, 64)
    imagenet = torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    mean, std, _ = initial_normalization("torchvision/googlenet", "pretrained")
    with torch.no_grad():
        found = network(torchvision.transforms.Normalize(mean, std)(images)).logits
        torch.testing.assert_close(found, theirs(imagenet(images)), rtol=1e-4, atol=1e-4)


def test_published_weights_have_an_exact_name_and_a_normalization():
    found = find_pretrained("timm/resnet50")
    assert found.name == "timm/resnet50.a1_in1k"
    assert (found.classes, found.channels, found.size) == (1000, 3, (224, 224))
    assert find_pretrained("timm/resnet50.a2_in1k").name == "timm/resnet50.a2_in1k"
    found = find_pretrained("torchvision/resnet50")
    assert found.name == "torchvision/ResNet50_Weights.IMAGENET1K_V2"
    assert found.mean == (0.485, 0.456, 0.406)
    assert initial_normalization("timm/vit_tiny_patch16_224", "pretrained")[0] == (0.5, 0.5, 0.5)


def test_a_download_that_fails_is_one_sentence(monkeypatch, torchvisions):
    from huggingface_hub import HfApi

    def fail(*_, **__):
        raise OSError("no way out\nmore")

    monkeypatch.setattr(HfApi, "model_info", fail)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    said = refusal(load_initial_weights, build("timm/test_resnet", 3, 7, SIZE), "pretrained")
    assert "test_resnet.r160_in1k from https://huggingface.co/timm/test_resnet.r160_in1k" in said
    assert "no way out." in said
    assert "more" not in said
    assert "in place of 'pretrained'" in said
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", fail)
    said = refusal(load_initial_weights, build("torchvision/resnet18", 3, 7, SIZE), "pretrained")
    assert "https://download.pytorch.org/models/resnet18-f37072fd.pth" in said
    assert "persistill import-checkpoint resnet18-f37072fd.pth" in said


def test_what_the_hubs_client_has_is_read_without_asking_the_hub(monkeypatch, tmp_path):
    from huggingface_hub import HfApi

    theirs = timm.create_model("test_resnet")
    safetensors.torch.save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache",
        lambda _, name: str(tmp_path / name) if name == "model.safetensors" else None,
    )
    monkeypatch.setattr(HfApi, "model_info", lambda *_, **__: pytest.fail("the hub was asked"))
    network = build("timm/test_resnet", 3, 7, SIZE)
    load_initial_weights(network, "pretrained")
    assert not same(network, theirs, ("fc.weight", "fc.bias"))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("resnet-8", r"nobody publishes weights of 'resnet-8'.*timm/NAME.*safetensors"),
        ("package.module:function", r"nobody publishes weights"),
        ("timm/coatnet_0_224", r"unknown timm model with published weights.*Did you mean 'coatnet_0_rw_224"),
    ],
)
def test_what_nobody_publishes(model, message):
    with pytest.raises(UserError, match=message):
        models.check_initial(model, "pretrained")


# --- in a file ---------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "w.safetensors"


def test_a_file_of_ours_with_other_classes_and_channels(file):
    theirs = build("resnet-8", 3, 5)
    models.save(theirs, file, {"classes": list("abcde"), "mean": [0.1] * 3, "std": [0.2] * 3, "view": "image"})
    network = build("resnet-8", 3, 5)
    assert load_initial_weights(network, str(file)) == ()
    assert not same(network, theirs)
    network = build("resnet-8", 1, 7)
    assert load_initial_weights(network, str(file)) == (
        f"the classifier starts fresh: the file {file} has 5 classes, the data 7",
        f"the first convolution starts fresh: the file {file} is for images of 3 channels, these have 1",
    )
    first = next(name for name in theirs.state_dict() if name.endswith("weight"))
    assert not same(network, theirs, (first, "classifier.weight", "classifier.bias"))
    assert initial_normalization("resnet-8", str(file)) == ((0.1,) * 3, (0.2,) * 3, "as w.safetensors says")


def test_a_file_of_ours_of_a_foreign_network_and_one_of_its_own(file):
    theirs = build("timm/test_resnet", 3, 5, SIZE)
    models.save(theirs, file, {})
    network = build("timm/test_resnet.r160_in1k", 3, 7, SIZE)
    assert load_initial_weights(network, str(file)) == (
        f"the classifier starts fresh: the file {file} has 5 classes, the data 7",
    )
    assert not same(network, unwrap(theirs), ("fc.weight", "fc.bias"))
    assert initial_normalization("timm/test_resnet", str(file)) is None
    # With the library's own names, half precision, without counters and without a classifier.
    bare = timm.create_model("test_resnet", num_classes=0)
    halves = {name: tensor.half() for name, tensor in bare.state_dict().items() if "num_batches" not in name}
    safetensors.torch.save_file(halves, file)
    assert load_initial_weights(network, str(file)) == (
        f"the classifier starts fresh: the file {file} has none that fits",
    )
    assert unwrap(network).conv1[0].weight.equal(halves["conv1.0.weight"].float())
    assert unwrap(network).conv1[0].weight.dtype == torch.float32
    assert initial_normalization("timm/test_resnet", str(file))[2] == "as timm states for test_resnet"


def test_a_classifier_is_taken_whole_or_not_at_all(file):
    state = timm.create_model("test_resnet", num_classes=7).state_dict()
    safetensors.torch.save_file({name: tensor for name, tensor in state.items() if name != "fc.bias"}, file)
    network = build("timm/test_resnet", 3, 7, SIZE)
    fresh = unwrap(network).fc.weight.clone()
    assert "none that fits" in load_initial_weights(network, str(file))[0]
    assert unwrap(network).fc.weight.equal(fresh)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layer1.0.conv1.weight": None}, r"layer1.0.conv1.weight is \(.*float32 here and absent there"),
        ({"more": torch.zeros(2)}, r"more is absent here and \(2,\) float32 there"),
        ({"conv1.0.weight": torch.zeros(99, 1, 3, 3)}, r"conv1.0.weight is .* and \(99, 1, 3, 3\)"),
        ({"layer1.0.conv1.weight": torch.zeros(3)}, r"layer1.0.conv1.weight is .* and \(3,\)"),
        ({"fc.weight": torch.zeros(5, 3)}, r"fc.weight is \(7, \d+\) float32 here and \(5, 3\) float32 there"),
        ({"fc.weight": torch.zeros(5, 3), "a": torch.zeros(1), "b": torch.zeros(1), "c": torch.zeros(1)}, "and 1 more"),
    ],
)
def test_anything_else_that_differs_is_named_and_nothing_taken(file, change, words):
    state = timm.create_model("test_resnet", num_classes=5).state_dict() | change
    safetensors.torch.save_file({name: tensor for name, tensor in state.items() if tensor is not None}, file)
    network = build("timm/test_resnet", 3, 7, SIZE)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    said = refusal(load_initial_weights, network, str(file))
    assert re.search(words, said)
    assert "Only the classifier, and the first convolution for other channels, may differ" in said
    assert all(tensor.equal(before[name]) for name, tensor in network.state_dict().items())


def test_files_of_another_kind_are_refused(file):
    network = build("resnet-8", 3, 5)
    assert "there is no file" in refusal(load_initial_weights, network, str(file))
    models.save(build("resnet-14", 3, 5), file, {})
    assert "holds 'resnet-14', and 'resnet-8' is to start from it" in refusal(load_initial_weights, network, str(file))
    pickle = file.with_suffix(".pth")
    torch.save({}, pickle)
    assert "persistill import-checkpoint" in refusal(load_initial_weights, network, str(pickle))
    file.write_bytes(b"no")
    assert "not a whole safetensors file" in refusal(load_initial_weights, network, str(file))
