import huggingface_hub
import numpy as np
import pytest
import torch
from made_up_images import array, encoded, make_image, write_parquet

from persistill.config import Data
from persistill.data import load
from persistill.errors import UserError


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """What ``load_dataset`` would have downloaded, or the error that it raises."""
    import datasets

    real = datasets.load_dataset

    def install(answer):
        def load_dataset(name, **options):
            assert name == "owner/pets"
            if isinstance(answer, Exception):
                raise answer
            return real("parquet", data_files=answer)

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: None)

    return install


def test_a_name_on_the_hub_gives_the_same_as_its_files(hub, tmp_path):
    for name, count, start in (("train", 20, 0), ("test", 10, 100)):
        images = [encoded(make_image(start + i)) for i in range(count)]
        labels = {"label": [i % 2 for i in range(count)]}
        write_parquet(tmp_path / f"{name}.parquet", images, labels, {"label": ["cat", "dog"]})
    by_folder = load(Data(source=str(tmp_path), validation=4))
    hub({name: str(tmp_path / f"{name}.parquet") for name in ("train", "test")})
    by_name = load(Data(source="owner/pets", validation=4))
    assert by_name.classes == ("cat", "dog")
    assert by_name.fingerprint == by_folder.fingerprint
    pixels = by_name.test.fetch(torch.arange(10)).numpy()
    assert np.array_equal(pixels, np.stack([array(make_image(100 + i)) for i in range(10)]))


def test_splits_that_are_not_ours_are_passed_over(hub, tmp_path):
    file = write_parquet(tmp_path / "a.parquet", [encoded(make_image(i)) for i in range(20)], {"label": [0, 1] * 10})
    hub({"train": str(file), "extra": str(file)})
    assert len(load(Data(source="owner/pets")).test) == 4
    hub({"extra": str(file)})
    with pytest.raises(UserError, match="owner/pets has no training split; its splits are: extra"):
        load(Data(source="owner/pets"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionError("Couldn't reach it"), r"no folder here.*cannot be reached.*--set data\.source=FOLDER"),
        (ValueError("Config name is missing.\nmore"), r"cannot be loaded: Config name is missing\. .*FOLDER"),
    ],
)
def test_a_hub_that_does_not_answer(hub, error, words):
    hub(error)
    with pytest.raises(UserError, match=words) as caught:
        load(Data(source="owner/pets"))
    assert "more" not in str(caught.value)


def test_a_name_that_the_hub_does_not_know(hub):
    from datasets.exceptions import DatasetNotFoundError

    hub(DatasetNotFoundError("no"))
    with pytest.raises(UserError, match=r"unknown .*'owner/pets'.*no folder of this name here.*no public data set"):
        load(Data(source="owner/pets"))


def test_a_machine_that_is_set_offline(monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"cannot be reached.*--set data\.source=FOLDER"):
        load(Data(source="owner/pets-that-nobody-has"))


def test_a_hub_out_of_reach_is_asked_once_and_not_waited_for(monkeypatch, tmp_path):
    import datasets

    asked = []

    def dataset_info(_, name, *, timeout):
        asked.append((name, timeout))
        raise OSError("no way out\nmore")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    monkeypatch.setattr(datasets, "load_dataset", lambda _: pytest.fail("tried again"))
    with pytest.raises(UserError, match=r"'owner/pets' is no folder here.*cannot be reached \(no way out\)"):
        load(Data(source="owner/pets"))
    assert asked == [("owner/pets", 5)]
    # What is in the cache is read without asking.
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    (tmp_path / "owner___pets").mkdir()
    monkeypatch.setattr(datasets, "load_dataset", lambda _: {})
    with pytest.raises(UserError, match="came without splits"):
        load(Data(source="owner/pets"))
    assert len(asked) == 1
