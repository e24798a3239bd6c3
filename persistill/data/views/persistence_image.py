"""Persistence images as views: the settings that a recipe states."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator
from torch import Tensor

from persistill.data.views.base import Shape, View
from persistill.data.views.persistence_fields import Bandwidth, MinPersistence, Quantile, Side
from persistill.errors import UserError
from persistill.topology import (
    Diagrams,
    PersistenceImageConfig,
    fit_persistence_images,
    scan_persistence_images,
    sublevel_persistence,
)
from persistill.topology.persistence_image import fields
from persistill.topology.scans import SCANS


class _ScannedView(View, ABC):
    """What both kinds of persistence views share."""

    scans: Annotated[tuple[fields.Scan, ...], Field(min_length=1)] = fields.SCANS.default

    @abstractmethod
    def vectorization(self, images: npt.NDArray[np.uint8]) -> PersistenceImageConfig:
        """The settings of the vectorization, fitted to training images (n, C, H, W) where they need be."""

    def shape(self, image: Shape) -> Shape:
        """(C, H, W) of the view of images of shape (C, H, W)."""
        pixels: tuple[int, int] = self.pixels  # type: ignore[attr-defined]
        return len(self.scans) * image[0], pixels[0], pixels[1]

    def fit(self, images: npt.NDArray[np.uint8]) -> dict[str, Any]:
        """The settings of the vectorization as JSON."""
        return self.vectorization(images).to_json()

    def compute(self, images: Tensor, fitted: Mapping[str, Any]) -> Tensor:
        """(B, scans * C, rows, columns): all channels of the image by the first scan, then by the second."""
        return scan_persistence_images(images, PersistenceImageConfig.from_json(fitted), scans=self.scans)

    @property
    def in_unit_range(self) -> bool:
        """True where each persistence image is divided by its own maximum."""
        return bool(self.scaling == "max")  # type: ignore[attr-defined]

    @property
    def explanation(self) -> str:
        """What a persistence image of a signal is."""
        return (
            "An image is read as a signal, and the signal is filled from its lowest value up. Each valley starts a "
            "component (its birth) which ends where it runs into an older one (its death): one point of the "
            "persistence diagram. A persistence image is the diagram as a grid: birth grows to the right, persistence "
            "(death minus birth) upwards."
        )

    @property
    def groups(self) -> tuple[str, ...]:
        """The scans."""
        return self.scans

    def diagrams(self, images: npt.NDArray[np.uint8]) -> Diagrams[npt.NDArray[Any]]:
        """Diagrams (B, scans, C) of images (B, C, H, W), levels from 0 to 255."""
        return sublevel_persistence(_signals(images, self.scans))

    def described(self, fitted: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of the vectorization."""
        return dict(fitted)


class PersistenceView(_ScannedView):
    """Persistence images with a window of your choice; the defaults are those of the TGD paper's code.

    Every channel of an image is read as a signal along its rows, and once more along its columns; the sublevel
    persistence (H0) of each signal becomes one channel of the view, all channels of the first scan first.
    The fields are those of ``topology.PersistenceImageConfig`` (Jeon et al., 2024, arXiv 2407.05316), and:

    Attributes:
        scans: how images are read.
        dtype: of the stored values: "uint8" keeps floor(255 * value) as the published code does, "float16" 11 bits.
    """

    pixels: tuple[Side, Side] = fields.PIXELS.default
    bandwidth: float = fields.BANDWIDTH.default
    births: tuple[float, float] = fields.BIRTHS.default
    persistences: tuple[float, float] = fields.PERSISTENCES.default
    min_persistence: float = fields.MIN_PERSISTENCE.default
    weight: fields.Weight = fields.WEIGHT.default
    grid: fields.Grid = fields.GRID.default
    scaling: fields.Scaling = fields.SCALING.default
    scale: float = fields.SCALE.default

    @model_validator(mode="after")
    def _allowed(self) -> Self:
        self._vectorization()
        return self

    def _vectorization(self) -> PersistenceImageConfig:
        return PersistenceImageConfig(
            **{name: getattr(self, name) for name in PersistenceImageConfig.__dataclass_fields__}
        )

    def vectorization(self, images: npt.NDArray[np.uint8]) -> PersistenceImageConfig:  # noqa: ARG002
        """The settings as they stand; nothing is fitted."""
        return self._vectorization()


class FittedPersistenceView(_ScannedView):
    """Persistence images whose window, bandwidth and scale are fitted to training images.

    See ``topology.fit_persistence_images`` for the fields that are not told here.

    Attributes:
        scans: how images are read, as in ``PersistenceView``.
        dtype: of the stored values, as in ``PersistenceView``.
    """

    pixels: tuple[Side, Side] = fields.FITTED_PIXELS.default
    quantile: Quantile = fields.QUANTILE.default
    bandwidth: Bandwidth | None = None
    min_persistence: MinPersistence = fields.MIN_PERSISTENCE.default
    weight: fields.Weight = fields.WEIGHT.default
    scaling: fields.Scaling = fields.FITTED_SCALING.default

    def vectorization(self, images: npt.NDArray[np.uint8]) -> PersistenceImageConfig:
        """The fitted settings.

        Raises:
            UserError: if the images hold nothing to fit to.
        """
        try:
            return fit_persistence_images(
                sublevel_persistence(_signals(images, self.scans)),
                pixels=self.pixels,
                quantile=self.quantile,
                bandwidth=self.bandwidth,
                min_persistence=self.min_persistence,
                weight=self.weight,
                scaling=self.scaling,
            )
        except ValueError as error:
            raise UserError(f"the view cannot be fitted to the training images: {error}") from error


def _signals(images: npt.NDArray[np.uint8], scans: tuple[fields.Scan, ...]) -> npt.NDArray[np.uint8]:
    """(n, C, H, W) -> (n, scans, C, H * W)."""
    return np.stack([SCANS[scan](images) for scan in scans], axis=1)
