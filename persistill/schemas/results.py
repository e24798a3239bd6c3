"""``done.json``: what each kind of stage says that it found."""

from typing import Annotated, Any, Literal

from pydantic import Field

from persistill.schemas.base import (
    Count,
    Deviation,
    FileName,
    FolderName,
    Mean,
    NotNegative,
    Positive,
    Schema,
    Share,
    Text,
)
from persistill.schemas.metrics import Metrics


class _Result(Schema):
    seconds: NotNegative | None = None


class _View(_Result):
    shape: Annotated[list[Positive], Field(min_length=3, max_length=3)]
    mean: list[Mean]
    std: list[Deviation]
    groups: list[Text] = Field(default_factory=list)
    settings: dict[str, Any] = Field(default_factory=dict)
    explanation: Text = ""
    dtype: Literal["uint8", "float16", "float32"] = "uint8"
    peak: Annotated[float, Field(gt=0)] = 1.0
    fingerprint: str = ""
    count: dict[str, Count] = Field(default_factory=dict)


class _Trained(_Result):
    epochs: Count | None = None
    parameters: Count | None = None
    train_accuracy: Share | None = None
    validation: dict[str, float | None] | None = None
    weights: Text | None = None


class _Array(Schema):
    shape: Annotated[list[Count], Field(min_length=1)]
    dtype: Literal["float16", "float32"]


class _Features(_Result):
    arrays: dict[Annotated[str, Field(pattern=r"^[^/\\\x00]+$")], _Array]
    images: Count
    bytes: Count


class _Student(Schema):
    arm: Annotated[str, Field(min_length=1)]
    seed: int
    run: FolderName


class _Candidate(_Student):
    value: float | None
    nll: float | None = None


class _Choice(_Result, _Candidate):
    figure: Text
    images: Count
    candidates: Annotated[list[_Candidate], Field(min_length=1)]


class _Evaluation(_Result):
    metrics: Metrics
    images: Count = 0


class StoredStep(Schema):
    """A step of an evaluation that is under way."""

    of: str
    seconds: NotNegative
    metrics: dict[str, Any]


class _Int8(Schema):
    made: Text | None = None
    saturating: list[Text] = Field(default_factory=list)
    static: dict[str, float | None] | None = None


class _Export(_Result):
    student: _Student | None = None
    files: dict[str, FileName] = Field(default_factory=dict)
    bytes: dict[str, Count] = Field(default_factory=dict)
    difference: dict[str, NotNegative | None] = Field(default_factory=dict)
    agreement: dict[str, Share | None] = Field(default_factory=dict)
    milliseconds: dict[str, dict[str, NotNegative]] = Field(default_factory=dict)
    figure: Text = "accuracy"
    accuracy: dict[str, Share | None] = Field(default_factory=dict)
    miou: dict[str, Share | None] = Field(default_factory=dict)
    ap: dict[str, Share | None] = Field(default_factory=dict)
    left_out: dict[str, Text] = Field(default_factory=dict)
    int8: _Int8 = _Int8()
    instructions: str | None = None
    parameters: Count | None = None
    images: Count | None = None


_Above = Annotated[float, Field(gt=0)]


class _Latency(Schema):
    batch: Positive
    threads: Positive | None
    median: _Above
    low: _Above
    high: _Above
    calls: Positive


class _Cost(_Result):
    parameters: Positive
    macs: Annotated[int, Field(gt=0)]
    bytes: Annotated[int, Field(gt=0)]
    memory: dict[str, Count]
    latency: list[_Latency]
    joules: NotNegative | None = None


class _Folders(Schema):
    run: FolderName
    evaluation: FolderName


class _Row(_Folders):
    arm: Annotated[str, Field(min_length=1)]
    seed: int | None


class _Costs(Schema):
    student: FolderName | None = None
    teachers: dict[str, FolderName] = Field(default_factory=dict)


class _Measure(Schema):
    name: Text
    title: Annotated[str, Field(min_length=1)]
    path: Annotated[list[str], Field(min_length=1)]
    unit: Text
    larger_is_better: bool


class _Task(Schema):
    name: Text
    pipeline_tag: Text
    measures: Annotated[list[_Measure], Field(min_length=1)]
    columns: list[_Measure]
    differences: list[_Measure]
    sections: list[str]
    suggestions: list[Text] = Field(default_factory=list)


class _Relative(Schema):
    baseline: str | None = None
    of: dict[str, NotNegative | None] = Field(default_factory=dict)


class _Comparison(_Result):
    rows: list[_Row] = Field(default_factory=list)
    teachers: dict[str, _Folders] = Field(default_factory=dict)
    recipe: Text = ""
    command: Text = ""
    classes: list[Text] | None = None
    views: dict[str, FolderName] = Field(default_factory=dict)
    choice: _Choice | None = None
    export: FolderName | None = None
    unreadable: list[Text] = Field(default_factory=list)
    costs: _Costs | None = None
    task: _Task | None = None
    relative_corruption_error: _Relative | None = None
    likeness: dict[str, dict[str, dict[str, float | None]]] | None = None


RESULTS: dict[str, type[Schema]] = {
    "view": _View,
    "teacher": _Trained,
    "student": _Trained,
    "quantized": _Trained,
    "features": _Features,
    "preparation": _Result,
    "choice": _Choice,
    "evaluation": _Evaluation,
    "export": _Export,
    "cost": _Cost,
    "comparison": _Comparison,
}
"""Kind of stage -> its result."""
