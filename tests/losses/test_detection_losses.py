"""Losses of detectors: second implementations by loops, zero at equality, half precision, no objects, errors."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from persistill.errors import UserError
from persistill.losses import AT, CWD, DIST, DKD, ICKD, KD, NST, RKD, SEKD, SP, FitNet, MethodContext, TopKD
from persistill.losses.detection import (
    FGD,
    MGD,
    PKD,
    BoxFeature,
    DenseDIST,
    DenseKD,
    OnLevels,
    box_feature_difference,
    correlated_difference,
    dense_divergence,
    dense_relations,
    focal_difference,
    foreground,
    match_levels,
)
from persistill.losses.sekd.sekd import attention_masks
from persistill.models import DenseLevel, DetectionOutput, batch_images, build, inherit_head
from persistill.structures import Batch, ModelOutput, Objects, pack_objects

IMAGE = (32, 48)
PURE = [PKD(), DenseKD(), DenseDIST()]
BUILT = [
    FGD(),
    MGD(),
    BoxFeature(),
    *[OnLevels(loss=loss) for loss in (CWD(), AT(), FitNet(), ICKD(), NST(), SP(), SEKD(eigenpairs=2))],
    OnLevels(loss=SEKD(eigenpairs=2), region="objects"),
    OnLevels(loss=CWD(), region="background", first=1),
]


def named(loss):
    inner = f" of {type(loss.loss).__name__} in {loss.region}" if isinstance(loss, OnLevels) else ""
    return type(loss).__name__ + inner


def target(*images):
    """(B, M, 7) of lists of boxes; a box with a fifth number is difficult."""
    return pack_objects(
        [
            Objects(
                torch.tensor([box[:4] for box in boxes]).float().reshape(-1, 4),
                torch.zeros(len(boxes), dtype=torch.int64),
                torch.tensor([len(box) > 4 for box in boxes], dtype=torch.bool),
                torch.zeros(len(boxes), dtype=torch.bool),
            )
            for boxes in images
        ]
    )


BOXES = ([[0, 0, 16, 8], [4, 4, 40, 30]], [[10.5, 3.2, 20.1, 9.9]])


def drawn(seed, channels=4, strides=(4, 8, 16), anchors=1, classes=3, background=False):
    """The output of a dense detector of which every tensor is drawn."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*size):
        return torch.randn(*size, generator=generator)

    maps, levels = {}, []
    for number, stride in enumerate(strides, 1):
        size = [math.ceil(side / stride) for side in IMAGE]
        maps[f"level{number}"] = draw(2, channels, *size)
        shape = (2, *size, anchors)
        center = None if background else draw(*shape)
        levels.append(DenseLevel(2 * draw(*shape, classes + background), draw(*shape, 4), center, background))
    return DetectionOutput(torch.zeros(2, classes, 0), draw(2, channels), maps, levels, image_size=IMAGE)


def changed(output, change):
    """Every tensor of an output changed."""
    levels = [DenseLevel(*(change(one) if torch.is_tensor(one) else one for one in level)) for level in output.levels]
    maps = {name: change(one) for name, one in output.feature_maps.items()}
    return DetectionOutput(change(output.logits), change(output.embedding), maps, levels, image_size=output.image_size)


def leaves(output):
    return changed(output, lambda one: one.detach().clone().requires_grad_())


def module_of(loss, student, teacher, boxes=BOXES):
    torch.manual_seed(0)
    return loss.build(MethodContext(student, [teacher], target(*boxes)))


def terms_of(loss, student, teacher, boxes=BOXES, step=0):
    packed = target(*boxes)
    module = module_of(loss, student, teacher, boxes)
    return module(student, [teacher], Batch({}, packed, torch.arange(2), step=step)).terms


# --- levels and masks -------------------------------------------------------------------------------------------------


def test_levels_are_paired_by_size_and_not_by_name():
    student = {
        "level1": torch.zeros(2, 4, 10, 10),
        "level2": torch.zeros(2, 4, 5, 5),
        "level3": torch.zeros(2, 4, 3, 3),
    }
    teacher = {
        "level1": torch.zeros(2, 8, 10, 10),
        "level2": torch.ones(2, 8, 10, 10),
        "level3": torch.zeros(2, 8, 5, 5),
    }
    pairs = match_levels(student, teacher)
    assert [pair.student.shape[2] for pair in pairs] == [pair.teacher.shape[2] for pair in pairs] == [10, 5]
    assert pairs[0].teacher is teacher["level2"]
    with pytest.raises(UserError, match=r"\(sizes 3 x 3\) has the size of one of the teacher \(10 x 10, 5 x 5\)"):
        match_levels({"level1": student["level3"]}, teacher)
    with pytest.raises(UserError, match="same batch"):
        match_levels({"level1": student["level1"][:1]}, teacher)


def test_foreground_by_loops():
    packed = target([*BOXES[0], [30, 0, 48, 32, "difficult"]], BOXES[1])
    for places in ((8, 12), (4, 6), (1, 1)):
        expected = torch.zeros(2, *places)
        for image, boxes in enumerate(BOXES):
            for x1, y1, x2, y2 in boxes:
                columns = range(math.floor(x1 * places[1] / 48), math.ceil(x2 * places[1] / 48))
                rows = range(math.floor(y1 * places[0] / 32), math.ceil(y2 * places[0] / 32))
                for row in rows:
                    for column in columns:
                        weight = 1 / (len(rows) * len(columns))
                        expected[image, row, column] = max(expected[image, row, column], weight)
        torch.testing.assert_close(foreground(packed, places, IMAGE), expected)
    assert not foreground(target([], []), (4, 6), IMAGE).any()
    with pytest.raises(UserError, match="as structures"):
        foreground(torch.zeros(2), (4, 6), IMAGE)


# --- second implementations -------------------------------------------------------------------------------------------


def test_pkd_by_loops():
    student, teacher = drawn(0), drawn(1)
    expected = 0.0
    for name in list(student.feature_maps)[:2]:
        squares = []
        for channel in range(4):
            one, other = (
                (maps - maps.mean()) / (maps.std() + 1e-6)
                for maps in (output.feature_maps[name][:, channel].double() for output in (student, teacher))
            )
            squares.append(F.mse_loss(one, other))
        expected += torch.stack(squares).mean() / 2
    assert terms_of(PKD(first=2), student, teacher)["pkd"].item() == pytest.approx(float(expected), rel=1e-5)
    maps = student.feature_maps["level1"]
    assert correlated_difference(3 * maps + 7, maps).item() == pytest.approx(0, abs=1e-5)


def test_pkd_of_constant_channels_has_no_gradient():
    maps = torch.ones(2, 3, 4, 4, requires_grad=True)
    correlated_difference(maps, torch.randn(2, 3, 4, 4)).backward()
    assert not maps.grad.any()
    with pytest.raises(UserError, match="has no adapter"):
        correlated_difference(torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, 4))


def test_fgd_by_loops():
    student, teacher = drawn(0), drawn(1)
    ours, theirs = (output.feature_maps["level2"] for output in (student, teacher))
    weights = foreground(target(*BOXES), (4, 6), IMAGE)
    objects = background = attention = 0.0
    for image in range(2):
        empty = int((weights[image] == 0).sum())
        places, own = (
            (24 * F.softmax(one[image].abs().mean(0).flatten() / 0.5, 0)).view(4, 6) for one in (theirs, ours)
        )
        channels, own_channels = (4 * F.softmax(one[image].abs().mean((1, 2)) / 0.5, 0) for one in (theirs, ours))
        for row in range(4):
            for column in range(6):
                square = sum(
                    channels[c]
                    * places[row, column]
                    * (theirs[image, c, row, column] - ours[image, c, row, column]) ** 2
                    for c in range(4)
                )
                weight = weights[image, row, column]
                objects += square * weight
                background += square / empty if weight == 0 else 0
        attention += (places - own).abs().sum() + (channels - own_channels).abs().sum()
    found = focal_difference(ours, theirs, weights)
    expected = torch.stack([objects, background, attention]) / 2
    torch.testing.assert_close(torch.stack(found), expected)
    assert torch.stack(focal_difference(theirs, theirs, weights)).abs().max() == 0
    terms = terms_of(FGD(), student, teacher)
    each = [
        focal_difference(pair.student, pair.teacher, foreground(target(*BOXES), pair.student.shape[2:], IMAGE))
        for pair in match_levels(student.feature_maps, teacher.feature_maps)
    ]
    for name, part in zip(("fgd_objects", "fgd_background", "fgd_attention"), zip(*each, strict=True), strict=True):
        torch.testing.assert_close(terms[name], sum(part))
    plain = sum(
        (pair.student - pair.teacher).square().sum() / 2
        for pair in match_levels(student.feature_maps, teacher.feature_maps)
    )
    torch.testing.assert_close(terms["fgd_relation"], plain)  # blocks begin as the identity


def test_relations_are_learned():
    student, teacher = leaves(drawn(0)), drawn(1)
    module = module_of(FGD(), student, teacher)
    batch = Batch({}, target(*BOXES), torch.arange(2))
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3)
    values = []
    for _ in range(5):
        value = module(student, [teacher], batch).terms["fgd_relation"]
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < values[0]


def test_mgd_by_hand():
    student, teacher = drawn(0, channels=4), drawn(1, channels=5)
    module = module_of(MGD(masked=0.4), student, teacher)
    batch = Batch({}, target(*BOXES), torch.arange(2), step=3)
    found = module(student, [teacher], batch).terms["mgd"]
    generator, expected = torch.Generator().manual_seed(3), 0.0
    for number, (own, wanted) in enumerate(match_levels(student.feature_maps, teacher.feature_maps)):
        maps = F.conv2d(own, module.adapters[number].weight, module.adapters[number].bias)
        kept = torch.rand(2, 1, *maps.shape[2:], generator=generator) >= 0.4
        first, _, last = module.generators[number]
        made = F.conv2d((maps * kept).clamp(min=-1e9), first.weight, first.bias, padding=1).relu()
        made = F.conv2d(made, last.weight, last.bias, padding=1)
        expected += (made - wanted).square().sum() / 2
    torch.testing.assert_close(found, expected)
    assert terms_of(MGD(), student, teacher, step=1) == terms_of(MGD(), student, teacher, step=1)
    assert terms_of(MGD(), student, teacher, step=1) != terms_of(MGD(), student, teacher, step=2)


def test_box_features_by_loops():
    ours, theirs = (drawn(seed).feature_maps["level2"] for seed in (0, 1))
    inside = foreground(target(*BOXES), (4, 6), IMAGE) > 0
    sums = {True: [], False: []}
    for image in range(2):
        for row in range(4):
            for column in range(6):
                square = (ours[image, :, row, column] - theirs[image, :, row, column]).square().mean()
                sums[bool(inside[image, row, column])].append(square)
    expected = torch.stack([torch.stack(sums[which]).mean() for which in (True, False)])
    torch.testing.assert_close(torch.stack(box_feature_difference(ours, theirs, inside)), expected)


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_dense_kd_by_loops(background, temperature):
    student, teacher = (drawn(seed, anchors=2, background=background) for seed in (0, 1))
    sums, total = torch.zeros(3), 0.0
    for ours, theirs in zip(student.levels, teacher.levels, strict=True):
        for place in torch.cartesian_prod(*(torch.arange(side) for side in ours.logits.shape[:4])).tolist():
            own, taught = ours.logits[tuple(place)], theirs.logits[tuple(place)]
            center = 0.0
            if background:
                weight = 1 - taught.softmax(0)[0]
                one, other = (F.log_softmax(logits / temperature, 0) for logits in (own, taught))
                divergence = (other.exp() * (other - one)).sum()
            else:
                weight = taught.sigmoid().max() * theirs.centerness[tuple(place)].sigmoid()
                divergence = sum(_bernoulli(a / temperature, b / temperature) for a, b in zip(own, taught, strict=True))
                center = _bernoulli(ours.centerness[tuple(place)], theirs.centerness[tuple(place)])
            if weight < 0.3:
                continue
            distance = (ours.boxes[tuple(place)] - theirs.boxes[tuple(place)]).abs().mean()
            sums += weight * torch.stack([temperature**2 * divergence, distance, torch.as_tensor(center)])
            total += weight
    loss = DenseKD(temperature=temperature, min_score=0.3)
    found = terms_of(loss, student, teacher)
    torch.testing.assert_close(torch.stack([*found.values()]), sums / total, rtol=1e-4, atol=1e-5)


def _bernoulli(own, taught):
    one, other = own.sigmoid(), taught.sigmoid()
    return other * (other / one).log() + (1 - other) * ((1 - other) / (1 - one)).log()


@pytest.mark.parametrize("background", [False, True])
def test_dense_dist_by_numpy(background):
    student, teacher = (drawn(seed, anchors=2, background=background) for seed in (0, 1))
    rows = [[], []]
    for ours, theirs in zip(student.levels, teacher.levels, strict=True):
        flat = [level.logits.flatten(0, 3) for level in (ours, theirs)]
        scores = [one.softmax(1)[:, 1:] if background else one.sigmoid() for one in flat]
        sure = 1 - flat[1].softmax(1)[:, 0] if background else scores[1].amax(1) * theirs.centerness.flatten().sigmoid()
        for kept, one in zip(rows, scores, strict=True):
            kept += [row.numpy() for row, value in zip(one, sure, strict=True) if value >= 0.4]
    own, taught = (np.array(kept) for kept in rows)
    inter = np.mean([1 - np.corrcoef(one, other)[0, 1] for one, other in zip(own, taught, strict=True)])
    intra = np.mean([1 - np.corrcoef(one, other)[0, 1] for one, other in zip(own.T, taught.T, strict=True)])
    terms = terms_of(DenseDIST(min_score=0.4), student, teacher)
    assert [value.item() for value in terms.values()] == pytest.approx([inter, intra], abs=1e-4)
    few = torch.rand(1, 3, requires_grad=True)
    sum(dense_relations(few, torch.rand(1, 3))).backward()
    assert not few.grad.any()


@pytest.mark.parametrize("loss", [KD(), DKD(), DIST(), RKD(), TopKD(compare="lifetimes")], ids=named)
def test_regions_are_taught_like_images(loss):
    """A detector of two stages that is asked about given boxes returns logits and embeddings as a classifier does."""
    torch.manual_seed(0)
    student, teacher = build("faster-rcnn:resnet-8", 3, 2).eval(), build("faster-rcnn:mobilenet-v2-half", 3, 2).eval()
    images, corner = torch.randn(2, 3, *IMAGE), torch.rand(2, 6, 2) * 20
    regions = list(torch.cat([corner, corner + 4 + torch.rand(2, 6, 2) * 8], 2))
    own = student(images, regions=regions)
    with torch.no_grad():
        taught = teacher(images, regions=regions)
    labels = torch.arange(12) % 3  # 0 is the background
    module = loss.build(MethodContext(own, [taught], labels))
    module(own, [taught], labels).total.backward()
    assert student.module.roi_heads.box_head.fc6.weight.grad.abs().sum() > 0
    assert module(taught, [taught], labels).total.item() == pytest.approx(0, abs=1e-5)


def test_a_teacher_that_sees_nothing_teaches_nothing():
    teacher = changed(drawn(1), lambda one: one - 20)
    assert [value.item() for value in terms_of(DenseKD(), drawn(0), teacher).values()] == [0, 0, 0]
    level = drawn(0).levels[0]
    assert dense_divergence(level, level).classes.item() == 0


@pytest.mark.parametrize("loss", [CWD(), AT(), FitNet(), SEKD(eigenpairs=2)], ids=named)
def test_on_levels_is_the_loss_on_each_level(loss):
    student, teacher = drawn(0, channels=6), drawn(1, channels=6, strides=(2, 4, 8, 16))
    wrapped = OnLevels(loss=loss)
    module = module_of(wrapped, student, teacher)
    batch = Batch({}, target(*BOXES), torch.arange(2))
    found = module(student, [teacher], batch).terms
    assert wrapped.weights == loss.weights
    each = []
    for inner, (own, wanted) in zip(
        module.levels, match_levels(student.feature_maps, teacher.feature_maps), strict=True
    ):
        outputs = [ModelOutput(student.logits, student.embedding, {"only": maps}) for maps in (own, wanted)]
        each.append(inner(outputs[0], outputs[1:], batch).terms)
    assert len(each) == 3
    for name, value in found.items():
        torch.testing.assert_close(value, torch.stack([terms[name] for terms in each]).mean())


def test_on_levels_looks_where_it_is_told():
    student, teacher = drawn(0), drawn(1)
    inside = foreground(target(*BOXES), (8, 12), IMAGE) > 0

    def spoiled(where):
        maps = {name: one.clone() for name, one in student.feature_maps.items()}
        maps["level1"] += 9.0 * where[:, None]
        return student._replace(feature_maps=maps)

    for region, unseen in (("objects", ~inside), ("background", inside)):
        loss = OnLevels(loss=BoxlessDifference(), region=region, first=1)
        same = terms_of(loss, student, teacher)
        assert terms_of(loss, spoiled(unseen), teacher) == same
        assert terms_of(loss, spoiled(~unseen), teacher) != same


class BoxlessDifference(FitNet):
    """A loss without parameters."""

    def build(self, context):
        return super(FitNet, self).build(context)

    def terms(self, student, teachers, target):
        return {
            "boxlessdifference": (student.feature_maps["level"] - teachers[0].feature_maps["level"]).square().mean()
        }


# --- at the edges -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [*PURE, *[one for one in BUILT if isinstance(one, OnLevels | BoxFeature)]], ids=named)
def test_zero_at_equality(loss):
    inner = getattr(loss, "loss", loss)
    if isinstance(inner, FitNet | ICKD | SEKD):
        pytest.skip("has an adapter even between equal channels")
    output = drawn(0)
    student = leaves(output)
    terms = terms_of(loss, student, output)
    assert max(value.item() for value in terms.values()) == pytest.approx(0, abs=1e-5)
    sum(terms.values()).backward()
    for maps in student.feature_maps.values():
        assert maps.grad is None or maps.grad.abs().max() < 1e-5


@pytest.mark.parametrize("loss", [*PURE, *BUILT], ids=named)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_finite_in_half_precision(loss, dtype):
    for factor in (1.0, 200.0):
        student, teacher = (changed(drawn(seed), lambda one, by=factor: (by * one).to(dtype)) for seed in (0, 1))
        student = leaves(student)
        terms = terms_of(loss, student, teacher)
        assert all(value.dtype == torch.float32 and value.isfinite() for value in terms.values())
        sum(loss.weights[name] * value for name, value in terms.items()).backward()
        grads = [maps.grad for maps in student.feature_maps.values() if maps.grad is not None]
        grads += [level.logits.grad for level in student.levels if level.logits.grad is not None]
        assert grads
        assert all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize("loss", [*PURE, *BUILT], ids=named)
@pytest.mark.parametrize("boxes", [([], []), (BOXES[0], []), ([[0, 0, 48, 32]], [[0, 0, 48, 32]])], ids=len)
def test_images_without_objects_and_images_full_of_one(loss, boxes):
    student = leaves(drawn(0))
    terms = terms_of(loss, student, drawn(1), boxes)
    assert all(value.isfinite() for value in terms.values())
    sum(terms.values()).backward()


def test_losses_of_other_outputs_are_refused():
    student, teacher = drawn(0), drawn(1)
    with pytest.raises(UserError, match="KD reads logits"):
        module_of(OnLevels(loss=KD()), student, teacher)
    plain = ModelOutput(student.logits, student.embedding, student.feature_maps)
    with pytest.raises(UserError, match="FGD needs the DetectionOutput"):
        terms_of(FGD(), plain, teacher)
    with pytest.raises(UserError, match="the student has none"):
        terms_of(DenseKD(), plain, teacher)
    with pytest.raises(UserError, match=r"the student has 1 anchor of 3 scores a place, the teacher 2"):
        terms_of(DenseKD(), student, drawn(1, anchors=2))
    with pytest.raises(UserError, match="built for 3 common levels, and these outputs have 2"):
        module_of(OnLevels(loss=CWD()), student, teacher)(drawn(0, strides=(4, 8)), [teacher], target(*BOXES))


def test_settings_are_written_down():
    assert OnLevels(loss=CWD(weight=2.0), first=2).to_json() == {
        "is": "OnLevels",
        "loss": CWD(weight=2.0).to_json(),
        "first": 2,
        "region": "all",
    }


def test_replaced_fields_keep_the_levels():
    output = drawn(0)
    other = output._replace(embedding=torch.zeros(1))
    assert other.levels is output.levels
    assert other.image_size == IMAGE
    assert other.embedding.equal(torch.zeros(1))


# --- real detectors ---------------------------------------------------------------------------------------------------


def test_all_losses_on_real_detectors():
    torch.manual_seed(0)
    student, teacher = build("fcos:resnet-8", 3, 2), build("fcos:mobilenet-v2-half", 3, 2).eval()
    images = batch_images([torch.randn(3, 64, 60), torch.randn(3, 60, 64)])
    packed = target(*BOXES)
    with torch.no_grad():
        taught = teacher(images)
    objects = [
        Objects(one[:, :4], one[:, 4].long(), one[:, 5] > 0, one[:, 6] > 0) for one in (packed[0], packed[1, :1])
    ]
    own = student.train()(images, objects)
    total = sum(own.losses.values())
    for loss in (*PURE, *BUILT):
        module = loss.build(MethodContext(own, [taught], packed))
        total = total + 1e-3 * module(own, [taught], packed).total
    total.backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in student.module.backbone.parameters())


def test_a_student_begins_with_its_teachers_head():
    student, teacher = build("fcos:resnet-8", 3, 2), build("fcos:mobilenet-v2-half", 3, 2)
    fresh = inherit_head(student, teacher)
    assert fresh
    assert all("inner_blocks" in name for name in fresh)
    ours, theirs = student.module.state_dict(), teacher.module.state_dict()
    same = [name for name in ours if name in theirs and ours[name].equal(theirs[name])]
    assert {name for name in ours if name.startswith("head.")} <= set(same)
    assert "backbone.fpn.layer_blocks.0.0.weight" in same
    for other in ("retinanet:mobilenet-v2-half", "fcos-128:mobilenet-v2-half"):
        with pytest.raises(UserError, match="cannot begin with the head"):
            inherit_head(student, build(other, 3, 2))


def test_masks_are_those_of_the_teacher():
    maps = torch.randn(2, 4, 3, 5)
    masks = attention_masks(maps, 0.5)
    assert masks.places.mean().item() == pytest.approx(1)
