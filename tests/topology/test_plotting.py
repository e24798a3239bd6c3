import io

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection

from persistill.topology import PersistenceImages, persistence_images, sublevel_persistence
from persistill.topology.plotting import contact_sheet, explain

TGD = PersistenceImages.tgd()


def rendered(figure):
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


def test_a_picture_is_explained_by_its_own_bars(cifar):
    picture = cifar([68])[0]
    figure = explain(picture, TGD, channel=1)
    signal, shown, bars, _, image = figure.axes
    diagram = sublevel_persistence(picture[1].reshape(-1), min_persistence=5).values[:] / 255.0
    assert figure.get_suptitle().startswith(f"{len(diagram):,} bars are longer than 0.02")
    np.testing.assert_allclose(sorted(line[0][0] for line in bars_in(bars)), sorted(diagram[:, 0]))
    assert len(bars_in(signal)) == len(diagram)
    np.testing.assert_allclose(signal.lines[0].get_ydata(), picture[1].reshape(-1) / 255)
    np.testing.assert_allclose(shown.images[0].get_array(), picture.transpose(1, 2, 0) / 255)
    expected = persistence_images(picture[None], TGD)[0, 1]
    np.testing.assert_allclose(image.images[0].get_array(), expected, atol=1e-6)
    assert rendered(figure).shape == (992, 1920, 3)


def test_a_large_picture_is_shown_in_part_and_the_headings_say_so():
    picture = np.random.default_rng(0).integers(0, 256, (120, 150), dtype=np.uint8)
    figure = explain(picture, TGD)
    signal, _, bars, diagram, _ = figure.axes
    found = sublevel_persistence(picture.reshape(-1), min_persistence=5)
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
    assert f"holds {inside.sum()} of them (in colour), {share:.0f} %" in figure.get_suptitle()


@pytest.mark.parametrize(
    "picture",
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
def test_any_picture_can_be_explained(picture, scan):
    image = rendered(explain(picture, TGD, scan=scan))
    assert image.std() > 0


def test_a_sheet_holds_every_picture_and_every_image(cifar):
    pictures = cifar([0, 1])
    images = persistence_images(pictures, TGD)
    figure = contact_sheet(pictures, images, titles=["one", "two"])
    assert len(figure.axes) == 2 * 7
    np.testing.assert_allclose(figure.axes[7].images[0].get_array(), pictures[1].transpose(1, 2, 0) / 255)
    np.testing.assert_array_equal(figure.axes[10].images[0].get_array(), images[1, 2])
    assert [axes.get_title(loc="left") for axes in figure.axes[:7]] == [
        "picture",
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


def test_a_sheet_of_grey_pictures_needs_no_channel_names():
    pictures = torch.rand(3, 1, 8, 8)
    figure = contact_sheet(pictures, persistence_images(pictures, TGD))
    assert [axes.get_title(loc="left") for axes in figure.axes[:3]] == ["picture", "rows", "columns"]


def test_what_does_not_fit_is_refused():
    pictures, images = np.zeros((2, 3, 4, 4), np.uint8), np.zeros((2, 6, 5, 5), np.float32)
    with pytest.raises(ValueError, match=r"len\(scans\) \* C = 3 channels; got 6"):
        contact_sheet(pictures, images, scans=("rows",))
    with pytest.raises(ValueError, match="one for each of 2 pictures; got 1"):
        contact_sheet(pictures, images, titles=["a"])
    with pytest.raises(ValueError, match="with the same B >= 1"):
        contact_sheet(pictures[:1], images)
    with pytest.raises(ValueError, match="with the same B >= 1"):
        contact_sheet(pictures[:0], images[:0])
    with pytest.raises(ValueError, match=r"with a channel 3, or \(H, W\); got \(3, 4, 4\)"):
        explain(pictures[0], TGD, channel=3)
    with pytest.raises(ValueError, match="scan must be one of 'rows', 'columns'; got 'spiral'"):
        explain(pictures[0], TGD, scan="spiral")
