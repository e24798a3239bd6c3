"""Persistence images of the components and holes of an image itself, as a cubical complex."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from torch import Tensor

from persistill.data.views.base import Shape, View
from persistill.data.views.diagrams import joined, read_diagrams, stacked
from persistill.data.views.persistence_fields import MinPersistence, Quantile, Side
from persistill.errors import UserError
from persistill.topology import Diagrams, PersistenceImageConfig, fit_persistence_images, persistence_images
from persistill.topology.persistence_image import fields


class CubicalView(View):
    """Persistence images of cubical H0 and H1, each with a window of its own that is fitted to training images.

    Where ``PersistenceView`` reads an image as signals, this view takes pixels as squares that touch at sides and
    corners: H0 are the components of {x <= t}, H1 its holes (see ``topology.cubical_persistence``). All channels of
    the first dimension come first. Window, bandwidth and scale are those of ``topology.fit_persistence_images``, one
    for each dimension, for holes are born much later than components.

    Attributes:
        dimensions: "H0" for components, "H1" for holes.
        pixels: (rows, columns) of a persistence image: persistences, births.
        quantile: share of the total persistence below the window's upper edges.
        min_persistence: bars must be longer, in units of the range of values.
        weight: "linear" weighs a point by its persistence, "constant" by 1.
        scaling: of intensities: "max" divides each persistence image by its maximum, "log" takes a logarithm.
    """

    dimensions: Annotated[tuple[Literal["H0", "H1"], ...], Field(min_length=1)] = ("H0", "H1")
    pixels: tuple[Side, Side] = fields.FITTED_PIXELS.default
    quantile: Quantile = fields.QUANTILE.default
    min_persistence: MinPersistence = fields.MIN_PERSISTENCE.default
    weight: fields.Weight = fields.WEIGHT.default
    scaling: fields.Scaling = fields.FITTED_SCALING.default

    def shape(self, image: Shape) -> Shape:
        """(dimensions * C, rows, columns)."""
        return len(self.dimensions) * image[0], *self.pixels

    def fit(self, images: npt.NDArray[np.uint8]) -> dict[str, Any]:
        """The settings of the vectorization of each dimension.

        Raises:
            UserError: if the images hold nothing to fit to.
        """
        fitted: dict[str, Any] = {}
        for name, diagrams in zip(self.dimensions, read_diagrams(images, self.dimensions), strict=True):
            try:
                settings = fit_persistence_images(
                    diagrams,
                    pixels=self.pixels,
                    quantile=self.quantile,
                    min_persistence=self.min_persistence,
                    weight=self.weight,
                    scaling=self.scaling,
                )
            except ValueError as error:
                raise UserError(f"the view of {name} cannot be fitted to the training images: {error}") from error
            fitted[name] = settings.to_json()
        return fitted

    def compute(self, images: Tensor, fitted: Mapping[str, Any]) -> Tensor:
        """(B, dimensions * C, rows, columns)."""
        found = zip(self.dimensions, read_diagrams(images, self.dimensions), strict=True)
        return stacked(
            [persistence_images(diagrams, PersistenceImageConfig.from_json(fitted[name])) for name, diagrams in found]
        )

    @property
    def in_unit_range(self) -> bool:
        """True where each persistence image is divided by its own maximum."""
        return self.scaling == "max"

    @property
    def explanation(self) -> str:
        """What a persistence image of an image itself is."""
        return (
            "Pixels enter in the order of their values, dark ones first. H0 are the components that they form: each "
            "starts at a dark spot and ends where it meets an older one. H1 are the holes: each starts where a dark "
            "ring closes and ends when its inside is filled. A persistence image is the diagram of either as a grid: "
            "birth grows to the right, persistence (death minus birth) upwards."
        )

    @property
    def groups(self) -> tuple[str, ...]:
        """The dimensions."""
        return self.dimensions

    def diagrams(self, images: npt.NDArray[np.uint8]) -> Diagrams[npt.NDArray[Any]]:
        """Diagrams (B, dimensions, C), levels from 0 to 255."""
        return joined(read_diagrams(images, self.dimensions))

    def described(self, fitted: Mapping[str, Any]) -> dict[str, Any]:
        """The window of each dimension, and what they share."""
        windows = {
            f"{name} {axis}": fitted[name][axis] for name in self.dimensions for axis in ("births", "persistences")
        }
        return {**super().described(fitted), **windows}
