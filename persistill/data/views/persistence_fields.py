"""Types of a view's fields with the ranges that ``topology`` declares."""

from typing import Annotated

from pydantic import Field

from persistill.topology.persistence_image.fields import BANDWIDTH, MIN_PERSISTENCE, PIXELS, QUANTILE

Side = Annotated[int, Field(ge=PIXELS.at_least)]
Bandwidth = Annotated[float, Field(gt=BANDWIDTH.above)]
MinPersistence = Annotated[float, Field(ge=MIN_PERSISTENCE.at_least)]
Quantile = Annotated[float, Field(gt=QUANTILE.above, le=QUANTILE.at_most)]
