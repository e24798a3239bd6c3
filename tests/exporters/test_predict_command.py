"""`persistill predict`, as its user meets it."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from persistill.cli import main
from persistill.exporters import export_student
from persistill.inference import Predictor, image_files
from persistill.models import build


@pytest.fixture(scope="session")
def model(trained, digits, settings, tmp_path_factory):
    """An export."""
    folder = tmp_path_factory.mktemp("predict") / "student"
    folder.mkdir()
    export_student(trained, settings, digits[0][:2], folder, formats=())
    return folder


@pytest.fixture
def images(digits, tmp_path):
    """A folder of digits: two on top, one deeper, one that is no image by name."""
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    for name, pixels in zip(("b.png", "a.png", "deep/c.bmp"), digits[0][:3, 0].numpy(), strict=True):
        Image.fromarray(pixels).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def predict(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(["predict", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return stop.value.code, out, err

    return call


def expected(model, digits):
    """File name -> (class, confidence)."""
    answers = Predictor.load(model).predict_pixels(digits[0][:3])
    return dict(zip(("b.png", "a.png", "c.bmp"), ((a.name, a.confidence) for a in answers), strict=True))


def test_a_line_a_image(predict, model, images, digits):
    code, out, err = predict(model, images)
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert [line[0] for line in lines] == [str(images / name) for name in ("a.png", "b.png", "deep/c.bmp")]
    for file, name, confidence in lines:
        known = expected(model, digits)[file.rsplit("/", 1)[-1]]
        assert (name, confidence) == (known[0], f"{known[1]:.1%}")
    assert "calibrated" not in err


def test_files_as_csv_and_json(predict, model, images, digits, tmp_path):
    table = tmp_path / "answers.csv"
    code, out, _ = predict(model, images / "b.png", images / "deep", "--csv", table, "--top", "2", "--json")
    assert code == 0
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    said = json.loads(out)
    assert list(rows[0]) == ["file", "class", "confidence", "class_2", "confidence_2"]
    assert said["temperature"] == 1.5
    for row, entry, name in zip(rows, said["images"], ("b.png", "c.bmp"), strict=True):
        known = expected(model, digits)[name]
        assert (row["class"], float(row["confidence"])) == known
        assert (entry["class"], entry["confidence"]) == known
        assert row["file"] == entry["file"]
        assert float(row["confidence_2"]) == entry["top"][1]["confidence"] <= known[1]
    before = table.read_bytes()
    code, _, err = predict(model, images, "--csv", table)
    assert (code, table.read_bytes()) == (2, before)
    assert "was not overwritten" in err


def test_unreadable_files_are_named_and_the_exit_code_says_so(predict, model, images, tmp_path):
    (images / "cut.png").write_bytes((images / "a.png").read_bytes()[:60])
    code, out, err = predict(model, images, images / "notes.txt", "--json")
    assert code == 3
    said = json.loads(out)
    assert len(said["images"]) == 3
    assert [entry["file"] for entry in said["unreadable"]] == [str(images / n) for n in ("cut.png", "notes.txt")]
    assert "notes.txt (no image in a known format)" in err
    code, out, err = predict(model, images / "notes.txt")
    assert (code, out) == (2, "")
    assert "none of the 1 files can be read" in err


def test_the_sheet_shows_every_image(predict, model, images, tmp_path):
    Image.new("RGBA", (300, 40), (255, 0, 0, 255)).save(images / "wide $x$ \N{CJK UNIFIED IDEOGRAPH-4E00}.png")
    sheet = tmp_path / "sheet.png"
    code, _, err = predict(model, images, "--sheet", sheet)
    assert code == 0
    assert f"Wrote {sheet}" in err
    shown = np.asarray(Image.open(sheet).convert("RGB")).astype(int)
    assert (shown.std((0, 2)) > 0).mean() > 0.9
    assert ((shown == (255, 0, 0)).all(2)).sum() > 1000


def test_many_images_are_answered_in_batches_alike(predict, model, digits, tmp_path, monkeypatch):

    for k, pixels in enumerate(digits[0][:7, 0].numpy()):
        Image.fromarray(pixels).save(tmp_path / f"{k}.png")
    whole = json.loads(predict(model, tmp_path, "--json")[1])["images"]
    monkeypatch.setattr(image_files, "BATCH", 3)
    parts = json.loads(predict(model, tmp_path, "--json")[1])["images"]
    assert [(p["file"], p["class"]) for p in parts] == [(p["file"], p["class"]) for p in whole]
    assert len(parts) == 7


def test_without_a_temperature_it_says_so(predict, trained, about, images, digits, tmp_path):
    target = tmp_path / "bare"
    target.mkdir()
    export_student(trained, about, digits[0][:2], target, formats=())
    code, _, err = predict(target, images)
    assert code == 0
    assert "not calibrated" in err


def test_color_turned_and_of_another_size(predict, tmp_path):
    torch.manual_seed(2)
    network = build("wrn-10-1", 3, 2)
    about = {"classes": ["x", "y"], "mean": [0.5] * 3, "std": [0.25] * 3, "shape": [3, 8, 12]}
    (tmp_path / "model").mkdir()
    seen = torch.randint(256, (1, 3, 8, 12), dtype=torch.uint8)
    export_student(network, about, seen, tmp_path / "model", formats=())
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter
    turned = Image.fromarray(np.rot90(seen[0].permute(1, 2, 0).numpy()).copy())
    turned.save(tmp_path / "turned.tif", exif=exif)
    code, out, _ = predict(tmp_path / "model", tmp_path / "turned.tif", "--json")
    (known,) = Predictor.load(tmp_path / "model").predict_pixels(seen)
    (entry,) = json.loads(out)["images"]
    assert (code, entry["class"]) == (0, known.name)
    assert entry["confidence"] == pytest.approx(known.confidence, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "{images}"], "no file or folder nowhere"),
        (["{images}", "{images}"], "holds no student"),
        (["{model}", "{images}/none.png"], "no file or folder"),
        (["{model}", "{model}"], "there are no images in"),
        (["{model}", "{images}", "--sheet", "sheet.jpg"], "ends in .png"),
        (["{model}", "{images}", "--csv", "no/such/folder.csv"], "there is no folder no/such"),
        (["{model}/model.json", "{images}"], "is no model that can be read"),
        (["{model}", "{images}", "--top", "0"], "--top"),
    ],
)
def test_mistakes_are_sentences(predict, model, images, arguments, said):
    code, out, err = predict(*(word.format(model=model, images=images) for word in arguments))
    assert (code, out) == (2, "")
    assert said in " ".join(err.split())
