"""Settings of a recipe are varied from Python."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persistill.api import recipe_files
from persistill.api.progress_bars import watched
from persistill.api.result import Result
from persistill.errors import UserError
from persistill.utils.process_place import find_place

if TYPE_CHECKING:
    from persistill.config import Recipe
    from persistill.utils.progress import Progress


SHARED = (
    "A sweep trains many networks, each on one device: start it once, with --workers N for several at a time, or with "
    "--executor ray for several machines. To train one network on several devices, give values that were found to "
    "persistill run with --set, and --devices N."
)
"""What to do in place of a sweep on several devices."""


class Sweep:
    """A finished sweep, read from its folder alone.

    Attributes:
        folder: what was kept of it.

    Args:
        folder: as above.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @cached_property
    def _record(self) -> dict[str, Any]:
        from persistill import schemas  # noqa: PLC0415 - pydantic is slow to import
        from persistill.utils.atomic_io import read_json  # noqa: PLC0415

        path = self.folder / "sweep.json"
        record: dict[str, Any] = read_json(path)
        schemas.check(schemas.StoredSweep, record, str(path), "Run the sweep again.")
        if record["chosen"] is None or record["comparison"] is None:
            raise UserError(f"{self.folder} has not come to its end: run the sweep again, and it goes on.")
        return record

    @property
    def trials(self) -> list[dict[str, Any]]:
        """All trials: "number", "values", "state", "figure" on validation images, "seeds" and what else is kept."""
        return list(self._record["trials"])

    @property
    def best(self) -> dict[str, Any]:
        """Field path -> value, of the best trial."""
        return dict(self.trials[self._record["chosen"]]["values"])

    @property
    def importance(self) -> dict[str, float]:
        """Field path -> share of what tells the good trials from the others; empty after too few trials."""
        return dict(self._record["importance"])

    @property
    def result(self) -> Result:
        """The comparison with the best values, whose networks alone were measured on test images."""
        return Result(self.folder.parent / self._record["comparison"])

    @property
    def page(self) -> Path:
        """The HTML page."""
        return self.folder / "sweep.html"

    def __repr__(self) -> str:
        return f"Sweep({str(self.folder)!r}): {len(self.trials)} trials, best {self.best}"


def sweep(
    recipe: "Recipe | str | Path",
    over: Mapping[str, str | Sequence[object]],
    *,
    trials: int = 20,
    arm: str | None = None,
    prune: bool = True,
    seed: int = 0,
    out: str | Path = "runs",
    device: str = "auto",
    small: bool = False,
    quick: bool = False,
    changes: Mapping[str, Any] | None = None,
    progress: "Progress | None" = None,
    command: str = "",
    workers: int | None = None,
    executor: str | None = None,
) -> Sweep:
    """Vary settings of a recipe, compare trials on validation images, and run the best one whole.

    Called again with the same arguments it goes on where it stopped; with more trials it adds some.

    Args:
        recipe: a recipe, its file, or the name of a shipped one.
        over: field path -> values: ``{"train.lr": "log(0.01, 0.3)", "arms.kd.methods.0.temperature": (1.0, 4.0)}``.
        trials: in all.
        arm: whose students are compared; None for the one that the recipe exports, or that alone is varied.
        prune: give up trials that are behind the median of the others.
        seed: of the choice of values.
        out: where run folders are written and looked for: a folder or a URL.
        device: "auto", "cpu", "cuda", "cuda:0" or "mps".
        small: take the recipe's sibling for two cores.
        quick: measure networks without corruptions, attacks and the similarity to the teachers.
        changes: field path -> value, beforehand.
        progress: told of everything that takes time; None for bars in a terminal or notebook.
        command: the command line that repeats this, for the report.
        workers: trials at the same time; each stage has a process. None for one.
        executor: "processes", "ray" or "slurm".

    Raises:
        UserError: if the recipe does not take the values, no trial comes to an end, or this is one of several processes
            that torchrun or srun started.
    """
    from persistill import report  # noqa: PLC0415 - matplotlib is slow to import
    from persistill.config import Recipe  # noqa: PLC0415 - torch is slow to import
    from persistill.pipeline.executors.choose import chosen_executor  # noqa: PLC0415
    from persistill.pipeline.sweep.space import parse_dimension  # noqa: PLC0415
    from persistill.pipeline.sweep.trials import Sweep as Trials  # noqa: PLC0415

    if (place := find_place()) is not None:
        raise UserError(
            f"this is one of {place.size} processes that torchrun or srun started, each for a sweep. {SHARED}"
        )
    if isinstance(recipe, Recipe):
        recipe = recipe_files.changed(recipe, changes or {}, small=small, quick=quick)
    else:
        recipe = recipe_files.read(str(recipe), changes, small=small, quick=quick)
    if trials < 1:
        raise UserError(f"a sweep needs at least one trial; trials={trials} was given.")
    if executor == "local":
        raise UserError(
            "trials are worked at by processes: leave out the executor, or name 'processes', 'ray' or 'slurm'."
        )
    space = {field: parse_dimension(field, values) for field, values in over.items()}
    with watched(progress) as bars, chosen_executor(executor or "processes", workers, device) as chosen:
        assert chosen is not None
        found = Trials(
            recipe,
            space,
            out,
            arm=arm,
            trials=trials,
            prune=prune,
            seed=seed,
            device=device,
            progress=bars,
            command=command,
        )
        try:
            found.run(chosen)
        finally:
            if (found.folder / "sweep.json").is_file():
                report.write_sweep(found.folder)
                found.hand_on_page()
    return Sweep(found.folder)
