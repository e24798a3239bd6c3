"""Segmentation metrics: by hand, against torchmetrics, and what must hold whatever the masks are."""

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as theirs
from hypothesis import given
from hypothesis import strategies as st

from persistill.errors import UserError
from persistill.metrics import class_iou, confusion_counts, mean_iou, pixel_accuracy

IGNORE = -100


def masks(seed, classes=5, shape=(4, 7, 6), ignored=0.2):
    random = np.random.default_rng(seed)
    prediction = random.integers(0, classes, shape)
    target = np.where(random.random(shape) < ignored, IGNORE, random.integers(0, classes, shape))
    return torch.from_numpy(prediction), torch.from_numpy(target)


def test_counts_by_hand():
    prediction = torch.tensor([[[0, 1], [1, 2]], [[2, 2], [0, 0]]])
    target = torch.tensor([[[0, 1], [0, IGNORE]], [[2, 1], [0, 2]]])
    counts = confusion_counts(prediction, target, 3)
    assert counts.tolist() == [[[1, 1, 0], [0, 1, 0], [0, 0, 0]], [[1, 0, 0], [0, 0, 1], [1, 0, 1]]]
    assert counts.dtype == torch.int64


def test_figures_by_hand():
    # Class 0: 3 pixels, 2 of them found, 1 more claimed: 2 / 4. Class 1: 1 of 2 found, 1 more claimed: 1 / 3.
    counts = torch.tensor([[2, 1, 0], [1, 1, 0], [0, 0, 0]])
    iou = class_iou(counts)
    assert iou[:2].tolist() == [0.5, 1 / 3]
    assert iou[2].isnan()
    assert float(mean_iou(counts)) == pytest.approx(5 / 12)
    assert float(pixel_accuracy(counts)) == 3 / 5


def test_a_class_that_is_only_claimed_counts_as_zero():
    counts = torch.tensor([[3, 1], [0, 0]])
    assert class_iou(counts).tolist() == [0.75, 0.0]
    assert float(mean_iou(counts)) == 0.375


def test_nothing_counted_is_nan():
    prediction, target = torch.zeros(1, 2, 2, dtype=torch.int64), torch.full((1, 2, 2), IGNORE)
    counts = confusion_counts(prediction, target, 3)
    assert counts.sum() == 0
    assert mean_iou(counts).isnan().all()
    assert pixel_accuracy(counts).isnan().all()


def test_counts_and_figures_as_torchmetrics_has_them():
    prediction, target = masks(0)
    counts = confusion_counts(prediction, target, 5).sum(0)
    options = {"num_classes": 5, "ignore_index": IGNORE}
    assert torch.equal(counts, theirs.multiclass_confusion_matrix(prediction, target, **options))
    expected = theirs.multiclass_jaccard_index(prediction, target, average=None, **options)
    torch.testing.assert_close(class_iou(counts), expected.double(), atol=1e-7, rtol=0)
    expected = theirs.multiclass_accuracy(prediction, target, average="micro", **options)
    torch.testing.assert_close(pixel_accuracy(counts), expected.double(), atol=1e-7, rtol=0)


@given(seed=st.integers(0, 10**6), classes=st.integers(2, 6), ignored=st.sampled_from([0.0, 0.3, 0.9]))
def test_a_loop_over_pixels_says_the_same(seed, classes, ignored):
    prediction, target = masks(seed, classes, (2, 3, 4), ignored)
    counts = confusion_counts(prediction, target, classes)
    for image in range(2):
        pairs = [
            (int(truth), int(said))
            for truth, said in zip(target[image].flatten(), prediction[image].flatten(), strict=True)
            if truth != IGNORE
        ]
        for i in range(classes):
            claimed = sum(i in pair for pair in pairs)
            both = sum(pair == (i, i) for pair in pairs)
            iou = class_iou(counts[image])[i]
            assert iou.isnan() if not claimed else float(iou) == pytest.approx(both / claimed)
        assert int(counts[image].sum()) == len(pairs)


@given(seed=st.integers(0, 10**6))
def test_names_of_classes_and_what_was_ignored_make_no_difference(seed):
    prediction, target = masks(seed)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(5))
    renamed = torch.where(target == IGNORE, target, order[target.clamp(min=0)])
    first, second = confusion_counts(prediction, target, 5), confusion_counts(order[prediction], renamed, 5)
    torch.testing.assert_close(mean_iou(first), mean_iou(second))
    torch.testing.assert_close(pixel_accuracy(first), pixel_accuracy(second))
    other = torch.where(target == IGNORE, (prediction + 1) % 5, prediction)
    assert torch.equal(first, confusion_counts(other, target, 5))


def test_perfect_answers():
    prediction, _ = masks(1)
    counts = confusion_counts(prediction, prediction, 5)
    assert mean_iou(counts).tolist() == [1.0] * 4
    assert pixel_accuracy(counts).tolist() == [1.0] * 4


@pytest.mark.parametrize(
    ("prediction", "target", "said"),
    [
        (torch.zeros(2, 3, 3).long(), torch.zeros(2, 3, 4).long(), "one shape"),
        (torch.zeros(4).long(), torch.zeros(4).long(), "one shape"),
        (torch.zeros(1, 2, 2), torch.zeros(1, 2, 2).long(), "prediction must hold class numbers"),
        (torch.zeros(1, 2, 2).long(), torch.full((1, 2, 2), 255), "target .* 0 to 2, or -100 .* holds 255"),
        (torch.full((1, 2, 2), -100), torch.zeros(1, 2, 2).long(), "prediction .* 0 to 2; it holds -100"),
    ],
)
def test_what_makes_no_sense_is_said(prediction, target, said):
    with pytest.raises(UserError, match=said):
        confusion_counts(prediction, target, 3)


def test_counts_must_be_square():
    with pytest.raises(UserError, match=r"\(\*, K, K\)"):
        mean_iou(torch.zeros(3, 4))
