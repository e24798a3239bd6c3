from types import SimpleNamespace

import pytest
import torch

from persistill.config import Evaluate
from persistill.data import InMemoryDataset, Loader
from persistill.errors import UserError
from persistill.evaluation.own_evaluators import own_steps
from persistill.evaluation.resumable import measure_steps
from persistill.settings import Settings
from persistill.utils.progress import Silent


def sums(network, loader, view):
    """The sum of all that the network says, and the mode that it is in."""
    total = sum(float(network(batch.inputs[view]).sum()) for batch in loader.epoch(0))
    return {"sum": total, "training": network.training}


class Batches(Settings):
    """How many batches there are, some number of times; not finite where it is 0."""

    times: float = 1.0

    def __call__(self, network, loader):
        return {"batches": self.times * len(loader) if self.times else float("nan")}


def measured(folder, *evaluators):
    network = torch.nn.Identity()
    pixels = torch.tensor([1, 1, 2], dtype=torch.uint8).mul(51).reshape(3, 1, 1, 1).expand(3, 1, 1, 3)
    images = InMemoryDataset(pixels, torch.zeros(3, dtype=torch.int64))
    loader = Loader(images, {}, batch_size=2, mean=(0.0,), std=(0.2,), shuffle_seed=None)
    material = SimpleNamespace(test=lambda _: loader)
    steps = own_steps(network, material, "image", Evaluate(evaluators=evaluators))
    found, _ = measure_steps(steps, folder, {}, Silent(), "test", lambda metrics: "")
    assert network.training
    return found["evaluators"]


def test_figures_are_kept_by_name(tmp_path):
    found = measured(tmp_path, sums, Batches(times=2.0))
    assert found == {"sums": {"sum": pytest.approx(12.0), "training": 0.0}, "Batches": {"batches": 4.0}}
    assert measured(tmp_path / ".." / tmp_path.name, f"{__name__}:sums", Batches(times=2.0)) == found


def test_what_is_not_finite_is_none(tmp_path):
    assert measured(tmp_path, Batches(times=0.0)) == {"Batches": {"batches": None}}


def test_evaluators_that_cannot_be(tmp_path):
    with pytest.raises(UserError, match="each evaluator needs a name of its own"):
        measured(tmp_path, sums, sums)
    with pytest.raises(UserError, match="unknown evaluator: 'sums'"):
        measured(tmp_path, "sums")

    def wrong(network, loader):
        return 3

    with pytest.raises(UserError, match=r"the evaluator wrong must return figures by name .* it gave 3"):
        measured(tmp_path, wrong)
