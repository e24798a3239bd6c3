"""The settings of persistence images, and the grid that they lay over the plane of births and persistences."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from persistill.topology.persistence_image.fields import (
    BANDWIDTH,
    BIRTHS,
    FIELDS,
    GRID,
    MIN_PERSISTENCE,
    PERSISTENCES,
    PIXELS,
    SCALE,
    SCALING,
    WEIGHT,
    Grid,
    Scaling,
    Weight,
)

_SMALLEST, LARGEST = 1e-30, 1e30
"""Sizes of numbers that are computed with: squares and quotients of them are numbers still."""
_FINEST = 1e-12
"""The least side of a pixel, in shares of the bounds of its window."""


@dataclass(frozen=True)
class PersistenceImageConfig:
    """How diagrams become persistence images.

    A point with birth b and persistence p adds its weight times a Gaussian around (b, p), integrated over each pixel:
    ``w(p) [Phi((x_hi - b) / s) - Phi((x_lo - b) / s)] [Phi((y_hi - p) / s) - Phi((y_lo - p) / s)]`` with the normal
    distribution function Phi and bandwidth s (Adams et al., Persistence images, JMLR 18, 2017). Row 0 holds the
    largest persistences and column 0 the lowest births. 8-bit diagrams stand for value / 255. Superlevel diagrams
    work alike: births are births, and persistences are never negative.

    Attributes:
        pixels: (rows, columns) of the persistence image: persistences, births.
        bandwidth: standard deviation of the Gaussian, in the units of the values.
        births: (low, high), the window along births.
        persistences: (low, high), the window along persistences.
        min_persistence: bars must be longer than this.
        weight: "linear" weighs a point by its persistence, "constant" by 1.
        grid: "tiled" divides the window evenly. "published" is the grid of the TGD paper's code (``PersImage`` of
            persim): n lower edges evenly from low to *high inclusive*, each box (high - low) / n wide. It leaves
            gaps between the boxes, and the last box reaches beyond the window.
        scaling: "max" divides each persistence image by its maximum (one of zeros stays so), "log" takes
            ``log1p(image / scale)``, "none" leaves intensities alone.
        scale: intensity at which "log" turns from linear to logarithmic.

    Raises:
        TypeError: if a field has a wrong type.
        ValueError: if a field has a wrong value; both name the field and what is allowed.
    """

    pixels: tuple[int, int] = PIXELS.default
    bandwidth: float = BANDWIDTH.default
    births: tuple[float, float] = BIRTHS.default
    persistences: tuple[float, float] = PERSISTENCES.default
    min_persistence: float = MIN_PERSISTENCE.default
    weight: Weight = WEIGHT.default
    grid: Grid = GRID.default
    scaling: Scaling = SCALING.default
    scale: float = SCALE.default

    def __post_init__(self) -> None:
        for name in ("pixels", "births", "persistences"):
            pair = getattr(self, name)
            if not isinstance(pair, Sequence | np.ndarray) or isinstance(pair, str) or len(pair) != 2:
                raise TypeError(f"PersistenceImageConfig.{name} must be a pair; got {pair!r}.")
            object.__setattr__(self, name, tuple(pair))
        for side in self.pixels:
            if isinstance(side, bool) or not isinstance(side, int | np.integer):
                raise TypeError(f"PersistenceImageConfig.pixels must be two integers; got {self.pixels}.")
            if not PIXELS.allows(side):
                fewest = (PIXELS.at_least, PIXELS.at_least)
                raise ValueError(f"PersistenceImageConfig.pixels must be at least {fewest}; got {self.pixels}.")
        object.__setattr__(self, "pixels", tuple(map(int, self.pixels)))
        for name in ("bandwidth", "min_persistence", "scale"):
            number = _number(name, getattr(self, name))
            object.__setattr__(self, name, number)
            if not FIELDS[name].allows(number):
                raise ValueError(f"PersistenceImageConfig.{name} must be {FIELDS[name].allowed}; got {number}.")
        for name in ("births", "persistences"):
            low, high = (_number(name, bound) for bound in getattr(self, name))
            object.__setattr__(self, name, (low, high))
            if low >= high:
                raise ValueError(f"PersistenceImageConfig.{name} must be (low, high), low < high; got {(low, high)}.")
            pixel = (high - low) / self.pixels[name == "births"]
            if pixel < max(_SMALLEST, _FINEST * max(abs(low), abs(high))):
                raise ValueError(
                    f"PersistenceImageConfig.{name} must be further apart: {(low, high)} leaves its pixels a width of "
                    f"{pixel:g}, which rounding eats up."
                )
        for name in ("weight", "grid", "scaling"):
            choices = FIELDS[name].choices
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"PersistenceImageConfig.{name} must be one of {', '.join(map(repr, choices))}; "
                    f"got {getattr(self, name)!r}."
                )

    @classmethod
    def tgd(cls) -> Self:
        """The settings of the TGD paper's code (Jeon et al., 2024, arXiv 2407.05316), which are the defaults."""
        return cls()

    def to_json(self) -> dict[str, Any]:
        """The settings as plain JSON values, fitted ones included."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The settings that ``to_json`` wrote.

        Raises:
            ValueError: if a field is unknown.
        """
        unknown = set(content) - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise ValueError(f"unknown fields of PersistenceImageConfig: {', '.join(sorted(unknown))}.")
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
        }
        return cls(**fields)

    def contains(self, births: NDArray[Any], persistences: NDArray[Any]) -> NDArray[np.bool_]:
        """Which points lie in the window, its edges included.

        Args:
            births: in the units of the settings.
            persistences: of the same shape.
        """
        within = [
            (values >= low) & (values <= high)
            for values, (low, high) in ((births, self.births), (persistences, self.persistences))
        ]
        found: NDArray[np.bool_] = within[0] & within[1]
        return found

    def edges(self, axis: Literal["births", "persistences"]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper edges of the boxes along an axis, in rising order."""
        count = self.pixels[1] if axis == "births" else self.pixels[0]
        low, high = self.births if axis == "births" else self.persistences
        if self.grid == "published":
            lower = np.linspace(low, high, count)
            return lower, lower + (high - low) / count
        bounds = np.linspace(low, high, count + 1)
        return bounds[:-1].copy(), bounds[1:].copy()


def require_config(config: object) -> None:
    """Raise a TypeError for whatever is no ``PersistenceImageConfig``."""
    if not isinstance(config, PersistenceImageConfig):
        raise TypeError(f"config must be a PersistenceImageConfig; got {type(config).__name__}.")


def _number(name: str, value: Any) -> float:
    """A number of a size that kernels can square and divide: Python's stay as they are, NumPy's become Python's."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"PersistenceImageConfig.{name} must be made of numbers; got {value!r}.")
    number = value.item() if isinstance(value, np.generic) else value
    if isinstance(number, float) and not math.isfinite(number):
        raise ValueError(f"PersistenceImageConfig.{name} must be finite; got {number!r}.")
    smallest = _SMALLEST if name in ("bandwidth", "scale") else 0.0  # others are not divided by
    if abs(number) > LARGEST or 0 < abs(number) < smallest:
        raise ValueError(
            f"PersistenceImageConfig.{name} must be between {smallest:g} and {LARGEST:g} in size; "
            f"got {number if isinstance(number, float) else 'a whole number beyond'}."
        )
    return number
