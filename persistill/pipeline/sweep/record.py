"""What is kept of a sweep, in one file that is replaced whole whenever something is new."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from persistill import schemas
from persistill.pipeline.sweep.space import Space, Value
from persistill.utils.atomic_io import read_json, write_json

RECORD = "sweep.json"


@dataclass
class Trial:
    """One choice of values.

    Attributes:
        number: from 0, in the order in which they began.
        values: field path -> value.
        state: a "pruned" one was given up since it was behind others on validation images, a "failed" one ended with
            what ``said`` says.
        figure: mean of ``seeds``, of a complete one.
        seeds: the figure on validation images of each student that is finished.
        steps: position of an epoch among those of all students, one seed after another -> the figure until then.
        said: why it failed.
    """

    number: int
    values: dict[str, Value]
    state: Literal["running", "complete", "pruned", "failed"] = "running"
    figure: float | None = None
    seeds: list[float] = field(default_factory=list)
    steps: dict[int, float] = field(default_factory=dict)
    said: str = ""


@dataclass
class Record:
    """A sweep.

    Attributes:
        recipe: name of the recipe.
        arm: whose students are compared.
        figure: the task's, by which they are.
        space: what is varied.
        validation_images: on which the figure is measured.
        trials: in the order of their numbers.
        importance: field path -> how much of what tells good trials from others goes with it; adds up to 1.
        chosen: number of the trial that was run whole.
        comparison: its run folder, beside the sweep's.
    """

    recipe: str
    arm: str
    figure: dict[str, Any]
    space: Space
    validation_images: int
    trials: list[Trial] = field(default_factory=list)
    importance: dict[str, float] = field(default_factory=dict)
    chosen: int | None = None
    comparison: str | None = None

    def resumed(self, folder: Path) -> Self:
        """The same with the trials that a sweep which was stopped has kept.

        Raises:
            UserError: if the file cannot be what a sweep wrote.
        """
        path = folder / RECORD
        if not path.is_file():
            return self
        content = read_json(path)
        schemas.check(schemas.StoredSweep, content, str(path), "Move that folder away.")
        trials = [
            Trial(**{**trial, "steps": {int(step): value for step, value in trial["steps"].items()}})
            for trial in content["trials"]
        ]
        return replace(self, trials=trials)

    def write(self, folder: Path) -> None:
        """Keep it."""
        trials = [asdict(trial) for trial in self.trials]
        for trial in trials:
            trial["steps"] = {str(step): value for step, value in trial["steps"].items()}
        write_json(
            folder / RECORD,
            {
                "format": 1,
                "recipe": self.recipe,
                "arm": self.arm,
                "figure": self.figure,
                "over": {name: str(dimension) for name, dimension in self.space.items()},
                "shares": {
                    name: {str(trial.values[name]): dimension.share(trial.values[name]) for trial in self.trials}
                    for name, dimension in self.space.items()
                },
                "validation_images": self.validation_images,
                "trials": trials,
                "importance": self.importance,
                "chosen": self.chosen,
                "comparison": self.comparison,
            },
        )

    @property
    def best(self) -> Trial | None:
        """The complete trial whose figure is best, the first of equal ones; None if there is none."""
        sign = -1 if self.figure["better"] else 1
        complete = [trial for trial in self.trials if trial.figure is not None]
        return min(complete, key=lambda trial: sign * (trial.figure or 0.0), default=None)
