"""Trainings that several processes do together, and one does alone, in double precision; run as a script, by a rank."""

import copy
import json
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from torch import nn

sys.path += [str(Path(__file__).resolve().parents[1] / "losses"), str(Path(__file__).resolve().parent)]

import detectors_in_ranks as detectors
import test_every_loss as every

from persistill.config import Train
from persistill.errors import UserError
from persistill.losses import SP, DistillationLoss, FitNet
from persistill.models import Network
from persistill.ranks import Ranks, holds_parts, shard_weights
from persistill.run_folder import RunFolder
from persistill.structures import Batch, FeatureMapSpec, FeatureSpec, ModelOutput, share
from persistill.tasks import Classification
from persistill.training import Criterion, Frozen, OnlineTeacher, StoredTeacher, fit, make_fabric
from persistill.training.process_group import join
from persistill.utils.stop_signals import Stopped

SIZES = (7, 6, 7)
IMAGES = torch.randn(20, 1, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
SETTINGS = Train(epochs=1, batch_size=7, lr=1e-4, schedule="cosine")


class Undeclared(DistillationLoss):
    """A loss of a user's own that does not say what it reads, and compares images."""

    weight: float = 1.0

    def terms(self, student, teachers, target):
        maps = [one.flatten(1) @ one.flatten(1).T for one in student.feature_maps.values()]
        embeddings = torch.cdist(student.embedding, student.embedding)
        return {"undeclared": sum(one.square().mean() for one in maps) + embeddings.mean() + student.logits.std()}


class SmallNet(Network):
    def __init__(self, *, norm: bool) -> None:
        maps = {"stage0": FeatureMapSpec(4, 1), "stage1": FeatureMapSpec(6, 2)}
        super().__init__("small", FeatureSpec(1, 5, 6, maps))
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) if norm else nn.Identity() for width in (4, 6))
        self.norm = nn.BatchNorm1d(6) if norm else nn.Identity()
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        first = self.norms[0](self.first(x))
        second = self.norms[1](self.second(first.relu()))
        embedding = self.norm(second.relu().mean((2, 3)))
        return ModelOutput(self.head(embedding), embedding, {"stage0": first, "stage1": second})


class Shared:
    """Batches of uneven sizes, of which each rank has its rows; where it diverges, one number is not finite."""

    def __init__(self, ranks: Ranks, name: str, stop_after: int | None = None) -> None:
        self.ranks, self.left, self.diverges = ranks, stop_after, name == "diverges"
        self.batch = detectors.batch if name in detectors.cases() else batch
        self.dtype = dtype_of(name)

    def __len__(self) -> int:
        return len(SIZES)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        order = torch.randperm(20, generator=torch.Generator().manual_seed(number))
        for index in list(order.split(SIZES))[start:]:
            if self.left == 0 and self.ranks.rank == self.ranks.size - 1:
                signal.raise_signal(signal.SIGTERM)  # the others are not told
            self.left = None if self.left is None else self.left - 1
            own = index[share(len(index), self.ranks.rank, self.ranks.size)]
            found = self.batch(own)
            if self.diverges:
                found.inputs["image"][own == 3] = torch.inf
            target = found.target.to(self.dtype) if found.target.is_floating_point() else found.target
            yield replace(found, inputs={"image": found.inputs["image"].to(self.dtype)}, target=target)


def dtype_of(name: str) -> torch.dtype:
    return torch.float32 if "half precision" in name else torch.float64


def batch(index: torch.Tensor) -> Batch:
    return Batch({"image": IMAGES[index]}, every.TARGETS[index], index)


def teacher(seed: int, dtype: torch.dtype) -> StoredTeacher:
    drawn = every.drawn(seed, batch=20, channels=(6, 4), sides=(3, 2), width=7)
    said = every.each(drawn, lambda one: one.to(dtype))
    return StoredTeacher(lambda index: every.each(said, lambda one: one[index]))


IN_PARTS = "a teacher of which each holds a part"


def cases() -> dict[str, tuple[tuple[DistillationLoss, ...], bool, dict]]:
    """Name -> losses, whether there are batch norms, and changed settings: every loss of the package, and others."""
    found = {}
    for norm in (False, True):
        for loss in (*every.EVERY, Undeclared()):
            found[f"{every.named(loss)}, {'with' if norm else 'without'} norm"] = ((loss,), norm, {})
        found[f"alone, {'with' if norm else 'without'} norm"] = ((), norm, {})
    found["in parts"] = ((SP(),), False, {"accumulate": 2})
    found[IN_PARTS] = ((SP(),), True, {})
    found["two epochs"] = ((SP(),), True, {"epochs": 2})
    found["two epochs in parts"] = ((SP(),), False, {"epochs": 2, "accumulate": 2})
    found["in half precision"] = ((SP(), FitNet()), True, {"precision": "bf16"})
    found["clipped"] = ((SP(),), True, {"clip_norm": 0.1})
    found["compiled"] = ((SP(),), False, {"compile": "default", "sync_batchnorm": False})
    return found


FAULTS = {
    "compiled with norm": ((SP(),), True, {"compile": "default"}),
    "diverges": ((SP(),), True, {}),
    "in too many parts": ((SP(),), False, {"accumulate": 3}),
}


def online_teacher(ranks: Ranks) -> OnlineTeacher:
    """A network that is asked at every step, of which each rank holds a part."""
    torch.manual_seed(7)
    network = SmallNet(norm=True).double()
    shard_weights(network, ranks, smallest=4)
    assert holds_parts(network) == (ranks.size > 1)
    return OnlineTeacher(Frozen(network))


def train(
    name: str, root: Path, ranks: Ranks, *, stop_after: int | None = None, run: str = "", auto_batch: bool = False
) -> dict:
    """The first weights, the last ones, those of the loss's parts, and the last epoch's record."""
    torch.manual_seed(1)
    network, criterion, teachers, changes = (detectors.training if name in detectors.cases() else training)(name)
    for module in (network, criterion, *(one.network for one in teachers if one.network is not None)):
        module.to(dtype_of(name))
    if name == IN_PARTS:
        teachers = [online_teacher(ranks)]
    before = copy.deepcopy(network.state_dict())
    settings = SETTINGS.model_copy(update=changes)
    folder = RunFolder.create(root, "student", run or name, {"name": run or name})
    torch.manual_seed(2 + ranks.rank)  # the first rank's counts
    # Traced as for torch's compiler, which would take half a minute in each process.
    with mock.patch.object(torch, "compile", partial(torch.compile, backend="eager")):
        record = fit(
            network,
            Shared(ranks, name, stop_after),
            criterion=criterion,
            settings=settings,
            folder=folder,
            fabric=make_fabric("cpu", settings),
            teachers=teachers,
            ranks=ranks,
            auto_batch=auto_batch,
        )
    return {"before": before, "network": network.state_dict(), "criterion": criterion.state_dict(), "record": record}


def training(name: str) -> tuple[nn.Module, Criterion, list[StoredTeacher], dict]:
    """Network, loss and teachers of a case of classification, and its settings."""
    losses, norm, changes = (cases() | FAULTS)[name]
    network = SmallNet(norm=norm)
    count = max(1, *(loss.num_teachers for loss in losses), 1)
    teachers = [teacher(seed, dtype_of(name)) for seed in range(1, 1 + count)]
    example = Batch({}, every.TARGETS[:4], torch.arange(4))
    with torch.no_grad():
        student = network.eval()(IMAGES[:4].float())
        taught = [every.each(one(example), torch.Tensor.float) for one in teachers]
    contexts = [every.context_of(student, taught) for _ in losses]
    for position, loss in enumerate(losses):
        network = loss.student_network(network, contexts[position])
        with torch.no_grad():
            contexts = [replace(one, student=network.eval()(IMAGES[:4].float())) for one in contexts]
    criterion = Criterion(losses, task=Classification(), cross_entropy=0.5, contexts=contexts)
    return network, criterion, teachers, changes


def work(root: Path, plan: list[dict]) -> None:
    ranks, found = join("cpu"), {"root": root}
    for task in plan:
        try:
            found[task["run"]] = train(task["case"], root, ranks, stop_after=task.get("stop_after"), run=task["run"])
        except Stopped as stop:
            found[task["run"]] = {"stopped": stop.signum}
        except UserError as error:
            found[task["run"]] = {"error": f"{type(error).__name__}: {error}"}
    torch.manual_seed(5)
    inside = []
    for step in range(2):
        with ranks.own_draws(step):
            inside.append(torch.rand(()).item())
    found["draws"] = (*inside, torch.rand(()).item())
    torch.save(found, root / f"{ranks.size}-{ranks.rank}.pt")


if __name__ == "__main__":
    work(Path(sys.argv[1]), json.loads(sys.argv[2]))
