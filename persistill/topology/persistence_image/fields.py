"""The fields of persistence images, declared once: what they are, which values they take, and the defaults.

``PersistenceImageConfig``, ``fit_persistence_images``, the views of recipes, the options of ``persistill topology`` and
the explorer of the dashboard take defaults, ranges and help from here. The module imports no library, so that
``--help`` need not wait for one.
"""

from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar, get_args

Weight = Literal["linear", "constant"]
Grid = Literal["published", "tiled"]
Scaling = Literal["max", "log", "none"]
Scan = Literal["rows", "columns"]

Value = TypeVar("Value")


@dataclass(frozen=True)
class FieldDeclaration(Generic[Value]):
    """One field.

    Attributes:
        help: what it is, in a sentence.
        default: its default.
        above: numbers must be larger than this, where that is a bound.
        at_least: numbers must be this or larger, where that is a bound.
        at_most: numbers must be this or smaller, where that is a bound.
        choices: the allowed words, where it takes words.
    """

    help: str
    default: Value
    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """The allowed numbers in words: "above 0.5 and at most 1"."""
        bounds = (("above {:g}", self.above), ("{:g} or more", self.at_least), ("at most {:g}", self.at_most))
        return " and ".join(words.format(bound) for words, bound in bounds if bound is not None)

    def allows(self, number: float) -> bool:
        """Whether a number lies within the bounds; NaN does not."""
        return (
            (self.above is None or number > self.above)
            and (self.at_least is None or number >= self.at_least)
            and (self.at_most is None or number <= self.at_most)
        )


_WINDOW = (0.0, 0.3)

# The defaults are those of the TGD paper's code (Jeon et al., 2024, arXiv 2407.05316).
PIXELS = FieldDeclaration("Rows x columns of a persistence image.", (50, 50), at_least=1)
BANDWIDTH = FieldDeclaration("Standard deviation of a point's Gaussian.", 0.01, above=0)
BIRTHS = FieldDeclaration("The window along births.", _WINDOW)
PERSISTENCES = FieldDeclaration("The window along persistences.", _WINDOW)
MIN_PERSISTENCE = FieldDeclaration("Bars must be longer; 8-bit levels count as level / 255.", 0.02, at_least=0)
WEIGHT: FieldDeclaration[Weight] = FieldDeclaration(
    "Weigh points by persistence, or all alike.", "linear", choices=get_args(Weight)
)
GRID: FieldDeclaration[Grid] = FieldDeclaration(
    "Even pixels, or those of the TGD paper's code.", "published", choices=get_args(Grid)
)
SCALING: FieldDeclaration[Scaling] = FieldDeclaration(
    "Divide by each maximum, take log1p(image / scale), or neither.", "max", choices=get_args(Scaling)
)
SCALE = FieldDeclaration("Intensity at which logarithmic scaling turns from linear to logarithmic.", 1.0, above=0)
SCANS: FieldDeclaration[tuple[Scan, ...]] = FieldDeclaration(
    "How each channel is read as a signal.", ("rows", "columns"), choices=get_args(Scan)
)

# Where the window is fitted to the images, other defaults serve, and there is one more field.
FITTED_PIXELS = replace(PIXELS, default=(32, 32))
FITTED_SCALING = replace(SCALING, default="log")
QUANTILE = FieldDeclaration(
    "Share of the total persistence below the window's upper edges.", 0.99, above=0.5, at_most=1
)

FIELDS: dict[str, FieldDeclaration[Any]] = {
    "pixels": PIXELS,
    "bandwidth": BANDWIDTH,
    "births": BIRTHS,
    "persistences": PERSISTENCES,
    "min_persistence": MIN_PERSISTENCE,
    "weight": WEIGHT,
    "grid": GRID,
    "scaling": SCALING,
    "scale": SCALE,
}
"""The fields of ``PersistenceImageConfig`` by name."""
