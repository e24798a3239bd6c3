"""The sentences under "Losses" in docs/conventions.md: each test holds that of its name."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from persistill.losses import KD, TGD, kl, match_maps, similarity


def divergence(p, q):
    """KL(p || q) of two rows of logits, by the definition."""
    p, q = (np.exp(z) / np.exp(z).sum() for z in (p, q))
    return sum(p[k] * math.log(p[k] / q[k]) for k in range(len(p)))


@pytest.fixture
def logits():
    teacher, student = np.random.default_rng(0).normal(size=(2, 6, 4)) * 2
    return teacher, student


def test_kl_direction(logits):
    teacher, student = logits
    one, other = torch.tensor(teacher[:1]), torch.tensor(student[:1])
    assert float(kl(other, one, 1.0)) == pytest.approx(divergence(teacher[0], student[0]))
    assert float(kl(one, other, 1.0)) == pytest.approx(divergence(student[0], teacher[0]))
    assert divergence(teacher[0], student[0]) != pytest.approx(divergence(student[0], teacher[0]), rel=0.01)


def test_kl_temperature(logits):
    teacher, student = logits
    found = float(kl(torch.tensor(student[:1]), torch.tensor(teacher[:1]), 4.0))
    assert found == pytest.approx(16 * divergence(teacher[0] / 4, student[0] / 4))


def test_kl_reduction(logits):
    teacher, student = logits
    mean = sum(divergence(p, q) for p, q in zip(teacher, student, strict=True)) / 6
    tensors = torch.tensor(student), torch.tensor(teacher)
    assert float(kl(*tensors, 1.0)) == pytest.approx(mean)
    assert float(kl(*tensors, 1.0, "mean")) == pytest.approx(mean / 4)
    # What ``nn.KLDivLoss()`` without arguments computes.
    bare = F.kl_div(tensors[0].log_softmax(1), tensors[1].softmax(1), reduction="none").mean()
    assert float(bare) == pytest.approx(mean / 4)
    assert (KD().kl_reduction, TGD().kl_reduction) == ("batchmean", "batchmean")
    assert TGD.published().kl_reduction == "mean"


def test_kl_is_zero_at_equality(logits):
    teacher = torch.tensor(logits[0])
    assert float(kl(teacher, teacher, 4.0)) == 0
    assert float(kl(teacher, teacher + 3.5, 4.0)) == pytest.approx(0, abs=1e-12)


def test_similarity_maps():
    features = np.random.default_rng(1).normal(size=(4, 3, 2, 5))
    found = similarity(torch.tensor(features)).numpy()
    for i in range(4):
        row = [float((features[i] * features[j]).sum()) for j in range(4)]
        length = math.sqrt(sum(value * value for value in row))
        assert found[i] == pytest.approx([value / length for value in row])


def test_stages_pair_from_the_last():
    student = {name: torch.zeros(2, 1, 1, 1) for name in ("a", "b", "c")}
    teacher = {name: torch.ones(2, 1, 1, 1) for name in ("x", "y")}
    pairs = match_maps(student, teacher)
    assert [(id(one), id(other)) for one, other in pairs] == [
        (id(student["b"]), id(teacher["x"])),
        (id(student["c"]), id(teacher["y"])),
    ]


def test_losses_in_float32(logits):
    teacher, student = (torch.tensor(z, dtype=torch.bfloat16) for z in logits)
    expected = kl(student.float(), teacher.float(), 4.0)
    features = torch.randn(5, 300, dtype=torch.float16) * 100
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, similar = kl(student, teacher, 4.0), similarity(features)
    assert (found.dtype, similar.dtype) == (torch.float32, torch.float32)
    assert torch.equal(found, expected)
    assert torch.equal(similar, similarity(features.float()))
    # Squares of these features overflow float16.
    assert similar.isfinite().all()
