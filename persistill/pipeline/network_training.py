"""Training of one network, whichever stage it is for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import nn

from persistill import evaluation, models
from persistill.config import Train
from persistill.pipeline.context import Context
from persistill.pipeline.input_view import InputView, open_views
from persistill.pipeline.network_stage import count_parameters, save
from persistill.run_folder import RunFolder
from persistill.training import Criterion, NonFiniteLossError, TeacherCallable, fake_quantized, fit, make_fabric


def train_network(
    context: Context,
    network: models.Network,
    criterion: Criterion,
    settings: Train,
    folder: RunFolder,
    *,
    seed: int,
    label: str,
    view: InputView,
    teachers: Sequence[TeacherCallable] = (),
    teacher_views: Iterable[InputView] = (),
    quantized: bool = False,
) -> dict[str, Any]:
    """Train a network and write its weights.

    Args:
        context: for images, device and progress.
        network: as the training starts.
        criterion: the loss.
        settings: of the training.
        folder: the stage's.
        seed: of the order of the images and their augmentation.
        label: of the training, for whoever watches.
        view: what the network sees.
        teachers: asked or read once a batch.
        teacher_views: what has to be loaded for them.
        quantized: round weights and activations as the int8 file will.

    Returns:
        The result of the stage.
    """
    data, ranks = context.data, context.ranks
    views = open_views(context, (view, *teacher_views))
    loader = data.training_loader(settings, seed, views, (ranks.rank, ranks.size))
    held_out = data.loader(
        "validation", open_views(context, [view]), batch_size=data.evaluate.batch_size, shuffle_seed=None
    )

    def validate(trained: nn.Module) -> Mapping[str, float]:
        observed = evaluation.collect(trained, held_out, view.name, context.task.observe, ranks=ranks)
        return context.task.validate(observed) if ranks.leads else {}

    with fake_quantized(network) if quantized else nullcontext(), _told_how_to_replay(context, folder):
        record = fit(
            network,
            loader,
            criterion=criterion,
            settings=settings,
            folder=folder,
            fabric=make_fabric(str(context.device), settings),
            view=view.name,
            teachers=teachers,
            validate=validate,
            progress=context.progress,
            label=label,
            auto_batch=context.auto_batch,
            ranks=ranks,
        )
    if ranks.leads:
        save(context, network, folder, view.name)
    return {
        "epochs": settings.epochs,
        "parameters": count_parameters(network),
        "train_accuracy": record["train_accuracy"],
        "validation": record["validation"],
        "seconds": record["seconds"],
        **({"parts": record["parts"]} if "parts" in record else {}),
    }


@contextmanager
def _told_how_to_replay(context: Context, folder: RunFolder) -> Iterator[None]:
    try:
        yield
    except NonFiniteLossError as error:
        run, recipe, options = context.command.partition("persistill run ")
        command = f"persistill replay {options}" if recipe and not run else "persistill replay RECIPE"
        message = f"{error} The batch is kept; to see which layer it was: {command} --run {folder.path}"
        raise NonFiniteLossError(message, error.step, error.terms) from None
