"""The base class of all schemas, the types that they share, and the sentence for what does not fit."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from persistill.errors import UserError

TEMPERATURES = (0.05, 20.0)
"""The range in which a temperature is fitted, and outside of which none is believed."""

_ROUNDING = 1e-6
_SHOWN = 3
"""Problems that are told of one file."""
_LONGEST = 60
"""Characters of a wrong value that are shown."""

Share = Annotated[float, Field(ge=-_ROUNDING, le=1 + _ROUNDING)]
"""A fraction, up to rounding."""
NotNegative = Annotated[float, Field(ge=-_ROUNDING)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0, lt=2**31)]
Temperature = Annotated[float, Field(ge=TEMPERATURES[0], le=TEMPERATURES[1])]
Deviation = Annotated[float, Field(gt=1e-12, lt=1e12)]
"""A standard deviation, by which images are divided."""
Mean = Annotated[float, Field(gt=-1e12, lt=1e12)]
FolderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-]*$", max_length=255)]
"""A folder beside the one that names it, and no path that leads elsewhere."""
FileName = FolderName
Text = Annotated[str, StringConstraints(max_length=100_000)]


class Schema(BaseModel):
    """Fields with strict types and finite numbers. Others may stand beside them: nobody reads those."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False, frozen=True)


def check(schema: type[Schema], content: object, place: str, advice: str) -> None:
    """See whether what was read from a file is what is read from it further on.

    Args:
        schema: of the content.
        content: plain JSON.
        place: the file, in words.
        advice: what to do if it does not fit, a sentence.

    Raises:
        UserError: naming the fields that do not fit, what they hold and what is allowed.
    """
    try:
        schema.model_validate(content)
    except ValidationError as error:
        problems = [_sentence(item) for item in error.errors(include_url=False)]
        more = f" And {len(problems) - _SHOWN} more." if len(problems) > _SHOWN else ""
        raise UserError(f"{place} is not to be believed: {' '.join(problems[:_SHOWN])}{more} {advice}") from None


def _sentence(item: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] == "missing":
        return f"{where} is missing."
    if item["type"] == "value_error":
        return f"{where}: {item['ctx']['error']}.".removeprefix(": ")
    where = where or "its content"
    given = repr(item["input"])
    given = given if len(given) <= _LONGEST else f"{given[: _LONGEST - 3]}..."
    message = item["msg"].removeprefix("Input ")
    return f"{where} {message[0].lower()}{message[1:]}; it is {given}."
