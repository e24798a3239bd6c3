import os

import pytest
import torch
from made_up_images import encoded, make_image, write_folder

from persistill.config import Arm, Data, Model, Recipe, Train
from persistill.data import Loader, keep_resized, load, resized_cache, splits_reader
from persistill.data.dataset import StreamedImages
from persistill.data.resized_cache import ResizedDataset
from persistill.errors import UserError
from persistill.pipeline import Pipeline
from persistill.utils import file_hashes
from persistill.utils.progress import Silent

SPLITS = ("train", "validation", "test")


@pytest.fixture(autouse=True)
def _streamed(monkeypatch):
    monkeypatch.setattr(splits_reader, "MEMORY_LIMIT", 1)


@pytest.fixture
def splits(tmp_path):
    for i, size in enumerate(((40, 30), (20, 50))):
        write_folder(tmp_path / "data", {f"{i}{name}": 10 for name in ("cat", "dog")}, size=size)
    return load(Data(source=str(tmp_path / "data"), size=(12, 10), validation=6, test=8))


def kept(splits, out):
    return keep_resized(splits, out, Silent())


def everything(split):
    return split.fetch(torch.arange(len(split)))


def test_pixels_targets_order_and_fingerprint_are_the_same(splits, tmp_path):
    found = kept(splits, tmp_path)
    assert found.fingerprint == splits.fingerprint
    for name in SPLITS:
        one, other = getattr(splits, name), getattr(found, name)
        assert isinstance(other, ResizedDataset)
        assert torch.equal(everything(one), everything(other))
        assert torch.equal(one.targets, other.targets)
        few = torch.tensor([4, 0, 4])
        assert torch.equal(one.fetch(few), other.subset(few).to("cpu").fetch(torch.arange(3)))
        assert one.subset(few).fingerprint == other.subset(few).fingerprint
    options = {"batch_size": 4, "mean": (0.5,) * 3, "std": (0.5,) * 3, "shuffle_seed": 0, "augment": ("crop", "flip")}
    for one, other in zip(
        Loader(splits.train, {}, **options).epoch(2), Loader(found.train, {}, **options).epoch(2), strict=True
    ):
        assert torch.equal(one.inputs["image"], other.inputs["image"])
        assert torch.equal(one.target, other.target)


def test_nothing_is_decoded_a_second_time(splits, tmp_path, monkeypatch):
    before = everything(kept(splits, tmp_path).train)
    monkeypatch.setattr(StreamedImages, "fetch", lambda *_: pytest.fail("decoded again"))
    found = kept(splits, tmp_path)
    assert torch.equal(everything(found.train), before)
    assert kept(found, tmp_path).train is found.train


def test_another_size_or_way_of_resizing_is_kept_elsewhere(splits, tmp_path):
    kept(splits, tmp_path)
    for options in ({"size": (10, 10)}, {"size": (12, 10), "resize": "squash"}):
        other = load(Data(source=str(tmp_path / "data"), validation=6, test=8, **options))
        assert torch.equal(everything(kept(other, tmp_path).train), everything(other.train))
    assert len(list((tmp_path / resized_cache.FOLDER).iterdir())) == 9


@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_what_is_damaged_is_made_again(splits, tmp_path, damage):
    kept(splits, tmp_path)
    for file in (tmp_path / resized_cache.FOLDER).glob("*/images.npy"):
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.unlink()
        if damage != "gone":
            file.write_bytes(content[:-5] if damage == "cut" else content)
    told = []
    progress = Silent()
    progress.start = lambda stage, total, done=0: told.append(stage)
    found = keep_resized(splits, tmp_path, progress)
    assert torch.equal(everything(found.test), everything(splits.test))
    assert sum("again, for" in stage and "is damaged" in stage for stage in told) == 3


def test_files_are_hashed_by_one_of_the_processes_that_begin_together(splits, tmp_path, monkeypatch):
    hashed = []
    digest = file_hashes.hashlib.file_digest

    def counted(file, kind):
        hashed.append(file.name)
        return digest(file, kind)

    monkeypatch.setattr(file_hashes.hashlib, "file_digest", counted)

    def in_another_process():
        monkeypatch.setattr(file_hashes, "_known", {})
        hashed.clear()
        kept(splits, tmp_path)
        return len(hashed)

    assert in_another_process() == 3
    assert in_another_process() == 0
    monkeypatch.setattr(resized_cache, "_TRUSTED", 0)  # an hour later
    assert in_another_process() == 3
    monkeypatch.setattr(resized_cache, "_TRUSTED", 3600)
    assert in_another_process() == 0
    monkeypatch.setattr(resized_cache.platform, "node", lambda: "another machine")
    assert in_another_process() == 3
    for file in (tmp_path / resized_cache.FOLDER).glob("*/images.npy"):
        os.utime(file)
    assert in_another_process() == 3
    for file in (tmp_path / resized_cache.FOLDER).glob("*/checked.json"):
        file.write_text("[]")
    assert in_another_process() == 3


def test_an_interruption_leaves_nothing_that_is_believed(splits, tmp_path, monkeypatch):
    fetch = StreamedImages.fetch
    monkeypatch.setattr(resized_cache, "_CHUNK", 8)

    def stopped(self, index):
        if len(self) == len(splits.train) and int(index[0]) > 10:
            raise KeyboardInterrupt
        return fetch(self, index)

    monkeypatch.setattr(StreamedImages, "fetch", stopped)
    with pytest.raises(KeyboardInterrupt):
        kept(splits, tmp_path)
    assert not [path for path in (tmp_path / resized_cache.FOLDER).rglob("*") if path.is_file()]
    monkeypatch.setattr(StreamedImages, "fetch", fetch)
    assert torch.equal(everything(kept(splits, tmp_path).train), everything(splits.train))


def test_a_disk_without_room_is_told_before(splits, tmp_path, monkeypatch):
    monkeypatch.setattr(resized_cache.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 7000}))
    with pytest.raises(UserError, match=r"take 9 kB, and the disk of .* has 7 kB.*data\.cache=off"):
        kept(splits, tmp_path)


def test_images_in_memory_stay_there(tmp_path, monkeypatch):
    monkeypatch.setattr(splits_reader, "MEMORY_LIMIT", 2**30)
    splits = load(Data(source="digits"))
    assert kept(splits, tmp_path).train is splits.train
    assert not (tmp_path / resized_cache.FOLDER).exists()


def test_masks(tmp_path):
    for name, mode in (("images", "RGB"), ("masks", "L")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(12):
            image = make_image(i, mode=mode)
            image = image.point(lambda value: (0, 1, 255)[value % 3]) if mode == "L" else image
            (tmp_path / "data" / name / f"{i}.png").write_bytes(encoded(image))
    splits = load(Data(source=str(tmp_path / "data"), size=(4, 4), validation=2, test=2), masks=True)
    found = kept(splits, tmp_path)
    index = torch.arange(len(splits.train))
    for one, other in ((splits.train, found.train), (splits.train.subset(index[:3]), found.train.subset(index[:3]))):
        index = torch.arange(len(one))
        assert other.dense
        assert torch.equal(one.fetch(index), other.to("cpu").fetch(index))
        assert torch.equal(one.fetch_targets(index), other.fetch_targets(index))
        assert (other.fetch_targets(index) < 0).any()


def recipe(batch_size=16, **options):
    return Recipe(
        name="cached",
        data=Data(source="digits", train=60, validation=20, test=20, **options),
        student=Model(name="resnet-8x4"),
        arms={"alone": Arm()},
        train=Train(epochs=1, batch_size=batch_size),
        seeds=(0,),
    )


def test_a_training_is_the_same_with_a_cache_and_without(tmp_path, monkeypatch):
    found = []
    for cache in ("off", "resized"):
        pipeline = Pipeline(recipe(cache=cache), tmp_path / cache, device="cpu")
        (student,) = [stage.folder_name for stage in pipeline.stages() if stage.kind == "student"]
        folder = pipeline.run_stage(student)
        found.append((student, folder.file("model.safetensors").read_bytes()))
    assert found[0] == found[1]
    assert (tmp_path / "resized" / resized_cache.FOLDER).is_dir()
    assert not (tmp_path / "off" / resized_cache.FOLDER).exists()


def test_mistakes_are_told_before_images_are_decoded(tmp_path):
    wrong = recipe(batch_size=1000, cache="resized", mean=(0.3,), std=(0.4,))
    with pytest.raises(UserError, match="batch"):
        Pipeline(wrong, tmp_path, device="cpu").run()
    assert not (tmp_path / resized_cache.FOLDER).exists()


def test_a_note_tells_of_the_cache(splits, tmp_path):
    assert "data.cache=resized decodes them once and keeps them at 12 x 10" in splits.notes[-1]
    cached = load(Data(source=str(tmp_path / "data"), size=(12, 10), validation=6, cache="resized"))
    assert "data.cache" not in " ".join(cached.notes)
