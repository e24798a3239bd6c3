"""Results in shards are those in one file, whoever makes them and however often they are stopped."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from extraction_inputs import SMALL, call, photographs
from torch.utils.data import DataLoader

from persistill.cli import topology_run
from persistill.extraction import outputs, sharded_writer, shards, surveying, window
from persistill.topology import StoredArray, StoredDiagrams, load_diagrams

RESULTS = {"images": "persistence_images.npy", "diagrams": "diagrams.npz", "curves": "betti_curves.npy"}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One image on the contact sheet, and two images at a time."""
    monkeypatch.setattr(topology_run, "SHEET_IMAGES", 1)
    for output in (outputs.PersistenceImageOutput, outputs.BettiCurveOutput, outputs.DiagramOutput):
        monkeypatch.setattr(output, "samples", 2 * 3 * 8 * 9)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images."""
    return photographs(tmp_path_factory.mktemp("source") / "photos", 10)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the shards that are made."""
    numbers: list[int] = []
    plain = shards.atomic

    def noted(path: Path) -> object:
        numbers.append(int(path.stem))
        return plain(path)

    monkeypatch.setattr(shards, "atomic", noted)
    return numbers


def options(to: str) -> list[str]:
    return ["--to", to, *(SMALL if to == "images" else ["--min-persistence", "0.05"])]


def same(folder: Path, whole: Path, to: str = "images") -> bool:
    """Whether results in shards are those in one file, bit for bit."""
    names = [(place / "names.txt").read_bytes() for place in (folder, whole)]
    if to == "diagrams":
        expected, found = load_diagrams(whole / RESULTS[to]), StoredDiagrams(folder)
        parts = [bars for one in found for bars in one]
        equal = len(parts) == len(expected) and all(map(np.array_equal, parts, expected))
        return (
            equal and parts[0].dtype == expected.values.dtype and found.shape == expected.shape and names[0] == names[1]
        )
    array = np.load(whole / RESULTS[to])
    stored = StoredArray(folder)
    found = stored[:]
    return (found == array).all() and (found.dtype, found.shape) == (array.dtype, array.shape) and names[0] == names[1]


@pytest.mark.parametrize("to", ["images", "diagrams", "curves"])
def test_they_are_those_in_one_file(source: Path, tmp_path: Path, to: str) -> None:
    assert call(source, "--out", tmp_path / "whole", *options(to)).code == 0
    answer = call(source, "--out", tmp_path / "shards", *options(to), "--images-per-shard", 4)
    assert (answer.code, "in 3 files" in answer.out) == (0, True)
    folder = tmp_path / "shards"
    stem, suffix = RESULTS[to].split(".")
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == sorted(
        [
            "contact_sheet.png",
            "index.json",
            "names.txt",
            "settings.json",
            *(f"{stem}/0000{k}.{suffix}" for k in range(3)),
        ]
    )
    assert same(folder, tmp_path / "whole", to)
    ours, theirs = (json.loads((tmp_path / name / "settings.json").read_text()) for name in ("shards", "whole"))
    assert ours["parameters"].pop("images_per_shard") == 4
    assert (ours["parameters"], ours["shape"]) == (theirs["parameters"], theirs["shape"])


def test_a_fitted_window_is_that_of_all_images(source: Path, tmp_path: Path) -> None:
    for name, more in (("whole", ()), ("shards", ("--images-per-shard", 3))):
        assert call(source, "--out", tmp_path / name, "--pixels", "6", *more).code == 0
    assert same(tmp_path / "shards", tmp_path / "whole")


@pytest.mark.parametrize("form", ["npy", "npz", "parquet", "tar"])
def test_parts_of_a_source_are_read_by_themselves(source: Path, tmp_path: Path, form: str, monkeypatch) -> None:
    monkeypatch.setattr(surveying, "_IMAGES", 3)
    place = photographs(tmp_path / "in", 10, form)
    assert call(place, "--out", tmp_path / "whole", *SMALL).code == 0
    with monkeypatch.context() as patch:
        patch.setattr(surveying, "LocalPool", type(None))
        patch.setattr("persistill.extraction.task_pool.LocalPool.run", pickled)
        assert call(place, "--out", tmp_path / "shards", *SMALL, "--images-per-shard", 4).code == 0
    assert same(tmp_path / "shards", tmp_path / "whole")


def pickled(self, function: Callable, tasks: Iterator) -> Iterator[tuple]:
    """Does tasks as another process would: of copies of what it was sent."""
    import pickle

    for task in tasks:
        packed = pickle.dumps(task)
        assert len(packed) < 20_000  # no pixels travel
        yield task, pickle.loads(pickle.dumps(function(pickle.loads(packed), lambda: False)))


def test_stopped_it_passes_over_what_is_there(source: Path, tmp_path: Path, made: list[int], monkeypatch) -> None:
    assert call(source, "--out", tmp_path / "whole", *SMALL).code == 0
    out = tmp_path / "out"
    plain = outputs.PersistenceImageOutput.write

    def pressed(self, images, writer):
        if made and made[-1] == 2:
            raise KeyboardInterrupt
        return plain(self, images, writer)

    with monkeypatch.context() as patch:
        patch.setattr(outputs.PersistenceImageOutput, "write", pressed)
        assert call(source, "--out", out, *SMALL, "--images-per-shard", 3).code == 130
    assert made == [0, 1, 2]
    assert sorted(path.name for path in (out / "persistence_images").iterdir()) == [
        *("00000.json", "00000.npy", "00001.json", "00001.npy")
    ]
    made.clear()
    assert call(source, "--out", out, *SMALL).code == 0  # in shards, as what is there
    assert made == [2, 3]
    assert same(out, tmp_path / "whole")
    made.clear()
    assert "was complete already" in call(source, "--out", out, *SMALL).out
    assert made == []


def test_what_a_killed_process_left_is_removed(source: Path, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "out"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sharded_writer, "make_shard", killed)
        assert call(source, "--out", out, *SMALL, "--images-per-shard", 5).code == 130
    left = out / "persistence_images" / ".00000.npy.abcdefgh.unfinished"
    left.mkdir()
    (left / "half").write_bytes(b"half a shard")
    (out / "persistence_images" / "00001.npy").write_bytes(b"without a record")
    assert call(source, "--out", out, *SMALL, "--images-per-shard", 5).code == 0
    assert sorted(path.name for path in (out / "persistence_images").iterdir()) == ["00000.npy", "00001.npy"]


@pytest.fixture
def stopped(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose shards are made, and nothing else."""
    with monkeypatch.context() as patch:
        patch.setattr(topology_run, "draw_sheet", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert call(source, "--out", tmp_path / "out", *SMALL, "--images-per-shard", 4).code == 130
    return tmp_path / "out"


@pytest.mark.parametrize("change", ["cut", "bit", "gone"])
def test_a_damaged_shard_is_made_again(
    source: Path, tmp_path: Path, stopped: Path, made: list[int], change: str
) -> None:
    assert call(source, "--out", tmp_path / "whole", *SMALL).code == 0
    file = stopped / "persistence_images" / "00001.npy"
    damage(file, change)
    answer = call(source, "--out", stopped, *SMALL)
    assert answer.code == 0
    assert "Files that had changed were made again: persistence_images/00001.npy: it" in answer.out
    assert made == [1]
    assert same(stopped, tmp_path / "whole")


def damage(file: Path, change: str) -> None:
    if change == "gone":
        file.unlink()
    elif change == "cut":
        os.truncate(file, 200)
    else:
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)


def test_whole_results_get_what_they_lack(source: Path, stopped: Path, made: list[int]) -> None:
    assert call(source, "--out", stopped, *SMALL).code == 0
    before = (stopped / "persistence_images" / "00002.npy").read_bytes()
    made.clear()
    damage(stopped / "persistence_images" / "00002.npy", "cut")
    assert call(source, "--out", stopped, *SMALL).code == 0
    assert made == [2]
    assert (stopped / "persistence_images" / "00002.npy").read_bytes() == before
    assert "was complete already" in call(source, "--out", stopped, *SMALL).out


def test_other_images_and_parameters_are_refused(source: Path, tmp_path: Path, stopped: Path) -> None:
    found = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}
    for more, said in (
        (["--weight", "constant"], "settings.weight is linear there and constant here"),
        (["--images-per-shard", "3"], "images_per_shard is 4 there and 3 here"),
    ):
        answer = call(source, "--out", stopped, *SMALL, *more)
        assert (answer.code, said in answer.err) == (2, True), answer.err
    other = photographs(tmp_path / "other", 10, first=5)
    fewer = tmp_path / "fewer"
    shutil.copytree(source, fewer)
    (fewer / "09.png").unlink()
    for place in (other, fewer):
        answer = call(place, "--out", stopped, *SMALL)
        assert (answer.code, "holds results of other images" in answer.err) == (2, True), answer.err
    assert {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()} == found


def test_results_in_one_file_do_not_become_shards(source: Path, tmp_path: Path) -> None:
    assert call(source, "--out", tmp_path / "out", *SMALL).code == 0
    answer = call(source, "--out", tmp_path / "out", *SMALL, "--images-per-shard", 4)
    assert (answer.code, "images_per_shard is None there and 4 here" in answer.err) == (2, True)


def test_unreadable_images_stop_it_or_are_left_out(tmp_path: Path, made: list[int], monkeypatch) -> None:
    monkeypatch.setattr(window, "SAMPLE_IMAGES", 1)
    place = photographs(tmp_path / "in", 10)
    whole = (place / "07.png").read_bytes()
    for name in ("04.png", "05.png", "07.png"):  # behind their headers
        (place / name).write_bytes(whole[: len(whole) // 2])
    more = [*SMALL, "--images-per-shard", 2]
    answer = call(place, "--out", tmp_path / "out", *more)
    assert (answer.code, "2 of 10 images of" in answer.err, "04.png" in answer.err) == (2, True, True)
    answer = call(place, "--out", tmp_path / "out", *more, "--skip-unreadable")
    assert (answer.code, "Left out, because they cannot be read (3 of 10)" in answer.out) == (0, True)
    assert call(place, "--out", tmp_path / "whole", *SMALL, "--skip-unreadable").code == 0
    assert same(tmp_path / "out", tmp_path / "whole")
    assert len(StoredArray(tmp_path / "out")) == 7


def test_how_many_images_a_shard_holds() -> None:
    assert [shards.default_images(total) for total in (1, 100, 6400, 10**6)] == [16, 16, 100, 1024]
    assert shards.ranges(10, 4) == [range(4), range(4, 8), range(8, 10)]


def test_they_are_read_as_one_sequence(source: Path, tmp_path: Path) -> None:
    assert call(source, "--out", tmp_path / "out", *SMALL, "--images-per-shard", 4).code == 0
    assert call(source, "--out", tmp_path / "whole", *SMALL).code == 0
    stored, whole = StoredArray(tmp_path / "out"), np.load(tmp_path / "whole" / "persistence_images.npy")
    assert StoredArray(tmp_path / "whole").shape == stored.shape == whole.shape
    assert (stored[-1] == whole[9]).all()
    for index in (slice(2, 9, 3), [9, 0, 4, 4], np.array([5]), []):
        assert (stored[index] == whole[index if isinstance(index, slice) else np.array(index, int)]).all()
    assert stored.names == [f"{k:02d}.png" for k in range(10)]
    batches = list(DataLoader(stored, batch_size=4))
    assert [tuple(batch.shape) for batch in batches] == [(4, *whole.shape[1:])] * 2 + [(2, *whole.shape[1:])]
    assert (np.concatenate(batches) == whole).all()
    with pytest.raises(IndexError, match="no result 10; there are 10"):
        stored[10]
    for index in (np.arange(10) > 8, [True, False], [0.5]):
        with pytest.raises(
            IndexError, match=r"by whole numbers, not by (bool|float64); of a mask take np\.flatnonzero"
        ):
            stored[index]


def test_few_files_are_open_at_the_same_time(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("persistill.topology.stored._OPEN", 2)
    assert call(source, "--out", tmp_path / "out", *SMALL, "--images-per-shard", 2).code == 0
    stored = StoredArray(tmp_path / "out")
    assert (stored[:] == stored[list(range(10))]).all()
    assert list(stored._arrays) == [3, 4]
    first = stored[0]
    assert (first == np.load(tmp_path / "out" / "persistence_images" / "00000.npy")[0]).all()
    assert list(stored._arrays) == [4, 0]


def test_urls_are_no_folders(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = call(source, "--out", "s3://bucket/topology", *SMALL)
    assert (answer.code, "--out s3:/bucket/topology: it names a place of this machine" in answer.err) == (2, True)
    answer = call("s3://bucket/photos", "--out", "topology", *SMALL)
    assert (answer.code, "SOURCE s3:/bucket/photos: it names a place of this machine" in answer.err) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_is_named(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no whole results"):
        StoredArray(tmp_path)
    assert call(source, "--out", tmp_path / "out", *options("diagrams"), "--images-per-shard", 4).code == 0
    with pytest.raises(ValueError, match=r"holds diagrams.npz: open it as StoredDiagrams"):
        StoredArray(tmp_path / "out")
    stored = StoredDiagrams(tmp_path / "out")
    assert [len(batch) for batch in stored.batches()] == [4 * 6, 4 * 6, 2 * 6]
    assert stored[4].shape == (6,)
    assert len(stored[9][0].shape) == 2
    (tmp_path / "out" / "diagrams" / "00001.npz").unlink()
    with pytest.raises(ValueError, match=r"00001.npz is missing or damaged.*Run the same persistill topology again"):
        stored[5]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("cut", "00001.npy: damaged: it has 200 bytes"),
        ("bit", "00001.npy: damaged: its content"),
        ("gone", "00001.npy: missing"),
    ],
)
def test_verify_finds_damaged_shards(source: Path, tmp_path: Path, made: list[int], change: str, said: str) -> None:
    out = tmp_path / "out"
    assert call(source, "--out", out, *SMALL, "--images-per-shard", 4).code == 0
    answer = call(out, command="verify")
    assert (answer.code, answer.out) == (0, f"{out}: 3 shards: nothing is damaged.")
    damage(out / "persistence_images" / "00001.npy", change)
    answer = call(out, command="verify")
    assert (answer.code, said in answer.out, "3 shards: 1 damaged" in answer.out) == (1, True, True), answer
    made.clear()
    (out / "persistence_images" / "00001.npy").unlink(missing_ok=True)
    assert call(source, "--out", out, *SMALL).code == 0
    assert made == [1]
    assert call(out, command="verify").code == 0


def test_a_damaged_index_is_named(source: Path, tmp_path: Path) -> None:
    assert call(source, "--out", tmp_path / "out", *SMALL, "--images-per-shard", 4).code == 0
    (tmp_path / "out" / "index.json").write_text('{"shards": [{}]}')
    answer = call(tmp_path / "out", command="verify")
    assert (answer.code, "index.json is damaged" in answer.err) == (2, True)
