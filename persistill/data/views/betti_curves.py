"""Betti curves as images: a row for each length that bars must have."""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from persistill.data.views.base import Count, Shape, View
from persistill.data.views.diagrams import Reading, joined, read_diagrams, stacked, unit_grid
from persistill.topology import Diagrams, betti_curves


class BettiCurveView(View):
    """Betti curves: how many classes are alive at each value of the filtration, counting longer and longer bars.

    Columns are values of the filtration, evenly from 0 to 1. Row 0 counts all bars; further down only those are
    counted that are longer than a length which rises evenly up to ``longest``: noise fades from row to row. The class
    that never dies is not counted, for it is there in every image.

    Attributes:
        readings: how each channel is read, as in ``LandscapeView``.
        rows: how many lengths.
        samples: columns.
        longest: the length that bars must exceed in the last row, in units of the range of values.
    """

    readings: Annotated[tuple[Reading, ...], Field(min_length=1)] = ("H0", "H1")
    rows: Count = 16
    samples: Count = 32
    longest: Annotated[float, Field(gt=0, lt=1)] = 0.5

    def shape(self, image: Shape) -> Shape:
        """(readings * C, rows, samples)."""
        return len(self.readings) * image[0], self.rows, self.samples

    def compute(self, images: Tensor, fitted: Mapping[str, Any]) -> Tensor:  # noqa: ARG002 - nothing is fitted
        """(B, readings * C, rows, samples): numbers of classes."""
        grid = unit_grid(self.samples)
        unit = 255.0 if images.dtype == torch.uint8 else 1.0
        lengths = unit * np.linspace(0.0, self.longest, self.rows)
        return stacked(
            [
                torch.stack([betti_curves(one.longer_than(length), grid).float() for length in lengths], 2)
                for one in read_diagrams(images, self.readings)
            ]
        )

    @property
    def groups(self) -> tuple[str, ...]:
        """The readings."""
        return self.readings

    def diagrams(self, images: npt.NDArray[np.uint8]) -> Diagrams[npt.NDArray[Any]]:
        """Diagrams (B, readings, C), levels from 0 to 255."""
        return joined(read_diagrams(images, self.readings))
