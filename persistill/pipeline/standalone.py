"""A trained network's run folder, long after its recipe ran: the network is measured again, or exported."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from persistill import evaluation, models, schemas
from persistill.config import CLASSIFICATION, Data, Evaluate
from persistill.data import Splits, is_stored, open_view
from persistill.errors import UserError
from persistill.exporters import check_formats, fitted_temperature
from persistill.pipeline.network_stage import WEIGHTS
from persistill.pipeline.stages.export import write_export
from persistill.run_folder import RunFolder, find, key_of, locked, place
from persistill.storage import Runs
from persistill.tasks import TASKS, Task, ood_images
from persistill.utils.atomic_folder import atomic_folder
from persistill.utils.file_lock import LockHeldError
from persistill.utils.progress import Progress
from persistill.utils.registry import is_own_code


def evaluate_network(
    path: Path,
    settings: Evaluate,
    device: torch.device,
    progress: Progress,
    *,
    model: str | None = None,
    runs: Runs | None = None,
) -> dict[str, Any]:
    """Measure a trained network on its recipe's test images.

    Args:
        path: a teacher's or student's complete run folder.
        settings: noise and bins.
        device: where to compute.
        progress: told of loading and predicting.
        model: the network's name, which must be given for one of your own ("package.module:function"): that code runs.
        runs: the place in which ``path`` lies, if what is left there is to be handed on.

    Returns:
        The result of the evaluation; it also lies in a new evaluation folder beside ``path``.

    Raises:
        UserError: if the folder is no trained network's, or its data has changed since.
    """
    run = _trained(path)
    task = _task(run)
    splits = _same_data(run, task, progress).to(device)
    settings = task.fitting(settings, splits.train.shape)
    network, about = models.load(run.checked(WEIGHTS), model)
    given = models.ImageFormat(splits.train.shape, *_normalization(run))
    if not is_stored(about["view"]):
        own = models.stored_format(about, about["view"], given)
        network = models.adapt_input(network, given, own, splits.classes, about["classes"])
    root = path.resolve().parent
    inputs = {"network": run.key, "settings": settings.to_json(), "data": splits.fingerprint}
    ood = None if is_stored(about["view"]) else ood_images(settings, splits.test, progress)
    if ood is not None:
        inputs["ood"] = ood.fingerprint
    opened = {}
    if is_stored(about["view"]):
        made = find(root, lambda other: other.kind == "view" and other.key == run.inputs.get("view"))
        if not made:
            raise UserError(f"the view {about['view']!r} that {path} sees is not below {root}; run its recipe again.")
        opened[about["view"]] = open_view(made[0].path, made[0].result(), splits)
    evaluated = place(root, "evaluation", run.name, key_of("evaluation", inputs))
    runs = runs or Runs(root)
    with locked(evaluated):
        runs.fetch(evaluated.name, locked=True, now=True)
        folder = RunFolder.create(root, "evaluation", run.name, inputs, run.about.get("context"))
        folder.sweep()
        if not folder.complete:
            result = evaluation.evaluate(
                network.to(device),
                task.evaluation_loaders(splits, opened, settings, _normalization(run), device=device, ood=ood),
                about["view"],
                settings,
                folder.path,
                progress,
                task=task,
            )
            folder.finish(result)
        runs.publish(evaluated.name)
    return folder.result()


def export_network(
    path: Path,
    target: Path,
    progress: Progress,
    *,
    model: str | None = None,
    formats: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Export a trained network, compared with the checkpoint on its recipe's test images.

    The temperature of its newest evaluation beside it goes along. The folder is there once all files are: an export
    that was killed is begun again, and what it left is removed.

    Args:
        path: a teacher's or student's complete run folder.
        target: a folder that does not exist yet.
        progress: told of loading.
        model: the network's name, which must be given for one of your own ("package.module:function"): that code runs.
        formats: names of the task's (``exporters.FORMATS``, in most); None for all.

    Returns:
        What ``exporters.export_student`` returns, and "temperature", None if no evaluation holds one.

    Raises:
        UserError: if the folder is no trained network's, if the network does not see images, if ``target`` exists
            or another process is exporting into it, or a format is unknown.
    """
    run = _trained(path)
    task = _task(run)
    check_formats(formats or (), task.export.outputs.formats)
    if target.exists():
        raise UserError(f"{target} exists already and was not overwritten; name another folder with --out.")
    network, about = models.load(run.checked(WEIGHTS), model)
    if is_stored(about["view"]):
        raise UserError(
            f"{path} sees the view {about['view']!r}, not images: it helps to train students and is not exported."
        )
    temperature = fitted_temperature(run)
    if temperature is not None:
        about["temperature"] = temperature
    splits = _same_data(run, task, progress)
    if tuple(about["shape"]) != splits.test.shape or tuple(about["classes"]) != splits.classes:
        raise UserError(
            f"{path} is a teacher out of a file, for images of shape {tuple(about['shape'])} and classes of its own; "
            f"the images of its recipe, with which files are compared, have the shape {splits.test.shape}. Export it "
            "where it was trained."
        )
    try:
        with atomic_folder(target) as folder:
            result = write_export(network, about, splits, folder, task.export, formats=formats)
    except LockHeldError:
        raise UserError(
            f"another process is exporting into {target}. Wait until it is done, or name another folder with --out."
        ) from None
    return {**result, "temperature": temperature}


def _normalization(run: RunFolder) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Of the images of a network's recipe."""
    return tuple(run.inputs["mean"]), tuple(run.inputs["std"])


def _trained(path: Path) -> RunFolder:
    run = RunFolder.open(path)
    if run.kind not in ("teacher", "student"):
        raise UserError(f"{path} is the folder of a {run.kind}; give a student's or teacher's (persistill ls).")
    run.result()
    schemas.check(schemas.TrainedInputs, run.inputs, f"the inputs in {run.path / 'run.json'}", "Run its recipe again.")
    return run


def _task(run: RunFolder) -> Task:
    """The task that a network was trained for; code that is named in a run folder is not run."""
    name = run.inputs.get("task", CLASSIFICATION)
    if not isinstance(name, str) or name not in TASKS:
        raise UserError(
            f"{run.path} was trained for the task {name!r}, which is code of its own: run its recipe again instead."
        )
    return TASKS.find(name)


def _same_data(run: RunFolder, task: Task, progress: Progress) -> Splits:
    stated = run.about["context"]["recipe"]["data"]
    if is_own_code(stated["source"]):
        name = stated["source"] if isinstance(stated["source"], str) else stated["source"].get("is")
        raise UserError(
            f"the images of {run.path} come from the code {name}, and code that a run folder names is not run. Run the "
            "recipe itself: it evaluates and exports."
        )
    splits = task.load(Data.from_json(stated), progress)
    if splits.fingerprint != run.inputs["data"]:
        raise UserError(
            f"the data of {run.path} has changed since it was trained (fingerprint {run.inputs['data']}, now "
            f"{splits.fingerprint}): bring the old data back, or run the recipe again."
        )
    return splits
