"""``sweep.json``: what a sweep varied, and what came of each trial."""

from typing import Literal, Self

from pydantic import Field, model_validator

from persistill.schemas.base import Count, FolderName, NotNegative, Schema, Share, Text


class StoredTrial(Schema):
    """A trial."""

    number: Count
    state: Literal["running", "complete", "pruned", "failed"]
    values: dict[Text, float | int | Text]
    figure: float | None = None
    seeds: list[float] = Field(default_factory=list)
    steps: dict[Text, float] = Field(default_factory=dict)
    said: Text = ""


class StoredFigure(Schema):
    """The task's figure, by which trials are compared."""

    name: Text
    title: Text
    unit: Text
    better: bool


class StoredSweep(Schema):
    """All of ``sweep.json``."""

    format: Literal[1]
    recipe: Text
    arm: Text
    figure: StoredFigure
    over: dict[Text, Text]
    shares: dict[Text, dict[Text, Share]] = Field(default_factory=dict)
    validation_images: Count
    trials: list[StoredTrial]
    importance: dict[Text, NotNegative] = Field(default_factory=dict)
    chosen: Count | None = None
    comparison: FolderName | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if [trial.number for trial in self.trials] != list(range(len(self.trials))):
            raise ValueError("trials must be numbered from 0")
        for trial in self.trials:
            if trial.values.keys() != self.over.keys():
                raise ValueError(f"trial {trial.number} must have a value of each field of 'over'")
            if (trial.figure is None) == (trial.state == "complete"):
                raise ValueError(f"trial {trial.number} must have a figure if it is complete, and else none")
        return self
