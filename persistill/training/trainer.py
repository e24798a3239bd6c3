"""The training loop, readable from top to bottom."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import nn

from persistill.config import Train
from persistill.errors import UserError, unknown
from persistill.losses import full_precision
from persistill.ranks import Ranks
from persistill.run_folder import CHECKPOINT, DIVERGED, RunFolder
from persistill.structures import Batch, Batches, ModelOutput
from persistill.training import checkpoint as checkpoints
from persistill.training.compilation import Compilation
from persistill.training.criterion import Criterion, NonFiniteGuard, NonFiniteLossError
from persistill.training.divergence import keep_batch
from persistill.training.logger import MetricLogger
from persistill.training.lr_schedule import learning_rate
from persistill.training.micro_batches import InParts, depends_on_parts, halved, join, split
from persistill.training.optimizers import build_optimizer
from persistill.training.synchronized_norm import SynchronizedNorm
from persistill.training.teachers import TeacherCallable
from persistill.utils.progress import Progress, Silent
from persistill.utils.stop_signals import Stopped, stop_between_steps

CHECKPOINT_SECONDS = 60.0
"""An epoch that lasts longer is checkpointed on the way."""

_DEVICES, _NUMBERED = ("auto", "cpu", "cuda", "mps"), ("cuda", "mps")
_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def make_fabric(device: str, settings: Train) -> Fabric:
    """Device and precision of a training.

    Args:
        device: "auto", "cpu", "cuda" or "mps"; one of several GPUs by its number, "cuda:0".
        settings: for the precision.

    Raises:
        UserError: if there is no such device here.
    """
    kind, colon, number = device.partition(":")
    if kind not in _DEVICES or (colon and not (kind in _NUMBERED and number.isdigit())):
        raise unknown("device", device, _DEVICES, "One of several GPUs by its number: cuda:0.")
    if settings.precision == "fp16" and (kind == "cpu" or (kind == "auto" and not torch.cuda.is_available())):
        raise UserError("train.precision=fp16 needs a GPU; on a CPU use bf16 or fp32.")
    try:
        which = [int(number)] if number else 1
        precision: Any = _PRECISION[settings.precision]
        # Ranks are our own business. Where Fabric looks for SLURM, it warns on every machine that has srun.
        return Fabric(accelerator=kind, devices=which, precision=precision, plugins=LightningEnvironment())
    except (RuntimeError, ValueError, MisconfigurationException) as error:
        raise UserError(f"device {device!r} cannot be used here ({error}). Use --device auto or cpu.") from None


def find_device(device: str) -> torch.device:
    """The torch device of a name that ``make_fabric`` takes."""
    return make_fabric(device, Train()).device


def fit(
    network: nn.Module,
    loader: Batches,
    *,
    criterion: Criterion,
    settings: Train,
    folder: RunFolder,
    fabric: Fabric,
    view: str = "image",
    teachers: Sequence[TeacherCallable] = (),
    validate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    progress: Progress | None = None,
    label: str = "training",
    auto_batch: bool = False,
    ranks: Ranks | None = None,
) -> dict[str, Any]:
    """Train a network; go on from the folder's checkpoint if there is one.

    On the CPU an interrupted and resumed training ends with the same weights, bit for bit, as one that was not
    interrupted: batches and augmentation depend on seed, epoch and step alone, the schedule on the step alone, and
    all else lies in the checkpoint. Several ranks do to a network what one does, but for the rounding of sums and what
    dropout draws, and go on with a training of another number of ranks.

    Args:
        network: returns ``ModelOutput``; trained in place. It keeps the weights of the last epoch.
        loader: yields batches that hold ``view`` and the views of all teachers; of each the rank's own rows.
        criterion: the loss, of the task that is trained for; its own parameters are trained along.
        settings: optimizer, schedule, precision, compilation.
        folder: receives ``log.jsonl`` and, until the training ends, ``checkpoint.safetensors``.
        fabric: from ``make_fabric``.
        view: what the network sees.
        teachers: frozen, on the device, asked or read once a batch.
        validate: called after each epoch by all ranks, on the network in evaluation mode, of the same weights; the
            numbers that the first one gets go into the log.
        progress: told of every step.
        label: the stage's name there.
        auto_batch: take batches in parts, halved until they fit, where memory runs out. The update stays that of the
            whole batch, but for what a BatchNorm or a dropout does: the one sees the parts, the other draws for each.
        ranks: the processes that train this network together, each of which has called this; None for this one alone.

    Returns:
        The last epoch's record: terms, accuracies, and the seconds of the whole training.

    Raises:
        NonFiniteLossError: if the loss stops being finite. The batch at which it did lies in ``diverged.safetensors``.
        UserError: if the checkpoint is not of this training, or cannot be read by all ranks; or if batches are to be
            taken in parts, and this network cannot be shown parts; or if ``settings.compile`` is not possible, see
            ``Compilation``.
        RankLostError: if another rank has ended.
        Stopped: after ctrl-C, SIGTERM or SIGUSR1, once the checkpoint is written.
    """
    progress, task, ranks = progress or Silent(), criterion.task, ranks or Ranks()
    if auto_batch and ranks.size > 1:
        raise UserError("--auto-batch is for one device; on several ones set train.accumulate, the parts of a batch.")
    if (auto_batch or ranks.size > 1 or settings.accumulate > 1) and (why := task.indivisible(network)):
        raise UserError(
            f"{why}; so its batches cannot be taken in parts, by several processes, --auto-batch or train.accumulate. "
            "Choose a smaller train.batch_size."
        )
    compilation = Compilation(settings, ranks, fabric.device)
    steps, layout = len(loader), torch.channels_last if settings.channels_last else torch.contiguous_format
    network.to(device=fabric.device, memory_format=layout)  # type: ignore[call-overload]
    criterion.to(fabric.device)
    trained = {"network": network, "criterion": criterion}
    plain = build_optimizer(
        [parameter for module in trained.values() for parameter in module.parameters() if parameter.requires_grad],
        settings,
    )
    asked, teachers = compilation.of(network), compilation.of_teachers(teachers)
    model, optimizer = fabric.setup(asked, plain)

    state: dict[str, Any] = {
        "key": folder.key,
        "step": 0,
        "seconds": 0.0,
        "log_size": 0,
        "sums": {},
        "right": 0,
        "seen": 0,
        "parts": settings.accumulate,
    }
    path = folder.file(CHECKPOINT)
    if ranks.from_leader(path.exists()):
        state |= checkpoints.load(path, trained, plain, folder.key)
        fabric.strategy.precision.load_state_dict(state.get("precision", {}))
    if ranks.leads:
        folder.cut_log(state["log_size"])
    ranks.copy_random_state()
    first, began = state["step"], time.perf_counter() - state["seconds"]
    sums = {name: torch.tensor(value, device=fabric.device) for name, value in state["sums"].items()}
    right, seen = torch.tensor(float(state["right"]), device=fabric.device), state["seen"]
    health = NonFiniteGuard(criterion.weights)
    journal, saved, record = MetricLogger(folder, silent=not ranks.leads), time.perf_counter(), dict[str, Any]()

    def check(where: str, *, weights: bool = False) -> None:
        try:
            health.check_weights(where, network) if weights else health.check(where)
        except NonFiniteLossError as error:
            keep_batch(folder.file(DIVERGED), loader, error, steps, ranks)
            raise

    def checkpoint(step: int) -> None:
        nonlocal saved
        state.update(step=step, seconds=time.perf_counter() - began, log_size=folder.log_size())
        state.update(sums={name: value.item() for name, value in sums.items()}, right=right.item(), seen=seen)
        check(f"{label}, step {step}")
        state["precision"] = fabric.strategy.precision.state_dict()
        if ranks.leads:
            checkpoints.save(path, trained, plain, state)
        saved = time.perf_counter()

    def backward(batch: Batch) -> Step:
        """Gradients of one batch; in more parts, if memory runs out and that is wanted."""
        while True:
            try:
                return attempt(batch, state["parts"])
            except (MemoryError, RuntimeError) as error:
                if not auto_batch:
                    raise
                state["parts"] = halved(error, state["parts"], len(batch.index))
            note = "; its BatchNorm sees the parts alone" if depends_on_parts(network) else ""
            progress.advance(0, f"memory ran out: batches in {state['parts']} parts from here on{note}")

    @contextlib.contextmanager
    def together(step: int) -> Iterator[None]:
        """Ask the network about the own rows of a batch as if about the whole one."""
        synchronized = ranks.size > 1 and settings.sync_batchnorm
        with ranks.own_draws(step), SynchronizedNorm(ranks) if synchronized else contextlib.nullcontext():
            yield

    def ask(batch: Batch, asked: nn.Module = asked) -> ModelOutput:
        return task.forward(asked, _in_layout(batch.inputs[view], layout), batch)

    def attempt(batch: Batch, parts: int) -> Step:
        optimizer.zero_grad(set_to_none=True)
        compilation.begin_step()
        counts, read = ranks.counts(len(batch.index), least=parts), criterion.required_outputs
        with fabric.autocast(), torch.no_grad():
            taught = [
                join([_fp32(teacher(part)) for part in split(batch, parts)]) if parts > 1 else _fp32(teacher(batch))
                for teacher in teachers
            ]
            taught = [ranks.gather_output(output, counts, read) for output in taught]
        in_parts = None
        with together(batch.step):
            if parts == 1:
                own = ask(batch, model)
            else:
                with fabric.autocast():
                    in_parts = InParts(ask, network, batch, parts)
                own = in_parts.output
        output, whole = ranks.gather_output(own, counts, read), ranks.gather_batch(batch, counts)
        loss, terms = criterion(output, taught, whole)
        fabric.backward(loss)
        if in_parts is not None:
            with together(batch.step), fabric.autocast():
                in_parts.backward()
        ranks.add_up(network.parameters())
        ranks.copy_leader(one.grad for one in criterion.parameters() if one.grad is not None)
        return Step(output, whole, loss, terms)

    def copy_leader() -> None:
        ranks.copy_leader(value for module in trained.values() for value in module.state_dict().values())

    progress.start(label, settings.epochs * steps, first)
    with stop_between_steps() as stopped_by, compilation:
        step = first
        copy_leader()
        for epoch in range(first // steps, settings.epochs):
            model.train()
            criterion.train()
            for loaded in loader.epoch(epoch, start=step - epoch * steps):
                own = replace(loaded, step=step, epoch=epoch)
                plain.param_groups[0]["lr"] = lr = learning_rate(settings, step, steps)
                features, batch, loss, terms = backward(own)
                health.observe(terms, step)
                if settings.clip_norm is not None:
                    fabric.clip_gradients(model, optimizer, max_norm=settings.clip_norm, error_if_nonfinite=False)
                optimizer.step()

                step, seen = step + 1, seen + 1
                for name, value in {"loss": loss, **terms}.items():
                    sums[name] = sums.get(name, 0.0) + value.detach()
                right += task.accuracy(features, batch).detach()
                progress.advance(1)
                if step % 20 == 0 or step % steps == 0:
                    # The one place inside an epoch that waits for the device.
                    means = {name: value.item() / seen for name, value in sums.items()}
                    check(f"{label}, epoch {epoch + 1}, step {step}")
                    progress.advance(0, _told(record, epoch, settings), _taught(means, criterion))
                    now = {name: value.item() for name, value in terms.items()}
                    journal.write(
                        "step",
                        step,
                        {
                            "epoch": epoch + 1,
                            "loss": loss.item(),
                            "terms": now,
                            "weights": criterion.weights_at(batch.step, epoch),
                            "lr": lr,
                            "seconds": time.perf_counter() - began,
                        },
                    )
                stopped, due = ranks.largest(stopped_by(), int(time.perf_counter() - saved > CHECKPOINT_SECONDS))
                if step % steps and (stopped or due):
                    checkpoint(step)
                    if stopped:
                        raise Stopped(stopped)
            check(f"{label}, epoch {epoch + 1}, step {step}", weights=True)
            copy_leader()
            record = {
                "epoch": epoch + 1,
                "epochs": settings.epochs,
                "loss": means.pop("loss"),
                "terms": means,
                "weights": criterion.weights_at(step - 1, epoch),
                "lr": lr,
                "train_accuracy": right.item() / seen,
                "validation": ranks.from_leader(dict(validate(network)) if validate else {}),
                "seconds": time.perf_counter() - began,
                **({"parts": state["parts"]} if state["parts"] > 1 else {}),
            }
            progress.advance(0, _told(record, epoch, settings), _taught(record["terms"], criterion))
            journal.write("epoch", step, record)
            sums, right, seen = {}, torch.zeros_like(right), 0
            checkpoint(step)
            (stopped,) = ranks.largest(stopped_by())
            if stopped:
                raise Stopped(stopped)
    journal.close()
    progress.finish()
    return record or {**folder.records()[-1], "seconds": state["seconds"]}


class Step(NamedTuple):
    """What came of one batch.

    Attributes:
        output: the network's, to the whole batch.
        batch: the whole one.
        loss: of it.
        terms: of it, unweighted.
    """

    output: ModelOutput
    batch: Batch
    loss: torch.Tensor
    terms: dict[str, torch.Tensor]


def _told(record: Mapping[str, Any], epoch: int, settings: Train) -> str:
    """The figure by which networks are chosen, once an epoch has told it, and the epoch."""
    measured = next((f"val {name} {value:.3g}  " for name, value in record.get("validation", {}).items()), "")
    return f"{measured}epoch {epoch + 1}/{settings.epochs}"


def _taught(means: Mapping[str, float], criterion: Criterion) -> dict[str, float]:
    """Means without those of methods' terms that weigh nothing: with two classes these may be constant."""
    silent = {name for name, weight in criterion.weights.items() if not weight} - set(criterion.task.terms)
    return {name: value for name, value in means.items() if name not in silent}


def _in_layout(inputs: Any, layout: torch.memory_format) -> Any:
    """Images of one size in a memory layout; a list of images of several sizes as it is."""
    return inputs.contiguous(memory_format=layout) if isinstance(inputs, torch.Tensor) else inputs


def _fp32(features: ModelOutput) -> ModelOutput:
    return features._replace(
        logits=full_precision(features.logits),
        embedding=full_precision(features.embedding),
        feature_maps={name: full_precision(one) for name, one in features.feature_maps.items()},
    )
