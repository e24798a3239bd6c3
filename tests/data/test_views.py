import errno
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from persistill.config import Data
from persistill.data import (
    VIEWS,
    BettiCurveView,
    CubicalView,
    FittedPersistenceView,
    InMemoryDataset,
    InMemoryMaskDataset,
    LandscapeView,
    Loader,
    PersistenceView,
    Splits,
    View,
    load,
)
from persistill.data.views import storage
from persistill.data.views.memmap import open_array, write_array
from persistill.data.views.storage import make_view, open_view
from persistill.errors import UserError
from persistill.topology import (
    Diagrams,
    PersistenceImageConfig,
    columns,
    cubical_persistence,
    persistence_images,
    rows,
    sublevel_persistence,
)
from persistill.utils.progress import Silent

SPLITS = ("train", "validation", "test")


def made_up(train: int = 30, validation: int = 8, test: int = 9, channels: int = 3, seed: int = 0) -> Splits:
    random = torch.Generator().manual_seed(seed)

    def split(count):
        pixels = torch.randint(0, 256, (count, channels, 7, 5), dtype=torch.uint8, generator=random)
        return InMemoryDataset(pixels, torch.arange(count) % 3)

    return Splits(split(train), split(validation), split(test), ("a", "b", "c"))


def by_hand(pixels: torch.Tensor, settings: PersistenceImageConfig, scans=(rows, columns)) -> np.ndarray:
    """One signal at a time, through diagrams, in float64."""
    images = []
    for image in pixels.numpy():
        for scan in scans:
            for channel in image:
                diagram = sublevel_persistence(scan(channel) / 255)
                images.append(persistence_images(diagram, settings))
    return np.stack(images).reshape(len(pixels), -1, *settings.pixels)


def everything(images):
    return images.fetch(torch.arange(len(images)))


def test_the_published_view_holds_what_the_published_code_would(tmp_path):
    splits = made_up()
    result = make_view(PersistenceView(), splits, tmp_path)
    for name in SPLITS:
        array = np.load(tmp_path / f"{name}.npy")
        expected = 255 * by_hand(everything(getattr(splits, name)), PersistenceImageConfig.tgd())
        assert array.dtype == np.uint8
        assert array.shape == expected.shape
        # near a whole number, as at the maximum, float32 may fall to either side
        assert (np.floor(expected - 1e-3) <= array).all()
        assert (array <= np.floor(expected + 1e-3)).all()
        assert array.max() == 255
    assert result["shape"] == [6, 50, 50] == list(PersistenceView().shape((3, 7, 5)))
    assert result["settings"] == {**PersistenceImageConfig.tgd().to_json(), "peak": 1.0, "dtype": "uint8"}
    assert result["count"] == {"train": 30, "validation": 8, "test": 9}
    assert result["groups"] == ["rows", "columns"]
    assert json.loads(json.dumps(result)) == result


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_statistics_are_those_of_the_stored_training_values(tmp_path, dtype):
    splits = made_up()
    result = make_view(PersistenceView(pixels=(6, 4), bandwidth=0.1, dtype=dtype), splits, tmp_path)
    values = np.load(tmp_path / "train.npy").astype(np.float64) / (255 if dtype == "uint8" else 1)
    np.testing.assert_allclose(result["mean"], values.mean((0, 2, 3)), rtol=1e-9)
    np.testing.assert_allclose(result["std"], values.std((0, 2, 3)), rtol=1e-9)
    opened = open_view(tmp_path, result, splits)
    index = torch.tensor([3, 0, 3])
    fetched = opened.split("train").fetch(index)
    assert fetched.dtype == torch.float32
    np.testing.assert_allclose(fetched.numpy(), values[[3, 0, 3]], rtol=1e-6)
    assert torch.equal(opened.fetch("train", index), fetched)
    assert opened.shape == (6, 6, 4)
    assert len(opened.split("test")) == 9


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
@pytest.mark.parametrize(
    "view",
    [
        PersistenceView(pixels=(6, 4)),
        FittedPersistenceView(pixels=(6, 4)),
        CubicalView(pixels=(6, 4)),
        LandscapeView(levels=3, samples=9, readings=("H1", "rows")),
        BettiCurveView(rows=3, samples=9),
    ],
    ids=lambda view: type(view).__name__,
)
def test_an_online_view_is_the_stored_one_bit_for_bit(tmp_path, view, dtype):
    splits = made_up()
    view = view.model_copy(update={"dtype": dtype})
    result = make_view(view, splits, tmp_path)
    assert tuple(result["shape"]) == view.shape((3, 7, 5))
    opened = open_view(tmp_path, json.loads(json.dumps(result)), splits)
    online = opened.online(view)
    assert (online.mean, online.std) == (opened.mean, opened.std)
    for name in SPLITS:
        images, index = getattr(splits, name), torch.arange(len(getattr(splits, name)))
        values = online.compute(images.fetch(index))
        assert values.dtype == torch.float32
        assert torch.equal(values, opened.fetch(name, index))
    negated = online.compute(255 - everything(splits.test))
    assert not torch.equal(negated, values)
    assert 0 <= negated.min() <= negated.max() <= 1


def test_images_of_floats_have_views_too(tmp_path):
    splits = made_up()
    view = FittedPersistenceView(pixels=(6, 4))
    online = open_view(tmp_path, make_view(view, splits, tmp_path), splits).online(view)
    pixels = everything(splits.test)
    levels, floats = online.compute(pixels), online.compute(pixels.float() / 255)
    torch.testing.assert_close(levels, floats, atol=1.01 / 255, rtol=0)  # a value on an edge may fall to either side
    assert (levels == floats).float().mean() > 0.99


def test_one_scan_alone_and_gray_images(tmp_path):
    splits = made_up(channels=1)
    view = PersistenceView(pixels=(5, 5), bandwidth=0.1, scans=("columns",), dtype="float16")
    result = make_view(view, splits, tmp_path)
    assert result["shape"] == [1, 5, 5]
    expected = by_hand(everything(splits.test), view.vectorization(np.empty(0)), (columns,))
    np.testing.assert_allclose(np.load(tmp_path / "test.npy"), expected, atol=1e-3)


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_a_fitted_view_depends_on_training_images_alone(tmp_path, dtype):
    view = FittedPersistenceView(pixels=(8, 6), dtype=dtype)
    splits = made_up(train=40)
    (tmp_path / "one").mkdir()
    result = make_view(view, splits, tmp_path / "one")
    other = made_up(seed=1)
    (tmp_path / "other").mkdir()
    again = make_view(view, Splits(splits.train, other.validation, other.test, splits.classes), tmp_path / "other")
    for name in ("settings", "mean", "std", "fitted", "shape"):
        assert again[name] == result[name]
    assert not np.array_equal(np.load(tmp_path / "one" / "test.npy"), np.load(tmp_path / "other" / "test.npy"))

    settings = dict(result["settings"])
    peak = settings.pop("peak")
    assert settings.pop("dtype") == dtype
    images = PersistenceImageConfig.from_json(settings)
    assert images.scaling == "log"
    raw = by_hand(everything(splits.train), images)
    assert peak == pytest.approx(raw.max(), rel=1e-5)
    train = open_view(tmp_path / "one", result, splits).fetch("train", torch.arange(40))
    np.testing.assert_allclose(train.numpy(), raw / peak, atol=1 / 255 if dtype == "uint8" else 1e-3)
    test = open_view(tmp_path / "other", again, Splits(splits.train, other.validation, other.test, splits.classes))
    assert test.fetch("test", torch.arange(9)).max() <= 1


def test_views_are_fitted_on_evenly_spaced_images_and_fewer_large_ones(monkeypatch):
    train = made_up().train
    pixels = everything(train).numpy()
    monkeypatch.setattr(storage, "FIT_IMAGES", 6)
    assert np.array_equal(storage._sample(train, 2), pixels[::5])
    monkeypatch.setattr(storage, "FIT_SAMPLES", 2 * 3 * 7 * 5 * 3)
    assert np.array_equal(storage._sample(train, 2), pixels[::10])
    assert len(storage._sample(train, 100)) == 1


def test_a_fitted_window_holds_what_lasts(tmp_path):
    splits = made_up(train=60)
    result = make_view(FittedPersistenceView(pixels=(8, 8)), splits, tmp_path)
    values = np.concatenate(
        [
            sublevel_persistence(scan(channel) / 255).values
            for scan in (rows, columns)
            for image in everything(splits.train).numpy()
            for channel in image
        ]
    )
    lengths = values[:, 1] - values[:, 0]
    (low, high), (_, top) = result["settings"]["births"], result["settings"]["persistences"]
    inside = (values[:, 0] >= low) & (values[:, 0] <= high) & (lengths <= top)
    assert lengths[inside].sum() > 0.95 * lengths.sum()


def test_images_with_masks_have_views_and_a_gallery(tmp_path):
    splits = made_up(validation=30)
    masks = [
        InMemoryMaskDataset(everything(one), torch.zeros(len(one), 7, 5, dtype=torch.uint8))
        for one in (splits.train, splits.validation, splits.test)
    ]
    result = make_view(PersistenceView(), Splits(*masks, ("a", "b")), tmp_path)
    gallery = np.load(tmp_path / "gallery.npz")
    assert "target" not in gallery
    spaced = [i * 30 // 12 for i in range(12)]
    assert np.array_equal(gallery["images"], everything(splits.validation)[spaced].numpy())
    assert np.array_equal(gallery["view"], np.load(tmp_path / "validation.npy")[spaced].astype(np.float32) / 255)
    assert result["count"]["train"] == 30


def test_the_gallery_shows_images_with_their_diagrams_and_images(tmp_path):
    splits = made_up()
    view = PersistenceView(pixels=(9, 7), bandwidth=0.05)
    result = make_view(view, splits, tmp_path)
    gallery = np.load(tmp_path / "gallery.npz")
    assert gallery["target"].tolist() == [0, 1, 2]
    assert np.array_equal(gallery["images"], everything(splits.validation)[:3].numpy())
    assert gallery["view"].shape == (3, *result["shape"])
    assert np.array_equal(gallery["view"], np.load(tmp_path / "validation.npy")[:3].astype(np.float32) / 255)
    offsets, values = gallery["offsets"], gallery["values"]
    assert offsets[-1] == len(values)
    assert values.dtype == np.float32
    images = view.vectorization(np.empty(0))
    for i in range(3):
        for j in range(6):
            scan, channel = (rows, columns)[j // 3], j % 3
            number = i * 6 + j
            diagram = values[offsets[number] : offsets[number + 1]]
            expected = sublevel_persistence(scan(gallery["images"][i, channel]) / 255).values
            np.testing.assert_allclose(np.sort(diagram, 0), np.sort(expected, 0), atol=1e-6)
            drawn = persistence_images(sublevel_persistence(scan(gallery["images"][i, channel]) / 255), images)
            np.testing.assert_allclose(gallery["view"][i, j], drawn, atol=1.01 / 255)


class Stops(Silent):
    """Progress that is interrupted in its ``at``-th split."""

    def __init__(self, at):
        self.at, self.done, self.started = at, 0, None

    def start(self, stage, total, done=0):
        self.started = (total, done)

    def advance(self, units, note="", values=None):
        self.done += 1
        if self.done == self.at:
            raise KeyboardInterrupt


def test_an_interrupted_view_keeps_whole_splits_and_goes_on(tmp_path):
    splits = made_up()
    view = PersistenceView(pixels=(6, 6), bandwidth=0.1)
    (tmp_path / "whole").mkdir()
    whole = make_view(view, splits, tmp_path / "whole")
    broken = tmp_path / "broken"
    broken.mkdir()
    with pytest.raises(KeyboardInterrupt):
        make_view(view, splits, broken, Stops(2))
    assert [path.name for path in broken.iterdir()] == ["train.npy"]
    before = (broken / "train.npy").stat().st_mtime_ns
    told = Stops(99)
    again = make_view(view, splits, broken, told)
    assert told.started == (47, 30)
    assert (broken / "train.npy").stat().st_mtime_ns == before
    assert {**again, "seconds": 0} == {**whole, "seconds": 0}
    for name in SPLITS:
        assert (broken / f"{name}.npy").read_bytes() == (tmp_path / "whole" / f"{name}.npy").read_bytes()


def test_stale_and_damaged_views_are_refused(tmp_path):
    splits = made_up()
    result = make_view(PersistenceView(pixels=(4, 4), bandwidth=0.1), splits, tmp_path)
    with pytest.raises(UserError, match=r"stale: it was made from other images.*Move that folder away"):
        open_view(tmp_path, result, made_up(seed=5))
    file = tmp_path / "test.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:-10])
    with pytest.raises(UserError, match=r"test\.npy is damaged"):
        open_view(tmp_path, result, splits)
    np.save(file, np.zeros((8, 6, 4, 4), dtype=np.uint8))
    with pytest.raises(UserError, match=r"test\.npy holds \(8, 6, 4, 4\) values of uint8, where the data have \(9, 6"):
        open_view(tmp_path, result, splits)
    with pytest.raises(UserError, match="Move the folder"):
        make_view(PersistenceView(pixels=(4, 4), bandwidth=0.1), splits, tmp_path)
    assert np.load(file).shape == (8, 6, 4, 4)  # nothing was overwritten
    file.unlink()
    with pytest.raises(UserError, match=r"no file .*test\.npy"):
        open_view(tmp_path, result, splits)


def test_a_full_disk_is_an_error_and_leaves_nothing_behind(tmp_path):
    def chunks():
        yield np.zeros((2, 3), dtype=np.uint8)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match=r"a\.npy cannot be written \(No space left on device\); it takes 3 MiB"):
        write_array(tmp_path / "a.npy", chunks(), (2**20, 3), "uint8")
    assert list(tmp_path.iterdir()) == []


def test_written_arrays_are_read_as_numpy_would(tmp_path):
    values = np.random.default_rng(0).random((10, 2, 3)).astype(np.float16)
    write_array(tmp_path / "a.npy", iter([values[:4], values[4:]]), values.shape, "float16")
    assert np.array_equal(np.load(tmp_path / "a.npy"), values)
    assert isinstance(open_array(tmp_path / "a.npy", values.shape, "float16"), np.memmap)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"births": (0.3, 0.1)}, r"PersistenceView: .*births must be \(low, high\)"),
        ({"bandwidth": 0.0}, "bandwidth must be above 0"),
        ({"scaling": "maximum"}, r"PersistenceView\.scaling"),
        ({"scans": ()}, r"PersistenceView\.scans"),
        ({"scans": ("diagonals",)}, "scans"),
        ({"spread": 0.01}, "unknown field of PersistenceView: 'spread'"),
    ],
)
def test_settings_that_cannot_be_are_refused_with_the_recipe(fields, words):
    with pytest.raises(UserError, match=words):
        PersistenceView(**fields)


def test_the_defaults_are_the_published_ones():
    assert PersistenceView().vectorization(np.empty(0)) == PersistenceImageConfig.tgd()


def test_images_with_nothing_to_fit_to(tmp_path):
    flat = InMemoryDataset(torch.zeros(4, 1, 5, 5, dtype=torch.uint8), torch.arange(4) % 2)
    splits = Splits(flat, flat, flat, ("a", "b"))
    with pytest.raises(UserError, match="the view cannot be fitted to the training images"):
        make_view(FittedPersistenceView(), splits, tmp_path)
    result = make_view(PersistenceView(pixels=(4, 4), scaling="log"), splits, tmp_path)
    assert result["mean"] == [0.0, 0.0]
    assert result["std"] == [1.0, 1.0]


def test_batches_of_real_digits_with_their_views(tmp_path: Path):
    splits = load(Data(source="digits", train=400, test=50))
    view = FittedPersistenceView(pixels=(8, 8), min_persistence=0.0)
    result = make_view(view, splits, tmp_path)
    opened = open_view(tmp_path, result, splits)
    loader = Loader(
        splits.train,
        {"persistence": opened.split("train")},
        batch_size=90,
        mean=(0.5,),
        std=(0.5,),
        shuffle_seed=3,
    )
    batches = list(loader.epoch(1))
    values = torch.cat([batch.inputs["persistence"] for batch in batches]).double()
    assert values.shape == (360, 2, 8, 8)
    torch.testing.assert_close(values.mean((0, 2, 3)), torch.zeros(2).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(values.std((0, 2, 3), correction=0), torch.ones(2).double(), atol=1e-5, rtol=0)
    target = torch.cat([batch.target for batch in batches])
    index = torch.cat([batch.index for batch in batches])
    assert torch.equal(splits.train.targets[index], target)


def bars(channel, reading):
    """The finite bars of one channel, (P, 2) in [0, 1], float64."""
    if reading in ("H0", "H1"):
        (found,) = cubical_persistence(channel / 255, dimensions=(int(reading[1]),))
    else:
        found = sublevel_persistence({"rows": rows, "columns": columns}[reading](channel) / 255)
    return found.values


def by_reading(pixels, readings, draw):
    """(B, readings * C, ...): all channels by the first reading, then by the second, one diagram at a time."""
    return np.array([[draw(bars(c, reading), reading) for reading in readings for c in image] for image in pixels])


def test_cubical_views_hold_persistence_images_of_components_and_holes():
    pixels = everything(made_up().train)
    view = CubicalView(pixels=(6, 4), quantile=0.9)
    fitted = json.loads(json.dumps(view.fit(pixels.numpy())))
    assert list(fitted) == ["H0", "H1"]
    assert fitted["H0"]["births"] != fitted["H1"]["births"]
    expected = by_reading(
        pixels.numpy(),
        ("H0", "H1"),
        lambda b, r: persistence_images(Diagrams.from_list([b]), PersistenceImageConfig.from_json(fitted[r]))[0],
    )
    np.testing.assert_allclose(view.compute(pixels, fitted).numpy(), expected, rtol=1e-4, atol=1e-5)
    alone = CubicalView(dimensions=("H1",), pixels=(6, 4), quantile=0.9)
    assert torch.equal(alone.compute(pixels, fitted), view.compute(pixels, fitted)[:, 3:])
    assert view.described(fitted)["H1 births"] == fitted["H1"]["births"]
    assert not view.in_unit_range
    assert CubicalView(scaling="max").in_unit_range


def test_cubical_views_say_what_cannot_be_fitted():
    ramp = np.tile(np.arange(5, dtype=np.uint8) * 40, (2, 1, 5, 1))  # one component, no hole
    with pytest.raises(UserError, match="the view of H0 cannot be fitted to the training images"):
        CubicalView().fit(ramp)


def test_landscape_views_hold_the_highest_tents_first():
    pixels = everything(made_up(train=5).train)
    view = LandscapeView(readings=("columns", "H1", "H0"), levels=3, samples=11)

    def tents(values, _):
        heights = [[max(0.0, min(t - b, d - t)) for b, d in values] for t in np.linspace(0, 1, 11)]
        return [[sorted([*row, 0, 0, 0], reverse=True)[level] for row in heights] for level in range(3)]

    found = view.compute(pixels, view.fit(pixels.numpy()))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), by_reading(pixels.numpy(), view.readings, tents), atol=1e-6)


def test_betti_views_count_longer_and_longer_bars():
    pixels = everything(made_up(train=5).train)
    view = BettiCurveView(readings=("H0", "rows"), rows=4, samples=11, longest=0.31)

    def counts(values, _):
        lengths = np.linspace(0, 0.31, 4)
        return [
            [sum(b <= t < d and d - b > least for b, d in values) for t in np.linspace(0, 1, 11)] for least in lengths
        ]

    found = view.compute(pixels, {})
    np.testing.assert_array_equal(found.numpy(), by_reading(pixels.numpy(), view.readings, counts))
    assert (found[:, :, 0] >= found[:, :, -1]).all()
    assert not torch.equal(found[:, :, 0], found[:, :, -1])


def test_the_gallery_keeps_diagrams_group_by_group(tmp_path):
    splits = made_up()
    view = LandscapeView(readings=("H1", "rows"), levels=2, samples=4)
    result = make_view(view, splits, tmp_path)
    assert result["groups"] == ["H1", "rows"]
    assert result["explanation"].startswith("Persistence landscapes")
    gallery = np.load(tmp_path / "gallery.npz")
    for i in range(3):
        for j in range(6):
            low, high = gallery["offsets"][6 * i + j : 6 * i + j + 2]
            expected = bars(gallery["images"][i, j % 3], view.readings[j // 3])
            np.testing.assert_allclose(gallery["values"][low:high], expected, atol=1e-6)


class Edges(View):
    """Differences of neighbors."""

    strength: float = 1.0

    def shape(self, image):
        return image[0], image[1], image[2] - 1

    def compute(self, images, fitted):
        return self.strength * images.float().diff(dim=3).abs()


class Wrong(Edges):
    """Says another shape than it computes."""

    def shape(self, image):
        return image


def test_a_view_of_ones_own_needs_no_more_than_shape_and_compute(tmp_path):
    splits = made_up()
    result = make_view(Edges(dtype="float16"), splits, tmp_path)
    values = everything(splits.train).float().diff(dim=3).abs()
    assert result["peak"] == values.max()
    assert result["explanation"] == "Differences of neighbors."
    np.testing.assert_allclose(np.load(tmp_path / "train.npy"), values / values.max(), atol=1e-3)
    assert sorted(np.load(tmp_path / "gallery.npz")) == ["images", "target", "view"]
    with pytest.raises(UserError, match=r"the view Wrong must compute \(30, 3, 7, 5\) .*computed \(30, 3, 7, 4\)"):
        make_view(Wrong(), splits, tmp_path)


def test_views_are_found_by_name_class_object_and_module():
    assert VIEWS.find("cubical") == VIEWS.find(CubicalView) == CubicalView()
    assert VIEWS.find(LandscapeView(levels=3)).levels == 3
    assert VIEWS.find("persistill.data:BettiCurveView") == BettiCurveView()
    for given, words in (
        ("cubic", r"unknown view: 'cubic'\. Did you mean 'cubical'.*package\.module:Name"),
        ("persistill.data:Splits", r"persistill\.data:Splits is no view"),
        (Data(source="digits"), r"Data is no view but a Data\. A view is a subclass of persistill\.data\.View"),
        ("no_such_module:View", r"no module 'no_such_module' to import for the view"),
        ("persistill.data:Cubical", r"Did you mean 'CubicalView'"),
    ):
        with pytest.raises(UserError, match=words):
            VIEWS.find(given)
