"""Metrics of detections: pycocotools' own summary and drawn data as oracles, cases by hand, intervals, errors."""

import contextlib
import io

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.ops import box_iou

from persistill import metrics
from persistill.errors import UserError
from persistill.metrics.detection.coco_ap import mean_ap
from persistill.metrics.detection.errors import KINDS
from persistill.metrics.detection.matching import THRESHOLDS
from persistill.structures import Detections, Objects

CLASSES = 3
NAMES = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)


def objects(boxes, labels, difficult=(), crowd=()):
    flags = torch.zeros(2, len(labels), dtype=torch.bool)
    flags[0, list(difficult)] = True
    flags[1, list(crowd)] = True
    return Objects(torch.tensor(boxes).float().reshape(-1, 4), torch.tensor(labels, dtype=torch.int64), *flags)


def detections(boxes, scores, labels):
    return Detections(
        torch.tensor(boxes).float().reshape(-1, 4),
        torch.tensor(scores).float(),
        torch.tensor(labels, dtype=torch.int64),
    )


def drawn(images=30, seed=0, flags=True, shift=6.0):
    """Objects of all sizes, and detections near them, twice, of another class, or anywhere."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*size):
        return torch.rand(*size, generator=generator)

    found, truth = [], []
    for _ in range(images):
        count = int(draw(1) * 7)  # none in some
        corner, extent = 200 * draw(count, 2), 8 + 140 * draw(count, 2) ** 2
        boxes, labels = torch.cat([corner, corner + extent], 1), (draw(count) * CLASSES).long()
        odd = draw(2, count) < (0.15 if flags else 0.0)
        truth.append(Objects(boxes, labels, odd[0], odd[1] & ~odd[0]))
        copies = torch.arange(count).repeat(2)
        near = boxes[copies] + shift * torch.randn(2 * count, 4, generator=generator)
        near[:, 2:] = torch.maximum(near[:, 2:], near[:, :2] + 1)
        named = labels[copies].where(draw(2 * count) < 0.85, (draw(2 * count) * CLASSES).long())
        far = 200 * draw(3, 2)
        every = torch.cat([near, torch.cat([far, far + 5 + 60 * draw(3, 2)], 1)])
        scores = torch.cat([draw(2 * count), 0.7 * draw(3)])
        scores = (scores * 20).round() / 20 if len(scores) % 2 else scores  # ties in some
        found.append(Detections(every, scores, torch.cat([named, (draw(3) * CLASSES).long()])))
    return found, truth


def coco_files(found, truth, repeats=None):
    """What a user of pycocotools would write, images as often as ``repeats`` says."""
    images, annotations, results = [], [], []
    for position in range(len(truth)) if repeats is None else np.repeat(np.arange(len(truth)), repeats).tolist():
        number = len(images) + 1
        images.append({"id": number})
        for box, label, _, crowd in zip(*truth[position], strict=True):
            x1, y1, x2, y2 = box.double().tolist()
            entry = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": int(crowd)}
            annotations.append({**entry, "id": len(annotations) + 1, "image_id": number, "category_id": int(label)})
        for box, score, label in zip(*found[position], strict=True):
            x1, y1, x2, y2 = box.double().tolist()
            entry = {"image_id": number, "category_id": int(label), "score": float(score)}
            results.append({**entry, "bbox": [x1, y1, x2 - x1, y2 - y1]})
    return {"images": images, "annotations": annotations, "categories": [{"id": k} for k in range(CLASSES)]}, results


def evaluator(found, truth, repeats=None):
    dataset, results = coco_files(found, truth, repeats)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = dataset
        coco.createIndex()
        made = COCOeval(coco, coco.loadRes(results), "bbox")
        made.evaluate()
        made.accumulate()
        made.summarize()
    return made


def without_difficult(truth):
    return [one._replace(difficult=torch.zeros_like(one.difficult)) for one in truth]


@pytest.mark.parametrize("seed", range(3))
def test_the_twelve_figures_are_pycocotools(seed):
    found, truth = drawn(seed=seed)
    truth = without_difficult(truth)  # pycocotools knows crowds alone
    figures = metrics.coco_figures(metrics.match_detections(found, truth, CLASSES))
    expected = evaluator(found, truth).stats
    assert tuple(figures) == NAMES
    np.testing.assert_allclose([*figures.values()], np.where(expected < 0, np.nan, expected), rtol=0, atol=1e-12)
    assert 0.1 < figures["ap"] < figures["ap50"] < 1


def test_classes_and_thresholds_are_pycocotools():
    found, truth = drawn(seed=5)
    truth = without_difficult(truth)
    precision = evaluator(found, truth).eval["precision"][:, :, :, 0, 2]
    matches = metrics.match_detections(found, truth, CLASSES)
    np.testing.assert_allclose(metrics.class_ap(matches), precision.mean(1).T, rtol=0, atol=1e-12)
    recall = evaluator(found, truth).eval["recall"][:, :, 0, 1]
    np.testing.assert_allclose(metrics.class_recall(matches, 10), recall.T, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(2))
def test_a_draw_of_images_is_pycocotools_on_these_images(seed):
    found, truth = drawn(images=12, seed=seed)
    truth = without_difficult(truth)
    matches = metrics.match_detections(found, truth, CLASSES)
    weights = np.random.default_rng(seed).integers(0, 4, size=12)
    expected = evaluator(found, truth, weights).stats[:2]
    np.testing.assert_allclose(mean_ap(matches, weights), expected, rtol=0, atol=1e-12)


def test_difficult_objects_are_neither_right_nor_wrong():
    found = [detections([[0, 0, 10, 10], [20, 20, 40, 40], [60, 60, 80, 80]], [0.9, 0.8, 0.7], [0, 0, 0])]
    truth = [objects([[0, 0, 10, 10], [20, 20, 40, 40]], [0, 0], difficult=[1])]
    assert metrics.coco_figures(metrics.match_detections(found, truth, 1))["ap"] == pytest.approx(1.0)
    easy = [objects([[0, 0, 10, 10]], [0])]
    first = [detections([[20, 20, 40, 40], [0, 0, 10, 10]], [0.9, 0.8], [0, 0])]
    assert metrics.coco_figures(metrics.match_detections(first, easy, 1))["ap50"] == pytest.approx(0.5)
    assert metrics.voc_class_ap(first, easy, 1)[0] == pytest.approx(0.5)
    excused = [objects([[0, 0, 10, 10], [20, 20, 40, 40]], [0, 0], difficult=[1])]
    assert metrics.voc_class_ap(first, excused, 1)[0] == pytest.approx(1.0)


def test_classes_without_objects_are_left_out():
    found = [detections([[0, 0, 10, 10], [0, 0, 10, 10]], [0.9, 0.9], [0, 2])]
    truth = [objects([[0, 0, 10, 10]], [0])]
    matches = metrics.match_detections(found, truth, CLASSES)
    assert np.isnan(metrics.class_ap(matches)).all(1).tolist() == [False, True, True]
    figures = metrics.coco_figures(matches)
    assert figures["ap"] == pytest.approx(1.0)
    assert np.isnan(figures["ap_large"])
    assert np.isnan(metrics.voc_class_ap(found, truth, CLASSES)).tolist() == [False, True, True]
    nothing = metrics.match_detections([detections([], [], [])], [objects([], [])], 1)
    assert np.isnan(metrics.coco_figures(nothing)["ap"])
    assert np.isnan(metrics.d_ece(nothing))


def voc_by_loops(found, truth, number, threshold, method):
    """The text of the protocol, detection by detection."""
    every = [
        (float(score), image, box)
        for image, one in enumerate(found)
        for box, score, label in zip(*one, strict=True)
        if label == number
    ]
    every.sort(key=lambda entry: -entry[0])
    used, results = set(), []
    total = sum(int(((one.labels == number) & ~one.difficult & ~one.crowd).sum()) for one in truth)
    for _, image, box in every:
        overlaps = [
            float(box_iou(box[None].double(), other[None].double())) if label == number else -1.0
            for other, label in zip(truth[image].boxes, truth[image].labels, strict=True)
        ]
        best = int(np.argmax(overlaps)) if overlaps else -1
        if best < 0 or overlaps[best] < threshold:
            results.append(0)
        elif truth[image].difficult[best] or truth[image].crowd[best]:
            continue
        else:
            results.append(int((image, best) not in used))
            used.add((image, best))
    points = [(sum(results[: n + 1]) / total, sum(results[: n + 1]) / (n + 1)) for n in range(len(results))]

    def best_from(recall):
        return max((precision for reached, precision in points if reached >= recall - 1e-9), default=0.0)

    if method == "11-point":
        return sum(best_from(tenth / 10) for tenth in range(11)) / 11
    return sum(best_from((hit + 1) / total) for hit in range(int(sum(results)))) / total


@pytest.mark.parametrize("method", ["area", "11-point"])
@pytest.mark.parametrize("threshold", [0.5, 0.75])
def test_voc_is_its_text(method, threshold):
    found, truth = drawn(images=20, seed=3)
    expected = [voc_by_loops(found, truth, number, threshold, method) for number in range(CLASSES)]
    np.testing.assert_allclose(metrics.voc_class_ap(found, truth, CLASSES, threshold, method), expected, atol=1e-12)


@pytest.mark.parametrize("method", ["area", "11-point"])
def test_voc_is_pycocotools_where_the_protocols_agree(method):
    """They differ in second detections of an object alone: with one detection for each, and objects far apart."""
    generator = np.random.default_rng(0)
    truth, found = [], []
    for _ in range(25):
        boxes = [[100 * at, 0, 100 * at + 40, 40] for at in range(4)]
        truth.append(objects(boxes, generator.integers(0, CLASSES, 4).tolist()))
        moved = np.array(boxes) + generator.choice([0, 4, 60], 4)[:, None] * [1, 0, 1, 0]
        named = np.where(generator.random(4) < 0.8, truth[-1].labels, 0)
        found.append(detections(moved.tolist(), generator.random(4).tolist(), named.tolist()))
    made = evaluator(found, truth)
    points = 11 if method == "11-point" else 20001
    made.params.recThrs = np.linspace(0, 1, points) - 1e-9
    with contextlib.redirect_stdout(io.StringIO()):
        made.accumulate()
    expected = made.eval["precision"][0, :, :, 0, 2].mean(0)
    tolerance = 1e-9 if method == "11-point" else 1e-3
    np.testing.assert_allclose(metrics.voc_class_ap(found, truth, CLASSES, 0.5, method), expected, atol=tolerance)


def test_calibration_of_detections():
    found = [detections([[0, 0, 10, 10], [50, 50, 60, 60], [80, 0, 90, 10]], [0.9, 0.8, 0.2], [0, 0, 0])]
    truth = [objects([[0, 0, 10, 10]], [0])]
    matches = metrics.match_detections(found, truth, 1)
    assert metrics.d_ece(matches) == pytest.approx((0.1 + 0.8) / 2, abs=1e-6)  # one is right, one wrong, one too low
    assert metrics.d_ece(matches, min_score=0.0) == pytest.approx((0.1 + 0.8 + 0.2) / 3, abs=1e-6)
    assert metrics.d_ece(matches, bins=1) == pytest.approx(abs(0.5 - 0.85), abs=1e-6)
    with pytest.raises(UserError, match=r"one of 0\.5, 0\.55"):
        metrics.d_ece(matches, threshold=0.4)


def test_scores_that_are_precisions_are_calibrated():
    generator = np.random.default_rng(1)
    found, truth = [], []
    for _ in range(400):
        scores = 0.3 + 0.7 * generator.random(4)
        boxes = [[30 * at, 0, 30 * at + 20, 20] for at in range(4)]
        right = generator.random(4) < scores
        found.append(detections(boxes, scores.tolist(), [0] * 4))
        truth.append(objects([box for box, hit in zip(boxes, right, strict=True) if hit], [0] * int(right.sum())))
    matches = metrics.match_detections(found, truth, 1)
    assert metrics.d_ece(matches) < 0.04
    sure = [one._replace(scores=one.scores.clamp(min=0.99)) for one in found]
    assert metrics.d_ece(metrics.match_detections(sure, truth, 1)) > 0.3


@pytest.mark.parametrize(
    ("box", "label", "score", "difficult", "kinds"),
    [
        ([0, 0, 20, 20], 0, 0.9, (), {"right": 1}),
        ([0, 0, 20, 20], 1, 0.9, (), {"confused": 1}),
        ([0, 0, 20, 8], 0, 0.9, (), {"misplaced": 1}),
        ([0, 0, 20, 8], 1, 0.9, (), {"background": 1, "missed": 1}),
        ([60, 60, 80, 80], 0, 0.9, (), {"background": 1, "missed": 1}),
        ([0, 0, 20, 20], 0, 0.2, (), {"missed": 1}),
        ([0, 0, 20, 20], 0, 0.9, (0,), {}),
        ([60, 60, 80, 80], 0, 0.9, (0,), {"background": 1}),
    ],
)
def test_kinds_of_errors(box, label, score, difficult, kinds):
    truth = [objects([[0, 0, 20, 20]], [0], difficult=difficult)]
    counts = metrics.error_counts([detections([box], [score], [label])], truth)
    assert {kind: count for kind, count in zip(KINDS, counts[0].tolist(), strict=True) if count} == kinds


def test_a_second_detection_is_repeated():
    truth = [objects([[0, 0, 20, 20]], [0]), objects([], [])]
    found = [detections([[0, 0, 20, 19], [0, 0, 20, 20]], [0.5, 0.9], [0, 0]), detections([[0, 0, 5, 5]], [0.9], [0])]
    counts = metrics.error_counts(found, truth)
    assert counts[:, [KINDS.index(kind) for kind in ("right", "repeated", "background")]].tolist() == [
        [1, 1, 0],
        [0, 0, 1],
    ]


def test_right_detections_are_those_of_the_match():
    found, truth = drawn(seed=9, flags=False)
    matches = metrics.match_detections(found, truth, CLASSES)
    right = sum(int((one[0].right[0] & (one[0].scores >= 0.3)).sum()) for one in matches.classes)
    assert abs(int(metrics.error_counts(found, truth)[:, 0].sum()) - right) <= 2  # whose object is nearer may differ


def test_intervals():
    found, truth = drawn(images=20, seed=2)
    matches = metrics.match_detections(found, truth, CLASSES)
    intervals = metrics.ap_intervals(matches, draws=60)
    assert intervals["ap"].value == metrics.coco_figures(matches)["ap"]
    for value, low, high in intervals.values():
        assert low < value < high
    assert metrics.ap_intervals(matches, draws=60) == intervals
    assert metrics.ap_intervals(matches, draws=60, seed=1) != intervals
    wider = metrics.ap_intervals(matches, draws=60, level=0.99)["ap"]
    assert wider.low <= intervals["ap"].low
    assert wider.high >= intervals["ap"].high


def test_differences_are_paired():
    found, truth = drawn(images=20, seed=2, shift=1.0)
    worse, _ = drawn(images=20, seed=2, shift=10.0)
    one, other = (metrics.match_detections(answers, truth, CLASSES) for answers in (found, worse))
    same = metrics.ap_difference(one, one, draws=20)["ap"]
    assert same == (0, 0, 0)
    gain = metrics.ap_difference(one, other, draws=60)["ap"]
    drawn_gains = np.subtract(*(metrics.ap_draws(of, draws=60)["ap"] for of in (one, other)))
    assert (gain.value, *np.quantile(drawn_gains[1:], [0.025, 0.975])) == pytest.approx(gain)
    assert 0 < gain.low < gain.value < gain.high
    alone = metrics.ap_intervals(one, draws=60)["ap"]
    assert gain.value == pytest.approx(alone.value - metrics.coco_figures(other)["ap"])
    with pytest.raises(UserError, match="20 and 1 images"):
        metrics.ap_difference(one, metrics.match_detections(found[:1], truth[:1], CLASSES))


@pytest.mark.parametrize(
    ("found", "truth", "said"),
    [
        ([], [], "one or more; 0 and 0"),
        ([detections([], [], [])], [], "1 and 0 were given"),
        ([detections([[0, 0, 1, 1]], [0.5], [3])], [objects([], [])], "image 0 hold the class 3; classes are 0 to 2"),
        ([detections([[0, 0, 1, 1]], [np.nan], [0])], [objects([], [])], "not finite"),
        ([detections([], [], [])], [objects([[0, 0, np.inf, 1]], [0])], "the objects of image 0 hold numbers"),
    ],
)
def test_mistakes_are_told(found, truth, said):
    with pytest.raises(UserError, match=said):
        metrics.match_detections(found, truth, CLASSES)


def test_thresholds_are_pycocotools():
    assert np.array_equal(THRESHOLDS, np.linspace(0.5, 0.95, 10).round(2))
