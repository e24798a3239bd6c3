"""Batches in parts: the update is that of the whole batch, whatever the loss compares."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import SyntheticBatches, TinyNet
from torch import Tensor, nn

from persistill.config import Train
from persistill.losses import KD, SP
from persistill.run_folder import RunFolder
from persistill.structures import ModelOutput
from persistill.tasks import Classification
from persistill.training import Criterion, Frozen, OnlineTeacher, fit, make_fabric
from persistill.utils.progress import Silent

SETTINGS = Train(epochs=2, batch_size=8, lr=0.05, schedule="constant", clip_norm=1.0)


class Told(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def advance(self, units: int, note: str = "", values: Any = None) -> None:
        if "parts" in note:
            self.notes.append(note)


class Small(nn.Module):
    """A network that memory holds for no more than ``most`` images with gradients."""

    def __init__(self, network: nn.Module, most: int) -> None:
        super().__init__()
        self.network, self.most, self.spec = network, most, network.spec
        self.asked: list[int] = []

    def forward(self, images: Tensor) -> ModelOutput:
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.asked.append(len(images))
        return self.network(images)


def plain(dropout: float = 0.0, *, norm: bool = False) -> TinyNet:
    torch.manual_seed(3)
    network = TinyNet(dropout=dropout)
    if not norm:
        network.norm = nn.GroupNorm(2, 4)
    return network


def train(
    network: nn.Module, folder: Path, *, auto_batch: bool = True, parts: int = 1, accumulate: int = 1
) -> list[str]:
    torch.manual_seed(5)
    told = Told()
    record = fit(
        network,
        SyntheticBatches(),
        criterion=Criterion([KD(), SP()], task=Classification()),
        settings=SETTINGS.model_copy(update={"accumulate": accumulate}),
        folder=RunFolder.create(folder, "student", "a", {}),
        fabric=make_fabric("cpu", SETTINGS),
        teachers=[OnlineTeacher(Frozen(copy.deepcopy(plain(norm=True))), "image")],
        progress=told,
        auto_batch=auto_batch,
    )
    assert record.get("parts", 1) == parts
    return told.notes


@pytest.mark.parametrize(("most", "parts"), [(4, 2), (3, 4), (2, 4)])
def test_the_update_is_that_of_the_whole_batch(most: int, parts: int, tmp_path: Path) -> None:
    whole = plain()
    assert train(whole, tmp_path / "whole") == []
    small = Small(plain(), most)
    notes = train(small, tmp_path / "parts", parts=parts)
    assert notes[-1] == f"memory ran out: batches in {parts} parts from here on"
    assert set(small.asked) == {8 // parts}
    for (name, one), other in zip(whole.named_parameters(), small.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6, msg=name)


def test_parts_that_are_asked_for_are_taken_without_a_word(tmp_path: Path) -> None:
    whole, small = plain(), Small(plain(), 8)
    train(whole, tmp_path / "whole")
    assert train(small, tmp_path / "parts", accumulate=4, parts=4, auto_batch=False) == []
    assert set(small.asked) == {2}
    for one, other in zip(whole.parameters(), small.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_batchnorm_is_said_to_see_parts_and_counts_each_once(tmp_path: Path) -> None:
    small = Small(plain(norm=True), 4)
    (note,) = train(small, tmp_path, parts=2)
    assert "its BatchNorm sees the parts alone" in note
    assert small.network.norm.num_batches_tracked == 2 * len(small.asked) // 4  # asked twice, counted once


def test_dropout_draws_the_same_both_times(tmp_path: Path) -> None:
    small = Small(plain(dropout=0.5), 4)
    drawn: list[Tensor] = []
    small.network.dropout.register_forward_hook(lambda *about: drawn.append(about[2].detach() == 0))
    train(small, tmp_path, parts=2)
    for step in range(0, len(drawn), 4):
        assert (drawn[step] == drawn[step + 2]).all()
        assert (drawn[step + 1] == drawn[step + 3]).all()


def test_what_never_fits_is_an_error_and_so_is_not_asking_for_parts(tmp_path: Path) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        train(Small(plain(), 1), tmp_path / "a")
    with pytest.raises(torch.OutOfMemoryError):
        train(Small(plain(), 4), tmp_path / "b", auto_batch=False)


def test_other_errors_stay(tmp_path: Path) -> None:
    class Wrong(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = plain()

        def forward(self, images: Tensor) -> ModelOutput:
            raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        train(Wrong(), tmp_path)
