"""The corruptions by name, each with its function and its parameters at severities 1 to 5.

There are two sets of parameters: those of CIFAR-10-C, for images of 32 x 32, and of ImageNet-C, for 224 x 224
(Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019,
and the code that they published with it).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from persistill.errors import UserError, unknown
from persistill.perturbations.corruptions import blur, digital, noise, weather
from persistill.perturbations.corruptions.counter_rng import Draws
from persistill.perturbations.corruptions.spatter import spatter
from persistill.utils.registry import Registry, is_own_code, named

SEVERITIES = (1, 2, 3, 4, 5)
"""From mild to strong."""


_SMALL, _LARGE = 32, 224
_BORDER = 85
"""About the geometric mean of the two: shorter sides below it take the parameters of small images."""


@dataclass(frozen=True)
class Corruption:
    """One corruption of the package.

    Attributes:
        apply: called with images, their random numbers, the scale of lengths and a severity's parameters.
        small: parameters at severities 1 to 5 for images of 32 x 32.
        large: for images of 224 x 224.
    """

    apply: Callable[..., Tensor]
    small: tuple[tuple[Any, ...], ...]
    large: tuple[tuple[Any, ...], ...]

    def __call__(self, images: Tensor, severity: int, draws: Draws) -> Tensor:
        """Corrupt images (B, C, H, W), float64 in [0, 1]; what comes of them may leave [0, 1]."""
        shorter = min(images.shape[-2:])
        if shorter < _BORDER:
            parameters, scale = self.small, max(1.0, shorter / _SMALL)
        else:
            parameters, scale = self.large, shorter / _LARGE
        return self.apply(images, draws, scale, *parameters[severity - 1])


def _each(*values: float) -> tuple[tuple[float], ...]:
    return tuple((value,) for value in values)


COUNTED = {
    "gaussian_noise": Corruption(
        noise.gaussian_noise,
        small=_each(0.04, 0.06, 0.08, 0.09, 0.10),
        large=_each(0.08, 0.12, 0.18, 0.26, 0.38),
    ),
    "shot_noise": Corruption(
        noise.shot_noise,
        small=_each(500, 250, 100, 75, 50),
        large=_each(60, 25, 12, 5, 3),
    ),
    "impulse_noise": Corruption(
        noise.impulse_noise,
        small=_each(0.01, 0.02, 0.03, 0.05, 0.07),
        large=_each(0.03, 0.06, 0.09, 0.17, 0.27),
    ),
    "defocus_blur": Corruption(  # radius, alias blur
        blur.defocus_blur,
        small=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        large=((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    ),
    "glass_blur": Corruption(  # sigma, largest shift, rounds
        blur.glass_blur,
        small=((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        large=((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    ),
    "motion_blur": Corruption(  # radius, sigma
        blur.motion_blur,
        small=((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        large=((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    ),
    "zoom_blur": Corruption(  # end of the zooms, their step
        blur.zoom_blur,
        small=((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        large=((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    ),
    "snow": Corruption(  # mean, standard deviation, zoom, threshold, radius and sigma of the streaks, keep
        weather.snow,
        small=(
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        large=(
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
    ),
    "frost": Corruption(  # weight of the image, weight of the frost, size of the frost
        weather.frost,
        small=((1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
        large=((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
    ),
    "fog": Corruption(  # amount, decay of the plasma fractal
        weather.fog,
        small=((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        large=((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    ),
    "brightness": Corruption(
        weather.brightness,
        small=_each(0.05, 0.1, 0.15, 0.2, 0.3),
        large=_each(0.1, 0.2, 0.3, 0.4, 0.5),
    ),
    "contrast": Corruption(
        digital.contrast,
        small=_each(0.75, 0.5, 0.4, 0.3, 0.15),
        large=_each(0.4, 0.3, 0.2, 0.1, 0.05),
    ),
    "elastic_transform": Corruption(  # strength, sigma and jitter of the affine map, in sides of the image
        digital.elastic_transform,
        small=((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
        # The published code multiplies by 244 where the image has 224.
        large=tuple(
            tuple(value * 244 / 224 for value in row)
            for row in ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
        ),
    ),
    "pixelate": Corruption(
        digital.pixelate,
        small=_each(0.95, 0.9, 0.85, 0.75, 0.65),
        large=_each(0.6, 0.5, 0.4, 0.3, 0.25),
    ),
    "jpeg_compression": Corruption(
        digital.jpeg_compression,
        small=_each(80, 65, 58, 50, 40),
        large=_each(25, 18, 15, 10, 7),
    ),
}
"""The fifteen that a mean corruption error is made of."""

EXTRA = {
    "speckle_noise": Corruption(
        noise.speckle_noise,
        small=_each(0.06, 0.1, 0.12, 0.16, 0.2),
        large=_each(0.15, 0.2, 0.35, 0.45, 0.6),
    ),
    "gaussian_blur": Corruption(
        blur.gaussian_blur,
        small=_each(0.4, 0.6, 0.7, 0.8, 1),
        large=_each(1, 2, 3, 4, 6),
    ),
    "spatter": Corruption(  # mean, standard deviation and sigma of the liquid, threshold, weight, mud
        spatter,
        small=(
            (0.62, 0.1, 0.7, 0.7, 0.5, False),
            (0.65, 0.1, 0.8, 0.7, 0.5, False),
            (0.65, 0.3, 1, 0.69, 0.5, False),
            (0.65, 0.1, 0.7, 0.69, 0.6, True),
            (0.65, 0.1, 0.5, 0.68, 0.6, True),
        ),
        large=(
            (0.65, 0.3, 4, 0.69, 0.6, False),
            (0.65, 0.3, 3, 0.68, 0.6, False),
            (0.65, 0.3, 2, 0.68, 0.5, False),
            (0.65, 0.3, 1, 0.65, 1.5, True),
            (0.67, 0.4, 1, 0.65, 1.5, True),
        ),
    ),
    "saturate": Corruption(  # factor, shift
        digital.saturate,
        small=((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
        large=((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
    ),
}
"""Four more, which the authors keep for validation and count in no mean."""

TABLE = COUNTED | EXTRA
CORRUPTIONS = tuple(COUNTED)
"""Names of the fifteen corruptions that a mean corruption error is made of, in the order of the paper."""

EXTRA_CORRUPTIONS = tuple(EXTRA)
"""Names of the four that count in no mean."""

_SETS = {"standard": CORRUPTIONS, "all": CORRUPTIONS + EXTRA_CORRUPTIONS}


_REGISTRY: Registry[Callable[..., Tensor]] = Registry(
    "corruption",
    TABLE,
    contract="A corruption is called with (images, severity), and with draws if it takes them, and returns images.",
)


class NamedCorruption(NamedTuple):
    """A corruption, and what it is called in results and files.

    Attributes:
        name: of the package's own as in the table; of others the name of the function or class.
        apply: called with ``images`` ((B, C, H, W) float64 in [0, 1]), ``severity`` (1 to 5) and, if it takes them,
            ``draws`` (random numbers that depend on seed, name, severity and image alone, see ``Draws``); what it
            returns is cut to [0, 1] and to 8 bits.
    """

    name: str
    apply: Callable[..., Tensor]


def find_corruption(given: object) -> NamedCorruption:
    """One corruption, by its name, by "package.module:Name", or as an object of one's own.

    Raises:
        UserError: if there is no such corruption, or it has no name that a file can have.
    """
    found = _REGISTRY.find(given)
    name = named(given).rpartition(":")[2].rpartition(".")[2]
    if not name.isidentifier():
        raise UserError(f"the corruption {name} needs a name for its results: define it with def or class.")
    if name in TABLE and is_own_code(given):
        raise UserError(f"{name!r} is the name of a corruption of the package; give yours another.")
    return NamedCorruption(name, found)


def find_corruptions(given: Iterable[object]) -> tuple[NamedCorruption, ...]:
    """The corruptions that a recipe means, each once: the package's in the order of the table, then one's own.

    Args:
        given: names of corruptions, "standard" for the fifteen that count, "all" for these and the four extra ones;
            and functions or settings of one's own, as they are or as "package.module:Name".

    Raises:
        UserError: if there is no such corruption.
    """
    wanted: set[str] = set()
    own: dict[str, NamedCorruption] = {}
    for one in given:
        if isinstance(one, str) and (one in _SETS or one in TABLE):
            wanted.update(_SETS.get(one, (one,)))
        elif isinstance(one, str) and not is_own_code(one):
            raise unknown("corruption:", one, [*_SETS, *TABLE], "Your own: package.module:Name.")
        else:
            found = find_corruption(one)
            if found.name in own:
                raise UserError(f"two corruptions are called {found.name!r}; give one of them another name.")
            own[found.name] = found
    return (*(NamedCorruption(name, TABLE[name]) for name in TABLE if name in wanted), *own.values())
