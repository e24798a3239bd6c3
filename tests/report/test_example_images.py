"""The hardest images, and what only the topology teacher gets right."""

import base64
import io
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_examples import answers, keep_images
from made_up_runs import CLASSES, Maker
from matplotlib import colormaps
from PIL import Image
from scipy.special import softmax

from persistill.report import read, write
from persistill.report.choice import Candidate, Choice
from persistill.report.data_uri import inlined_image, inlined_sheet
from persistill.report.figure import Section
from persistill.report.sections.hardest_images import hardest
from persistill.report.sections.only_topology import only_topology
from persistill.report.significance import paired_difference
from persistill.report.table import signed
from persistill.report.teacher_pairs import teacher_pairs


def section(made: Section | str) -> Section:
    assert isinstance(made, Section), made
    return made


def decoded(source: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(source.partition("base64,")[2])))


def entries(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of each label, the first run; and all students' rows."""
    done = json.loads((folder / "done.json").read_text())
    first = {f"teacher: {name}": of for name, of in done["teachers"].items()}
    for row in reversed(done["rows"]):
        first[row["arm"]] = row
    return first, done["rows"]


def share(probability: float) -> str:
    rounded = round(100 * probability)
    return "< 1 %" if rounded < 1 and probability else "> 99 %" if rounded > 99 and probability < 1 else f"{rounded} %"


def test_the_hardest_images_with_the_answers_of_all(maker: Maker) -> None:
    folder = maker.comparison(arms=("alone", "kd", "tgd", "fourth"), seeds=(0, 1))
    kept = keep_images(folder)
    part = section(hardest(read(folder)))
    first, students = entries(folder)
    cases = part.content["cases"]
    assert [case.number for case in cases] == kept["rows"][kept["hardest"]].tolist()
    for case, place in zip(cases, kept["hardest"], strict=True):
        row, label = kept["rows"][place], kept["target"][place]
        assert case.name == CLASSES[label]
        right = sum(int(answers(folder, of)[0][row].argmax() == label) for of in students)
        assert case.note == f"{right} of 8 students right"
        assert sorted(answer.network for answer in case.answers) == sorted(first)
        for answer in case.answers:
            of = softmax(answers(folder, first[answer.network])[0][row])
            assert answer.answer == CLASSES[of.argmax()]
            assert answer.right == (of.argmax() == label)
            assert (answer.sure, answer.of_right) == (share(of.max()), share(of[label]))
        assert np.array_equal(np.asarray(decoded(case.image.source)), kept["images"][place].transpose(1, 2, 0))
        assert case.image.text == f"Image of the class {case.name}, 32 by 32 pixels"
        assert case.sheet is None


def test_of_many_arms_most_are_folded_away(maker: Maker) -> None:
    arms = ("alone", "kd", "tgd", "third", "fourth", "fifth")
    folder = maker.comparison(arms=arms, seeds=(0,))
    keep_images(folder)
    comparison = read(folder)
    for export in ("fifth", "kd", "alone"):
        choice = Choice(Candidate(export, 0, "", 0.5), 10, ())
        part = section(hardest(replace(comparison, choice=choice)))
        shown = ["alone"] if export == "alone" else ["alone", export]
        for case in part.content["cases"]:
            names = [answer.network for answer in case.answers]
            assert names == ["teacher: image", "teacher: persistence", *shown]
            assert [answer.network for answer in case.folded] == [name for name in arms if name not in shown]


def test_a_network_that_diverged_has_no_probabilities(maker: Maker) -> None:
    folder = maker.comparison(arms=("alone", "kd"), seeds=(0,))
    kept = keep_images(folder)
    first, _ = entries(folder)
    logits, target = answers(folder, first["kd"])
    logits[kept["rows"][0]] = np.inf
    logits[kept["rows"][1], 3] = np.nan
    np.savez(folder.parent / first["kd"]["evaluation"] / "predictions.npz", logits=logits, target=target)
    told = {
        case.number: {answer.network: answer for answer in case.answers}["kd"]
        for part in (hardest(read(folder)),)
        for case in section(part).content["cases"]
    }
    for row, answer in told.items():
        broken = row in kept["rows"][:2]
        assert (answer.answer == "not finite" and answer.sure == "—" and not answer.right) == broken


def set_answers(folder: Path, wanted: Mapping[str, list[str]], target: str) -> None:
    """Replace predictions: for each label, a string of answers for each seed, one letter an image."""
    done = json.loads((folder / "done.json").read_text())
    entries = {f"teacher: {name}": [of] for name, of in done["teachers"].items()}
    for row in done["rows"]:
        entries.setdefault(row["arm"], []).append(row)
    classes = np.array([int(letter) for letter in target])
    for label, seeds in wanted.items():
        for entry, said in zip(entries[label], seeds, strict=True):
            logits = 3.0 * np.eye(10, dtype=np.float32)[[int(letter) for letter in said]]
            np.savez(folder.parent / entry["evaluation"] / "predictions.npz", logits=logits, target=classes)


BY_HAND = {
    # Right where the letter is that of the target: both on 0 and 1, image alone on 2 to 4, topology alone on 5 and 6.
    "teacher: image": ["0123400000"],
    "teacher: persistence": ["0100056000"],
    "alone": ["0123056000", "0103450900"],
    "tgd": ["9120450789", "9120056789"],
}
TARGET = "0123456789"


@pytest.fixture
def by_hand(maker: Maker) -> Path:
    folder = maker.comparison(arms=("alone", "tgd"), seeds=(0, 1))
    set_answers(folder, BY_HAND, TARGET)
    keep_images(folder)
    return folder


def test_the_four_groups_by_hand(by_hand: Path) -> None:
    (pair,) = teacher_pairs(read(by_hand))
    groups = {name: np.flatnonzero(group).tolist() for name, group in pair.groups.items()}
    assert groups == {"both": [0, 1], "image": [2, 3, 4], "topology": [5, 6], "neither": [7, 8, 9]}
    part = section(only_topology(read(by_hand)))
    table, _ = part.tables
    assert table.header == ("Network", "Both right", "Only image", "Only topology", "Neither", "All", "Taught by")
    half = 100 / math.sqrt(8)  # sample deviation of two values that are a half apart
    third, tenth = 100 / 3 / math.sqrt(2), 10 / math.sqrt(2)
    assert table.rows == (
        ("ImageDataset", "2", "3", "2", "3", "10", ""),
        # seed 0: 2, 2, 2, 0; seed 1: 2, 2, 1, 0
        (
            "alone",
            "100.00 ± 0.00",
            "66.67 ± 0.00",
            f"75.00 ± {half:.2f}",
            "0.00 ± 0.00",
            f"55.00 ± {tenth:.2f}",
            "labels",
        ),
        # seed 0: 1, 2, 1, 3; seed 1: 1, 1, 2, 3
        (
            "tgd",
            "50.00 ± 0.00",
            f"50.00 ± {third:.2f}",
            f"75.00 ± {half:.2f}",
            "100.00 ± 0.00",
            "70.00 ± 0.00",
            "image + topology",
        ),
    )
    first, second, third_sentence = part.content["pairs"][0]["sentences"]
    assert first == (
        "Of 10 test images both teachers are right on 2 and neither on 3; only image is right on 3, and only "
        "persistence on 2."
    )
    # 2 of the 5 that image gets wrong; of those, alone has 2 with one seed and 1 with the other.
    assert "is right on 40.00 % of the 5 that image gets wrong" in second
    assert second.endswith("is right on 30.00 % of them.")
    assert third_sentence.startswith(
        "tgd beside alone, the baseline, for no arm is taught in the same way without persistence: "
    )


def test_gains_are_paired_by_seed_within_the_groups(by_hand: Path) -> None:
    comparison = read(by_hand)
    (pair,) = teacher_pairs(comparison)
    alone, tgd = comparison.arms
    assert pair.baseline == alone

    def right(said: str, places: list[int]) -> list[float]:
        return [float(said[place] == TARGET[place]) for place in places]

    places = {
        "where only persistence is right": [5, 6],
        "where only image is right": [2, 3, 4],
        "where neither is right": [7, 8, 9],
        "on all images": list(range(10)),
    }
    part = section(only_topology(comparison))
    cells, said = [], {}
    for where, inside in places.items():
        ours, theirs = (np.array([right(said, inside) for said in BY_HAND[name]]) for name in ("tgd", "alone"))
        expected = paired_difference(ours, theirs)
        low, high = max(expected.low, -1), min(expected.high, 1)
        mean, low, high = (signed(100 * value) for value in (expected.mean, low, high))
        cells.append(f"{mean} ({low} to {high})")
        said.setdefault(expected.verdict, []).append(f"{where} ({mean} points)")
    assert part.tables[1].rows == (("tgd", "alone (baseline)", *cells),)
    assert [cell.split(" ")[0] for cell in cells] == ["+0.00", "−16.67", "+100.00", "+15.00"]
    verdicts = "; ".join(f"{verdict} {', '.join(places)}" for verdict, places in said.items())
    assert part.content["pairs"][0]["sentences"][-1].endswith(f": {verdicts}.")
    # Another arm's seeds are those of the same numbers, whatever their order.
    turned = replace(alone, runs=alone.runs[::-1])
    found = [pair.difference(tgd, other, pair.groups["topology"]) for other in (alone, turned)]
    assert found[0] == found[1]
    elsewhere = replace(alone, runs=tuple(replace(run, seed=10) for run in alone.runs[:1]))
    assert pair.difference(tgd, elsewhere, pair.groups["topology"]) is None
    assert pair.difference(tgd, alone, pair.groups["topology"] & False) is None


METHOD = {"is": "TGD", "kd": 0.9, "similarity": 300.0, "alphas": [0.9, 0.1], "merge": "normalized"}
ARM = {"methods": [METHOD], "teachers": ["image", "persistence"], "start": "alone", "cross_entropy": 0.1, "train": None}
ALONE = {**METHOD, "alphas": [1.0], "merge": "published"}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"methods": [ALONE]}, True),
        ({"methods": [{**ALONE, "is": "WeightedTGD", "confidence": 2.0}]}, True),
        ({"methods": [{**ALONE, "kd": 0.8}]}, False),
        ({"methods": [ALONE, {"is": "KD", "weight": 1.0}]}, False),
        ({"methods": [{"is": "KD", "weight": 1.0}]}, False),
        ({"methods": [ALONE], "start": None}, False),
        ({"methods": [ALONE], "cross_entropy": 1.0}, False),
        ({"methods": [ALONE], "train": {"epochs": 3}}, False),
        ({"methods": [ALONE], "teachers": ["persistence"]}, False),
        ({"methods": [ALONE], "teachers": []}, False),
    ],
)
def test_what_counts_as_taught_in_the_same_way(by_hand: Path, changes: dict[str, Any], found: bool) -> None:
    comparison = read(by_hand)
    arms = {"alone": {**ARM, "teachers": ["image"], **changes}, "tgd": ARM}
    comparison = replace(comparison, settings={**comparison.settings, "arms": arms})
    (pair,) = teacher_pairs(comparison)
    control = pair.control(comparison.arms[1])
    assert (control is not None) == found
    if found:
        sentence = section(only_topology(comparison)).content["pairs"][0]["sentences"][-1]
        assert section(only_topology(comparison)).tables[1].rows[0][:2] == ("tgd", "alone")
        assert sentence.startswith("tgd beside alone, which is taught in the same way without persistence: ")


def test_images_that_only_the_topology_teacher_gets_right(maker: Maker) -> None:
    folder = maker.comparison(arms=("alone", "tgd"), seeds=(0, 1))
    kept = keep_images(folder)
    pair = section(only_topology(read(folder))).content["pairs"][0]
    places = kept["only_persistence_not_image"]
    assert len(places) > 2
    assert [case.number for case in pair["cases"]] == kept["rows"][places].tolist()
    for case, place in zip(pair["cases"], places, strict=True):
        image, topology, *students = case.answers
        assert not image.right
        assert topology.right
        assert [student.network for student in students] == ["alone", "tgd"]
        sheet = case.sheet
        assert sheet is not None
        assert_sheet(sheet.source, kept["view_persistence"][place], 2)
        for name in ("rows red", "columns blue"):
            assert f"{name}: largest value 1.00" in sheet.text
    assert "(by rows, then by columns; red, green and blue from the left)" in pair["note"]


def assert_sheet(source: str, images: np.ndarray, lines: int) -> None:
    """A grid of the images in colors of viridis, with a little of nothing between them."""
    shown = np.asarray(decoded(source).convert("RGBA")).astype(int)
    channels, height, width = images.shape
    columns, gap = channels // lines, 2 if width == 50 else 1
    assert shown.shape[:2] == (lines * (height + gap) - gap, columns * (width + gap) - gap)
    for number, image in enumerate(images):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        block = shown[top : top + height, left : left + width]
        expected = 255 * np.asarray(colormaps["viridis"](image / 255))[..., :3]
        assert np.abs(block[..., :3] - expected).max() < 4
        assert (block[..., 3] == 255).all()
    assert (shown[..., 3] == 255).sum() == images.size


def test_a_sheet_of_one_line_and_of_one_image() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 6), dtype=np.uint8)
    images[0, 0, 0] = 255
    assert_sheet(inlined_sheet(images / 255, ("rows", "columns")).source, images, 1)  # five are no two lines
    assert_sheet(inlined_sheet(images[:4] / 255, ("rows", "columns")).source, images[:4], 2)
    assert_sheet(inlined_sheet(images[:2] / 255, ("rows", "columns")).source, images[:2], 1)  # of one channel
    one = inlined_sheet(images[:1] / 255, ("rows",))
    assert_sheet(one.source, images[:1], 1)
    assert one.text.startswith("rows: largest value 1.00 in the upper third")


def test_large_images_are_photographs() -> None:
    pixels = np.tile(np.arange(96, dtype=np.uint8), (3, 96, 1))
    found = inlined_image(pixels, "cat")
    assert found.style == "photograph"
    assert np.abs(np.asarray(decoded(found.source)).astype(int) - pixels.transpose(1, 2, 0)).max() < 8
    assert inlined_image(pixels[:, :64, :64], "cat").style == "pixels"


def test_gray_images_and_a_view_without_groups(maker: Maker) -> None:
    folder = maker.comparison(arms=("alone",), seeds=(0,))
    kept = keep_images(folder, shape=(1, 8, 8), view=(2, 16, 16))
    comparison = read(folder)
    part = section(only_topology(comparison))
    case = part.content["pairs"][0]["cases"][0]
    place = kept["only_persistence_not_image"][0]
    assert np.array_equal(np.asarray(decoded(case.image.source)), kept["images"][place, 0])
    assert "(by rows, then by columns)." in part.content["pairs"][0]["note"]
    bare = replace(comparison, views=tuple(replace(view, groups=()) for view in comparison.views))
    pair = section(only_topology(bare)).content["pairs"][0]
    assert "beside what it sees of them. Students" in pair["note"]
    assert_sheet(pair["cases"][0].sheet.source, kept["view_persistence"][place], 1)


def test_without_a_pair_of_teachers_it_is_said(maker: Maker) -> None:
    for number, teachers in enumerate([(), ("image",), ("persistence",), ("image", "other")]):
        folder = Maker(maker.root / str(number)).comparison(arms=("alone",), seeds=(0,), teachers=teachers)
        keep_images(folder)
        comparison = read(folder)
        assert only_topology(comparison) == (
            "What only the topology teacher gets right: this comparison has no complete teacher of images beside one "
            "of persistence images."
        )
        case = section(hardest(comparison)).content["cases"][0]
        assert [answer.network for answer in case.answers] == [*(f"teacher: {name}" for name in teachers), "alone"]
        assert case.folded == ()


def test_of_two_topology_teachers_each_has_its_pair(maker: Maker) -> None:
    names = ("image", "rows", "columns")
    folder = maker.comparison(arms=("alone",), seeds=(0,), teachers=names, views=names[1:])
    kept = keep_images(folder)
    part = section(only_topology(read(folder)))
    assert [pair["title"] for pair in part.content["pairs"]] == ["image and rows", "image and columns"]
    assert len(part.tables) == 2
    for name, pair in zip(names[1:], part.content["pairs"], strict=True):
        assert [case.number for case in pair["cases"]] == kept["rows"][kept[f"only_{name}_not_image"]].tolist()


def test_an_older_comparison_keeps_its_counts(maker: Maker) -> None:
    folder = maker.comparison(arms=("alone",), seeds=(0,))
    said = hardest(read(folder))
    assert isinstance(said, str)
    assert "holds no images.npz: an older version made it" in said
    part = section(only_topology(read(folder)))
    assert len(part.tables[0].rows) == 2
    assert part.content["pairs"][0]["cases"] == ()
    assert "The images cannot be shown" in part.content["pairs"][0]["note"]
    assert "an older version made it" in write(folder).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows": None}, "does not hold 'rows'"),
        ({"target": np.zeros(1, np.int64)}, "one row and one class for each image"),
        ({"hardest": None, "only_persistence_not_image": None}, "images.npz does not hold"),
        ({"hardest": np.array([99]), "only_persistence_not_image": np.array([-1])}, "images.npz does not hold"),
    ],
)
def test_a_damaged_file_is_said(maker: Maker, changes: dict[str, Any], said: str) -> None:
    folder = maker.comparison(arms=("alone",), seeds=(0,))
    keep_images(folder, **changes)
    comparison = read(folder)
    assert said in str(hardest(comparison))
    pair = section(only_topology(comparison)).content["pairs"][0]
    assert said in pair["note"]
    assert pair["cases"] == ()


def test_a_file_that_is_cut_short_is_said(maker: Maker) -> None:
    folder = maker.comparison(arms=("alone",), seeds=(0,))
    keep_images(folder)
    whole = (folder / "images.npz").read_bytes()
    (folder / "images.npz").write_bytes(whole[: len(whole) // 2])
    assert "cannot be read" in str(hardest(read(folder)))
    assert "cannot be read" in section(only_topology(read(folder))).content["pairs"][0]["note"]


def test_images_of_other_data_are_refused(maker: Maker) -> None:
    folder = maker.comparison(arms=("alone",), seeds=(0,))
    kept = keep_images(folder)
    keep_images(folder, target=(kept["target"] + 1) % 10)
    assert "other test images" in str(hardest(read(folder)))
    first, _ = entries(folder)
    path = folder.parent / first["alone"]["evaluation"] / "predictions.npz"
    logits, target = answers(folder, first["alone"])
    np.savez(path, logits=logits, target=target[::-1])
    (folder / "images.npz").unlink()
    said = only_topology(read(folder))
    assert isinstance(said, str)
    assert "other test images" in said


def test_a_view_that_is_missing_leaves_the_counts(maker: Maker) -> None:
    folder = maker.comparison(arms=("alone",), seeds=(0,))
    keep_images(folder, view_persistence=None)
    pair = section(only_topology(read(folder))).content["pairs"][0]
    assert "does not hold the view persistence" in pair["note"]
    assert isinstance(hardest(read(folder)), Section)


def test_names_are_text_on_the_page(maker: Maker) -> None:
    evil = "<i>x</i>" * 5
    folder = maker.comparison(arms=("alone", "<b>"), seeds=(0,), classes=[evil] * 10)
    keep_images(folder)
    text = write(folder).read_text(encoding="utf-8")
    assert "<i>x" not in text
    assert '<th scope="row">&lt;b&gt;</th>' in text
    assert f"{evil[:23]}…".replace("<", "&lt;").replace(">", "&gt;") in text
