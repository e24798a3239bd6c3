"""Networks with a projector and another's classifier: made by name, saved, and made again."""

from pathlib import Path

import pytest
import torch
from small_networks import ConvNet

from persistill.errors import UserError
from persistill.models import ProjectedClassifier, adapt, build, find_classifier, load, load_into, open_network, save
from persistill.models.projected import Projector, split_projector

IMAGES = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def made(name="resnet-8"):
    torch.manual_seed(0)
    network = ProjectedClassifier(build(name, 3, 4), Projector(24, 3))
    with torch.no_grad():
        network.classifier.weight.mul_(3)
    return network.eval()


def test_names_tell_the_projector() -> None:
    assert split_projector("wrn-16-1") == ("wrn-16-1", None)
    assert split_projector("a.b:c+projector-24-3") == ("a.b:c", Projector(24, 3))
    assert split_projector("wrn-16-1+projector-24") == ("wrn-16-1+projector-24", None)


def test_the_spec_is_what_it_returns() -> None:
    network = made()
    output = network(IMAGES)
    assert output.embedding.shape == (3, network.spec.embedding_dim)
    assert list(output.feature_maps) == list(network.spec.feature_maps)
    for name, spec in network.spec.feature_maps.items():
        assert output.feature_maps[name].shape == (3, spec.channels, 16 // spec.stride, 16 // spec.stride)
    assert find_classifier(network, output) is network.classifier


@pytest.mark.parametrize("name", ["resnet-8", "torchvision/resnet18"])
def test_a_file_makes_it_again(tmp_path: Path, name: str) -> None:
    network, path = made(name), tmp_path / "weights.safetensors"
    save(network, path, {"view": "image"})
    expected = network(IMAGES).logits
    for model in (None, network.name, name):  # the student's own name is enough for who trained it
        again, about = load(path, model)
        assert (again.name, about) == (f"{name}+projector-24-3", {"view": "image"})
        torch.testing.assert_close(again(IMAGES).logits, expected)
    opened, _ = open_network(build(name, 3, 4), path)
    torch.testing.assert_close(opened.eval()(IMAGES).logits, expected)
    assert not any(parameter.requires_grad for parameter in opened.classifier.parameters())
    with pytest.raises(UserError, match=r"\+projector-24-3"):
        load_into(build(name, 3, 4), path)


def test_other_files_open_as_they_are(tmp_path: Path) -> None:
    network, path = build("resnet-8", 3, 4), tmp_path / "weights.safetensors"
    save(network, path, {})
    other = build("resnet-8", 3, 4)
    opened, _ = open_network(other, path)
    assert opened is other
    assert torch.equal(opened.classifier.weight, network.classifier.weight)


def test_what_cannot_be_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown model"):
        build("resnet-9+projector-24-3", 3, 4)
    with pytest.raises(UserError, match="unknown model"):
        build("resnet-8+projector-24-3+projector-24-3", 3, 4)
    unnamed = adapt(ConvNet(3, 4), 3, 4, image_size=(16, 16))
    with pytest.raises(UserError, match="adapted without a name"):
        save(ProjectedClassifier(unnamed, Projector(24, 3)), tmp_path / "weights.safetensors", {})


def test_a_classifier_is_one_that_makes_the_logits() -> None:
    network = build("resnet-8", 3, 4).eval()
    output = network(IMAGES)
    assert find_classifier(network, output) is network.classifier
    assert find_classifier(network, output._replace(logits=output.logits + 1)) is None
    assert find_classifier(network, output._replace(embedding=output.embedding[:, :3])) is None
    pixels = build("lraspp:resnet-8", 3, 4).eval()
    assert find_classifier(pixels, pixels(IMAGES)) is None
    foreign = build("torchvision/resnet18", 3, 4, (32, 32)).eval()
    assert find_classifier(foreign, foreign(torch.randn(2, 3, 32, 32))) is foreign.module.fc
