import io

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection

from persistill.topology import PersistenceImageConfig, scan_persistence_images, sublevel_persistence
from persistill.topology.plotting import contact_sheet, explain

TGD = PersistenceImageConfig.tgd()


def canvas_pixels(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def bars_in(axes):
    return [
        path
        for collection in axes.collections
        if isinstance(collection, LineCollection)
        for path in collection.get_segments()
    ]


def test_a_image_is_explained_by_its_own_bars(cifar):
    image = cifar([68])[0]
    figure = explain(image, TGD, channel=1)
    signal, shown, bars, _, last = figure.axes
    diagram = sublevel_persistence(image[1].reshape(-1), min_persistence=5).values[:] / 255.0
    assert figure.get_suptitle().startswith(f"{len(diagram):,} bars are longer than 0.02")
    np.testing.assert_allclose(sorted(line[0][0] for line in bars_in(bars)), sorted(diagram[:, 0]))
    assert len(bars_in(signal)) == len(diagram)
    np.testing.assert_allclose(signal.lines[0].get_ydata(), image[1].reshape(-1) / 255)
    np.testing.assert_allclose(shown.images[0].get_array(), image.transpose(1, 2, 0) / 255)
    expected = scan_persistence_images(image[None], TGD)[0, 1]
    np.testing.assert_allclose(last.images[0].get_array(), expected, atol=1e-6)
    assert canvas_pixels(figure).shape == (992, 1920, 3)


def test_a_large_image_is_shown_in_part_and_the_headings_say_so():
    image = np.random.default_rng(0).integers(0, 256, (120, 150), dtype=np.uint8)
    figure = explain(image, TGD)
    signal, _, bars, diagram, _ = figure.axes
    found = sublevel_persistence(image.reshape(-1), min_persistence=5)
    count = len(found.values)
    assert figure.get_suptitle().startswith(f"{count:,} bars")
    assert "2,500 of its 18,000 samples" in signal.get_title(loc="left")
    np.testing.assert_array_equal(signal.lines[0].get_xdata(), np.arange(7750, 10250))
    minima = found.indices[:, 0]
    assert len(bars_in(signal)) == ((minima >= 7750) & (minima < 10250)).sum()
    every = -(-count // 300)
    assert bars.get_title(loc="left") == f"One bar in {every}, by birth"
    assert len(bars_in(bars)) == -(-count // every) <= 300
    assert sum(len(dots.get_offsets()) for dots in diagram.collections) == count


def test_bars_inside_the_window_are_counted(cifar):
    figure = explain(cifar([68])[0], TGD)
    values = sublevel_persistence(cifar([68])[0, 0].reshape(-1), min_persistence=5).values / 255.0
    lengths = values[:, 1] - values[:, 0]
    inside = (values[:, 0] <= 0.3) & (lengths <= 0.3)
    share = 100 * lengths[inside].sum() / lengths.sum()
    assert f"holds {inside.sum()} of them (in color), {share:.0f} %" in figure.get_suptitle()


@pytest.mark.parametrize(
    "image",
    [
        np.full((1, 6, 6), 0.5, np.float32),
        np.zeros((4, 5), np.uint8),
        np.array([[0.2]]),
        torch.rand(2, 9, 4),
        np.random.default_rng(0).integers(0, 256, (3, 224, 224), dtype=np.uint8),
    ],
    ids=["constant", "one channel", "one pixel", "two channels", "large"],
)
@pytest.mark.parametrize("scan", ["rows", "columns"])
def test_any_image_can_be_explained(image, scan):
    pixels = canvas_pixels(explain(image, TGD, scan=scan))
    assert pixels.std() > 0


def test_a_sheet_holds_every_image_and_every_image(cifar):
    images = cifar([0, 1])
    drawn = scan_persistence_images(images, TGD)
    figure = contact_sheet(images, drawn, titles=["one", "two"])
    assert len(figure.axes) == 2 * 7
    np.testing.assert_allclose(figure.axes[7].images[0].get_array(), images[1].transpose(1, 2, 0) / 255)
    np.testing.assert_array_equal(figure.axes[10].images[0].get_array(), drawn[1, 2])
    assert [axes.get_title(loc="left") for axes in figure.axes[:7]] == [
        "image",
        "rows, red",
        "rows, green",
        "rows, blue",
        "columns, red",
        "columns, green",
        "columns, blue",
    ]
    assert [figure.axes[0].get_ylabel(), figure.axes[7].get_ylabel()] == ["one", "two"]
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    assert buffer.getbuffer().nbytes > 10_000


def test_a_sheet_of_grey_images_needs_no_channel_names():
    images = torch.rand(3, 1, 8, 8)
    figure = contact_sheet(images, scan_persistence_images(images, TGD))
    assert [axes.get_title(loc="left") for axes in figure.axes[:3]] == ["image", "rows", "columns"]


def test_what_does_not_fit_is_refused():
    images, drawn = np.zeros((2, 3, 4, 4), np.uint8), np.zeros((2, 6, 5, 5), np.float32)
    with pytest.raises(ValueError, match=r"len\(scans\) \* C = 3 channels; got 6"):
        contact_sheet(images, drawn, scans=("rows",))
    with pytest.raises(ValueError, match="one for each of 2 images; got 1"):
        contact_sheet(images, drawn, titles=["a"])
    with pytest.raises(ValueError, match="with the same B >= 1"):
        contact_sheet(images[:1], drawn)
    with pytest.raises(ValueError, match="with the same B >= 1"):
        contact_sheet(images[:0], drawn[:0])
    with pytest.raises(ValueError, match=r"with a channel 3, or \(H, W\); got \(3, 4, 4\)"):
        explain(images[0], TGD, channel=3)
    with pytest.raises(ValueError, match="scan must be one of 'rows', 'columns'; got 'spiral'"):
        explain(images[0], TGD, scan="spiral")
