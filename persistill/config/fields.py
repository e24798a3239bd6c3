"""Types of fields with a range, which several settings share."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from persistill.settings import Settings

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Weight = Annotated[float, Field(ge=0)]


def _nameable(value: Any) -> Any:
    if isinstance(value, str | Settings) or callable(value):
        return value
    raise ValueError(
        f"must be a name, 'package.module:Name', or a class, function or settings of your own; {value!r} was given."
    )


Named = Annotated[Any, AfterValidator(_nameable)]
"""Something that a ``utils.registry.Registry`` finds: one of the package's own by its name, or one of the user's."""
