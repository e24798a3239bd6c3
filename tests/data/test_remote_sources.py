"""Data sets behind URLs and on the hub, read where they lie: the same images, in the same order, as from a disk."""

import io
import json
import logging
import shutil
import threading

import fsspec
import huggingface_hub
import numpy as np
import platformdirs
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from made_up_boxes import write_table
from made_up_images import encoded, make_image, write_parquet
from PIL import Image
from range_server import serving
from test_tar_shards import shards, write_tar

from persistill.autoconfig import guess_task
from persistill.config import Arm, Data, Model, Recipe, Train
from persistill.data import Loader, load, load_boxes, splits_reader
from persistill.data.sources import remote_shard, row_groups, shard_file
from persistill.data.sources.remote_source import find_remote
from persistill.data.sources.row_groups import RowGroups
from persistill.errors import UserError
from persistill.pipeline import Pipeline
from persistill.utils import remote_filesystem
from persistill.utils.progress import Silent

NAMES = {"label": ["cat", "dog"]}


@pytest.fixture(autouse=True)
def _streamed(monkeypatch, tmp_path):
    """Images are streamed, six row groups fit into memory, faults are waited for shortly, caches are new."""
    monkeypatch.setattr(splits_reader, "MEMORY_LIMIT", 1)
    monkeypatch.setattr(row_groups, "BUFFER", 6 * 700)
    monkeypatch.setattr(remote_filesystem, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / "cache" / name))


@pytest.fixture
def parquet(tmp_path):
    place = tmp_path / "files" / "parquet"
    for name, count, start in (("train-0", 60, 0), ("train-1", 43, 60), ("test", 20, 200)):
        images = [encoded(make_image(start + i)) for i in range(count)]
        file = write_parquet(place / f"{name}.parquet", images, {"label": [i % 2 for i in range(count)]}, NAMES)
        pq.write_table(pq.read_table(file), file, row_group_size=5)
    return place


@pytest.fixture
def tars(tmp_path):
    place = shards(tmp_path / "files" / "tars")
    (place / "classes.txt").write_text("cat\ndog\n")
    return place


@pytest.fixture
def server(tmp_path):
    (tmp_path / "files").mkdir(exist_ok=True)
    with serving(tmp_path / "files") as started:
        yield started


@pytest.fixture
def memory(tmp_path):
    """Uploads a folder to ``memory://bucket/NAME``."""
    store = fsspec.filesystem("memory")

    def upload(folder):
        for file in folder.iterdir():
            store.pipe(f"/bucket/{folder.name}/{file.name}", file.read_bytes())
        return f"memory://bucket/{folder.name}"

    yield upload
    store.store.clear()
    store.pseudo_dirs[:] = [""]


def everything(split):
    return split.fetch(torch.arange(len(split)))


def epoch(split, start=0):
    options = {"batch_size": 8, "mean": (0.5,) * 3, "std": (0.5,) * 3, "shuffle_seed": 3, "augment": ("flip",)}
    return list(Loader(split, {}, **options).epoch(2, start))


def assert_same(one, other):
    assert one.classes == other.classes
    assert one.fingerprint == other.fingerprint
    for name in ("train", "validation", "test"):
        here, there = getattr(one, name), getattr(other, name)
        assert torch.equal(here.targets, there.targets)
        assert torch.equal(everything(here), everything(there))
    whole, again = epoch(one.train), epoch(other.train, start=3)  # resumed in the middle, from elsewhere
    for batch, same in zip(whole[3:], again, strict=True):
        assert torch.equal(batch.index, same.index)
        assert torch.equal(batch.inputs["image"], same.inputs["image"])


def test_parquet_in_a_bucket_is_the_same_as_on_a_disk(parquet, memory):
    near = load(Data(source=str(parquet), parquet="in_place", validation=10))
    far = load(Data(source=memory(parquet), validation=10))
    assert_same(near, far)
    assert far.train.blocks.window == near.train.blocks.window < 20
    assert far.origins["test"] == "the split test of memory://bucket/parquet"
    assert_same(near, load(Data(source=memory(parquet) + "/", parquet="in_place", validation=10)))


def test_tar_files_in_a_bucket_are_the_same_as_on_a_disk(tars, memory):
    near, far = (load(Data(source=place, validation=4)) for place in (str(tars), memory(tars)))
    assert_same(near, far)
    assert far.classes == ("cat", "dog")
    assert far.origins["test"] == "memory://bucket/tars/test-000.tar"
    ranged = [load(Data(source=f"{place}/train-{{000..002}}.tar", validation=4)) for place in (tars, memory(tars))]
    assert_same(*ranged)


@pytest.fixture
def bucket(monkeypatch):
    """A bucket on a server of S3's protocol on this machine."""
    s3fs = pytest.importorskip("s3fs")
    started = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    started.start()
    host, port = started.get_host_and_port()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ("AWS_ACCESS_KEY_ID", "key-of-nobody"),
        ("AWS_SECRET_ACCESS_KEY", "secret-of-nobody"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    store = fsspec.filesystem("s3")
    store.mkdir("images")
    yield store
    s3fs.S3FileSystem.clear_instance_cache()
    started.stop()


def test_s3(tars, parquet, bucket, monkeypatch):
    for folder in (tars, parquet):
        for file in folder.iterdir():
            bucket.pipe(f"images/{folder.name}/{file.name}", file.read_bytes())
    assert_same(*(load(Data(source=place, validation=4)) for place in (str(tars), "s3://images/tars")))
    near = load(Data(source=str(parquet), parquet="in_place", validation=4))
    assert_same(near, load(Data(source="s3://images/parquet/", validation=4)))
    named = load(Data(source="s3://images/tars/train-{000..002}.tar", validation=4))
    monkeypatch.setattr(remote_shard, "LOOK_AGAIN", 0)
    content = (tars / "train-001.tar").read_bytes()
    bucket.pipe("images/tars/train-001.tar", content.replace(b"IDAT", b"IDAU"))
    with pytest.raises(UserError, match=r"s3://images/tars/train-001\.tar was changed while it was read"):
        everything(named.train)
    with pytest.raises(UserError, match=r"there is no s3://images/tars/train-003\.tar"):
        load(Data(source="s3://images/tars/train-{000..003}.tar"))
    with pytest.raises(UserError, match=r"there is no s3://nobody-has-this|s3://nobody-has-this/x holds no Parquet"):
        load(Data(source="s3://nobody-has-this/x"))


def test_a_training_that_lost_its_server_goes_on_and_is_that_of_the_files_on_a_disk(tars, server, tmp_path):
    def trained(place, out):
        recipe = Recipe(
            name="far",
            data=Data(source=f"{place}/train-{{000..002}}.tar", validation=4, mean=(0.5,) * 3, std=(0.5,) * 3),
            student=Model(name="resnet-8"),
            arms={"alone": Arm()},
            train=Train(epochs=3, batch_size=8, augment=("flip",)),
            seeds=(0,),
        )
        pipeline = Pipeline(recipe, tmp_path / out, device="cpu")
        return pipeline.run_stage(pipeline.graph.students["alone", 0].folder_name)

    near = trained(tars, "near")
    served = []

    def lost_after_an_epoch(method, path):
        served.append(path)
        return 503 if len(served) > 40 else None

    works, server.fault = server.fault, lost_after_an_epoch
    with pytest.raises(UserError, match=r"train-00\d\.tar cannot be reached"):
        trained(f"{server.url}/tars", "far")
    assert (tmp_path / "far" / near.path.name / "checkpoint.safetensors").is_file()
    server.fault = works
    far = trained(f"{server.url}/tars", "far")
    assert far.path.name == near.path.name
    assert far.file("model.safetensors").read_bytes() == near.file("model.safetensors").read_bytes()


def test_masks_and_boxes_in_a_bucket(tmp_path, memory):
    layout = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = [encoded(make_image(i)) for i in range(30)]
    masks = [encoded(make_image(i, mode="L").point(lambda value: value % 3)) for i in range(30)]
    columns = {
        name: pa.array([{"bytes": data, "path": None} for data in found], layout)
        for name, found in (("image", images), ("mask", masks))
    }
    (tmp_path / "masks").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "masks" / "all.parquet", row_group_size=4)
    near, far = (
        load(Data(source=place, parquet="in_place"), masks=True).train
        for place in (str(tmp_path / "masks"), memory(tmp_path / "masks"))
    )
    index = torch.arange(len(near))
    assert near.fingerprint == far.fingerprint
    assert torch.equal(near.fetch_targets(index), far.fetch_targets(index))

    boxes = write_table(tmp_path / "boxes")
    assert guess_task(memory(boxes))[0] == "detection"
    assert guess_task(memory(tmp_path / "masks"))[0] == "segmentation"
    near, far = (
        load_boxes(Data(source=place, parquet="in_place", validation=1, test=1), Silent()).splits
        for place in (str(boxes), memory(boxes))
    )
    assert near.fingerprint == far.fingerprint
    assert torch.equal(everything(near.train), everything(far.train))


def test_what_was_learned_is_kept_and_not_asked_for_again(tars, parquet, server, monkeypatch):
    settings = Data(source=f"{server.url}/tars/train-{{000..002}}.tar", validation=4)
    first = load(settings)
    assert_same(load(Data(source=f"{tars}/train-{{000..002}}.tar", validation=4)), first)
    server.sent = 0
    assert load(settings).fingerprint == first.fingerprint
    assert server.sent == 0

    settings = Data(source=f"{server.url}/parquet/train-{{0..1}}.parquet", validation=4)
    first = load(settings)
    monkeypatch.setattr(RowGroups, "_read", lambda *_: pytest.fail("read again"))
    assert load(settings).fingerprint == first.fingerprint


def test_an_index_that_is_damaged_is_made_again(tars, server, tmp_path):
    settings = Data(source=f"{server.url}/tars/train-{{000..002}}.tar", validation=4)
    first = load(settings)
    indexes = sorted((tmp_path / "cache" / "persistill" / "tar_indexes").iterdir())
    assert len(indexes) == 3
    content = json.loads(indexes[0].read_text())
    content["samples"][0][2] = 10**9  # a size beyond the file
    indexes[0].write_text(json.dumps(content))
    indexes[1].write_bytes(b"{")
    assert load(settings).fingerprint == first.fingerprint
    assert json.loads(indexes[0].read_text())["samples"][0][2] < 10**4


def test_faults_that_pass_are_waited_for(tars, server):
    splits = load(Data(source=f"{server.url}/tars/train-{{000..002}}.tar", validation=4))
    expected = everything(splits.train)
    server.faults[:] = [500, 503, 429, 502]
    assert torch.equal(everything(splits.train), expected)
    assert not server.faults
    server.refuses.add("HEAD")
    server.faults[:] = [503, 503, 502, 502]  # of requests that ask for lengths and versions alone
    assert load(Data(source=f"{server.url}/tars/train-000.tar", validation=2)).train
    assert not server.faults


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (503, r"train-001\.tar cannot be reached: .*503.*6 tries"),
        (403, r"train-001\.tar cannot be read \(.*403"),
        (404, r"there is no http.*train-001\.tar\."),
    ],
)
def test_faults_that_last_from_the_beginning_are_told(tars, server, status, message):
    server.refuses.add("HEAD")
    server.faults[:] = [status] * 500
    with pytest.raises(UserError, match=message):
        load(Data(source=f"{server.url}/tars/train-001.tar"))


def test_a_store_that_refuses_what_is_not_there(tars, server):
    server.missing = 403  # as S3 does for whoever may not list
    assert load(Data(source=f"{server.url}/tars/train-001.tar", validation=2)).train


def test_a_folder_that_cannot_be_listed_does_not_make_a_smaller_data_set(tars, monkeypatch):
    (tars / "train").mkdir()
    (tars / "train-002.tar").rename(tars / "train" / "train-002.tar")
    system = type(fsspec.filesystem("file"))
    listed, lost = system.ls, []

    def refuse(self, path, *arguments, **options):
        if path.endswith("/train") and len(lost) < 2:
            lost.append(path)
            raise ConnectionError
        return listed(self, path, *arguments, **options)

    monkeypatch.setattr(system, "ls", refuse)
    assert len(find_remote(tars.as_uri()).files) == 4
    assert len(lost) == 2


def test_a_server_that_is_not_there_is_told():
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:1/x\.tar cannot be reached: .*6 tries"):
        load(Data(source="http://127.0.0.1:1/x.tar"))


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (503, r"train-00\d\.tar cannot be reached: .*503.*6 tries.*Look at the network.*what is finished is kept"),
        (403, r"train-00\d\.tar cannot be read \(.*403.*See that you may read it"),
        (404, r"there is no http.*train-00\d\.tar"),
    ],
)
def test_faults_that_last_are_told(tars, server, status, message):
    splits = load(Data(source=f"{server.url}/tars/train-{{000..002}}.tar", validation=4))
    server.faults[:] = [status] * 500
    with pytest.raises(UserError, match=message):
        splits.train.fetch(torch.arange(1))


def test_a_file_that_is_changed_while_it_is_read_is_told(tars, parquet, server, monkeypatch):
    splits = load(Data(source=f"{server.url}/tars/train-{{000..002}}.tar", validation=4))
    everything(splits.train)
    file = tars / "train-001.tar"
    file.write_bytes(file.read_bytes().replace(b"IDAT", b"IDAU"))
    monkeypatch.setattr(remote_shard, "LOOK_AGAIN", 0)
    with pytest.raises(UserError, match=r"train-001\.tar was changed while it was read"):
        everything(splits.train)
    splits = load(Data(source=f"{server.url}/parquet/train-0.parquet", validation=4))
    (parquet / "train-0.parquet").write_bytes((parquet / "train-1.parquet").read_bytes())
    with pytest.raises(UserError, match=r"train-0\.parquet was changed while it was read"):
        everything(splits.train)
    # another run reads the new one
    assert len(load(Data(source=f"{server.url}/parquet/train-0.parquet", validation=4)).train) == 30


def test_a_server_without_ranges_is_told(tars, server):
    server.ranges = False
    with pytest.raises(
        UserError, match=r"sends [\d,]+ bytes where [\d,]+ were asked for: it answers no range requests"
    ):
        load(Data(source=f"{server.url}/tars/train-001.tar", validation=2)).train.fetch(torch.arange(1))


def test_damaged_files_far_away_are_named(parquet, tars, memory):
    (parquet / "train-1.parquet").write_bytes((parquet / "train-1.parquet").read_bytes()[:-9])
    with pytest.raises(UserError, match=r"memory://bucket/parquet/train-1\.parquet cannot be read as Parquet"):
        load(Data(source=memory(parquet)))
    (tars / "train-001.tar").write_bytes((tars / "train-001.tar").read_bytes()[:700])
    with pytest.raises(UserError, match=r"memory://bucket/tars/train-001\.tar cannot be read as a tar file"):
        load(Data(source=memory(tars)))


def test_a_damaged_image_far_away_is_named(tars, memory):
    write_tar(
        tars / "train-002.tar",
        {"0001.png": b"no image", "0001.cls": 1, "0002.png": encoded(make_image(2)), "0002.cls": 0},
    )
    with pytest.raises(UserError, match=r"1 of 32 images of .*: train-002\.tar/0001\.png \(no image in a known format"):
        load(Data(source=memory(tars), validation=4))


def test_rows_that_name_files_behind_urls(tmp_path, memory):
    write_parquet(tmp_path / "named" / "train.parquet", [None] * 20, {"label": [0, 1] * 10}, NAMES)
    with pytest.raises(UserError, match=r"train\.parquet\[0\] \(the row names a file, '0\.png', in place of its bytes"):
        load(Data(source=memory(tmp_path / "named")))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("memory://bucket/empty", r"holds no Parquet and no tar files.*pack them into tar files"),
        ("memory://bucket/train-{0..3}.tar", r"there is no memory://.*train-\d\.tar"),
        ("nosuch://bucket/x", r"a protocol that is not known, 'nosuch'\. Known are s3, gs"),
        ("https://me:secret@host/x.tar", r"data\.source holds a password"),
        ("https://host/x.tar?signature=secret", r"data\.source holds a password or parameters \(\?"),
    ],
)
def test_places_that_are_none(source, message):
    with pytest.raises(UserError, match=message) as caught:
        load(Data(source=source))
    assert "secret" not in str(caught.value)


def test_a_package_that_is_missing_is_named(monkeypatch):
    def missing(*_, **__):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(UserError, match=r"data\.source=s3://bucket/x needs a package .*: pip install s3fs"):
        load(Data(source="s3://bucket/x"))


def test_settings_that_do_not_go_with_urls(tars, parquet, memory):
    with pytest.raises(UserError, match=r"data\.labels='x\.csv' is a CSV file"):
        load(Data(source=memory(parquet), labels="x.csv"))
    with pytest.raises(UserError, match=r"data\.parquet=in_place says .* is none"):
        load(Data(source=memory(tars), parquet="in_place"))
    with pytest.raises(UserError, match=r"images with masks are read from Parquet files"):
        load(Data(source=memory(tars)), masks=True)
    with pytest.raises(UserError, match=r"images with boxes are read from Parquet files"):
        load_boxes(Data(source=memory(tars)), Silent())


def test_row_groups_are_fetched_before_they_are_needed_and_memory_stays_bounded(parquet, memory, monkeypatch):
    held, waited, fetched = [], [], []
    table, read = RowGroups._table, RowGroups._read

    def counted(self, group):
        ahead = threading.current_thread().name.startswith("persistill-ahead")
        if not ahead and group not in self._held:
            waited.append(group)
        found = table(self, group)
        held.append(len(self._held))
        return found

    train = load(Data(source=memory(parquet), validation=10)).train
    monkeypatch.setattr(RowGroups, "_table", counted)
    monkeypatch.setattr(RowGroups, "_read", lambda self, group: fetched.append(group) or read(self, group))
    batches = epoch(train)
    assert len(batches) > 10
    groups = len(set(train.blocks.numbers.tolist()))
    assert max(held) <= train._source._groups._capacity
    assert len(waited) < groups  # without help each is waited for, some twice
    assert len(fetched) <= 1.3 * groups


def test_a_rank_fetches_its_own_images_of_tar_files(tars, server):
    train = load(Data(source=f"{server.url}/tars/train-{{000..002}}.tar", validation=4)).train
    sent = []
    for share in ((0, 1), (0, 2), (1, 2)):
        server.sent = 0
        statistics = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
        list(Loader(train, {}, batch_size=2, shuffle_seed=0, share=share, **statistics).epoch(1))
        sent.append(server.sent)
    assert sent[0] == sent[1] + sent[2]
    assert 0.4 < sent[1] / sent[0] < 0.6


def test_large_images_in_tar_files_are_searched_and_not_read_through(tmp_path, server, monkeypatch):
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)).save(out, "BMP")
    content = {
        f"{i}.{ending}": data
        for i in range(8)
        for ending, data in (("bmp", out.getvalue()), ("cls", b"01"[i % 2 : i % 2 + 1]))
    }
    write_tar(tmp_path / "files" / "large.tar", content)
    monkeypatch.setattr(remote_shard, "BLOCK", 2**14)
    splits = load(Data(source=f"{server.url}/large.tar", validation=2, test=2))
    assert splits.train.shape == (3, 400, 400)
    assert server.sent < (tmp_path / "files" / "large.tar").stat().st_size / 8


# The hub


@pytest.fixture
def hub(server, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    huggingface_hub.HfFileSystem.clear_instance_cache()
    yield server
    huggingface_hub.HfFileSystem.clear_instance_cache()


def test_a_data_set_of_the_hub_is_read_in_place(parquet, hub, tmp_path):
    shutil.copytree(parquet, tmp_path / "files" / "hub" / "owner" / "pets" / "main" / "data")
    near = load(Data(source=str(parquet), parquet="in_place", validation=10))
    far = load(Data(source="owner/pets", parquet="in_place", validation=10))
    assert torch.equal(everything(near.train), everything(far.train))
    assert far.classes == ("cat", "dog")
    assert far.notes[0] == "Of owner/pets its own Parquet files are read where they lie, as of commit cccccccccccc."
    by_url = load(Data(source="hf://datasets/owner/pets@main/data", validation=10))
    assert_same(near, by_url)
    assert not [path for method, path, wanted in hub.asked if "/resolve/" in path and wanted is None]


def test_what_the_hub_has_converted_is_read_in_place(parquet, hub, tmp_path):
    place = tmp_path / "files" / "hub" / "owner" / "pets"
    (place / "main").mkdir(parents=True)
    (place / "main" / "images.zip").write_bytes(b"x")
    with pytest.raises(UserError, match=r"owner/pets has no Parquet files on the hub.*data\.parquet=copied"):
        load(Data(source="owner/pets", parquet="in_place"))
    for part in ("train", "test"):
        (place / "converted" / "default" / part).mkdir(parents=True)
        for number, file in enumerate(sorted(parquet.glob(f"{part}*"))):
            shutil.copy(file, place / "converted" / "default" / part / f"{number:04d}.parquet")
    splits = load(Data(source="owner/pets", parquet="in_place", validation=10))
    assert [len(splits.train), len(splits.test)] == [93, 20]
    assert "that the hub has made of it" in splits.notes[0]
    (place / "converted" / "default" / "train").rename(place / "converted" / "default" / "partial-train")
    huggingface_hub.HfFileSystem.clear_instance_cache()
    with pytest.raises(UserError, match=r"of the first images of owner/pets only \(partial-train\)"):
        load(Data(source="owner/pets", parquet="in_place"))


def test_a_hub_that_does_not_know_or_answer(hub, monkeypatch):
    with pytest.raises(UserError, match=r"unknown data source 'owner/cats'.*no public data set of it"):
        load(Data(source="owner/cats", parquet="in_place"))
    monkeypatch.setattr(
        huggingface_hub.HfApi, "dataset_info", lambda *_, **__: (_ for _ in ()).throw(OSError("no way"))
    )
    with pytest.raises(UserError, match=r"which shall have owner/cats, cannot be reached \(no way\)"):
        load(Data(source="owner/cats", parquet="in_place"))


def test_near_files_are_read_in_as_many_threads_as_elsewhere(tars):
    near = shard_file.local_shards(tars, sorted(tars.glob("*.tar")))
    assert shard_file.threads_for(near) is None
