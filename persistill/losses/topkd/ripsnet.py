"""RipsNet: a small network that guesses the persistence image of a cloud (de Surrel et al. 2022), as TopKD has it."""

import copy
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from persistill import schemas
from persistill.errors import UserError
from persistill.losses.topkd.persistence_images import SIDE, CloudImages
from persistill.settings import Settings
from persistill.structures import ModelOutput
from persistill.utils.atomic_io import atomic
from persistill.utils.progress import Progress
from persistill.utils.strict_json import decode_json

Pooling = Literal["mean", "sum"]
NETWORK = "ripsnet.safetensors"
CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_SECONDS = 10.0
"""After so long, the end of an epoch is worth a checkpoint."""
_POINTS = {  # width of the embedding -> widths of the layers that see each point
    16: (16, 16, 16),
    32: (32, 16, 16),
    64: (64, 32, 32),
    128: (128, 64, 64),
    256: (256, 128, 128),
    512: (512, 256, 256),
    1024: (512, 256, 256),
    2048: (1024, 512, 256),
}
_CLOUD = (50, 100, 200)
_LARGEST = float(np.finfo(np.float16).max)


class Surrogate(Settings):
    """How the network is fitted that stands in for persistent homology; the defaults are the paper's.

    Attributes:
        pooling: of the points of a cloud, "mean" or "sum". The paper has used both; with "sum" every batch must be
            as large as those that the network was fitted to.
        cloud_epochs: epochs whose batches of the teacher's embeddings are the clouds; the first three quarters of
            them are learnt from, the others tell how well. They are stored in half precision until that is over.
        batch_size: clouds in a batch.
        lr: learning rate of Adamax.
        epochs: the most.
        patience: epochs without a lower error on the held-out clouds after which it ends. The network of the lowest
            error counts.
    """

    pooling: Pooling = "mean"
    cloud_epochs: Annotated[int, Field(ge=1)] = 256
    batch_size: Annotated[int, Field(ge=1)] = 64
    lr: Annotated[float, Field(gt=0)] = 5e-4
    epochs: Annotated[int, Field(ge=1)] = 25_000
    patience: Annotated[int, Field(ge=1)] = 50


class RipsNet(nn.Module):
    """DeepSets (Zaheer et al. 2017): layers for each point, pooling, layers for the cloud.

    Args:
        width: coordinates of a point. Widths that the paper does not name have the layers of the next one that it
            does.
        pooling: "mean" or "sum" over the points.
    """

    def __init__(self, width: int, pooling: Pooling = "mean") -> None:
        super().__init__()
        self.width, self.pooling = width, pooling
        widths = (width, *_POINTS[min((known for known in _POINTS if known >= width), default=max(_POINTS))])
        of_points = [nn.Sequential(nn.Linear(*pair), nn.ReLU()) for pair in itertools.pairwise(widths)]
        sizes = (widths[-1], *_CLOUD)
        of_cloud = [nn.Sequential(nn.Linear(*pair, bias=False), nn.ReLU()) for pair in itertools.pairwise(sizes)]
        self.points = nn.Sequential(*of_points)
        self.cloud = nn.Sequential(*of_cloud, nn.Linear(sizes[-1], SIDE**2, bias=False), nn.Sigmoid())

    def forward(self, clouds: Tensor) -> Tensor:
        """Images (..., 20, 20) with values in (0, 1) of clouds (..., n, width), whatever the order of the points."""
        seen = self.points(clouds)
        pooled = seen.mean(-2) if self.pooling == "mean" else seen.sum(-2)
        images: Tensor = self.cloud(pooled)
        return images.reshape(*images.shape[:-1], SIDE, SIDE)


class Clouds:
    """Clouds of one size on disk, one file an epoch, mapped into memory.

    Args:
        files: .npy files of float16, (k, n, C) each.

    Attributes:
        each: k.
        points: n.
        width: C.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._arrays = [np.load(file, mmap_mode="r", allow_pickle=False) for file in files]
        self.each, self.points, self.width = (int(side) for side in self._arrays[0].shape)

    def __len__(self) -> int:
        return len(self._arrays) * self.each

    def epochs(self) -> Iterator[Tensor]:
        """All clouds of one epoch after another, (k, n, C) in fp32."""
        for array in self._arrays:
            yield torch.from_numpy(array.astype(np.float32))

    def take(self, numbers: Sequence[int]) -> Tensor:
        """(b, n, C) in fp32."""
        found: NDArray[Any] = np.stack([self._arrays[i // self.each][i % self.each] for i in numbers])
        return torch.from_numpy(found.astype(np.float32))


def gather(
    teacher_batches: Callable[[int], Iterator[Sequence[ModelOutput]]], folder: Path, epochs: int, progress: Progress
) -> Clouds:
    """Store the first teacher's embeddings of every batch, going on behind the epochs that are there already.

    Raises:
        UserError: if the embeddings are too large for half precision, or the disk is full.
    """
    files = [folder / f"clouds-{epoch:03}.npy" for epoch in range(epochs)]
    done = sum(file.exists() for file in files)
    progress.start("clouds of embeddings", epochs, done)
    for epoch, file in enumerate(files):
        if file.exists():
            continue
        clouds = torch.stack([taught[0].embedding for taught in teacher_batches(epoch)]).float().cpu().numpy()
        if not np.abs(clouds).max() <= _LARGEST:
            raise UserError(
                f"the teacher's embeddings reach {np.abs(clouds).max():g}, more than half precision holds. Use TopKD "
                "without a surrogate, or another teacher."
            )
        try:
            with atomic(file) as temporary, temporary.open("wb") as out:
                np.save(out, clouds.astype(np.float16))
        except OSError as error:
            size = epochs * clouds.size * 2 / 1024**2
            raise UserError(
                f"{file} cannot be written ({error.strerror}); all clouds take {size:.0f} MiB. Make room and run "
                "again, or ask for fewer cloud_epochs: what was stored before is kept."
            ) from error
        progress.advance(1)
    progress.finish()
    return Clouds(files)


def fit_ripsnet(
    clouds: Clouds,
    images: CloudImages,
    settings: Surrogate,
    folder: Path,
    progress: Progress,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Fit a RipsNet to the persistence images of clouds, and write it.

    An interrupted fit goes on from its last checkpoint, at most ten seconds and an epoch before, bit for bit on the
    CPU. The weights are drawn
    from torch's seed, however many numbers were drawn before.

    Args:
        clouds: the first three quarters are learnt from.
        images: how their persistence images are drawn.
        settings: of the fit.
        folder: receives "ripsnet.safetensors" and, until then, a checkpoint.
        progress: told of every epoch.
        device: where the network is fitted.

    Returns:
        Plain JSON: numbers of clouds and epochs, the mean squared error on the held-out clouds, that of the mean
        image of the others, and the share that is explained beyond it, "r_squared".

    Raises:
        UserError: if there is but one cloud, or the checkpoint is damaged.
    """
    if len(clouds) < 2:
        raise UserError("a surrogate needs two clouds at least: ask for more cloud_epochs or a smaller batch_size.")
    held_out = range(max(1, len(clouds) * 3 // 4), len(clouds))
    drawn = [images.draw(epoch) for epoch in clouds.epochs()]
    with torch.random.fork_rng([]):
        torch.manual_seed(torch.initial_seed())
        network = RipsNet(clouds.width, settings.pooling).to(device)
    optimizer = torch.optim.Adamax(network.parameters(), lr=settings.lr)
    best = copy.deepcopy(network)
    state: dict[str, Any] = {"epoch": 0, "best_epoch": 0, "error": float("inf")}
    if (folder / CHECKPOINT).exists():
        state = _load(folder / CHECKPOINT, {"network": network, "best": best}, optimizer)

    def wanted(numbers: Sequence[int]) -> Tensor:
        return torch.stack([drawn[i // clouds.each][i % clouds.each] for i in numbers]).to(device)

    def guessed(numbers: Sequence[int]) -> Tensor:
        images: Tensor = network(clouds.take(numbers).to(device))
        return images

    @torch.no_grad()
    def error_of(answer: Callable[[Sequence[int]], Tensor]) -> float:
        parts = list(_parts(held_out, settings.batch_size))
        sums = [F.mse_loss(answer(part), wanted(part), reduction="sum").double() for part in parts]
        return torch.stack(sums).sum().item() / (len(held_out) * SIDE**2)

    saved = time.monotonic()
    progress.start("RipsNet", settings.epochs, state["epoch"])
    while state["epoch"] < settings.epochs and state["epoch"] - state["best_epoch"] < settings.patience:
        order = torch.randperm(held_out.start, generator=torch.Generator().manual_seed(state["epoch"])).tolist()
        for part in _parts(order, settings.batch_size):
            loss = F.mse_loss(guessed(part), wanted(part))
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
        error = error_of(guessed)
        state["epoch"] += 1
        if error < state["error"]:
            state.update(error=error, best_epoch=state["epoch"])
            best.load_state_dict(network.state_dict())
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            _save(folder / CHECKPOINT, {"network": network, "best": best}, optimizer, state)
            saved = time.monotonic()
        progress.advance(1, f"epoch {state['epoch']}", {"mse": error, "lowest": state["error"]})
    progress.finish()

    seen = [wanted(part).sum(0) for part in _parts(range(held_out.start), settings.batch_size)]
    mean = torch.stack(seen).sum(0) / held_out.start
    constant = error_of(lambda numbers: mean.expand(len(numbers), SIDE, SIDE))
    result = {
        "clouds": len(clouds),
        "points": clouds.points,
        "epochs": state["epoch"],
        "best_epoch": state["best_epoch"],
        "mse": state["error"],
        "mse_of_mean_image": constant,
        "r_squared": 1 - state["error"] / constant if constant else 0.0,
    }
    about = {"width": clouds.width, "pooling": settings.pooling, "result": result}
    with atomic(folder / NETWORK) as temporary:
        save_file(_dense(best.state_dict()), temporary, metadata={"ripsnet": json.dumps(about)})
    return result


def load_ripsnet(path: Path) -> tuple[RipsNet, dict[str, Any]]:
    """The network that ``fit_ripsnet`` wrote, frozen, and what it returned.

    Raises:
        UserError: if the file is missing or damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            about = decode_json((file.metadata() or {})["ripsnet"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        schemas.check(schemas.StoredRipsNet, about, f"the header of {path}", "")
        network = RipsNet(about["width"], about["pooling"])
        network.load_state_dict(tensors)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError, UserError) as error:
        raise UserError(f"{path} holds no RipsNet ({error}). Move its folder away and run the recipe again.") from None
    return network.eval().requires_grad_(requires_grad=False), about["result"]


def _parts(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]


def _save(
    path: Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, state: Mapping[str, Any]
) -> None:
    tensors = {f"{name}.{own}": value for name, module in modules.items() for own, value in module.state_dict().items()}
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in moments.items()}
    with atomic(path) as temporary:
        save_file(_dense(tensors), temporary, metadata={"state": json.dumps(state)})


def _load(path: Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            state: dict[str, Any] = json.loads((file.metadata() or {})["state"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}). Remove it to fit the RipsNet from its beginning.") from None
    for name, module in modules.items():
        module.load_state_dict({own: tensors[f"{name}.{own}"] for own in module.state_dict()})
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, number, moment = name.split(".")
            moments.setdefault(int(number), {})[moment] = value
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return state


def _dense(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
