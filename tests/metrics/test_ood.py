"""Detection of other images against scikit-learn, and where the other images come from."""

import math

import datasets
import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import roc_auc_score

from persistill.config import Data, Evaluate
from persistill.data import load
from persistill.errors import UserError
from persistill.metrics import auroc, max_softmax, negative_energy
from persistill.tasks import ood_images


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 10**6), st.integers(1, 12))
def test_auroc_is_that_of_scikit_learn(n, m, seed, levels):
    random = np.random.default_rng(seed)
    inside, outside = random.integers(levels, size=n) + 0.5, random.integers(levels, size=m)  # many ties
    inside[: n // 2] -= 0.5
    expected = roc_auc_score([1] * n + [0] * m, [*inside, *outside])
    assert auroc(torch.tensor(inside), torch.tensor(outside).double()) == pytest.approx(expected)


def test_scores_by_hand():
    logits = torch.tensor([[math.log(3.0), 0.0]])
    assert float(max_softmax(logits)) == pytest.approx(0.75)
    assert float(negative_energy(logits)) == pytest.approx(math.log(4))


def test_no_scores_are_an_error():
    with pytest.raises(UserError, match="3 and 0 were given"):
        auroc(torch.zeros(3), torch.zeros(0))
    with pytest.raises(UserError, match="none of them NaN"):
        auroc(torch.zeros(3), torch.tensor([math.nan]))


@pytest.fixture
def colors(tmp_path):
    """A folder of colored images, two classes of ten."""
    random = np.random.default_rng(0)
    for name in ("red", "blue"):
        (tmp_path / name).mkdir()
        for number in range(10):
            Image.fromarray(random.integers(256, size=(6, 9, 3), dtype=np.uint8)).save(
                tmp_path / name / f"{number}.png"
            )
    return tmp_path


def other(source, most: int = 10_000, **settings) -> Evaluate:
    return Evaluate(ood=str(source), ood_images=most, **settings)


def test_gray_images_get_as_many_channels_as_ours(colors):
    ours = load(Data(source=str(colors))).test
    found = ood_images(other("digits", 40), ours)
    assert found.shape == (3, 6, 9)
    assert len(found) == 40
    pixels = found.fetch(torch.arange(40))
    assert torch.equal(pixels[:, 0], pixels[:, 2])
    again = ood_images(other("digits", 40), ours)
    assert torch.equal(again.fetch(torch.arange(40)), pixels)
    everything = load(Data(source="digits", size=(6, 9))).test.fetch(torch.arange(40))
    assert not torch.equal(everything[:, 0], pixels[:, 0])  # drawn, not the first ones


def test_colored_images_become_gray_where_ours_are(colors):
    found = ood_images(other(colors), load(Data(source="digits")).test)
    assert found.shape == (1, 8, 8)
    assert len(found) == len(load(Data(source=str(colors))).test)


def test_no_source_means_no_images():
    assert ood_images(Evaluate(), load(Data(source="digits")).test) is None


@pytest.fixture
def two_labels(tmp_path):
    """A folder of one Parquet file in which two columns can be the class, as in CIFAR-100."""
    table = tmp_path / "table"
    table.mkdir()
    pixels = [np.full((8, 8), 10 * number, np.uint8) for number in range(20)]
    features = Features({"img": datasets.Image(), "fine": ClassLabel(names=list("abcd")), "coarse": ClassLabel(2)})
    rows = {"img": [Image.fromarray(p) for p in pixels], "fine": [0, 1, 2, 3] * 5, "coarse": [0, 0, 1, 1] * 5}
    Dataset.from_dict(rows, features=features).to_parquet(table / "train.parquet")
    return table


def test_a_source_with_two_labels(two_labels):
    ours = load(Data(source="digits")).test
    with pytest.raises(UserError, match=r"evaluate\.ood: .*fine, coarse.*--set evaluate\.ood_label=fine"):
        ood_images(other(two_labels), ours)
    assert len(ood_images(other(two_labels, ood_label="coarse"), ours)) > 0


def test_a_source_that_does_not_exist_is_named():
    with pytest.raises(UserError, match=r"evaluate\.ood: .*'digit'"):
        ood_images(other("digit"), load(Data(source="digits")).test)
