"""Parquet files that are read where they lie, and the order of training that goes by their row groups."""

import os
from collections import Counter

import numpy as np
import platformdirs
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from made_up_boxes import BOXES, write_table, write_yolo
from made_up_images import encoded, make_image, write_folder, write_parquet

from persistill.config import Data
from persistill.data import InMemoryDataset, Loader, load, load_boxes, splits_reader
from persistill.data.shuffling import shuffled
from persistill.data.sources import known_headers, row_groups
from persistill.data.sources.base import Blocks
from persistill.data.sources.row_groups import RowGroups
from persistill.data.sources.shard_file import local_shards
from persistill.errors import UserError
from persistill.utils.progress import Silent

NAMES = {"label": ["cat", "dog"]}
GROUP = 5  # rows


def in_groups(file, compression="snappy"):
    pq.write_table(pq.read_table(file), file, row_group_size=GROUP, compression=compression)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("shards")
    for name, count, start in (("train-0", 60, 0), ("train-1", 43, 60), ("test", 20, 200)):
        images = [encoded(make_image(start + i)) for i in range(count)]
        write_parquet(place / f"{name}.parquet", images, {"label": [i % 2 for i in range(count)]}, NAMES)
        in_groups(place / f"{name}.parquet", "none" if name == "test" else "snappy")
    return place


@pytest.fixture
def small_buffer(monkeypatch, folder):
    """Six row groups fit, of which three are shuffled, and images are streamed."""
    monkeypatch.setattr(splits_reader, "MEMORY_LIMIT", 1)
    largest = RowGroups(local_shards(folder, sorted(folder.glob("train*"))), ["img"]).largest
    monkeypatch.setattr(row_groups, "BUFFER", 6 * largest)


@pytest.fixture
def reads(monkeypatch):
    counted = Counter()
    read = RowGroups._read

    def count(self, group):
        counted[str(self._files[0]), group] += 1
        return read(self, group)

    monkeypatch.setattr(RowGroups, "_read", count)
    return counted


def everything(split):
    return split.fetch(torch.arange(len(split))).numpy()


def both(folder, **options):
    return [load(Data(source=str(folder), parquet=how, **options)) for how in ("copied", "in_place")]


def test_images_in_memory_are_the_same(folder):
    copied, in_place = both(folder, validation=10)
    assert isinstance(in_place.train, InMemoryDataset)
    assert in_place.train.blocks is None
    assert in_place.fingerprint == copied.fingerprint
    assert in_place.classes == ("cat", "dog")
    assert in_place.origins == copied.origins
    assert "read in place, in row groups of up to" in in_place.notes[0]


def test_streamed_images_are_the_same_in_another_order_of_training(folder, small_buffer):
    copied, in_place = both(folder, validation=10)
    for name in ("train", "validation", "test"):
        one, other = getattr(copied, name), getattr(in_place, name)
        assert np.array_equal(everything(one), everything(other))
        assert torch.equal(one.targets, other.targets)
        assert one.blocks is None
        assert len(set(other.blocks.numbers.tolist())) > 1
    assert in_place.train.blocks.window == 3
    fingerprints = {split.train.fingerprint for split in (*both(folder, validation=10), copied, in_place)}
    assert len(fingerprints) == 2


def test_another_buffer_is_another_fingerprint(folder, small_buffer, monkeypatch):
    before = both(folder)[1].fingerprint
    monkeypatch.setattr(row_groups, "BUFFER", 2**30)
    assert both(folder)[1].fingerprint != before


def loader(split, **options):
    statistics = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    return Loader(split, {}, batch_size=8, shuffle_seed=3, augment=("flip",), **statistics, **options)


def test_an_epoch_reads_few_row_groups_at_a_time_and_each_twice_at_most(folder, small_buffer, reads):
    train = both(folder, validation=10)[1].train
    reads.clear()
    seen = torch.cat([batch.index for batch in loader(train).epoch(1)])
    assert sorted(seen.tolist()) == list(range(len(train)))
    groups = len(set(train.blocks.numbers.tolist()))
    assert groups > 15
    assert groups <= reads.total() <= 1.6 * groups  # few of the images of five rows each are late
    together = [len(set(train.blocks.numbers[part].tolist())) for part in seen.split(8)]
    assert max(together) <= 3 + 1 + 4  # a batch of eight goes on by two row groups
    assert np.mean(together) > 3


def test_the_order_depends_on_seed_and_epoch_alone_and_is_resumed(folder, small_buffer):
    train = both(folder, validation=10)[1].train
    whole = list(loader(train).epoch(2))
    again = list(loader(both(folder, validation=10)[1].train).epoch(2, start=4))
    for one, other in zip(whole[4:], again, strict=True):
        assert torch.equal(one.index, other.index)
        assert torch.equal(one.inputs["image"], other.inputs["image"])
        assert torch.equal(one.target, other.target)
    assert not torch.equal(whole[0].index, next(loader(train).epoch(3)).index)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def test_the_order_without_blocks_or_with_few_is_any_order():
    expected = torch.randperm(50, generator=generator(1))
    assert torch.equal(shuffled(50, None, generator(1)), expected)
    assert torch.equal(shuffled(50, Blocks(np.arange(50) // 5, 10), generator(1)), expected)
    assert not torch.equal(shuffled(50, Blocks(np.arange(50) // 5, 9), generator(1)), expected)


def test_every_image_comes_at_any_time_of_an_epoch_equally_often():
    blocks = Blocks(np.arange(60) // 3 + 7, 4)
    orders = torch.stack([shuffled(60, blocks, generator(seed)) for seed in range(2000)])
    together = [
        np.mean([len(np.unique(blocks.numbers[order])) for order in orders[:, part].numpy()])
        for part in (slice(10), slice(25, 35), slice(50, 60))
    ]
    assert max(together) - min(together) < 0.2  # of about 5.4: the first and the last are as mixed as all
    places = orders.argsort(1).float()
    assert (places.mean(0) - 29.5).abs().max() < 2  # 17.3 / sqrt(2000) = 0.4
    assert (places.std(0) - 17.3).abs().max() < 1


def test_masks(tmp_path, monkeypatch):
    images = [encoded(make_image(i)) for i in range(30)]
    masks = [encoded(make_image(i, mode="L").point(lambda value: value % 3)) for i in range(30)]
    layout = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {
        name: pa.array([{"bytes": data, "path": None} for data in found], layout)
        for name, found in (("image", images), ("mask", masks))
    }
    pq.write_table(pa.table(columns), tmp_path / "all.parquet", row_group_size=4)
    monkeypatch.setattr(splits_reader, "MEMORY_LIMIT", 1)
    copied, in_place = (load(Data(source=str(tmp_path), parquet=how), masks=True) for how in ("copied", "in_place"))
    index = torch.arange(len(copied.train))
    assert torch.equal(copied.train.fetch(index), in_place.train.fetch(index))
    assert torch.equal(copied.train.fetch_targets(index), in_place.train.fetch_targets(index))
    assert in_place.train.blocks.numbers.max() == 7
    assert "read in place" in in_place.notes[0]


def test_headers_of_large_sets_are_kept_until_a_file_changes(folder, small_buffer, reads, monkeypatch, tmp_path):
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    settings = Data(source=str(folder), parquet="in_place", validation=10)
    load(settings)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(known_headers, "LARGE", 1)
    first = load(settings)
    reads.clear()
    assert load(settings).fingerprint == first.fingerprint
    assert not reads
    os.utime(folder / "train-0.parquet")
    assert load(settings).fingerprint == first.fingerprint
    assert {name.rpartition("/")[2] for name, _ in reads} == {"train-0.parquet"}  # what all of this part are called


def test_rows_that_name_files_and_empty_rows(tmp_path):
    write_folder(tmp_path, {"files": 20})
    paths = [f"files/{i}.png" for i in range(20)]
    write_parquet(tmp_path / "train.parquet", [None] * 20, {"label": [0, 1] * 10}, NAMES, paths)
    copied, in_place = both(tmp_path, validation=4)
    assert copied.fingerprint == in_place.fingerprint
    write_parquet(tmp_path / "train.parquet", [None] * 20, {"label": [0, 1] * 10}, NAMES, ["../x.png", *paths[1:]])
    with pytest.raises(UserError, match=r"1 of 20 images .*: train\.parquet\[0\] .*leads out of"):
        load(Data(source=str(tmp_path), parquet="in_place", validation=4))


def test_a_file_that_is_damaged_or_changed_while_it_is_read(tmp_path, monkeypatch):
    file = tmp_path / "train.parquet"
    write_parquet(file, [encoded(make_image(i)) for i in range(40)], {"label": [0, 1] * 20}, NAMES)
    in_groups(file)
    monkeypatch.setattr(splits_reader, "MEMORY_LIMIT", 1)
    monkeypatch.setattr(row_groups, "BUFFER", 1)
    train = load(Data(source=str(tmp_path), parquet="in_place")).train
    table = pq.read_table(file)
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"train\.parquet cannot be read as Parquet"):
        everything(train)
    pq.write_table(table, file, row_group_size=GROUP + 1)
    with pytest.raises(UserError, match=r"train\.parquet was changed while it was read"):
        everything(train)


@pytest.mark.parametrize("make", [lambda place: write_folder(place, {"cat": 5, "dog": 5}), lambda place: "digits"])
def test_other_sources_are_not_read_in_place(tmp_path, make):
    with pytest.raises(UserError, match=r"data\.parquet=in_place .* is none\. Leave data\.parquet out"):
        load(Data(source=str(make(tmp_path)), parquet="in_place"))


@pytest.mark.parametrize("limit", [splits_reader.MEMORY_LIMIT, 1])
def test_boxes(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(splits_reader, "MEMORY_LIMIT", limit)
    boxes = {f"{name}{i}": found for i in range(5) for name, found in BOXES.items()}
    write_table(tmp_path, boxes, box_format="xywh", difficult=(("a.png1", 0),))
    pq.write_table(pq.read_table(tmp_path / "train.parquet"), tmp_path / "train.parquet", row_group_size=3)
    copied, in_place = (
        load_boxes(Data(source=str(tmp_path), parquet=how, validation=4, test=4), Silent())
        for how in ("copied", "in_place")
    )
    assert copied.counts == in_place.counts
    for name in ("train", "validation", "test"):
        one, other = getattr(copied.splits, name), getattr(in_place.splits, name)
        assert torch.equal(one.targets, other.targets)
        assert np.array_equal(everything(one), everything(other))
    if limit > 1:
        assert copied.splits.fingerprint == in_place.splits.fingerprint
    else:
        assert copied.splits.train.blocks is None
        assert in_place.splits.train.blocks.numbers.max() == 6
    assert "read in place" in in_place.splits.notes[0]


def test_boxes_of_other_layouts_are_not_read_in_place(tmp_path):
    with pytest.raises(UserError, match=r"data\.parquet=in_place says how Parquet files are read, and .* has none"):
        load_boxes(Data(source=str(write_yolo(tmp_path)), parquet="in_place"), Silent())
