"""The explorer's answers, against definitions."""

import base64
import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from scipy import ndimage
from scipy.stats import norm

from persistill.dashboard.explorer import bars, components, explore, plane
from persistill.dashboard.images import LARGEST, SAMPLES, decode, from_json, sample, to_json
from persistill.errors import UserError

SCANS = ("rows", "columns", "image")
IMAGES = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 12))


def question(pixels, **changes):
    return {
        "image": to_json(pixels),
        "channel": "luminance",
        "scan": "image",
        "level": 100,
        "cells": 8,
        "bandwidth": 0.05,
        "births": [0, 1],
        "persistences": [0, 1],
        "min_persistence": 0.02,
        "weight": "linear",
    } | changes


def labeled(values, level, scan):
    """Components by scipy: numbers from 1, shaped like the image."""
    inside = values <= level
    if scan == "image":
        return ndimage.label(inside, np.ones((3, 3)))[0]
    if scan == "rows":
        return ndimage.label(inside.reshape(-1))[0].reshape(values.shape)
    return labeled(values.T, level, "rows").T


@settings(deadline=None, max_examples=60)
@given(values=IMAGES, level=st.integers(0, 13), scan=st.sampled_from(SCANS))
def test_components_are_those_of_scipy_and_named_by_their_minimum(values, level, scan):
    found, expected = components(values, level, scan), labeled(values, level, scan)
    assert np.array_equal(found < 0, expected == 0)
    for number in range(1, expected.max() + 1):
        (name,) = set(found[expected == number].tolist())
        assert expected.reshape(-1)[name] == number
        assert values.reshape(-1)[name] == values[expected == number].min()
    assert len(set(found[found >= 0].tolist())) == expected.max()


@settings(deadline=None, max_examples=60)
@given(values=IMAGES, level=st.integers(0, 13), scan=st.sampled_from(SCANS))
def test_components_at_a_level_are_the_bars_that_are_alive(values, level, scan):
    found = bars(values, scan)
    alive = (found.values[:, 0] <= level) & (found.values[:, 1] > level)
    names = components(values, level, scan)
    assert sorted(set(names[names >= 0].tolist())) == sorted(found.pixels[alive].tolist())
    assert found.values[:, 0].tolist() == values.reshape(-1)[found.pixels].tolist()
    lengths = found.values[:, 1] - found.values[:, 0]
    assert np.isinf(lengths[0])
    assert np.isfinite(lengths[1:]).all()
    assert (np.diff(lengths[1:]) <= 0).all()


def test_a_spiral_is_one_component():
    values = np.full((21, 21), 200, np.uint8)
    row = column = 0
    step, turn = (0, 1), 0
    while turn < 2:  # walk on, two ahead must be free or the border
        values[row, column] = 10
        ahead = [(row + k * step[0], column + k * step[1]) for k in (1, 2)]
        free = 0 <= ahead[0][0] < 21 and 0 <= ahead[0][1] < 21 and values[ahead[0]] == 200
        far = not (0 <= ahead[1][0] < 21 and 0 <= ahead[1][1] < 21) or values[ahead[1]] == 200
        if free and far:
            (row, column), turn = ahead[0], 0
        else:
            step, turn = (step[1], -step[0]), turn + 1
    found = components(values, 10, "image")
    assert set(found[values == 10].tolist()) == {0}


def test_an_answer_holds_what_is_drawn():
    values = np.array([[[10, 90, 40], [200, 200, 90], [50, 200, 20]]], np.uint8)
    answer = explore(question(values, level=95, scan="rows"))
    # the signal 10 90 40 200 200 90 50 200 20: births 10, 40, 50, 20 and deaths never, 90, 200, 200
    assert answer["bars"] == [[10, None, 0], [20, 200, 8], [50, 200, 6], [40, 90, 2]]
    assert (answer["unborn"], answer["alive"], answer["ended"], answer["drawn"]) == (0, 3, 1, 3)
    labels = np.frombuffer(base64.b64decode(answer["labels"]), "<u2").reshape(3, 3)
    assert labels.tolist() == [[1, 1, 1], [0, 0, 3], [3, 0, 2]]
    assert (answer["height"], answer["width"]) == (3, 3)


@pytest.mark.parametrize("weight", ["linear", "constant"])
@pytest.mark.parametrize("level", [0, 95, 255])
def test_the_image_holds_the_points_that_ended(weight, level):
    values = np.array([[[10, 90, 40], [200, 200, 90], [50, 200, 20]]], np.uint8)
    answer = explore(
        question(values, level=level, scan="rows", weight=weight, births=[0, 0.4], persistences=[0.1, 0.9])
    )
    points = [(birth, death) for birth, death, _ in answer["bars"] if death is not None]

    def drawn(some):
        image = np.zeros((8, 8))
        for birth, death in some:
            life = (death - birth) / 255
            across = np.diff(norm.cdf((np.linspace(0, 0.4, 9) - birth / 255) / 0.05))
            down = np.diff(norm.cdf((np.linspace(0.1, 0.9, 9) - life) / 0.05))[::-1]
            image += (life if weight == "linear" else 1) * np.outer(down, across)
        return image

    whole = drawn(points)
    assert answer["peak"] == pytest.approx(whole.max(), rel=1e-5)
    found = np.frombuffer(base64.b64decode(answer["persistence_image"]), np.uint8).reshape(8, 8)
    expected = 255 * drawn([point for point in points if point[1] <= level]) / whole.max()
    assert np.abs(found - expected).max() <= 0.51
    assert found.max() == (255 if level == 255 else round(expected.max()))


@pytest.mark.parametrize("scan", SCANS)
def test_one_pixel_and_one_color(scan):
    for shape in ((1, 1, 1), (3, 5, 4)):
        answer = explore(question(np.full(shape, 100, np.uint8), scan=scan))
        assert answer["bars"] == [[100, None, 0]]
        assert (answer["alive"], answer["ended"], answer["peak"]) == (1, 0, 0.0)


def test_channels():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 30)).astype(np.uint8)
    assert np.array_equal(
        plane(pixels, "luminance"), np.asarray(Image.fromarray(pixels.transpose(1, 2, 0)).convert("L"))
    )
    for position, channel in enumerate(("red", "green", "blue")):
        assert np.array_equal(plane(pixels, channel), pixels[position])
    assert np.array_equal(plane(pixels[:1], "luminance"), pixels[0])
    with pytest.raises(UserError, match=r"unknown channel of this image 'red'\. Known: luminance"):
        plane(pixels[:1], "red")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scan": "diagonal"}, "unknown scan 'diagonal'"),
        ({"level": 256}, "level must be a whole number from 0 to 255; got 256"),
        ({"level": 1.5}, "level must be a whole number"),
        ({"level": True}, "level must be a whole number"),
        ({"cells": 101}, "cells must be a whole number from 1 to 100"),
        ({"bandwidth": 0}, "bandwidth must be above 0"),
        ({"bandwidth": math.nan}, "bandwidth must be finite"),
        ({"bandwidth": None}, "the request lacks bandwidth"),
        ({"births": [0.5, 0.5]}, r"births must be \(low, high\)"),
        ({"births": 3}, "births must be a pair"),
        ({"persistences": ["a", "b"]}, "persistences must be made of numbers"),
        ({"min_persistence": -1}, "min persistence must be 0 or more"),
        ({"weight": "heavy"}, "weight must be one of"),
        ({"weight": ["linear"]}, "weight must be one of"),
        ({"image": None}, "holds no image"),
        ({"image": {"channels": 1, "height": 129, "width": 1, "pixels": ""}}, "got 129 x 1"),
        ({"image": {"channels": 2, "height": 1, "width": 1, "pixels": ""}}, "1 or 3 channels; got 2"),
        (
            {"image": {"channels": 1, "height": 2, "width": 2, "pixels": "AAAA"}},
            "has 4 pixels over all channels; got 3",
        ),
        ({"image": {"channels": 1, "height": 2, "width": 2, "pixels": "ä"}}, "has 4 pixels over all channels; got 0"),
    ],
)
def test_wrong_questions(changes, said):
    with pytest.raises(UserError, match=said):
        explore(question(np.zeros((1, 2, 2), np.uint8), **changes))


def test_a_question_must_be_an_object():
    with pytest.raises(UserError, match="must be a JSON object"):
        explore([1])


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 128)])
def test_images_travel_whole(shape):
    pixels = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    assert np.array_equal(from_json(to_json(pixels)), pixels)


def encoded(image, kind="PNG"):
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def test_files_are_made_smaller_and_keep_their_shape():
    assert decode(encoded(Image.new("RGB", (640, 427), "red"))).shape == (3, 85, 128)
    assert decode(encoded(Image.new("L", (10, 1000)))).shape == (1, 128, 1)
    small = np.arange(48, dtype=np.uint8).reshape(6, 8)
    assert np.array_equal(decode(encoded(Image.fromarray(small))), small[None])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no image in a known format. Give one of these kinds: BMP"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "no image in a known format"),
        (encoded(Image.effect_noise((64, 64), 50))[:600], "cannot be read"),
        (encoded(Image.fromarray(np.zeros((2, 2), np.int32)), "TIFF"), "no known range"),
        (encoded(Image.new("1", (8000, 6000))), "8000 x 6000 pixels; at most 40,000,000"),
        (encoded(Image.new("1", (12000, 12000))), "more than 40,000,000 pixels"),
    ],
)
def test_bad_files_are_told(content, said):
    with pytest.raises(UserError, match=said):
        decode(content)


def test_samples():
    for name in SAMPLES:
        pixels = sample(name)
        assert pixels.dtype == np.uint8
        assert pixels.shape == ((1, 8, 8) if name.startswith("digit") else (3, 85, LARGEST))
        assert int(np.ptp(pixels)) > 200
    with pytest.raises(UserError, match=r"unknown sample image 'flowers'\. Did you mean 'flower'"):
        sample("flowers")
