"""A recipe is run from Python."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from persistill.api import recipe_files
from persistill.api.progress_bars import watched
from persistill.api.result import Result
from persistill.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from persistill.config import Recipe
    from persistill.data import Splits
    from persistill.utils.progress import Progress


def run(
    recipe: "Recipe | str | Path",
    *,
    out: str | Path = "runs",
    device: str = "auto",
    small: bool = False,
    quick: bool = False,
    changes: "Mapping[str, Any] | None" = None,
    progress: "Progress | None" = None,
    command: str = "",
    splits: "Splits | None" = None,
    auto_batch: bool = False,
    workers: int | None = None,
    executor: str | None = None,
    memory: int | None = None,
) -> Result:
    """Run a recipe: views, teachers, students, evaluation, report, export. Finished stages are reused.

    Called in several processes that torchrun or srun started, it trains every network in all of them, shares evaluation
    and what is computed before trainings out over them, and does all else in the first.

    Args:
        recipe: a recipe, its file, or the name of a shipped one (``persistill ls``).
        out: where run folders are written and looked for: a folder, or a URL that fsspec knows (``s3://bucket/runs``).
        device: "auto", "cpu", "cuda", "cuda:0" or "mps".
        small: take the recipe's sibling for two cores.
        quick: measure networks without corruptions, attacks and the similarity to the teachers.
        changes: field path -> value: ``{"train.epochs": 5, "seeds": (0, 1)}``.
        progress: told of everything that takes time; None for bars in a terminal or notebook.
        command: the command line that repeats this, for the report.
        splits: the recipe's images, if they were read already.
        auto_batch: take batches of a training in parts where memory runs out; the update stays that of the whole
            batch, but for what a BatchNorm or a dropout does.
        workers: stages that are worked at at the same time, each in a process of its own; None for one after another
            in this process. Where there are several GPUs, processes share them in turn.
        executor: "local", "processes", "ray" or "slurm"; None for what suits the workers. The last two have stages
            worked at by the machines of a cluster.
        memory: that a stage needs, in bytes, for Ray or SLURM to share out; None if it is not known.

    Returns:
        The comparison.

    Raises:
        UserError: if the recipe is wrong or does not fit its data; found before any training.
        RankLostError: if another process that trains along has ended.
    """
    from persistill.config import Recipe  # noqa: PLC0415 - torch is slow to import
    from persistill.pipeline import Pipeline  # noqa: PLC0415
    from persistill.pipeline.executors.choose import chosen_executor  # noqa: PLC0415
    from persistill.pipeline.executors.follow import follow  # noqa: PLC0415
    from persistill.training.process_group import join  # noqa: PLC0415

    if isinstance(recipe, Recipe):
        recipe = recipe_files.changed(recipe, changes or {}, small=small, quick=quick)
    else:
        recipe = recipe_files.read(str(recipe), changes, small=small, quick=quick)
    ranks = join(device)
    if ranks.size > 1:
        device = str(ranks.device)
        refuse_beside_ranks(ranks.size, executor, workers, auto_batch=auto_batch)
    if not ranks.leads:
        return Result(follow(lambda: Pipeline(recipe, out, device=device, splits=splits, ranks=ranks), ranks))
    with watched(progress) as bars, chosen_executor(executor, workers, device, memory) as chosen:
        pipeline = Pipeline(
            recipe,
            out,
            device=device,
            progress=bars,
            command=command,
            splits=splits,
            auto_batch=auto_batch,
            ranks=ranks,
        )
        folder = pipeline.run(chosen)
        ranks.from_leader(folder.path)
    return Result(folder.path)


def refuse_beside_ranks(size: int, executor: str | None, workers: int | None, *, auto_batch: bool = False) -> None:
    """See that nothing is asked for beside processes that train together and does not go with them.

    Args:
        size: how many processes there are.
        executor: as of ``run``.
        workers: likewise.
        auto_batch: likewise.

    Raises:
        UserError: if it does not.
    """
    if auto_batch or executor not in (None, "local") or (workers or 1) > 1:
        raise UserError(
            f"{size} processes train together here, which goes with neither --auto-batch nor --workers nor --executor. "
            "In place of the first, set train.accumulate, the parts of a batch."
        )
