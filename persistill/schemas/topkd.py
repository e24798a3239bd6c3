"""What TopKD's preparation leaves for the trainings after it."""

from typing import Annotated, Any, Literal

from pydantic import Field

from persistill.schemas.base import Schema

_Number = Annotated[float, Field(gt=-1e30, lt=1e30)]
_Scale = Annotated[float, Field(gt=1e-30, lt=1e30)]
_Window = Annotated[list[_Number], Field(min_length=2, max_length=2)]


class StoredCloudImages(Schema):
    """How persistence images of clouds are made."""

    dimension: Literal[0, 1]
    bandwidth: _Scale
    births: _Window
    persistences: _Window
    maximum: _Scale


class StoredRipsNet(Schema):
    """The header of a RipsNet's weights."""

    width: Annotated[int, Field(gt=0, le=2**20)]
    pooling: Literal["mean", "sum"]
    result: dict[str, Any]
