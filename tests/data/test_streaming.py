"""Streams of images, held to the images that were written."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_images import array, encoded, make_image, write_folder, write_parquet
from PIL import Image

from persistill.data.sources.medmnist import read_npz
from persistill.data.streaming.base import Survey, Unreadable
from persistill.data.streaming.files import open_stream
from persistill.errors import UserError
from persistill.utils.preprocessing import read_pixels
from persistill.utils.progress import Silent


def looked(stream, *, grayscale: bool = False, threads: int = 2) -> Survey:
    return stream.survey(Silent(), grayscale=grayscale, threads=threads)


def read_all(stream, channels: int = 3, threads: int = 2):
    return stream.read(range(len(stream)), channels, threads)


def save(file: Path, pixels: np.ndarray) -> Path:
    np.save(file, pixels)
    return file


def random_pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


# Folders


def test_a_folder_is_searched_at_any_depth_and_sorted_by_name(tmp_path: Path) -> None:
    written = {"b.png": 1, "a/z.png": 2, "a/deep/er/c.png": 3, "B.png": 4, "a b/ä.png": 5}
    for name, seed in written.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        make_image(seed).save(tmp_path / name)
    for name in (".hidden.png", "notes.txt", ".git/x.png", "a/._x.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        make_image(9).save(tmp_path / name, "PNG")
    stream = open_stream(tmp_path)
    names = [stream.name(position) for position in range(len(stream))]
    assert names == sorted(written)
    for name, pixels in zip(names, read_all(stream), strict=True):
        np.testing.assert_array_equal(pixels, array(make_image(written[name])))
        assert pixels.flags.c_contiguous


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF"])
def test_formats_without_loss_give_the_pixels_back(tmp_path: Path, kind: str) -> None:
    stream = open_stream(write_folder(tmp_path, {"x": 3}, kind, seed=4))
    for position, pixels in enumerate(read_all(stream)):
        np.testing.assert_array_equal(pixels, array(make_image(5 + position)))


def test_links_are_followed_once(tmp_path: Path) -> None:
    write_folder(tmp_path / "real", {"x": 2})
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "x" / "up").symlink_to(tmp_path / "real")
    stream = open_stream(tmp_path / "set")
    assert [stream.name(position) for position in range(len(stream))] == ["linked/x/0.png", "linked/x/1.png"]


def test_one_image_is_a_source(tmp_path: Path) -> None:
    make_image(3).save(tmp_path / "one.png")
    stream = open_stream(tmp_path / "one.png")
    assert (len(stream), stream.name(0)) == (1, "one.png")
    np.testing.assert_array_equal(read_all(stream)[0], array(make_image(3)))


def test_a_survey_tells_sizes_color_and_problems(tmp_path: Path) -> None:
    make_image(1, (7, 4)).save(tmp_path / "a.png")
    make_image(2, (3, 9), "L").save(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(b"no image")
    (tmp_path / "d.png").write_bytes(encoded(make_image(4))[:60])  # damaged behind the header
    stream = open_stream(tmp_path)
    survey = looked(stream)
    assert survey.sizes.tolist() == [[4, 7], [9, 3], [0, 0], [5, 6]]
    assert (survey.channels, survey.gray) == (3, 1)
    assert survey.problems == {2: "no image in a known format"}
    assert survey.marks.tolist() == [path.stat().st_size for path in sorted(tmp_path.iterdir())]
    first, second, *others = read_all(stream)
    assert first.shape == (3, 4, 7)
    np.testing.assert_array_equal(second, np.repeat(array(make_image(2, (3, 9), "L")), 3, 0))
    assert all(isinstance(one, Unreadable) for one in others)
    survey = looked(stream, grayscale=True)
    assert (survey.channels, survey.gray) == (1, 0)


def test_gray_images_alone_have_one_channel(tmp_path: Path) -> None:
    stream = open_stream(write_folder(tmp_path, {"x": 2}, mode="L"))
    survey = looked(stream)
    assert (survey.channels, survey.gray) == (1, 0)
    assert read_all(stream, 1)[0].shape == (1, 5, 6)


# Parquet


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 images in two files with small row groups."""
    folder = tmp_path_factory.mktemp("table")
    for name, start, rows in (("a", 0, 70), ("b", 70, 50)):
        images = [encoded(make_image(seed)) for seed in range(start, start + rows)]
        file = write_parquet(folder / f"{name}.parquet", images, {"label": [0] * rows})
        pq.write_table(pq.read_table(file), file, row_group_size=33)
    return folder


@settings(deadline=None, max_examples=25)
@given(asked=st.lists(st.sets(st.integers(0, 119), min_size=1, max_size=9).map(sorted), min_size=1, max_size=6))
def test_any_rows_of_parquet_files_in_any_steps(table: Path, asked) -> None:
    stream = open_stream(table)
    for positions in asked:
        for position, pixels in zip(positions, stream.read(positions, 3, 2), strict=True):
            np.testing.assert_array_equal(pixels, array(make_image(position)))


def test_rows_are_named_by_file_and_row(table: Path) -> None:
    stream = open_stream(table)
    assert [stream.name(position) for position in (0, 69, 70, 119)] == [
        "a.parquet[0]",
        "a.parquet[69]",
        "b.parquet[0]",
        "b.parquet[49]",
    ]
    assert open_stream(table / "b.parquet").name(3) == "b.parquet[3]"
    assert looked(stream).marks.tolist() == [len(encoded(make_image(seed))) for seed in range(120)]


def test_each_row_group_is_read_once_on_the_way_through(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    plain = pq.ParquetFile.iter_batches

    def counted(self, *args, **kwargs):
        opened.append(list(kwargs["row_groups"]))
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    stream = open_stream(table)
    for start in range(0, 120, 10):
        stream.read(range(start, start + 10), 3, 1)
    assert opened == [[0, 1, 2], [0, 1]]


def test_rows_without_a_image_are_unreadable_and_paths_are_followed(tmp_path: Path) -> None:
    make_image(7).save(tmp_path / "there.png")
    file = write_parquet(tmp_path / "t.parquet", [None, None, b"x"], {"label": [0] * 3}, paths=["there.png", "no", "x"])
    stream = open_stream(file)
    assert set(looked(stream).problems) == {1, 2}
    found = read_all(stream)
    np.testing.assert_array_equal(found[0], array(make_image(7)))
    layout = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"img": pa.array([None], layout)}), tmp_path / "n.parquet")
    assert looked(open_stream(tmp_path / "n.parquet")).problems == {0: "the row holds no image"}


def test_real_parquet_files(shared) -> None:
    stream = open_stream(shared("data", "bccd"))
    assert len(stream) == 72 + 205 + 87
    survey = looked(stream)
    assert (survey.channels, survey.problems) == (3, {})
    assert (survey.sizes == [240, 320]).all()
    assert stream.read([363], 3, 1)[0].shape == (3, 240, 320)


# Arrays


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64", ">f4", ">f8"])
@pytest.mark.parametrize("shape", [(5, 4, 6), (5, 2, 4, 6)])
@pytest.mark.parametrize("form", ["npy", "fortran", "npz", "compressed"])
def test_arrays(tmp_path: Path, dtype: str, shape: tuple[int, ...], form: str) -> None:
    pixels = random_pixels(*shape)
    pixels = pixels if dtype == "uint8" else (pixels / 255).astype(dtype)
    file = tmp_path / ("x.npy" if form in ("npy", "fortran") else "x.npz")
    if form in ("npy", "fortran"):
        np.save(file, np.asfortranarray(pixels) if form == "fortran" else pixels)
    else:
        write = np.savez if form == "npz" else np.savez_compressed
        write(file, labels=np.zeros(5), images=pixels)
    stream = open_stream(file)
    survey = looked(stream)
    channels = 1 if len(shape) == 3 else 2
    assert (len(stream), survey.channels, survey.sizes.tolist()) == (5, channels, [[4, 6]] * 5)
    assert stream.dtype == np.dtype({"uint8": "uint8", "float64": "float64", ">f8": "float64"}.get(dtype, "float32"))
    for position in (3, 0, 4):
        (found,) = stream.read([position], channels, 1)
        assert found.dtype == stream.dtype
        assert found.dtype.isnative
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, pixels[position].reshape(channels, 4, 6))
    assert stream.name(2) == ("x.npy[2]" if file.suffix == ".npy" else "x.npz:images[2]")


@pytest.mark.parametrize("layout", ["N, H, W, C", "N, C, H, W"])
def test_training_and_topology_read_one_file_alike(tmp_path: Path, layout: str) -> None:
    pixels = random_pixels(6, 9, 7, 3)
    stored = pixels if layout == "N, H, W, C" else pixels.transpose(0, 3, 1, 2)
    np.savez(tmp_path / "x.npz", train_images=stored, train_labels=np.arange(6) % 2)
    stream = open_stream(tmp_path / "x.npz")
    survey = looked(stream)
    assert (survey.channels, survey.sizes.tolist()) == (3, [[9, 7]] * 6)
    rows = read_npz(tmp_path / "x.npz").parts["train"]
    for position, streamed in enumerate(read_all(stream)):
        np.testing.assert_array_equal(streamed, pixels[position].transpose(2, 0, 1))
        with rows.open(position) as image:
            np.testing.assert_array_equal(read_pixels(image, (3, 9, 7)), streamed)
        assert stream.name(position) == rows.name(position)


@pytest.mark.parametrize("shape", [(4, 9, 7), (4, 9, 7, 1), (4, 1, 9, 7)])
def test_training_and_topology_read_gray_arrays_alike(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = random_pixels(*shape)
    np.savez(tmp_path / "x.npz", train_images=pixels, train_labels=np.arange(4) % 2)
    rows = read_npz(tmp_path / "x.npz").parts["train"]
    for position, streamed in enumerate(read_all(open_stream(tmp_path / "x.npz"), 1)):
        np.testing.assert_array_equal(streamed, pixels[position].reshape(1, 9, 7))
        with rows.open(position) as image:
            np.testing.assert_array_equal(read_pixels(image, (1, 9, 7)), streamed)


def test_channels_that_could_be_anywhere_are_told_by_both(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", train_images=random_pixels(4, 3, 9, 3), train_labels=np.arange(4) % 2)
    for read in (open_stream, read_npz):
        with pytest.raises(UserError, match=r"x\.npz: ?train_images has shape \(4, 3, 9, 3\), whose channels could"):
            read(tmp_path / "x.npz")


def test_a_value_that_is_not_finite_is_named(tmp_path: Path) -> None:
    pixels = np.zeros((3, 2, 4, 5), np.float32)
    pixels[1, 0, 3, 2] = np.nan
    pixels[2, 1, 0, 0] = -np.inf
    found = read_all(open_stream(save(tmp_path / "x.npy", pixels)), 2)
    assert found[1].why == "value [0, 3, 2] is nan; all must be finite"
    assert "value [1, 0, 0] is -inf" in found[2].why


def test_gray_is_the_luminance_of_pillow(tmp_path: Path) -> None:
    pixels = random_pixels(4, 3, 30, 40)
    expected = [np.asarray(Image.fromarray(one.transpose(1, 2, 0)).convert("L")) for one in pixels]
    stream = open_stream(save(tmp_path / "x.npy", pixels))
    assert looked(stream, grayscale=True).channels == 1
    np.testing.assert_array_equal(np.stack(read_all(stream, 1))[:, 0], expected)
    stream = open_stream(save(tmp_path / "y.npy", pixels / 255))
    np.testing.assert_allclose(np.stack(read_all(stream, 1))[:, 0] * 255, expected, atol=0.51)


def test_which_array_of_an_npz_file(tmp_path: Path) -> None:
    file = tmp_path / "x.npz"
    np.savez(file, test=random_pixels(2, 3, 3, seed=1), train=random_pixels(4, 3, 3, seed=2), labels=np.zeros(4))
    with pytest.raises(UserError, match=r"several arrays of images, test, train\. Say which: --field test"):
        open_stream(file)
    with pytest.raises(UserError, match="Did you mean 'train'"):
        open_stream(file, "trian")
    np.testing.assert_array_equal(
        np.concatenate(read_all(open_stream(file, "train"), 1)), random_pixels(4, 3, 3, seed=2)
    )


def test_an_array_cut_short_is_told(tmp_path: Path) -> None:
    file = save(tmp_path / "x.npy", random_pixels(9, 30, 30))
    file.write_bytes(file.read_bytes()[:-500])
    with pytest.raises(UserError, match="cannot be read as npy"):
        open_stream(file)
    np.savez_compressed(tmp_path / "y.npz", random_pixels(9, 90, 90))
    data = bytearray((tmp_path / "y.npz").read_bytes())
    data[5000:5400] = bytes(400)
    (tmp_path / "y.npz").write_bytes(data)
    with pytest.raises(UserError, match="is damaged at image"):
        read_all(open_stream(tmp_path / "y.npz"), 1)


# What is no source


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "missing", "there is no file or folder"),
        (lambda folder: folder, "holds no images"),
        (lambda folder: _text(folder / "x.txt"), "is no source of images"),
        (lambda folder: _text(folder / "x.parquet"), "cannot be read as Parquet"),
        (lambda folder: _text(folder / "x.npy"), "cannot be read as npy"),
        (lambda folder: _text(folder / "x.npz"), "cannot be read as npz"),
        (lambda folder: save(folder / "x.npy", np.zeros((2, 3, 3), np.int32)), "holds int32"),
        (lambda folder: save(folder / "x.npy", np.array([{}, {}])), "cannot be read as npy"),
        (lambda folder: save(folder / "x.npy", random_pixels(5, 5)), r"has shape \(5, 5\)"),
        (lambda folder: save(folder / "x.npy", random_pixels(0, 5, 5)), "holds no images"),
        (lambda folder: save(folder / "x.npy", random_pixels(2, 3, 32, 3)), "could stand before height and width"),
        (lambda folder: _table(folder / "x.parquet", ("a", "b")), "several columns of images, a, b. Say which"),
        (lambda folder: _table(folder / "x.parquet", ()), "no column of images"),
        (lambda folder: _table(folder / "x.parquet", ("a",), rows=0), "holds no rows"),
    ],
)
def test_what_is_no_source_is_told(tmp_path: Path, make, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_stream(make(tmp_path))


def test_a_field_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'img'"):
        open_stream(_table(tmp_path / "x.parquet", ("img",)), "image")
    make_image(1).save(tmp_path / "one.png")
    with pytest.raises(UserError, match="has none"):
        open_stream(tmp_path / "one.png", "img")
    with pytest.raises(UserError, match="Leave it out"):
        open_stream(save(tmp_path / "x.npy", random_pixels(2, 3, 3)), "img")


def test_five_channels_cannot_become_gray(tmp_path: Path) -> None:
    stream = open_stream(save(tmp_path / "x.npy", random_pixels(2, 5, 8, 8)))
    with pytest.raises(UserError, match="has 5 channels; only three"):
        looked(stream, grayscale=True)


def test_parquet_files_with_other_columns_are_told(tmp_path: Path) -> None:
    _table(tmp_path / "a.parquet", ("img",))
    _table(tmp_path / "b.parquet", ("photo",))
    with pytest.raises(UserError, match=r"b.parquet.*'img'"):
        open_stream(tmp_path)


# Chunks


@settings(deadline=None, max_examples=100)
@given(
    sides=st.lists(st.integers(0, 9), min_size=1, max_size=30),
    samples=st.integers(1, 300),
    images=st.integers(1, 8),
    channels=st.sampled_from([1, 3]),
)
def test_chunks_cover_all_images_within_their_bounds(sides, samples: int, images: int, channels: int) -> None:
    sizes = np.array([[side, side] for side in sides], np.int32)
    survey = Survey(channels, sizes, np.zeros(len(sides), np.int64), 0, {})
    start = 0
    while start < len(sides):
        chunk = survey.chunk(start, samples, images)
        assert chunk.start == start
        assert 1 <= len(chunk) <= images
        total = sum(channels * side * side for side in sides[start : chunk.stop])
        assert len(chunk) == 1 or total <= samples
        more = chunk.stop < len(sides) and len(chunk) < images
        assert not more or total + channels * sides[chunk.stop] ** 2 > samples
        start = chunk.stop
    assert start == len(sides)


def _text(file: Path) -> Path:
    file.write_text("no such thing")
    return file


def _table(file: Path, columns: tuple[str, ...], rows: int = 2) -> Path:
    layout = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = [{"bytes": encoded(make_image(k)), "path": None} for k in range(rows)]
    content = {name: pa.array(images, layout) for name in columns}
    pq.write_table(pa.table({**content, "label": pa.array([0] * rows, pa.int64())}), file)
    return file
