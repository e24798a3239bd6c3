"""What the file of a trained network says of it: the header of safetensors, the metadata of ONNX, ``model.json``."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from persistill.schemas.base import Deviation, FileName, Mean, Positive, Schema, Temperature, Text

_LONGEST_SIDE = 65_536
_Side = Annotated[int, Field(gt=0, le=_LONGEST_SIDE)]


class StudentMetadata(Schema):
    """What stands in the header of ``model.safetensors`` beside the network's name, channels and classes.

    Files of weights alone need not have it; what is there must fit.
    """

    in_channels: Positive
    num_classes: Positive
    classes: list[str | int] | None = None
    mean: list[Mean] | None = None
    std: list[Deviation] | None = None
    shape: Annotated[list[_Side], Field(min_length=3, max_length=3)] | None = None
    view: str = "image"
    task: str | dict[str, Any] = "classification"
    temperature: Temperature | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.classes is not None and len(self.classes) != self.num_classes:
            raise ValueError(f"classes has {len(self.classes)} entries, and the network {self.num_classes}")
        if self.view != "image":
            return self  # the network sees a view of images, whose channels these are
        for name, found in (("mean", self.mean), ("std", self.std)):
            if found is not None and len(found) != self.in_channels:
                raise ValueError(f"{name} has {len(found)} entries, and the network {self.in_channels} channels")
        if self.shape is not None and self.shape[0] != self.in_channels:
            raise ValueError(f"shape has {self.shape[0]} channels, and the network {self.in_channels}")
        return self


class _Input(Schema):
    shape: Annotated[list[_Side | Literal["batch"]], Field(min_length=4, max_length=4)]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not all(isinstance(side, int) for side in self.shape[1:]):
            raise ValueError("shape must be the word batch and then three whole numbers")
        return self


class _Selection(Schema):
    score_threshold: Annotated[float, Field(ge=0, le=1)]
    iou_threshold: Annotated[float, Field(ge=0, le=1)]
    most: Positive


class ExportedStudent(Schema):
    """``model.json``, which also stands in the metadata of ONNX files."""

    classes: Annotated[list[str | int], Field(min_length=1)]
    input: _Input
    task: str = "classification"
    temperature: Temperature = 1.0
    selection: _Selection | None = None
    model: Text = ""
    parameters: Annotated[int, Field(ge=0)] = 0
    script: FileName | None = None
    files: dict[str, FileName] = Field(default_factory=dict)
