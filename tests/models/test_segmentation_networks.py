"""Networks that classify every pixel: shapes, torchvision's decoder as an oracle, files, exports, initial weights."""

import json
import math

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from small_networks import PixelNet
from torch.nn import functional as F
from torchvision.models.segmentation.lraspp import LRASPPHead

from persistill import models
from persistill.errors import UserError
from persistill.exporters import onnx_file
from persistill.exporters.student import Student
from persistill.models import build, check, load_initial_weights

OWN = ["lraspp:wrn-16-1", "lraspp:resnet-8", "lraspp:mobilenet-v2-half", "lraspp:vgg-8", "lraspp:shufflenet-v2"]
TIMM = ["lraspp:timm/test_resnet", "lraspp:timm/mobilenetv3_small_050"]
TORCHVISION = ["torchvision/lraspp_mobilenet_v3_large"]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def pixel_net(in_channels, num_classes):
    return PixelNet(in_channels, num_classes)


@pytest.mark.parametrize("size", [(32, 48), (33, 50)])
@pytest.mark.parametrize("name", [*OWN, *TIMM, *TORCHVISION, "test_segmentation_networks:pixel_net"])
def test_every_pixel_has_logits_and_the_spec_is_true(name, size):
    network = build(name, 3, 5, size).eval()
    assert network.name == name
    check(name)
    output = network(torch.randn(2, 3, *size))
    assert output.logits.shape == (2, 5, *size)
    assert output.embedding.shape == (2, network.spec.embedding_dim)
    assert [*output.feature_maps] == [*network.spec.feature_maps]
    for stage, (channels, stride) in network.spec.feature_maps.items():
        assert output.feature_maps[stage].shape == (2, channels, *(math.ceil(side / stride) for side in size))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torchvision/deeplabv3_resnet50", "torchvision/fcn_resnet50"])
def test_larger_networks_of_torchvision(name):
    network = build(name, 1, 5, (32, 48)).eval()
    output = network(torch.randn(1, 1, 32, 48))
    assert output.logits.shape == (1, 5, 32, 48)
    assert [(spec.channels, spec.stride) for spec in network.spec.feature_maps.values()] == [
        (64, 2),
        (256, 4),
        (2048, 8),
    ]
    assert not [tensor for tensor in network.state_dict() if "aux" in tensor]


@pytest.mark.parametrize(("name", "low", "high"), [("resnet18", 128, 512), ("mobilenetv3_small_100", 24, 576)])
def test_the_decoder_is_torchvisions(name, low, high):
    network = build(f"lraspp:timm/{name}", 3, 7, (64, 96)).double().eval()
    theirs = LRASPPHead(low, high, 7, 128).double().eval()
    ours = network.state_dict()
    names = {
        "cbr.": "project.",
        "scale.1.": "gate.0.",
        "low_classifier.": "classifier.low.",
        "high_": "classifier.high.",
    }
    state = {}
    for tensor in theirs.state_dict():
        there, here = next((there, here) for there, here in names.items() if tensor.startswith(there))
        state[tensor] = ours[here + tensor.removeprefix(there).removeprefix("classifier.")]
    theirs.load_state_dict(state)
    x = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    output = network(x)
    maps = [*output.feature_maps.values()]
    # The paper's: the last map at a stride of 16, the other one at 8.
    assert [tuple(one.shape[1:]) for one in (maps[-1], maps[-3])] == [(high, 4, 6), (low, 8, 12)]
    expected = F.interpolate(theirs({"high": maps[-1], "low": maps[-3]}), (64, 96), mode="bilinear")
    torch.testing.assert_close(output.logits, expected)
    torch.testing.assert_close(output.embedding, maps[-1].mean((2, 3)))


@pytest.mark.parametrize("name", [*OWN, *TIMM])
def test_cross_entropy_reaches_every_parameter(name):
    network = build(name, 3, 5, (32, 48)).train()
    target = torch.randint(5, (4, 32, 48))
    target[:, :3] = -100
    F.cross_entropy(network(torch.randn(4, 3, 32, 48)).logits, target).backward()
    assert not [path for path, one in network.named_parameters() if one.grad is None]


def test_an_encoder_is_the_network_of_its_name():
    torch.manual_seed(3)
    alone = build("wrn-16-1", 3, 5).eval()
    torch.manual_seed(3)
    network = build("lraspp:wrn-16-1", 3, 5).eval()
    x = torch.randn(2, 3, 20, 24)
    one, other = alone(x), network(x)
    assert torch.equal(one.embedding, other.embedding)
    for stage in one.feature_maps:
        assert torch.equal(one.feature_maps[stage], other.feature_maps[stage])


@pytest.mark.parametrize("name", ["lraspp:wrn-16-1", "lraspp:timm/test_resnet", *TORCHVISION])
def test_files_make_the_network_again(name, tmp_path):
    network = build(name, 3, 5, (32, 48)).eval()
    models.save(network, tmp_path / "w.safetensors", {"classes": list("abcde")})
    again, about = models.load(tmp_path / "w.safetensors")
    assert about == {"classes": list("abcde")}
    assert again.name == name
    x = torch.randn(1, 3, 32, 48)
    assert torch.equal(again(x).logits, network(x).logits)


def test_own_networks_are_loaded_by_their_names(tmp_path):
    name = "test_segmentation_networks:pixel_net"
    models.save(build(name, 3, 5, (32, 48)), tmp_path / "w.safetensors", {})
    with pytest.raises(UserError, match="which is user code"):
        models.load(tmp_path / "w.safetensors")
    assert models.load(tmp_path / "w.safetensors", name)[0].name == name


@pytest.mark.parametrize("name", ["lraspp:wrn-16-1", "lraspp:timm/mobilenetv3_small_050", *TORCHVISION])
def test_onnx_gives_the_same_logits(name, tmp_path):
    student = Student(build(name, 3, 5, (32, 48)), (0.5,) * 3, (0.25,) * 3).eval()
    config = {"classes": list("abcde")}
    (tmp_path / "model.onnx").write_bytes(onnx_file.to_onnx(student, (3, 32, 48), config).content)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert json.loads(session.get_modelmeta().custom_metadata_map["persistill"]) == config
    for batch in (1, 3):
        images = torch.rand(batch, 3, 32, 48)
        (found,) = session.run(["logits"], {"image": images.numpy()})
        np.testing.assert_allclose(found, student(images).detach().numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lraspp:wrn-16-7", r"unknown encoder for lraspp 'wrn-16-7'\. Did you mean 'wrn-16-"),
        ("lraspp:timm/resnet19", "unknown timm model 'resnet19'"),
        ("lraspp:torchvision/resnet18", r"unknown encoder.*lraspp:timm/NAME"),
        ("torchvision/deeplabv3_resnet5", r"Did you mean 'deeplabv3_resnet50'"),
    ],
)
def test_names_that_are_unknown(name, said):
    with pytest.raises(UserError, match=said):
        check(name)
    with pytest.raises(UserError, match=said):
        build(name, 3, 5)


def test_networks_that_cannot_be_encoders(monkeypatch):
    with pytest.raises(UserError, match=r"maps \(B, C, H, W\) of \[256\] channels are needed of an encoder"):
        build("lraspp:timm/crossvit_9_240", 3, 5)

    def refuse(*_, **__):
        raise RuntimeError("features_only not implemented")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(UserError, match=r"timm cannot give the stages of 'resnet18' .*features_only not implemented"):
        build("lraspp:timm/resnet18", 3, 5)


def test_modules_must_answer_at_the_size_of_the_image():
    class Coarse(PixelNet):
        def forward(self, x):
            return self.classifier(self.encoder(x))

    with pytest.raises(UserError, match=r"returns \(2, 5, 8, 12\) .* or \(2, 5, 32, 48\) for every pixel"):
        models.adapt(Coarse(), 3, 5, image_size=(32, 48))
    with pytest.raises(UserError, match="has 5 classes and 6 are needed"):
        models.adapt(PixelNet(), 3, 6, image_size=(32, 48))


def test_an_encoder_starts_from_a_classifier(tmp_path):
    classifier = build("wrn-16-1", 3, 10)
    models.save(classifier, tmp_path / "w.safetensors", {})
    network = build("lraspp:wrn-16-1", 3, 5)
    before = network.state_dict()["classifier.low.weight"].clone()
    notes = load_initial_weights(network, str(tmp_path / "w.safetensors"))
    assert [note[:25] for note in notes] == ["the decoder starts fresh:"]
    state, given = network.encoder.module.state_dict(), classifier.state_dict()
    assert state.keys() == given.keys() - {"classifier.weight", "classifier.bias"}
    assert all(torch.equal(state[tensor], given[tensor]) for tensor in state)
    assert torch.equal(network.state_dict()["classifier.low.weight"], before)


@pytest.mark.parametrize("name", ["convnext_atto", "mobilenetv3_small_050"])
def test_an_encoder_starts_from_a_file_of_timm(tmp_path, name):
    made = timm.create_model(name, num_classes=7)
    safetensors.torch.save_file(made.state_dict(), tmp_path / "w.safetensors")
    network = build(f"lraspp:timm/{name}", 3, 5, (64, 64)).eval()
    load_initial_weights(network, str(tmp_path / "w.safetensors"))
    made.eval()
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close([*network(x).feature_maps.values()][1], made.forward_intermediates(x, [1])[1][0])


def test_an_encoder_of_other_channels_or_another_network(tmp_path):
    models.save(build("wrn-16-1", 3, 10), tmp_path / "w.safetensors", {})
    gray = build("lraspp:wrn-16-1", 1, 5)
    assert "the first convolution starts fresh" in load_initial_weights(gray, str(tmp_path / "w.safetensors"))[1]
    with pytest.raises(UserError, match="holds 'wrn-16-1', and 'lraspp:wrn-16-2' is to start from it"):
        load_initial_weights(build("lraspp:wrn-16-2", 3, 5), str(tmp_path / "w.safetensors"))
    safetensors.torch.save_file(build("wrn-16-1", 3, 10).state_dict(), tmp_path / "bare.safetensors")
    with pytest.raises(UserError, match="the encoder 'wrn-16-2' cannot start from"):
        load_initial_weights(build("lraspp:wrn-16-2", 3, 5), str(tmp_path / "bare.safetensors"))


def test_a_whole_network_starts_from_one_of_other_classes(tmp_path):
    given = build("lraspp:wrn-16-1", 3, 9)
    models.save(given, tmp_path / "w.safetensors", {})
    network = build("lraspp:wrn-16-1", 3, 5)
    (note,) = load_initial_weights(network, str(tmp_path / "w.safetensors"))
    assert "has 9 classes, the data 5" in note
    assert torch.equal(network.project[0].weight, given.project[0].weight)


def test_torchvisions_segmentation_starts_from_what_is_published(monkeypatch):
    name = "lraspp_mobilenet_v3_large"
    made = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=21)
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", lambda *_, **__: made.state_dict())
    found = models.find_pretrained(f"torchvision/{name}")
    assert (found.classes, found.size) == (21, (520, 520))
    network = build(f"torchvision/{name}", 3, 5, (32, 48))
    (note,) = load_initial_weights(network, "pretrained")
    assert "has 21 classes, the data 5" in note
    assert torch.equal(network.module.classifier.cbr[0].weight, made.classifier.cbr[0].weight)


def test_what_is_published_of_an_encoder(monkeypatch):
    assert models.find_pretrained("lraspp:timm/test_resnet") == models.find_pretrained("timm/test_resnet")
    assert models.library_normalization("lraspp:timm/test_resnet") == models.library_normalization("timm/test_resnet")
    made = timm.create_model("test_resnet", features_only=True)
    monkeypatch.setattr(models.initial_weights, "download_pretrained", lambda _: made.state_dict())
    network = build("lraspp:timm/test_resnet", 3, 5, (32, 48))
    (note,) = load_initial_weights(network, "pretrained")
    assert note.startswith("the decoder starts fresh")
    assert torch.equal(network.encoder.module.conv1[0].weight, made.conv1[0].weight)
