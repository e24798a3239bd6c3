"""Exported detectors: every file finds what the checkpoint finds, and a script finds it without persistill."""

import csv
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import Tensor

from persistill import find_objects
from persistill.cli import main
from persistill.errors import UserError
from persistill.exporters import DetectorStudent, export_student, load_student
from persistill.inference import Predictor
from persistill.models import Detector, build
from persistill.structures import Objects, pack_objects
from persistill.tasks.detection.export import DETECT
from persistill.utils.non_maximum_suppression import suppress

HEIGHT, WIDTH = 40, 56
MEAN, STD = [0.5, 0.45, 0.4], [0.25, 0.2, 0.3]
ABOUT: dict[str, Any] = {
    "classes": ["cat", "dog"],
    "mean": MEAN,
    "std": STD,
    "shape": [3, HEIGHT, WIDTH],
    "preprocessing": {"resize": "letterbox", "range": None},
}


def decided(name: str) -> Detector:
    """A detector with random weights that is surer of some places than of others."""
    torch.manual_seed(0)
    network = build(name, 3, 2, (HEIGHT, WIDTH))
    assert isinstance(network, Detector)
    with torch.no_grad():
        for key, weight in network.named_parameters():
            if key.endswith((".classification_head.cls_logits.weight", "cls_score.weight")):
                weight.mul_(30)
            if key.endswith(".classification_head.cls_logits.bias"):
                weight.fill_(-1.0)
                weight[0] = -20.0  # training tells it that nothing is background
    return network.eval()


def find(network: Detector, images: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Its detections, with images normalized by hand."""
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (MEAN, STD))
    with torch.no_grad():
        return [tuple(network(((image / 255 - mean) / std)[None]).detections[0]) for image in images]


@dataclass
class Delivered:
    network: Detector
    images: Tensor
    folder: Path
    result: dict[str, Any]


@pytest.fixture(scope="module")
def delivered(tmp_path_factory):
    network = decided("fcos:resnet-8")
    images = torch.randint(256, (5, 3, HEIGHT, WIDTH), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    none = torch.zeros(2, dtype=torch.bool)
    truth = [Objects(boxes[:2], labels[:2], none, none) for boxes, _, labels in find(network, images)]
    folder = tmp_path_factory.mktemp("detector")
    result = export_student(
        network,
        ABOUT,
        images,
        folder,
        targets=pack_objects(truth),
        calibration=images,
        formats=("onnx", "nms", "int8", "program"),
        task=DETECT,
    )
    return Delivered(network, images, folder, result)


def run(path: Path, images: Tensor) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": images.numpy().astype(np.float32) / 255})


def test_every_file_finds_what_the_checkpoint_finds(delivered):
    result = delivered.result
    assert result["failed"] == result["left_out"] == {}
    assert set(result["files"]) == {"safetensors", "onnx", "nms", "int8", "program", "config", "example"}
    exact = ("safetensors", "onnx", "nms", "program")
    assert {name: result["agreement"][name] for name in exact} == dict.fromkeys(exact, 1.0)
    assert max(result["difference"][name] for name in exact) < 2e-4
    assert result["figure"] == "ap"
    assert result["ap"]["checkpoint"] > 0.5  # what it finds surest is what there is
    assert {name: result["ap"][name] for name in exact} == dict.fromkeys(exact, result["ap"]["checkpoint"])
    assert {tuple(times) for times in result["milliseconds"].values()} == {("1",)}
    json.dumps(result, allow_nan=False)


def test_the_file_with_its_selection_gives_detections(delivered):
    for image, expected in zip(delivered.images, find(delivered.network, delivered.images), strict=True):
        found = run(delivered.folder / "model.nms.onnx", image[None])
        assert len(expected[0]) > 3
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-3)


@pytest.mark.parametrize("batch", [1, 3])
def test_the_file_without_it_gives_all_places_of_any_number_of_images(delivered, batch):
    config = json.loads((delivered.folder / "model.json").read_text())
    boxes, scores = run(delivered.folder / "model.onnx", delivered.images[:batch])
    assert [batch, *boxes.shape[1:]] == [batch, *config["output"]["others"]["boxes"]["shape"][1:]]
    assert (boxes.shape[0], scores.shape) == (batch, (*boxes.shape[:2], 2))
    assert (boxes >= 0).all()
    assert (boxes <= [WIDTH, HEIGHT, WIDTH, HEIGHT]).all()
    chosen = {name: value for name, value in config["selection"].items() if name != "what"}
    for places, values, expected in zip(boxes, scores, find(delivered.network, delivered.images[:batch]), strict=True):
        found = suppress(places, values, **chosen)
        np.testing.assert_allclose(found.scores, expected[1].numpy(), atol=1e-4)


def test_int8_leaves_what_follows_the_last_convolutions_in_float(delivered):
    model = onnx.load(delivered.folder / "model.int8.onnx")
    from_integers = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    whole = [node for node in convolutions if node.input[1] not in from_integers]
    levels = len(delivered.network.spec.feature_maps)
    assert len(whole) == 3 * levels  # classes, boxes and centerness of every level
    assert len(convolutions) > 2 * len(whole)
    assert delivered.result["difference"]["int8"] < 0.5
    assert delivered.result["agreement"]["int8"] > 0.5


def test_the_weights_make_a_module_that_finds_objects(delivered):
    student = load_student(delivered.folder)
    assert isinstance(student, DetectorStudent)
    with torch.no_grad():
        found = student(delivered.images[:1] / 255)
    for ours, theirs in zip(found, find(delivered.network, delivered.images[:1])[0], strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.fixture(scope="module")
def photo(delivered, tmp_path_factory):
    """A wide image of another size, stored on its side, that shows what the detector sees in its first image."""
    path = tmp_path_factory.mktemp("photo") / "wide.png"
    pixels = Image.fromarray(delivered.images[0].permute(1, 2, 0).numpy()).resize((112, 60), Image.Resampling.NEAREST)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    pixels.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    return path


@pytest.mark.parametrize("file", ["model.nms.onnx", "model.onnx", "model.safetensors", "model.int8.onnx"])
def test_all_files_can_be_asked_for_objects_in_pixels_of_the_image(delivered, photo, file):
    expected = Predictor.load(delivered.folder).find_objects(photo, threshold=0.3)
    assert len(expected) > 2
    assert all(0 <= x1 <= x2 <= 112 and 0 <= y1 <= y2 <= 60 for _, _, (x1, y1, x2, y2) in expected)
    # The frame has bars of 5 pixels above and below an image of half the size.
    with Image.open(photo) as image:
        (in_frame,) = Predictor.load(delivered.folder).objects_in_pixels(np.asarray(framed_by_hand(image))[None])
    x1, y1, x2, y2 = in_frame[0].box
    assert expected[0].box == pytest.approx((2 * x1, 2 * y1 - 10, 2 * x2, 2 * y2 - 10))

    found = Predictor.load(delivered.folder / file).find_objects(photo, threshold=0.3)
    if "int8" in file:
        assert found[0].name == expected[0].name
        return
    assert [one.name for one in found] == [one.name for one in expected]
    assert [one.score for one in found] == pytest.approx([one.score for one in expected], abs=1e-4)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.box == pytest.approx(theirs.box, abs=0.01)


def framed_by_hand(image: Image.Image) -> np.ndarray:
    upright = image.transpose(Image.Transpose.ROTATE_270).convert("RGB")
    frame = Image.new("RGB", (WIDTH, HEIGHT))
    frame.paste(upright.resize((56, 30), Image.Resampling.BICUBIC), (0, 5))
    return np.asarray(frame).transpose(2, 0, 1)


def test_the_script_finds_and_draws_objects_without_persistill(delivered, photo):
    script = delivered.folder / "detect.py"
    assert "torch" not in script.read_text()
    answer = subprocess.run(
        [sys.executable, "-I", "-W", "error", script, photo, "none.png"],
        capture_output=True,
        text=True,
        cwd=photo.parent,
        check=False,
    )
    assert (answer.returncode, "none.png" in answer.stderr) == (3, True)
    expected = Predictor.load(delivered.folder).find_objects(photo)
    lines = [line.rsplit(maxsplit=6) for line in answer.stdout.splitlines()]
    assert [line[:3] for line in lines] == [[str(photo), one.name, f"{one.score:.1%}"] for one in expected]
    for line, one in zip(lines, expected, strict=True):
        assert [float(corner) for corner in line[3:]] == pytest.approx(one.box, abs=0.06)
    with Image.open(photo.with_suffix(".boxes.png")) as drawn:
        assert drawn.size == (112, 60)
        x1, y1, *_ = expected[-1].box
        assert drawn.getpixel((min(111, round(x1)), min(59, round(y1)))) == (255, 0, 0)


def test_the_script_passes_over_what_it_wrote_and_overwrites_no_drawing_of_another_image(delivered, photo, tmp_path):
    one, other = tmp_path / "a.png", tmp_path / "a.bmp"
    with Image.open(photo) as image:
        image.save(one)
        Image.new("RGB", (40, 30)).save(other)
    command = [sys.executable, "-I", "-W", "error", delivered.folder / "detect.py"]
    subprocess.run([*command, one, other], check=True, capture_output=True)
    drawn = {path.name for path in tmp_path.iterdir()} - {"a.png", "a.bmp"}
    assert drawn == {"a.boxes.png", "a.bmp.boxes.png"}
    with Image.open(tmp_path / "a.boxes.png") as image:
        assert sorted(image.size) == [60, 112]
    again = subprocess.run(
        [*command, one, other, *(tmp_path / name for name in drawn)], check=True, capture_output=True, text=True
    )
    assert all(name in again.stderr for name in drawn)
    assert {path.name for path in tmp_path.iterdir()} == drawn | {"a.png", "a.bmp"}


def test_a_detector_is_not_asked_for_classes_of_images(delivered, photo):
    student = Predictor.load(delivered.folder)
    with pytest.raises(UserError, match="ask find_objects"):
        student.predict(photo)
    with pytest.raises(UserError, match="ask predict"):
        student.predict_masks(delivered.images)
    assert student.find_objects([]) == []


@pytest.fixture
def predict(delivered, capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(["predict", str(delivered.folder), *map(str, arguments)])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return stop.value.code, out, err

    return call


def test_the_command_lists_objects_and_draws_them(delivered, predict, photo, tmp_path):
    plain = tmp_path / "images" / "black.png"
    plain.parent.mkdir()
    Image.new("RGB", (64, 48)).save(plain)
    (tmp_path / "images" / "broken.png").write_bytes(b"none")
    Image.new("RGB", (64, 48)).save(tmp_path / "images" / "black.boxes.png")  # as detect.py draws it: passed over
    sheet, table = tmp_path / "sheet.png", tmp_path / "objects.csv"
    code, out, err = predict(photo, plain.parent, "--threshold", "0.6", "--sheet", sheet, "--csv", table, "--json")
    assert (code, "Left out" in err) == (3, True)
    said = json.loads(out)
    expected = find_objects(delivered.folder, [photo, plain], threshold=0.6)
    assert [image["file"] for image in said["images"]] == [str(photo), str(plain)]
    assert (said["images"][0]["width"], said["images"][0]["height"]) == (112, 60)
    assert said["threshold"] == 0.6
    for image, (_, objects, _) in zip(said["images"], expected, strict=True):
        assert image["objects"] == [{"class": a.name, "score": a.score, "box": list(a.box)} for a in objects]
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    several = expected[0].objects
    assert [float(row["x2"]) for row in rows[: len(several)]] == [one.box[2] for one in several]
    assert {row["file"] for row in rows} == {str(photo), str(plain)}  # that with nothing in it, too
    with Image.open(sheet) as drawn:
        assert drawn.width > 700
        assert len(drawn.convert("RGB").getcolors(10**6)) > 100


def test_the_command_prints_a_line_an_object(delivered, predict, photo):
    code, out, err = predict(photo)
    expected = Predictor.load(delivered.folder).find_objects(photo)
    assert (code, f"{len(expected)} objects" in err) == (0, True)
    assert [line.split()[1:3] for line in out.splitlines()] == [[one.name, f"{one.score:.1%}"] for one in expected]
    assert predict(photo, "--threshold", "1")[1].split() == [str(photo), "no", "object"]
    code, _, err = predict(photo, "--top", "2")
    assert (code, "--top lists classes of images" in err) == (2, True)


def test_a_detector_of_two_stages_has_the_file_with_its_selection_alone(tmp_path):
    network = decided("faster-rcnn:resnet-8")
    images = torch.randint(256, (2, 3, HEIGHT, WIDTH), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    result = export_student(network, ABOUT, images, tmp_path, formats=("onnx", "nms", "program"), task=DETECT)
    assert result["failed"] == {}
    assert result["files"].keys() == {"safetensors", "nms", "config", "example"}
    assert set(result["left_out"]) == {"onnx", "program"}
    assert "selects regions inside" in result["left_out"]["onnx"]
    assert result["agreement"] == {"safetensors": 1.0, "nms": 1.0}
    expected = find(network, images[:1])[0]
    assert len(expected[0]) > 3
    for ours, theirs in zip(run(tmp_path / "model.nms.onnx", images[:1]), expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-3)


def test_boxes_that_lie_elsewhere_are_noticed(tmp_path, monkeypatch):
    images = torch.randint(256, (2, 3, HEIGHT, WIDTH), dtype=torch.uint8)
    forward = DetectorStudent.forward

    def shifted(self, image):
        boxes, scores, labels = forward(self, image)
        return boxes + 3.0, scores, labels

    monkeypatch.setattr(DetectorStudent, "forward", shifted)
    with pytest.raises(RuntimeError, match=r"model\.safetensors does not answer .* of the boxes are the same"):
        export_student(decided("fcos:resnet-8"), ABOUT, images, tmp_path, formats=(), task=DETECT)


def test_what_is_no_detector_is_not_exported_as_one(student, about, images, tmp_path):
    with pytest.raises(UserError, match="is no detector"):
        export_student(student, about, images, tmp_path, formats=(), task=DETECT)
