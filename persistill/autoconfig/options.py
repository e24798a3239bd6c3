"""What somebody asks for who has images and two networks in mind, and no recipe."""

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from persistill.config import BEST, CLASSIFICATION
from persistill.settings import Settings

DEFAULT_METHOD = "kd"
"""What measured best at equal cost (docs/results.md): KD beside the whole cross-entropy."""
Positive = Annotated[int, Field(ge=1)]


class Options(Settings):
    """A wish. What is left out is chosen by ``make_recipe``, which says why.

    Attributes:
        data: as ``Data.source``: a folder of class folders, of Parquet or of tar files, a hub name, a URL of such
            files, "digits".
        task: as ``Recipe.task``: "classification", "segmentation" or "detection".
        teacher: a network's name, as in ``Model``.
        student: likewise.
        methods: names of methods (``autoconfig.names()``), each a student of its own beside the one that is trained
            alone; "kd+at" adds up two in one student.
        teacher_weights: a safetensors file; None to train the teacher on the data first.
        teacher_initial: weights from which that training starts, as in ``Model.initial``: "pretrained", or a
            safetensors file; None for random ones.
        student_initial: likewise, of every student.
        size: (height, width) to which images are brought.
        epochs: for every network.
        batch_size: likewise.
        lr: peak learning rate of the student.
        seeds: one student per method and seed.
        augment: random crops and flips.
        int8_epochs: for which the exported student is trained on for its int8 file; None to round it as it is.
        formats: in which it is exported, as in ``Recipe``; None for all.
        quick: measure networks without corruptions, attacks and the similarity to the teacher.
        export: whose student is exported, as in ``Recipe.export``.
    """

    data: str
    task: str = CLASSIFICATION
    teacher: str
    student: str
    methods: Annotated[tuple[str, ...], Field(min_length=1)] = (DEFAULT_METHOD,)
    teacher_weights: str | None = None
    teacher_initial: str | None = None
    student_initial: str | None = None
    size: tuple[Positive, Positive] | None = None
    epochs: Positive | None = None
    batch_size: Annotated[int, Field(ge=2)] | None = None
    lr: float | None = None
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1, 2)
    augment: bool | None = None
    int8_epochs: Positive | None = None
    formats: tuple[str, ...] | None = None
    quick: bool = False
    export: str = BEST

    @classmethod
    def name_field(cls, field: str) -> str:
        """The option of the command line; arguments in Python have the same names."""
        name = {"methods": "method"}.get(first := field.partition(".")[0], first).replace("_", "-")
        return f"--{name}" if name else ""

    @field_validator("lr")
    @classmethod
    def _positive(cls, value: float | None) -> float | None:
        if value is not None and value <= 0:
            raise ValueError(
                f"a learning rate is larger than 0; 0.1 is usual for SGD, 0.001 for AdamW; {value:g} was given."
            )
        return value

    @model_validator(mode="after")
    def _trained_or_started(self) -> Self:
        if self.teacher_weights is not None and self.teacher_initial is not None:
            raise ValueError(
                "--teacher-weights names a teacher that is trained already, for these classes; --teacher-initial, "
                "weights from which it is trained here. Give one of the two."
            )
        return self
