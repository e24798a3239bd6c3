"""Detectors: shapes against the spec, torchvision's own forward as an oracle, one batch for all, weights, errors."""

import math

import pytest
import torch
import torchvision
from made_up_objects import objects, some_objects
from torch import nn
from torchvision.models.detection import FCOS, FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD, DefaultBoxGenerator

from persistill import models
from persistill.errors import UserError
from persistill.models import Detector, batch_images, build, check, find_pretrained, load_initial_weights
from persistill.models.detection import torchvision_detectors
from persistill.structures import Objects

OWN = ["fcos-64:resnet-8", "retinanet-64:mobilenet-v2-half", "faster-rcnn-64:vgg-8"]
LIBRARIES = [
    "fcos-64:timm/mobilenetv3_small_050",
    "retinanet-64:timm/test_resnet",
    "fcos-64:torchvision/resnet18",
    "retinanet-64:torchvision/mobilenet_v3_small",
]
TORCHVISION = "torchvision/ssdlite320_mobilenet_v3_large"


class TinyBackbone(nn.Module):
    """Two levels, of strides 4 and 8."""

    out_channels = 32

    def __init__(self, channels=3):
        super().__init__()
        self.one, self.two = nn.Conv2d(channels, 32, 3, 4, 1), nn.Conv2d(32, 32, 3, 2, 1)

    def forward(self, x):
        first = self.one(x)
        return {"pool": first, "0": self.two(first)}  # keys that say nothing


def tiny_fcos(in_channels, num_classes):
    return FCOS(
        TinyBackbone(in_channels),
        1 + num_classes,
        anchor_generator=AnchorGenerator(((4,), (8,)), ((1.0,),) * 2),
        score_thresh=0.0,
    )


def tiny_ssd(num_classes):
    boxes, backbone = DefaultBoxGenerator([[2], [2, 3]], scales=[0.1, 0.3, 0.6]), TinyBackbone()
    backbone.out_channels = [32, 32]
    return SSD(backbone, boxes, (32, 32), 1 + num_classes)


def no_backbone(in_channels, num_classes):
    module = tiny_fcos(in_channels, num_classes)
    module.backbone = None
    return module


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("name", [*OWN, *LIBRARIES, TORCHVISION])
def test_levels_are_as_the_spec_says(name):
    check(name)
    size = (160, 128) if name == TORCHVISION else (64, 96)
    detector = build(name, 3, 4, size).train()
    assert isinstance(detector, Detector)
    assert detector.name == name
    output = detector(torch.randn(2, 3, *size), [some_objects(*size), objects([], [])])
    assert [*output.feature_maps] == [*detector.spec.feature_maps]
    for level, (channels, stride) in detector.spec.feature_maps.items():
        assert output.feature_maps[level].shape == (2, channels, *(math.ceil(side / stride) for side in size))
    for loss in output.losses.values():
        assert loss.isfinite()
    sum(output.losses.values()).backward()
    assert output.detections == ()
    assert output.embedding.shape[1] == detector.spec.embedding_dim
    places = [maps.shape[2:] for maps in output.feature_maps.values()]
    if not detector.two_stage:
        softmax = name == TORCHVISION
        assert [level.logits.shape[:3] for level in output.levels] == [(2, *place) for place in places]
        assert {level.logits.shape[4] for level in output.levels} == {4 + softmax}
        count = sum(level.logits[0, ..., 0].numel() for level in output.levels)
        assert output.logits.shape == (2, 4 + softmax, count)


@pytest.mark.parametrize("training", [False, True])
def test_the_result_is_torchvisions_own(training):
    """The module's own forward, with a transform that changes nothing, is the oracle; and batches keep their order."""
    module = tiny_fcos(3, 4)
    theirs = tiny_fcos(3, 4)
    theirs.load_state_dict(module.state_dict())
    theirs.transform.image_mean, theirs.transform.image_std = [0.0] * 3, [1.0] * 3
    theirs.transform.min_size, theirs.transform.max_size = (32,), 64
    detector = Detector("tiny", module, 3, 4)
    assert detector.normalization == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    images = [torch.rand(3, 32, 64), torch.rand(3, 32, 40)]
    detector.train(training), theirs.train(training)
    targets = [some_objects(32, 64), some_objects(32, 40)]
    output = detector(batch_images(images), targets)
    inside = [{"boxes": target.boxes, "labels": target.labels + 1} for target in targets]
    expected = theirs(images, inside if training else None)
    if training:
        assert expected.keys() == output.losses.keys()
        for name, loss in expected.items():
            torch.testing.assert_close(output.losses[name], loss)
        return
    for found, wanted in zip(output.detections, expected, strict=True):
        kept = wanted["labels"] > 0  # label 0 is the background
        assert 0 < kept.sum() < len(kept)
        torch.testing.assert_close(found.scores, wanted["scores"][kept])
        torch.testing.assert_close(found.boxes, wanted["boxes"][kept])
        assert found.labels.equal(wanted["labels"][kept] - 1)
        assert found.scores.equal(found.scores.sort(descending=True).values)


def test_outputs_of_heads_lie_where_their_places_are():
    detector = Detector("tiny", tiny_fcos(3, 4), 3, 4).eval()
    output = detector(torch.randn(2, 3, 32, 64))
    features = [*output.feature_maps.values()]
    logits = [detector.module.head.classification_head.cls_logits(_tower(detector, one)) for one in features]
    for level, maps in zip(output.levels, logits, strict=True):
        torch.testing.assert_close(level.logits[..., 0, :], maps.permute(0, 2, 3, 1)[..., 1:])  # without background
        assert level.centerness.shape == level.logits.shape[:4]
        assert not level.background
    flat = torch.cat([level.logits.reshape(2, -1, 4) for level in output.levels], 1)
    assert output.logits.equal(flat.transpose(1, 2))


def _tower(detector, maps):
    return detector.module.head.classification_head.conv(maps)


def test_a_softmax_keeps_its_background():
    detector = Detector("tiny", tiny_ssd(4), 3, 4, (32, 32)).eval()
    output = detector(torch.randn(1, 3, 32, 32))
    assert [level.logits.shape for level in output.levels] == [(1, 8, 8, 4, 5), (1, 4, 4, 6, 5)]
    assert all(level.background and level.centerness is None for level in output.levels)


def test_regions_are_classified_by_the_modules_own_heads():
    detector = build("faster-rcnn-64:resnet-8", 3, 4).eval()
    images = batch_images([torch.randn(3, 64, 60), torch.randn(3, 48, 64)])
    regions = [torch.tensor([[0.0, 0.0, 20.0, 30.0], [5.0, 5.0, 50.0, 60.0]]), torch.zeros(0, 4)]
    output = detector(images, regions=regions)
    assert output.logits.shape == (2, 5)
    assert output.embedding.shape == (2, detector.spec.embedding_dim)
    heads = detector.module.roi_heads
    torch.testing.assert_close(output.logits, heads.box_predictor(output.embedding)[0])
    other = detector(images, regions=[regions[0][:1], regions[0][1:]])
    torch.testing.assert_close(other.embedding[0], output.embedding[0])
    assert not torch.allclose(other.embedding[1], output.embedding[1])
    assert detector(images).embedding.shape == (0, detector.spec.embedding_dim)


def test_teacher_and_student_see_the_same_places():
    """An image moved by 16 pixels moves the maps of both, by one place where the stride is 16."""
    student, teacher = (build(name, 3, 4, (64, 64)).eval() for name in ("fcos-64:resnet-8", "retinanet-64:vgg-8"))
    batch = batch_images([torch.randn(3, 50, 64), torch.randn(3, 64, 40)])
    assert isinstance(batch, ImageList)
    assert batch.tensors.shape == (2, 3, 64, 64)
    assert (batch.tensors[0, :, 50:] == 0).all()
    with torch.no_grad():
        sizes = [{one.shape[2:] for one in net(batch).feature_maps.values()} for net in (student, teacher)]
    assert {(8, 8), (4, 4), (2, 2), (1, 1)} <= sizes[0] & sizes[1]


def test_difficult_and_crowds_are_not_trained_on():
    detector = Detector("tiny", tiny_fcos(3, 4), 3, 4).train()
    images = torch.randn(1, 3, 32, 32)
    two = objects([[1, 1, 9, 9], [4, 4, 20, 20], [2, 8, 30, 30]], [0, 1, 2], difficult=[1], crowd=[2])
    alone = objects([[1, 1, 9, 9]], [0])
    with torch.no_grad():
        assert detector(images, [two]).losses == detector(images, [alone]).losses


@pytest.mark.parametrize("name", [*OWN, "ssd"])
def test_batches_without_any_object_are_trained_on(name):
    detector = Detector("ssd", tiny_ssd(4), 3, 4, (32, 32)) if name == "ssd" else build(name, 3, 4)
    losses = detector.train()(torch.randn(2, 3, 64, 64), [objects([], [])] * 2).losses
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()


def test_gradients_and_hooks():
    detector = Detector("tiny", tiny_fcos(3, 4), 3, 4).train()
    output = detector(torch.randn(1, 3, 32, 32), [some_objects(32, 32)])
    logits, embedding, maps = output[:3]  # a ModelOutput, to those who know nothing of detection
    assert isinstance(output, models.DetectionOutput)
    assert logits.requires_grad
    assert embedding.requires_grad
    assert maps["level1"].requires_grad
    assert not detector.module.backbone._forward_hooks
    assert not detector.module.head._forward_hooks


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda d: d.train()(torch.randn(2, 3, 32, 32)),
            "objects of each image in training; none were given",
        ),
        (lambda d: d.train()(torch.randn(2, 3, 32, 32), [objects([], [])]), "1 were given for 2 images"),
        (lambda d: d.train()(torch.randn(1, 3, 32, 32), [objects([[1, 1, 4, 4]], [4])]), "class 4; classes are 0 to 3"),
        (lambda d: d.train()(torch.randn(1, 3, 32, 32), [objects([[1, 1, 1, 4]], [0])]), "which is empty"),
        (lambda d: d(torch.randn(1, 1, 32, 32)), r"images \(B, 3, H, W\)"),
        (lambda d: d(torch.randn(1, 3, 32, 32), regions=[torch.zeros(0, 4)]), "is a dense detector"),
        (lambda _: batch_images([]), "one or more images"),
        (lambda _: Detector("none", nn.Linear(1, 1), 3, 4), "without a backbone"),
        (lambda _: Detector("odd", tiny_fcos(1, 4), 3, 4), "cannot take images with 3 channel"),
    ],
)
def test_mistakes_are_told(call, said):
    with pytest.raises(UserError, match=said):
        call(Detector("tiny", tiny_fcos(3, 4), 3, 4).eval())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fcos:resnet-9", "encoder for fcos 'resnet-9'. Did you mean 'resnet-8'"),
        ("fcos:timm/resnet1", "unknown timm model"),
        ("retinanet:torchvision/resnet1", "unknown torchvision model"),
        ("fcos-80:resnet-8", "multiple of 32"),
        ("torchvision/maskrcnn_resnet50_fpn", "is trained on masks"),
        ("torchvision/fcos_resnet5_fpn", "fcos_resnet50_fpn"),
    ],
)
def test_unknown_names_are_told(name, said):
    with pytest.raises(UserError, match=said):
        check(name)


def test_an_encoder_without_stages_is_told(monkeypatch):
    flat = torchvision.models.VisionTransformer(224, 112, 1, 1, 8, 8)
    monkeypatch.setattr(torchvision.models, "get_model", lambda _: flat)
    with pytest.raises(UserError, match="no stages of falling resolution"):
        build("fcos:torchvision/vit_b_16", 3, 4)


def test_a_detector_of_ones_own():
    name = "test_detectors:tiny_fcos"
    detector = build(name, 1, 4)
    assert isinstance(detector, Detector)
    assert detector.name == name
    assert [spec.stride for spec in detector.spec.feature_maps.values()] == [4, 8]
    with pytest.raises(UserError, match="without a backbone"):
        build("test_detectors:no_backbone", 3, 4)


def test_files(tmp_path):
    detector = build("fcos-64:resnet-8", 3, 4).eval()
    models.save(detector, tmp_path / "detector.safetensors", {"classes": list("abcd")})
    again, about = models.load(tmp_path / "detector.safetensors")
    assert about == {"classes": list("abcd")}
    images = torch.randn(1, 3, 32, 32)
    assert again(images).logits.equal(detector(images).logits)
    other = build("fcos-64:resnet-8", 3, 2)
    (note,) = load_initial_weights(other, str(tmp_path / "detector.safetensors"))
    assert note.startswith("the classifier starts fresh")
    stem = "module.backbone.encoder.stem.0.weight"
    assert other.state_dict()[stem].equal(detector.state_dict()[stem])


def test_an_encoder_starts_from_a_classifier(tmp_path):
    classifier = build("mobilenet-v2-half", 3, 7)
    models.save(classifier, tmp_path / "classifier.safetensors", {})
    detector = build("fcos-64:mobilenet-v2-half", 3, 4)
    (note,) = load_initial_weights(detector, str(tmp_path / "classifier.safetensors"))
    assert note.startswith("the pyramid and the head start fresh")
    state = detector.encoder.module.state_dict()
    assert all(state[name].equal(tensor) for name, tensor in classifier.state_dict().items() if name in state)


def test_published_weights(monkeypatch):
    name = "ssdlite320_mobilenet_v3_large"
    published = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=91).state_dict()
    published = {key: tensor for key, tensor in published.items() if not key.endswith("num_batches_tracked")}
    monkeypatch.setattr(torchvision_detectors, "published_state", lambda _: published)
    assert load_initial_weights(build(f"torchvision/{name}", 3, 90), "pretrained") == ()
    detector = build(f"torchvision/{name}", 3, 4)
    (note,) = load_initial_weights(detector, "pretrained")
    assert "COCO's 90 classes, the data have 4" in note
    state = detector.module.state_dict()
    taken = [key for key, tensor in published.items() if state[key].equal(tensor) and tensor.numel() > 1]
    assert {".".join(key.split(".")[:2]) for key in published if key not in taken} == {"head.classification_head"}
    assert any("regression_head" in key for key in taken)


def test_weights_of_another_network_are_refused(monkeypatch):
    name = "ssdlite320_mobilenet_v3_large"
    with torch.device("meta"):
        detector = build(f"torchvision/{name}", 3, 90)
        published = detector.module.state_dict()
    published["head.more"] = published.popitem()[1]
    monkeypatch.setattr(torchvision_detectors, "published_state", lambda _: published)
    with pytest.raises(UserError, match=r"head\.more is only there"):
        load_initial_weights(detector, "pretrained")


def test_what_is_published_is_known_without_a_download():
    found = find_pretrained("torchvision/ssd300_vgg16")
    assert (found.classes, found.size, found.std) == (90, (300, 300), (1 / 255,) * 3)
    assert find_pretrained("fcos:timm/resnet18").name.startswith("timm/resnet18.")


def test_faster_rcnn_has_the_published_number_of_parameters():
    """Head and pyramid are those of the paper: on the same encoder there are as many parameters as torchvision says."""
    with torch.device("meta"):
        detector = build("faster-rcnn:torchvision/resnet50", 3, 90)
        theirs = torchvision.models.get_model("fasterrcnn_resnet50_fpn", weights=None, weights_backbone=None)
    assert isinstance(theirs, FasterRCNN)
    ours, expected = (sum(one.numel() for one in net.parameters()) for net in (detector, theirs))
    assert ours == expected


def test_boxes_of_fcos_begin_at_one_stride():
    torch.manual_seed(0)
    detector = models.build("fcos:resnet-8", 3, 4, (64, 64)).train()
    levels = detector(torch.randn(2, 3, 64, 64), [some_objects(64, 64)] * 2).levels
    for level in levels:  # those at 0 have no gradient, and a training can lose all of them
        assert level.boxes.mean().item() == pytest.approx(1, abs=0.3)
        assert (level.boxes > 0).float().mean() > 0.95
    theirs = models.build("torchvision/fcos_resnet50_fpn", 3, 4, (64, 64)).get_submodule("module.head.regression_head")
    assert theirs.get_parameter("bbox_reg.bias").eq(1).all()


@pytest.mark.parametrize("head", ["fcos", "retinanet", "faster-rcnn"])
def test_boxes_are_exact_in_half_precision(head):
    torch.manual_seed(0)
    detector = models.build(f"{head}:resnet-8", 3, 2, (64, 2048)).train()
    none = torch.zeros(1, dtype=torch.bool)
    objects = [Objects(torch.tensor([[1901.0, 12.0, 1943.0, 40.0]]), torch.tensor([0]), none, none)]
    images = torch.randn(1, 3, 64, 2048)

    def losses() -> dict[str, float]:
        torch.manual_seed(1)
        return {name: loss.item() for name, loss in detector(images, lambda: objects).losses.items()}

    exact = losses()
    with torch.autocast("cpu", torch.bfloat16):
        halved = losses()
    # bfloat16 knows 1896 and 1904, and nothing between
    assert halved == pytest.approx(exact, rel=0.03, abs=0.01)
