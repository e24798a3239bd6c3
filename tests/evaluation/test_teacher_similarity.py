"""Likeness of a student and its teacher from the files that evaluations left."""

import copy
from functools import partial

import numpy as np
import pytest
import torch

from persistill.config import Evaluate
from persistill.errors import UserError
from persistill.evaluation import evaluate as evaluate_for
from persistill.metrics import agreement, cka, diagram_distance, mean_kl
from persistill.tasks import Classification
from persistill.tasks.classification import teacher_similarity
from persistill.tasks.classification.teacher_similarity import measure_similarity

evaluate = partial(evaluate_for, task=Classification())

QUICK = Evaluate(noise=(), attacks=(), corruptions=(), embeddings=15)


@pytest.fixture
def evaluated(tiny, material, tmp_path):
    """Folders of two networks."""
    teacher = copy.deepcopy(tiny)
    with torch.no_grad():
        teacher.conv.weight *= 0.3
        teacher.head.weight += 4 * torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    folders = tmp_path / "teacher", tmp_path / "student"
    for network, folder in zip((teacher, tiny), folders, strict=True):
        folder.mkdir()
        evaluate(network, material(), "image", QUICK, folder)
    return folders


def test_the_figures_are_those_of_the_stored_answers(evaluated, monkeypatch):
    monkeypatch.setattr(teacher_similarity, "POINTS", 11)
    found = measure_similarity(*evaluated)
    logits, embeddings = [], []
    for folder in evaluated:
        with np.load(folder / "predictions.npz") as file:
            logits.append(torch.from_numpy(file["logits"]))
        with np.load(folder / "features.npz") as file:
            embeddings.append(torch.from_numpy(file["embedding"]))
    few = torch.randperm(15, generator=torch.Generator().manual_seed(0))[:11]
    assert found == {
        "agreement": agreement(*logits),
        "kl": pytest.approx(mean_kl(*logits)),
        "cka": pytest.approx(cka(*embeddings)),
        "diagram_distance": pytest.approx(diagram_distance(embeddings[0][few], embeddings[1][few])),
    }
    assert 0 < found["agreement"] < 1
    assert 0 < found["cka"] < 1
    # The divergence has a direction.
    assert measure_similarity(evaluated[1], evaluated[0])["kl"] != pytest.approx(found["kl"])


def test_a_network_is_like_itself(evaluated):
    assert measure_similarity(evaluated[0], evaluated[0]) == {
        "agreement": 1.0,
        "kl": 0.0,
        "cka": pytest.approx(1),
        "diagram_distance": 0.0,
    }


def test_networks_that_saw_different_images_are_not_compared(tiny, material, evaluated, tmp_path):
    (tmp_path / "other").mkdir()
    evaluate(tiny, material(), "image", QUICK.with_value("embeddings", 9), tmp_path / "other")
    with pytest.raises(UserError, match="different images"):
        measure_similarity(evaluated[0], tmp_path / "other")
