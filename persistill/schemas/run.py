"""The files that every run folder has: what a stage was made of, what it logged and what it left."""

from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from persistill.schemas.base import Count, Deviation, Mean, Positive, Schema, Share, Text

_Key = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
_Short = Annotated[str, StringConstraints(min_length=1, max_length=255)]


class _Computed(Schema):
    device: str | None = None
    threads: Positive | None = None


class _Context(Schema):
    recipe: dict[str, Any] | None = None
    computed: _Computed | None = None


class RunRecord(Schema):
    """All of ``run.json`` but the fields of ``inputs``, which each kind of stage has of its own."""

    name: _Short
    key: _Key
    inputs: dict[str, Any]
    created: _Short
    context: _Context = _Context()
    software: dict[str, str] = Field(default_factory=dict)
    hardware: dict[str, str | int | None] = Field(default_factory=dict)


_Path = Annotated[str, StringConstraints(pattern=r"^[^/\\\x00][^\\\x00]*$", max_length=1000)]
_Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class LeftFiles(Schema):
    """``files.json``: file -> size and hash, and folder of an earlier stage -> what it had left."""

    files: dict[_Path, Annotated[list[Count | _Sha256], Field(min_length=2, max_length=2)]]
    built_on: dict[str, str]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name, (size, digest) in self.files.items():
            if not isinstance(size, int) or not isinstance(digest, str) or ".." in name.split("/"):
                raise ValueError(f"{name!r} must be a file of the folder, with its size and its hash")
        return self


class LogRecord(Schema):
    """A line of ``log.jsonl``, as far as curves read it."""

    type: str | None = None
    step: Count | None = None
    epoch: Count | None = None
    epochs: Count | None = None
    loss: float | None = None
    train_accuracy: float | None = None
    seconds: float | None = None
    terms: dict[str, float | None] = Field(default_factory=dict)
    weights: dict[str, float | None] = Field(default_factory=dict)
    validation: dict[str, float | None] | None = None


class TrainedInputs(Schema):
    """The inputs of a teacher or a student, as far as a later evaluation or export reads them."""

    data: _Short
    mean: Annotated[list[Mean], Field(min_length=1)]
    std: Annotated[list[Deviation], Field(min_length=1)]
    view: str | None = None
    task: str | dict[str, Any] = "classification"


class _Named(Schema):
    name: str = "a network"


class _Data(Schema):
    source: str | dict[str, Any] | None = None


class _Arm(Schema):
    methods: list[dict[str, Any]] = Field(default_factory=list)
    teachers: list[str] = Field(default_factory=list)
    start: str | None = None


class _Teacher(Schema):
    view: str = "image"


class _Evaluate(Schema):
    ece_bins: Annotated[int, Field(gt=0, le=100_000)] = 15


class _Published(Schema):
    source: Text
    figures: dict[str, Share]
    chosen: Text
    differences: list[Text] = Field(default_factory=list)


class StoredRecipe(Schema):
    """A recipe in the inputs of a comparison, as far as reports read it."""

    name: str
    data: _Data = _Data()
    student: _Named | None = None
    arms: dict[str, _Arm] = Field(default_factory=dict)
    teachers: dict[str, _Teacher] = Field(default_factory=dict)
    seeds: list[int] = Field(default_factory=list)
    teacher_seed: int | None = None
    export: str | None = None
    evaluate: _Evaluate = _Evaluate()
    published: list[_Published] = Field(default_factory=list)
