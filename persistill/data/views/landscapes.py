"""Persistence landscapes as images: a row for each level."""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field
from torch import Tensor

from persistill.data.views.base import Count, Shape, View
from persistill.data.views.diagrams import Reading, joined, read_diagrams, stacked, unit_grid
from persistill.topology import Diagrams, landscapes


class LandscapeView(View):
    """Persistence landscapes (Bubenik, JMLR 16, 2015): row k holds the k-th largest of the tents above the bars.

    Columns are values of the filtration, evenly from 0 to 1. A landscape is stable under small changes of the image
    and, unlike a persistence image, has neither a bandwidth nor a window that must be chosen.

    Attributes:
        readings: how each channel is read: "H0", "H1" (components and holes of the image itself), "rows", "columns"
            (components of its signal). All channels by the first reading come first.
        levels: rows.
        samples: columns.
    """

    readings: Annotated[tuple[Reading, ...], Field(min_length=1)] = ("H0", "H1")
    levels: Count = 16
    samples: Count = 32

    def shape(self, image: Shape) -> Shape:
        """(readings * C, levels, samples)."""
        return len(self.readings) * image[0], self.levels, self.samples

    def compute(self, images: Tensor, fitted: Mapping[str, Any]) -> Tensor:  # noqa: ARG002 - nothing is fitted
        """(B, readings * C, levels, samples): heights, in units of the range of values."""
        grid = unit_grid(self.samples)
        found = read_diagrams(images, self.readings)
        return stacked([landscapes(one, grid, levels=self.levels).float() for one in found])

    @property
    def groups(self) -> tuple[str, ...]:
        """The readings."""
        return self.readings

    def diagrams(self, images: npt.NDArray[np.uint8]) -> Diagrams[npt.NDArray[Any]]:
        """Diagrams (B, readings, C), levels from 0 to 255."""
        return joined(read_diagrams(images, self.readings))
