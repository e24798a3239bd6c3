"""Similarity maps from run folders, against the losses that train with them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from persistill.losses import TGD
from persistill.losses import similarity as of_loss
from persistill.losses.tgd.tgd import merged_similarity
from persistill.report import read
from persistill.report.similarity import normalized, similarity_maps

ROWS = np.array([2, 12, 1, 11, 0, 10])
"""Of 200 images whose classes are 0, 1, 2, ..., 9, 0, 1, ...: not in the order of classes, to be told apart."""


@pytest.fixture
def comparison(maker):
    """A made-up comparison whose networks have maps; and the maps, by evaluation folder."""
    found = read(maker.comparison())
    maps = {}
    for number, arm in enumerate((*found.arms, *found.teachers)):
        for run in arm.runs:
            random = torch.Generator().manual_seed(10 * number + (run.seed or 0))
            depth = 3 if arm.role == "student" else 4
            own = {f"stage{i + 1}": torch.rand(6, 2 + i, 5 - i, 4, generator=random) for i in range(depth)}
            grams = {f"gram_{name}": (m.flatten(1) @ m.flatten(1).T).numpy() for name, m in own.items()}
            np.savez(run.evaluation / "features.npz", similarity_rows=ROWS, embedding=np.zeros((3, 2)), **grams)
            maps[run.evaluation] = list(own.values())
    settings = {
        "alone": {"methods": [], "teachers": [], "start": None},
        "kd": {"methods": [{"is": "KD", "weight": 1.0}], "teachers": ["image"], "start": None},
        "tgd": {"methods": [TGD(alphas=(0.7, 0.3)).to_json()], "teachers": ["image", "persistence"], "start": "kd"},
    }
    return replace(found, settings={**found.settings, "arms": settings}), maps


@pytest.mark.parametrize("merge", ["published", "normalized"])
def test_every_panel_is_what_the_loss_compares(comparison, merge):
    comparison, maps = comparison
    comparison.settings["arms"]["tgd"]["methods"][0]["merge"] = merge
    _, kd, tgd = comparison.arms
    found = similarity_maps(comparison, tgd, tgd.runs[1])
    assert found.target.tolist() == [2, 2, 1, 1, 0, 0]
    assert [stage.name for stage in found.stages] == ["stage1", "stage2", "stage3"]
    teachers = [maps[teacher.runs[0].evaluation] for teacher in comparison.teachers]
    for place, stage in zip((-3, -2, -1), found.stages, strict=True):
        expected = {
            "teacher image": of_loss(teachers[0][place]),
            "teacher persistence": of_loss(teachers[1][place]),
            "merged": merged_similarity([teacher[place] for teacher in teachers], (0.7, 0.3), merge),
            "student before": of_loss(maps[kd.runs[1].evaluation][place]),
            "student after": of_loss(maps[tgd.runs[1].evaluation][place]),
        }
        assert list(stage.panels) == list(expected)
        for title, panel in stage.panels.items():
            assert panel == pytest.approx(expected[title].numpy(), abs=1e-5), title


def test_without_a_start_the_baseline_stands_before(comparison):
    comparison, maps = comparison
    alone, kd, _ = comparison.arms
    found = similarity_maps(comparison, kd, kd.runs[2])
    assert [list(stage.panels) for stage in found.stages] == [["teacher image", "student before", "student after"]] * 3
    expected = of_loss(maps[alone.runs[2].evaluation][-1]).numpy()
    assert found.stages[-1].panels["student before"] == pytest.approx(expected, abs=1e-5)
    baseline = similarity_maps(comparison, alone, alone.runs[0])
    assert [list(stage.panels) for stage in baseline.stages] == [["student after"]] * 3


def test_a_teacher_that_is_missing_is_left_out_and_nothing_is_merged(comparison):
    comparison, _ = comparison
    fewer = replace(comparison, teachers=comparison.teachers[:1])
    tgd = fewer.arms[2]
    panels = similarity_maps(fewer, tgd, tgd.runs[0]).stages[0].panels
    assert list(panels) == ["teacher image", "student before", "student after"]


def test_rows_of_zeros_stay_zeros():
    assert normalized(np.array([[0.0, 0.0], [3.0, 4.0]])).tolist() == [[0, 0], [0.6, 0.8]]
