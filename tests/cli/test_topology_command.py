"""`persistill topology` as its user meets it, held to the library and to counting by hand."""

import errno
import io
import json
import os
import re
import shlex
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from persistill.cli import contact_sheets, main, topology_run
from persistill.cli.topology_explanation import figure_name
from persistill.extraction import outputs, reading, result_folder, resumable_writer, window
from persistill.extraction.window import WindowSample
from persistill.topology import (
    Diagrams,
    PersistenceImageConfig,
    columns,
    fit_persistence_images,
    rows,
    scan_persistence_images,
    sublevel_persistence,
)
from persistill.topology.io import load_diagrams
from persistill.utils import atomic_io

SMALL = ["--preset", "tgd", "--pixels", "6x5", "--births", "0,1", "--persistences", "0,1", "--bandwidth", "0.1"]
SETTINGS = PersistenceImageConfig(pixels=(6, 5), births=(0, 1), persistences=(0, 1), bandwidth=0.1)


class Prediction(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def topology(capsys: pytest.CaptureFixture[str]) -> Callable[..., Prediction]:
    def call(*arguments: object) -> Prediction:
        with pytest.raises(SystemExit) as stop:
            main(["topology", *(str(argument) for argument in arguments)])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Prediction(stop.value.code, " ".join(out.split()), " ".join(err.split()))

    return call


@pytest.fixture(autouse=True)
def _small_sheets(monkeypatch: pytest.MonkeyPatch) -> None:
    """One image on the contact sheet, which takes most of the time."""
    monkeypatch.setattr(topology_run, "SHEET_IMAGES", 1)


@pytest.fixture
def in_small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three images at a time, each chunk saved."""
    for output in (
        outputs.PersistenceImageOutput,
        outputs.BettiCurveOutput,
        outputs.DiagramOutput,
    ):
        monkeypatch.setattr(output, "samples", 3 * 3 * 8 * 9)
    monkeypatch.setattr(resumable_writer, "_SECONDS", 0.0)


def pixels(seed: int, *shape: int) -> np.ndarray:
    """Smooth random 8-bit pixels, as real images have them."""
    rough = np.random.default_rng(seed).normal(size=shape).cumsum(-1).cumsum(-2)
    return np.uint8(255 * (rough - rough.min()) / np.ptp(rough))


def write(folder: Path, images: dict[str, np.ndarray]) -> Path:
    """(3, H, W) or (H, W) images as PNG."""
    for name, one in images.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(one if one.ndim == 2 else one.transpose(1, 2, 0)).save(folder / name)
    return folder


def ten(folder: Path) -> tuple[Path, list[np.ndarray]]:
    images = {f"{k}.png": pixels(k, 3, 8, 9) for k in range(10)}
    return write(folder / "images", images), list(images.values())


def drawn(images: list[np.ndarray], **options) -> np.ndarray:
    return np.concatenate([scan_persistence_images(one[None], SETTINGS, **options) for one in images])


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


# Results


def test_images_of_different_sizes_become_images_of_one(topology, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(topology_run, "SHEET_IMAGES", 4)
    sizes = {"b.png": (12, 10), "a/c.png": (8, 9), "a/b.png": (12, 10), "d.png": (1, 1), "e.png": (1, 30)}
    images = {name: pixels(k, 3, *size) for k, (name, size) in enumerate(sizes.items())}
    answer = topology(write(tmp_path / "in", images), "--output", tmp_path / "out", *SMALL)
    assert answer.code == 0
    names = (tmp_path / "out" / "names.txt").read_text().splitlines()
    assert names == sorted(sizes)
    rasters = np.load(tmp_path / "out" / "persistence_images.npy")
    assert (rasters.shape, rasters.dtype) == ((5, 6, 6, 5), np.float32)
    np.testing.assert_array_equal(rasters, drawn([images[name] for name in names]))
    assert "5 x 6 x 6 x 5" in answer.out
    assert "5 names" in answer.out
    about = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert about["shape"] == [5, 6, 6, 5]
    assert PersistenceImageConfig.from_json(about["parameters"]["settings"]) == SETTINGS
    assert about["software"]["persistill"]
    with Image.open(tmp_path / "out" / "contact_sheet.png") as sheet:
        assert sheet.width > sheet.height > 500
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "contact_sheet.png",
        "names.txt",
        "persistence_images.npy",
        "settings.json",
    ]


def test_cifar_10(topology, shared, tmp_path: Path) -> None:
    source = shared("data", "cifar10", "test.parquet")
    answer = topology(
        source,
        "--output",
        tmp_path / "out",
        "--preset",
        "tgd",
        "--dtype",
        "uint8",
        "--pixels",
        "8",
        "--scans",
        "columns",
    )
    assert answer.code == 0
    images = np.load(tmp_path / "out" / "persistence_images.npy", mmap_mode="r")
    assert (images.shape, images.dtype) == ((10_000, 3, 8, 8), np.uint8)
    encoded = pq.read_table(source, columns=["img"])["img"]
    for row in (0, 4_999, 9_999):
        with Image.open(io.BytesIO(encoded[row]["bytes"].as_py())) as image:
            there = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
        expected = scan_persistence_images(there[None], PersistenceImageConfig(pixels=(8, 8)), scans=["columns"])
        np.testing.assert_array_equal(images[row], np.floor(expected[0] * 255))
    assert (tmp_path / "out" / "names.txt").read_text().splitlines()[9_999] == "test.parquet[9999]"


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_arrays(topology, tmp_path: Path, dtype: str) -> None:
    batch = np.stack([pixels(k, 2, 7, 11) for k in range(4)])
    batch = batch if dtype == "uint8" else (batch / 255).astype(dtype)
    np.savez_compressed(tmp_path / "x.npz", images=batch, labels=np.zeros(4))
    assert topology(tmp_path / "x.npz", "--output", tmp_path / "out", *SMALL, "--dtype", "float16").code == 0
    images = np.load(tmp_path / "out" / "persistence_images.npy")
    np.testing.assert_array_equal(images, scan_persistence_images(batch, SETTINGS).astype(np.float16))


def test_volumes_are_refused_and_slices_as_channels_are_named(topology, tmp_path: Path) -> None:
    np.save(tmp_path / "volumes.npy", pixels(0, 2, 1, 5, 6, 7))
    answer = topology(tmp_path / "volumes.npy", "--output", tmp_path / "out", *SMALL)
    assert (answer.code, "Of volumes, give slices" in answer.err) == (2, True)
    np.save(tmp_path / "slices.npy", pixels(0, 2, 5, 6, 7))
    answer = topology(tmp_path / "slices.npy", "--output", tmp_path / "out", *SMALL)
    assert "Each of the 5 channels of an image was read on its own." in answer.out
    assert "there are no 3-D complexes" in answer.out
    np.save(tmp_path / "colors.npy", pixels(0, 2, 3, 6, 7))
    assert "3-D" not in topology(tmp_path / "colors.npy", "--output", tmp_path / "colors", *SMALL).out


def test_a_fitted_window_is_that_of_the_library(topology, tmp_path: Path) -> None:
    source, images = ten(tmp_path)
    fitted = ["--pixels", "4x7", "--min-persistence", "0.05"]
    assert topology(source, "--output", tmp_path / "out", *fitted).code == 0
    answer = topology(source, "--output", tmp_path / "out", *fitted, "--preset", "fitted")
    assert "was complete already" in answer.out  # the default
    signals = [scan(one[None]) for one in images for scan in (rows, columns)]
    diagrams = Diagrams.from_list([one for signal in signals for one in sublevel_persistence(signal)])
    expected = fit_persistence_images(diagrams, pixels=(4, 7), min_persistence=0.05)
    about = json.loads((tmp_path / "out" / "settings.json").read_text())
    found = PersistenceImageConfig.from_json(about["parameters"]["settings"])
    assert (found.pixels, found.births, found.scaling) == ((4, 7), expected.births, "log")
    assert found.scale == pytest.approx(expected.scale)
    rasters = np.load(tmp_path / "out" / "persistence_images.npy")
    np.testing.assert_allclose(rasters, scan_persistence_images(np.stack(images), expected), atol=1e-6)


def test_diagrams_are_read_back_by_the_library(topology, tmp_path: Path) -> None:
    sizes = [(8, 9), (5, 4), (8, 9), (1, 1)]
    images = [pixels(k, 3, *size) for k, size in enumerate(sizes)]
    source = write(tmp_path / "in", {f"{k}.png": one for k, one in enumerate(images)})
    options = ["--to", "diagrams", "--min-persistence", "0.1"]
    assert topology(source, "--output", tmp_path / "out", *options).code == 0
    diagrams = load_diagrams(tmp_path / "out" / "diagrams.npz")
    assert (diagrams.shape, diagrams.values.dtype, diagrams.dimension) == ((4, 6), np.uint8, 0)
    for k, one in enumerate(images):
        for s, scan in enumerate((rows, columns)):
            for c in range(3):
                expected = sublevel_persistence(scan(one[c])[None])[0].astype(int)
                expected = expected[expected[:, 1] - expected[:, 0] > 25.5]
                np.testing.assert_array_equal(diagrams[k, 3 * s + c], expected)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "contact_sheet.png",
        "diagrams.npz",
        "names.txt",
        "settings.json",
    ]


@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_curves_count_runs_of_samples(topology, tmp_path: Path, dtype: str) -> None:
    batch = np.stack([pixels(k, 6, 7) for k in range(5)])
    batch = batch if dtype == "uint8" else batch / 255
    np.save(tmp_path / "x.npy", batch)
    options = ["--to", "curves", "--levels", "0.1,0.9,9"]
    assert topology(tmp_path / "x.npy", "--output", tmp_path / "out", *options).code == 0
    curves = np.load(tmp_path / "out" / "betti_curves.npy")
    assert curves.shape == (5, 2, 9)
    for k in range(5):
        for s, signal in enumerate((batch[k].ravel(), batch[k].T.ravel())):
            for t, level in enumerate(np.linspace(0.1, 0.9, 9)):
                below = signal / (255 if dtype == "uint8" else 1) <= level
                components = int(below[0]) + int((below[1:] & ~below[:-1]).sum())
                assert curves[k, s, t] == components


def test_threads_change_nothing(topology, tmp_path: Path) -> None:
    source, _ = ten(tmp_path)
    for threads in (1, 3):
        assert topology(source, "--output", tmp_path / f"{threads}", *SMALL, "--threads", threads).code == 0
    first, second = ((tmp_path / f"{threads}" / "persistence_images.npy").read_bytes() for threads in (1, 3))
    assert first == second


# Going on


@pytest.mark.parametrize("to", ["images", "diagrams", "curves"])
@pytest.mark.parametrize("torn", [False, True])
def test_interrupted_it_goes_on_where_it_stopped(
    topology, tmp_path: Path, in_small_chunks, monkeypatch, to: str, torn: bool
) -> None:
    source, _ = ten(tmp_path)
    options = ["--to", to, *(SMALL if to == "images" else ["--min-persistence", "0.05"])]
    assert topology(source, "--output", tmp_path / "whole", *options).code == 0

    plain = reading.ImageReader.read
    asked: list[int] = []

    def pressed(self, positions):
        if positions[0] == 6 and not asked.count(6):
            asked.append(6)
            raise KeyboardInterrupt
        asked.extend(positions)
        return plain(self, positions)

    monkeypatch.setattr(reading.ImageReader, "read", pressed)
    monkeypatch.setattr(
        topology_run.Extraction, "_sample", lambda self: WindowSample(sublevel_persistence(np.zeros((1, 2))), 0, 0, 0)
    )
    answer = topology(source, "--output", tmp_path / "out", *options)
    assert answer.code == 130
    assert "goes on where it stopped" in answer.err
    assert not (tmp_path / "out" / "settings.json").exists()
    assert json.loads((tmp_path / "out" / "unfinished.json").read_text())["progress"]["position"] == 6
    if torn:  # what a crash in the middle of a chunk leaves
        for path in (tmp_path / "out").glob("*.unfinished"):
            with path.open("ab") as file:
                file.write(bytes(1_000_000))
    asked.clear()
    asked.append(6)
    assert topology(source, "--output", tmp_path / "out", *options, "--threads", 1).code == 0
    assert asked[:5] == [6, 6, 7, 8, 9]
    whole = contents(tmp_path / "whole")
    found = contents(tmp_path / "out")
    assert set(found) == set(whole)
    result = {"images": "persistence_images.npy", "diagrams": "diagrams.npz", "curves": "betti_curves.npy"}[to]
    if to == "diagrams":
        first, second = (load_diagrams(tmp_path / name / result) for name in ("out", "whole"))
        np.testing.assert_array_equal(first.values, second.values)
        np.testing.assert_array_equal(first.offsets, second.offsets)
    else:
        assert found[result][0] == whole[result][0]
    assert found["names.txt"][0] == whole["names.txt"][0]


def test_stopped_between_the_last_two_files_it_goes_on(topology, tmp_path: Path, monkeypatch) -> None:
    source, images = ten(tmp_path)
    plain = atomic_io.write_json

    def full(path: Path, content: object) -> None:
        if path.name == "settings.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        plain(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(result_folder, "write_json", full)
        answer = topology(source, "--output", tmp_path / "out", *SMALL)
    assert answer.code == 1
    assert "the disk is full" in answer.err
    assert (tmp_path / "out" / "persistence_images.npy").exists()
    assert topology(source, "--output", tmp_path / "out", *SMALL).code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "persistence_images.npy"), drawn(images))


def test_a_full_disk_loses_nothing(topology, tmp_path: Path, in_small_chunks, monkeypatch) -> None:
    source, images = ten(tmp_path)
    plain = resumable_writer.ResumableWriter.append

    def full(self, name: str, data) -> None:
        if self.reached.position == 6:
            plain(self, name, bytes(data)[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        plain(self, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(resumable_writer.ResumableWriter, "append", full)
        answer = topology(source, "--output", tmp_path / "out", *SMALL)
    assert answer.code == 1
    assert "the disk is full" in answer.err
    assert json.loads((tmp_path / "out" / "unfinished.json").read_text())["progress"]["position"] == 6
    assert topology(source, "--output", tmp_path / "out", *SMALL).code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "persistence_images.npy"), drawn(images))


@pytest.fixture
def stopped(topology, tmp_path: Path, in_small_chunks, monkeypatch) -> tuple[Path, Path]:
    """A source and a folder with the results of its first three images."""
    source, _ = ten(tmp_path)
    plain = outputs.PersistenceImageOutput.write

    def pressed(self, images, writer):
        if writer.reached.position == 3:
            raise KeyboardInterrupt
        return plain(self, images, writer)

    with monkeypatch.context() as patch:
        patch.setattr(outputs.PersistenceImageOutput, "write", pressed)
        assert topology(source, "--output", tmp_path / "out", *SMALL).code == 130
    return source, tmp_path / "out"


def test_other_parameters_are_refused_and_nothing_changes(topology, stopped) -> None:
    source, out = stopped
    before = contents(out)
    answer = topology(source, "--output", out, *SMALL, "--weight", "constant")
    assert answer.code == 2
    assert "settings.weight is linear there and constant here" in answer.err
    assert contents(out) == before
    answer = topology(source, "--output", out, "--to", "diagrams")
    assert answer.code == 2
    assert "to is images there and diagrams here" in answer.err
    assert contents(out) == before


def test_other_images_are_refused_and_nothing_changes(topology, stopped) -> None:
    source, out = stopped
    before = contents(out)
    Image.fromarray(pixels(99, 8, 9)).convert("RGB").save(source / "1.png")
    answer = topology(source, "--output", out, *SMALL)
    assert answer.code == 2
    assert "holds results of other images" in answer.err
    assert "the first 3 images" in answer.err
    assert contents(out) == before


def test_images_that_come_later_may_change(topology, stopped) -> None:
    source, out = stopped
    new = pixels(99, 3, 8, 9)
    write(source, {"7.png": new})
    assert topology(source, "--output", out, *SMALL).code == 0
    np.testing.assert_array_equal(np.load(out / "persistence_images.npy")[7], drawn([new])[0])


def test_a_partial_file_cut_short_is_refused(topology, stopped) -> None:
    source, out = stopped
    os.truncate(out / "persistence_images.npy.unfinished", 200)
    answer = topology(source, "--output", out, *SMALL)
    assert answer.code == 2
    assert "missing or cut short" in answer.err


def test_complete_results_are_not_made_again(topology, tmp_path: Path) -> None:
    source, _ = ten(tmp_path)
    out = tmp_path / "out"
    assert topology(source, "--output", out, *SMALL).code == 0
    before = contents(out)
    answer = topology(source, "--output", out, *SMALL)
    assert answer.code == 0
    assert "was complete already" in answer.out
    assert contents(out) == before
    assert topology(source, "--output", out, *SMALL, "--grayscale").code == 2
    write(source, {"x.png": pixels(4, 3, 8, 9)})
    answer = topology(source, "--output", out, *SMALL)
    assert answer.code == 2
    assert "other images" in answer.err
    assert contents(out) == before


def test_a_folder_with_something_else_is_refused(topology, tmp_path: Path) -> None:
    source, _ = ten(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    assert topology(source, "--output", out, *SMALL, "--to", "images").code == 0  # an empty folder serves
    other = tmp_path / "other"
    other.mkdir()
    (other / "settings.json").write_text("{}")
    answer = topology(source, "--output", other, *SMALL)
    assert answer.code == 2
    assert "holds something else (settings.json)" in answer.err
    assert {path.name for path in other.iterdir()} == {"settings.json"}
    answer = topology(source, "--output", other / "settings.json", *SMALL)
    assert "is a file" in answer.err
    answer = topology(source, "--output", source / "out", *SMALL)
    assert answer.code == 2
    assert "lies inside of" in answer.err
    assert not (source / "out").exists()


# Images that are not as they should be


def test_an_unreadable_image_is_an_error_or_left_out(topology, tmp_path: Path) -> None:
    source, images = ten(tmp_path)
    (source / "4.png").write_bytes(b"no image")
    answer = topology(source, "--output", tmp_path / "out", *SMALL)
    assert answer.code == 2
    assert "1 of 10 images" in answer.err
    assert "4.png (no image in a known format)" in answer.err
    assert "--skip-unreadable" in answer.err
    assert not (tmp_path / "out").exists()
    answer = topology(source, "--output", tmp_path / "out", *SMALL, "--skip-unreadable")
    assert answer.code == 0
    assert "Left out, because they cannot be read (1 of 10): 4.png (no image in a known format)." in answer.out
    kept = [k for k in range(10) if k != 4]
    assert (tmp_path / "out" / "names.txt").read_text().split() == [f"{k}.png" for k in kept]
    rasters = np.load(tmp_path / "out" / "persistence_images.npy")
    np.testing.assert_array_equal(rasters, drawn([images[k] for k in kept]))


def test_damage_behind_a_header_stops_it_where_it_is_and_nothing_is_lost(
    topology, tmp_path: Path, in_small_chunks, monkeypatch
) -> None:
    monkeypatch.setattr(window, "SAMPLE_IMAGES", 1)
    source, images = ten(tmp_path)
    whole = (source / "7.png").read_bytes()
    (source / "7.png").write_bytes(whole[: len(whole) // 2])
    answer = topology(source, "--output", tmp_path / "out", *SMALL)
    assert answer.code == 2
    assert "7.png" in answer.err
    assert json.loads((tmp_path / "out" / "unfinished.json").read_text())["progress"]["position"] == 6
    # Leave it out in one folder ...
    (tmp_path / "copy").mkdir()
    for path in (tmp_path / "out").iterdir():
        (tmp_path / "copy" / path.name).write_bytes(path.read_bytes())
    assert topology(source, "--output", tmp_path / "copy", *SMALL, "--skip-unreadable").code == 0
    kept = [one for k, one in enumerate(images) if k != 7]
    np.testing.assert_array_equal(np.load(tmp_path / "copy" / "persistence_images.npy"), drawn(kept))
    about = json.loads((tmp_path / "copy" / "settings.json").read_text())
    assert about["progress"]["skipped"][0][0] == "7.png"
    # ... mend it in the other.
    (source / "7.png").write_bytes(whole)
    assert topology(source, "--output", tmp_path / "out", *SMALL).code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "persistence_images.npy"), drawn(images))


def test_no_readable_image_at_all_is_an_error(topology, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"no image")
    answer = topology(tmp_path / "in", "--output", tmp_path / "out", "--skip-unreadable")
    assert answer.code == 2
    assert "1 of 1 images" in answer.err


def test_gray_among_color_becomes_rgb_and_is_said(topology, tmp_path: Path) -> None:
    gray, color = pixels(1, 8, 9), pixels(2, 3, 8, 9)
    source = write(tmp_path / "in", {"a.png": gray, "b.png": color})
    answer = topology(source, "--output", tmp_path / "out", *SMALL)
    assert answer.code == 0
    assert "Gray images among colored ones (1 of 2) were read as RGB." in answer.out
    images = np.load(tmp_path / "out" / "persistence_images.npy")
    np.testing.assert_array_equal(images, drawn([np.stack([gray] * 3), color]))
    assert topology(source, "--output", tmp_path / "gray", *SMALL, "--grayscale").code == 0
    images = np.load(tmp_path / "gray" / "persistence_images.npy")
    np.testing.assert_array_equal(images[0], drawn([gray[None]])[0])
    assert images.shape == (2, 2, 6, 5)


def test_a_nan_in_an_array_is_named(topology, tmp_path: Path) -> None:
    batch = np.stack([pixels(k, 8, 9) / 255 for k in range(4)])
    batch[2, 5, 6] = np.nan
    np.save(tmp_path / "x.npy", batch)
    answer = topology(tmp_path / "x.npy", "--output", tmp_path / "out", *SMALL)
    assert answer.code == 2
    assert "x.npy[2] (value [5, 6] is nan; all must be finite)" in answer.err
    assert topology(tmp_path / "x.npy", "--output", tmp_path / "out", *SMALL, "--skip-unreadable").code == 0
    images = np.load(tmp_path / "out" / "persistence_images.npy")
    np.testing.assert_array_equal(images, drawn([batch[k][None] for k in (0, 1, 3)]))


def test_bars_outside_the_window_are_told(topology, tmp_path: Path) -> None:
    """Bright images, as those of cells under a microscope: nearly all births lie above the published window."""
    images = [pixels(k, 3, 8, 9) // 3 + 170 for k in range(10)]
    source = write(tmp_path / "in", {f"{k}.png": one for k, one in enumerate(images)})
    answer = topology(source, "--output", tmp_path / "published", "--preset", "tgd")
    found = re.search(r"holds 0 of (\d+) bars of all images, 0 % of their persistence\. What lies outside", answer.out)
    assert found is not None
    assert "--preset fitted" in answer.out
    signals = [scan(one[None]) for one in images for scan in (rows, columns)]
    assert int(found[1]) == sum(len(sublevel_persistence(one, min_persistence=0.02 * 255).values) for one in signals)
    answer = topology(source, "--output", tmp_path / "fitted")
    assert re.search(r"holds \d+ of \d+ bars of all images, 9\d % of their persistence\.", answer.out)
    assert "What lies outside" not in answer.out
    about = json.loads((tmp_path / "fitted" / "settings.json").read_text())["parameters"]["settings"]
    assert about["births"][0] > 0.6


def test_the_share_is_that_of_the_images_looked_at(topology, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(window, "SAMPLE_IMAGES", 2)
    source, images = ten(tmp_path)
    answer = topology(source, "--output", tmp_path / "out", "--preset", "tgd", "--births", "0,0.5")
    values = np.concatenate(
        [sublevel_persistence(scan(images[k][None])).values for k in (0, 5) for scan in (rows, columns)]
    )
    births, lengths = values[:, 0] / 255, np.diff(values.astype(int))[:, 0] / 255
    births, lengths = births[lengths > 0.02], lengths[lengths > 0.02]
    inside = (births <= 0.5) & (lengths <= 0.3)
    percent = 100 * lengths[inside].sum() / lengths.sum()
    assert f"holds {inside.sum()} of {len(births)} bars of 2 of 10 images, {percent:.0f} %" in answer.out


def test_8_bit_values_stored_as_floats_are_told(topology, tmp_path: Path) -> None:
    batch = np.stack([pixels(k, 8, 9) / 2.0 + 100 for k in range(4)])
    np.save(tmp_path / "x.npy", batch)  # 100 to 227.5, not 0 to 1
    for options in (["--preset", "tgd"], [], ["--to", "curves"]):
        answer = topology(tmp_path / "x.npy", "--output", tmp_path / "-".join(["out", *options]), *options)
        assert answer.code == 0
        assert "Values run from 100 to 227.5; settings, levels and persistences count in the same units." in answer.out
        assert ("holds 0 of" in answer.out) == ("tgd" in options)
    np.save(tmp_path / "y.npy", batch / 255)
    assert "Values run" not in topology(tmp_path / "y.npy", "--output", tmp_path / "unit").out


def test_binary_images_get_a_window(topology, tmp_path: Path) -> None:
    images = {f"{k}.png": 255 * (pixels(k, 8, 9) > 128).astype(np.uint8) for k in range(4)}
    answer = topology(write(tmp_path / "in", images), "--output", tmp_path / "out")
    assert answer.code == 0
    assert "births -0.5 to 0.5, persistences 0 to 1" in answer.out
    assert np.load(tmp_path / "out" / "persistence_images.npy").any()


def test_images_without_bars_are_told(topology, tmp_path: Path) -> None:
    source = write(tmp_path / "in", {f"{k}.png": np.full((8, 9), 50 * k, np.uint8) for k in range(3)})
    answer = topology(source, "--output", tmp_path / "out")
    assert answer.code == 2
    assert "no window can be fitted to 3 images of" in answer.err
    assert "Give a smaller --min-persistence" in answer.err
    answer = topology(source, "--output", tmp_path / "out", "--preset", "tgd")
    assert answer.code == 0
    assert "No bar of all images is longer than 0.02: their persistence images are blank." in answer.out


# --explain


@pytest.mark.parametrize("wanted", ["7.png", "7", "{source}/7.png"])
def test_explain_draws_one_image(topology, tmp_path: Path, monkeypatch, wanted: str) -> None:
    source, images = ten(tmp_path)
    seen = []
    plain = contact_sheets.draw_explanation
    monkeypatch.setattr(topology_run, "draw_explanation", lambda path, *more: (seen.append(more), plain(path, *more)))
    options = ["--explain", wanted.format(source=source), "--channel", "1", "--scans", "columns,rows"]
    assert topology(source, "--output", tmp_path / "out", *SMALL, *options).code == 0
    ((image, settings, scan, channel),) = seen
    np.testing.assert_array_equal(image, images[7])
    assert (settings, scan, channel) == (SETTINGS, "columns", 1)
    with Image.open(tmp_path / "out" / "explain-7.png") as figure:
        assert figure.size[0] > 1000


def test_explain_alone_draws_one_figure_and_no_more(topology, tmp_path: Path, monkeypatch) -> None:
    source, _ = ten(tmp_path)
    monkeypatch.chdir(tmp_path)
    answer = topology("--explain", source / "7.png")
    assert answer.code == 0
    assert "bars of all images" in answer.out
    assert "explain-7.png one image explained" in answer.out
    with Image.open(tmp_path / "explain-7.png") as figure:
        assert figure.size[0] > 1000
    assert topology(source, "--explain", "8.png", "--preset", "tgd").code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["explain-7.png", "explain-8.png", "images"]


def test_figures_of_images_of_one_name_have_several(topology, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["a/cat.png", "b/cat.png", "b/cat.bmp", "dog.png", "other/dog.png"]
    write(tmp_path / "in", dict.fromkeys(names[:4], pixels(1, 8, 9)))
    write(tmp_path, {names[4]: pixels(2, 8, 9)})
    found = [topology("in", "--explain", name).out for name in names]
    expected = ["a-cat", "b-cat.png", "b-cat.bmp", "dog", "other-dog"]
    assert [re.search(r"explain-(.*)\.png", out)[1] for out in found] == expected


def test_no_two_figures_are_called_alike() -> None:
    names = ["a b.png", "a-b.png", "a/b.png", "c/b.png", "A-B.png", "a-b.bmp", "a b.bmp", "é.png", "ü.png"]
    found = [figure_name(place, names) for place in range(len(names))]
    assert len({one.lower() for one in found}) == len(names)
    assert figure_name(0, ["a b.png", "c.png"]) == "explain-a-b.png"


def test_explain_works_on_complete_results(topology, tmp_path: Path) -> None:
    source, _ = ten(tmp_path)
    assert topology(source, "--output", tmp_path / "out", "--to", "diagrams").code == 0
    before = (tmp_path / "out" / "diagrams.npz").stat().st_mtime_ns
    answer = topology(source, "--output", tmp_path / "out", "--to", "diagrams", "--explain", "3")
    assert answer.code == 0
    assert "explain-3.png" in answer.out
    assert (tmp_path / "out" / "diagrams.npz").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--explain", "77.png"], "Did you mean '7.png'"),
        (["--explain", "10"], "a number from 0 to 9"),
        (["--explain", "7", "--channel", "3"], "has channels 0 to 2"),
    ],
)
def test_a_image_that_cannot_be_explained_is_told_before_the_work(topology, tmp_path: Path, options, message) -> None:
    source, _ = ten(tmp_path)
    answer = topology(source, "--output", tmp_path / "out", *SMALL, *options)
    assert answer.code == 2
    assert message in answer.err
    assert not (tmp_path / "out").exists()


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pixels", "50by50"], "--pixels '50by50' is not of the form 50x50"),
        (["--pixels", "0x5"], "--pixels must be at least (1, 1)"),
        (["--births", "0"], "--births '0' is not of the form 0,0.3"),
        (["--births", "1,0", "--preset", "tgd"], "--births must be (low, high)"),
        (["--bandwidth", "-1"], "--bandwidth must be above 0; got -1.0"),
        (["--bandwidth", "nan"], "--bandwidth must be finite"),
        (["--min-persistence", "-1"], "--min-persistence must be 0 or more"),
        (["--min-persistence", "inf", "--to", "curves"], "--min-persistence must be 0 or more, and finite"),
        (["--scans", "rows,diagonals"], "unknown scan 'diagonals'"),
        (["--scans", "rows,rows"], "names a scan twice"),
        (["--to", "landscapes"], "'landscapes'"),
        (["--threads", "0"], "should be greater than or equal to 1"),
        (["--dtype", "uint8", "--scaling", "log"], "Add --scaling max, or take --dtype float16"),
        (["--dtype", "uint8"], "--scaling log does not give"),
        (["--births", "0,1"], "--births is fitted to the images; to set it, add --preset tgd"),
        (["--preset", "fitted", "--scale", "2"], "--scale is fitted to the images"),
        (["--to", "diagrams", "--bandwidth", "1"], "--bandwidth is of persistence images; --to diagrams makes none"),
        (["--to", "curves", "--preset", "fitted"], "--preset is of persistence images"),
        (["--to", "diagrams", "--preset", "tgd"], "--preset is of persistence images"),
        (["--levels", "0,1,5"], "goes with --to curves"),
        (["--to", "diagrams", "--levels", "0,1,5"], "goes with --to curves"),
        (["--to", "curves", "--levels", "1,0,5"], "--levels '1,0,5' is not of the form 0,1,64"),
    ],
)
def test_a_wrong_option_is_told(topology, tmp_path: Path, options: list[str], message: str) -> None:
    source, _ = ten(tmp_path)
    answer = topology(source, "--output", tmp_path / "out", *options)
    assert answer.code == 2
    assert message in answer.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a SOURCE of images"),
        (["in"], "say where results go: persistill topology in --out topology"),
        (
            ["in", "--explain", "1", "--to", "curves"],
            "--to is about results in a folder; give that folder with --out",
        ),
        (["--explain", "cat.png"], "there is no file or folder cat.png"),
    ],
)
def test_what_is_missing_is_told(topology, arguments: list[str], message: str) -> None:
    answer = topology(*arguments)
    assert answer.code == 2
    assert message in answer.err


def test_an_empty_folder_and_a_missing_one(topology, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    answer = topology(tmp_path / "in", "--output", tmp_path / "out")
    assert (answer.code, "holds no images" in answer.err) == (2, True)
    answer = topology(tmp_path / "nowhere", "--output", tmp_path / "out")
    assert (answer.code, "there is no file or folder" in answer.err) == (2, True)
    assert not (tmp_path / "out").exists()


# The page


def test_the_page_runs(topology, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    page = (Path(__file__).parents[2] / "docs" / "topology_command.md").read_text(encoding="utf-8")
    commands = re.findall(r"^persistill topology (.*)$", page, re.MULTILINE)
    snippets = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert (len(commands), len(snippets)) == (11, 2)
    write(tmp_path / "photos", {"cat.png": pixels(1, 3, 20, 30), "b.png": pixels(2, 3, 31, 17)})
    np.save(tmp_path / "digits.npy", np.stack([pixels(k, 8, 8) for k in range(5)]))
    monkeypatch.chdir(tmp_path)
    for command in commands:
        assert topology(*shlex.split(command)).code == 0, command
    assert (tmp_path / "topology" / "explain-cat.png").is_file()
    for snippet in snippets:
        exec(compile(snippet, "docs/topology_command.md", "exec"), {})
    assert "(2, 6, 32, 32)" in capsys.readouterr().out


# Memory


@pytest.mark.parametrize("to", ["images", "diagrams"])
def test_memory_does_not_grow_with_the_number_of_images(topology, tmp_path: Path, monkeypatch, to: str) -> None:
    monkeypatch.setattr(outputs, "_OUTPUT", 1 << 18)
    for output in (outputs.PersistenceImageOutput, outputs.DiagramOutput):
        monkeypatch.setattr(output, "samples", 1 << 15)
    monkeypatch.setattr(window, "SAMPLE_IMAGES", 10)
    options = ["--to", to, *(["--pixels", "30x30"] if to == "images" else [])]
    peaks = []
    for count in (10, 500, 4_000):
        np.savez(tmp_path / f"{count}.npz", np.random.default_rng(0).integers(0, 256, (count, 32, 32), np.uint8))
        tracemalloc.start()
        try:
            assert topology(tmp_path / f"{count}.npz", "--output", tmp_path / f"{count}", *options).code == 0
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    # 4,000 images are 4 MB and become 29 MB of images, or 2,000,000 points. The first call also pays for what is
    # imported and drawn once.
    assert peaks[2] < peaks[1] + 2e6
