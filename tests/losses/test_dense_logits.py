"""Losses of logits where every position has a class: the same as for an image a position."""

import pytest
import torch

from persistill.errors import UserError
from persistill.losses import (
    DIST,
    DKD,
    KD,
    NKD,
    TGD,
    WTTM,
    AveragedKD,
    LearnedTGD,
    MethodContext,
    WeightedTGD,
    flatten_logits,
)
from persistill.structures import IGNORE_INDEX, ModelOutput

LOSSES = (KD(), KD(standardize=True), DKD(), DIST(), NKD(), WTTM(), AveragedKD(), TGD(), WeightedTGD(), LearnedTGD())


def dense(seed, size=(3, 2)):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, 5, *size, generator=generator, dtype=torch.float64)
    maps = {"last": torch.randn(4, 3, 2, 2, generator=generator, dtype=torch.float64)}
    return ModelOutput(logits, torch.zeros(4, 1, dtype=torch.float64), maps)


def masks(size=(3, 2)):
    target = torch.randint(5, (4, *size), generator=torch.Generator().manual_seed(9))
    target[0, 0], target[2, -1] = IGNORE_INDEX, IGNORE_INDEX
    return target


def row(output, target):
    """One image a position that has a class, by loops."""
    places = [(i, *p) for i in range(4) for p in (target[i] != IGNORE_INDEX).nonzero().tolist()]
    return torch.stack([output.logits[(i, slice(None), *place)] for i, *place in places])


def test_rows_are_the_positions_that_have_a_class():
    student, teacher, target = dense(0), dense(1), masks()
    flat = flatten_logits(student.logits, [teacher.logits], target)
    assert torch.equal(flat.student, row(student, target))
    assert torch.equal(flat.teachers[0], row(teacher, target))
    assert torch.equal(flat.target, target[target != IGNORE_INDEX])
    assert flat.image.bincount().tolist() == [4, 6, 4, 6]
    values = torch.arange(20.0).expand(2, -1)
    means = [values[:, flat.image == i].mean(1) for i in range(4)]
    torch.testing.assert_close(flat.mean_by_image(values), torch.stack(means, 1))


def test_logits_of_images_stay_as_they_are():
    student, teacher, target = torch.randn(4, 5), torch.randn(4, 5), torch.arange(4)
    flat = flatten_logits(student, [teacher], target)
    assert (flat.student, flat.teachers, flat.target) == (student, [teacher], target)
    assert flat.mean_by_image(student) is student


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_what_compares_classes_does_so_at_every_position(loss):
    student, target = dense(0), masks()
    teachers = [dense(1 + i) for i in range(loss.num_teachers)]
    student.logits.requires_grad_()
    module = loss.build(MethodContext(student, teachers, target)).double()
    terms = module(student, teachers, target).terms
    flat = [ModelOutput(row(one, target), one.embedding, one.feature_maps) for one in (student, *teachers)]
    expected = module(flat[0], flat[1:], target[target != IGNORE_INDEX]) if "sp" not in terms else None
    if expected is not None:
        torch.testing.assert_close(terms, expected.terms)
    sum(terms.values()).backward()
    gradient = student.logits.grad
    assert gradient.isfinite().all()
    assert not gradient.movedim(1, -1)[target == IGNORE_INDEX].any()
    assert gradient.movedim(1, -1)[target != IGNORE_INDEX].any(1).all()


@pytest.mark.parametrize("loss", [TGD(), WeightedTGD(), LearnedTGD()], ids=lambda loss: type(loss).__name__)
def test_one_position_an_image_is_an_image(loss):
    outputs = [dense(seed, size=(1, 1)) for seed in range(1 + loss.num_teachers)]
    images = [one._replace(logits=one.logits[:, :, 0, 0]) for one in outputs]
    target = torch.arange(4)
    found, expected = (
        loss.build(MethodContext(each[0], each[1:], target)).double()(each[0], each[1:], classes).terms
        for each, classes in ((outputs, target[:, None, None]), (images, target))
    )
    torch.testing.assert_close(found, expected)


def test_what_does_not_fit_is_named():
    student, target = dense(0), masks()
    with pytest.raises(UserError, match=r"\(4, 5, 3, 2\), \(4, 5, 2, 2\) and targets of \(4, 3, 2\)"):
        flatten_logits(student.logits, [dense(1, size=(2, 2)).logits], target)
    with pytest.raises(UserError, match=r"targets of \(4,\) were given"):
        flatten_logits(student.logits, [student.logits], torch.arange(4))
