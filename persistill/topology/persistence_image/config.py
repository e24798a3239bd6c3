"""Persistence images: the settings of the vectorization, and drawing the diagrams of a batch."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from persistill.topology._dispatch import on_gpu
from persistill.topology._numba import persistence_image_exact as kernels
from persistill.topology._numba.persistence_image_float32 import Drawing, draw_diagrams
from persistill.topology._parallel import checked_threads, spread
from persistill.topology._reference import persistence_image as reference
from persistill.topology.diagrams import Array, Diagrams
from persistill.topology.persistence_image._autograd import raw_images
from persistill.topology.persistence_image._tables import offset_tables
from persistill.topology.vectorization._batching import rectangles

SCALINGS = {"max": kernels.MAXIMUM, "log": kernels.LOGARITHM, "none": kernels.PLAIN}
_BLOCK = 64  # diagrams in one block of work
_SAMPLE = 1000  # diagrams whose images the intensity scale is fitted on


@dataclass(frozen=True)
class PersistenceImages:
    """How diagrams become persistence images.

    A point with birth b and persistence p adds its weight times a Gaussian around (b, p), integrated over each pixel:
    ``w(p) [Phi((x_hi - b) / s) - Phi((x_lo - b) / s)] [Phi((y_hi - p) / s) - Phi((y_lo - p) / s)]`` with the normal
    distribution function Phi and bandwidth s (Adams et al., Persistence images, JMLR 18, 2017). Row 0 holds the
    largest persistences and column 0 the lowest births. 8-bit diagrams stand for value / 255. Superlevel diagrams
    work alike: births are births, and persistences are never negative.

    Attributes:
        pixels: (rows, columns) of the image: persistences, births.
        bandwidth: standard deviation of the Gaussian, in the units of the values.
        births: (low, high), the window along births.
        persistences: (low, high), the window along persistences.
        min_persistence: bars must be longer than this.
        weight: "linear" weighs a point by its persistence, "constant" by 1.
        grid: "tiled" divides the window evenly. "published" is the grid of the TGD paper's code (``PersImage`` of
            persim): n lower edges evenly from low to *high inclusive*, each box (high - low) / n wide. It leaves
            gaps between the boxes, and the last box reaches beyond the window.
        scaling: "max" divides each image by its maximum (an image of zeros stays so), "log" takes
            ``log1p(image / scale)``, "none" leaves intensities alone.
        scale: intensity at which "log" turns from linear to logarithmic.

    Raises:
        TypeError: if a field has a wrong type.
        ValueError: if a field has a wrong value; both name the field and what is allowed.
    """

    pixels: tuple[int, int] = (50, 50)
    bandwidth: float = 0.01
    births: tuple[float, float] = (0.0, 0.3)
    persistences: tuple[float, float] = (0.0, 0.3)
    min_persistence: float = 0.02
    weight: Literal["linear", "constant"] = "linear"
    grid: Literal["published", "tiled"] = "published"
    scaling: Literal["max", "log", "none"] = "max"
    scale: float = 1.0

    def __post_init__(self) -> None:
        for name in ("pixels", "births", "persistences"):
            pair = getattr(self, name)
            if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
                raise TypeError(f"PersistenceImages.{name} must be a pair; got {pair!r}.")
            object.__setattr__(self, name, tuple(pair))
        for side in self.pixels:
            if isinstance(side, bool) or not isinstance(side, int):
                raise TypeError(f"PersistenceImages.pixels must be two integers; got {self.pixels}.")
            if side < 1:
                raise ValueError(f"PersistenceImages.pixels must be at least (1, 1); got {self.pixels}.")
        for name in ("bandwidth", "min_persistence", "scale"):
            _require_number(name, getattr(self, name))
        for name in ("bandwidth", "scale"):
            if getattr(self, name) <= 0:
                raise ValueError(f"PersistenceImages.{name} must be above 0; got {getattr(self, name)}.")
        if self.min_persistence < 0:
            raise ValueError(f"PersistenceImages.min_persistence must be 0 or more; got {self.min_persistence}.")
        for name in ("births", "persistences"):
            low, high = getattr(self, name)
            _require_number(name, low)
            _require_number(name, high)
            if low >= high:
                raise ValueError(f"PersistenceImages.{name} must be (low, high), low < high; got {(low, high)}.")
        for field in dataclasses.fields(self):
            allowed = get_args(field.type)
            if field.name in ("weight", "grid", "scaling") and getattr(self, field.name) not in allowed:
                raise ValueError(
                    f"PersistenceImages.{field.name} must be one of {', '.join(map(repr, allowed))}; "
                    f"got {getattr(self, field.name)!r}."
                )

    @classmethod
    def tgd(cls) -> Self:
        """The settings of the TGD paper's code (Jeon et al., 2024, arXiv 2407.05316), which are the defaults."""
        return cls()

    @classmethod
    def fit(
        cls,
        diagrams: Diagrams[Array],
        *,
        pixels: tuple[int, int] = (32, 32),
        quantile: float = 0.99,
        bandwidth: float | None = None,
        min_persistence: float = 0.02,
        weight: Literal["linear", "constant"] = "linear",
        scaling: Literal["max", "log", "none"] = "log",
    ) -> Self:
        """Settings that fit a training set: a window that holds its persistence, and a matching bandwidth.

        Points count by their persistence, so that the window is laid around what lasts and not around noise. It
        spans births from the (1 - quantile) to the quantile and persistences from 0 to the quantile. The scale of
        logarithmic intensities is the mean intensity of a pixel (over at most 1000 evenly spaced diagrams).

        Args:
            diagrams: diagrams of the training set, at least one point longer than ``min_persistence``.
            pixels: (rows, columns).
            quantile: share of the total persistence below the window's upper edges, above 0.5 and at most 1.
            bandwidth: None for the geometric mean of a pixel's sides.
            min_persistence: as in the settings.
            weight: as in the settings.
            scaling: as in the settings.

        Raises:
            ValueError: if no point remains, if all births are equal, or if a value is not allowed.
        """
        if not 0.5 < quantile <= 1:
            raise ValueError(f"quantile must be above 0.5 and at most 1; got {quantile}.")
        values = unit_values(diagrams.numpy().values)
        lengths = np.abs(values[:, 1] - values[:, 0])
        kept = (lengths > min_persistence) & np.isfinite(lengths)
        born, lengths = values[kept, 0], lengths[kept]
        if len(lengths) == 0:
            raise ValueError(f"diagrams hold no finite bar longer than min_persistence={min_persistence}.")
        births = (_weighted_quantile(born, lengths, 1 - quantile), _weighted_quantile(born, lengths, quantile))
        if births[0] == births[1]:
            raise ValueError(f"all births are {births[0]}: no window can be fitted; give one explicitly.")
        persistences = (0.0, _weighted_quantile(lengths, lengths, quantile))
        if bandwidth is None:
            bandwidth = math.sqrt((births[1] - births[0]) / pixels[1] * persistences[1] / pixels[0])
        settings = cls(pixels, bandwidth, births, persistences, min_persistence, weight, "tiled", "none")
        scale = 1.0
        if scaling == "log":
            bounds = diagrams.numpy().offsets
            picked = np.unique(np.linspace(0, len(diagrams) - 1, min(len(diagrams), _SAMPLE)).astype(int))
            few = Diagrams.from_list([values[bounds[i] : bounds[i + 1]] for i in picked]).finite()
            scale = float(settings.images(few).mean(dtype=np.float64)) or 1.0
        return dataclasses.replace(settings, scaling=scaling, scale=scale)

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
            raise ValueError(f"unknown fields of PersistenceImages: {', '.join(sorted(unknown))}.")
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
        }
        return cls(**fields)

    @overload
    def images(self, diagrams: Diagrams[NDArray[Any]], *, threads: int | None = None) -> NDArray[np.float32]: ...
    @overload
    def images(self, diagrams: Diagrams[Tensor], *, threads: int | None = None) -> Tensor: ...
    def images(self, diagrams: Diagrams[Any], *, threads: int | None = None) -> Any:
        """Draw the diagrams of a batch.

        Args:
            diagrams: of shape (...), finite; see ``Diagrams.finite`` and ``Diagrams.cut``.
            threads: how many threads; None for torch's number.

        Returns:
            (..., rows, columns) float32, a NumPy array or a torch tensor like the diagrams. Where the values of the
            diagrams require gradients, the images carry them, once.

        Raises:
            ValueError: if a point is not finite (its number is named).
        """
        tensors = isinstance(diagrams.values, Tensor)
        if on_gpu(diagrams.values) and not diagrams.values.requires_grad:
            from persistill.topology._triton import persistence_image as triton_images  # noqa: PLC0415  (Triton need not be there)

            return triton_images.images(diagrams, self)
        plain = diagrams.numpy()
        if not np.isfinite(plain.values).all():
            point = int(np.flatnonzero(~np.isfinite(plain.values).all(1))[0])
            raise ValueError(
                f"point {point} of the diagrams is {plain.values[point]}; drop classes that never die with "
                "finite(), or let them end with cut()."
            )
        if tensors and diagrams.values.requires_grad:
            return self._differentiable(diagrams, checked_threads(threads))
        out = np.empty((len(plain), *self.pixels), np.float32)

        def work(start: int, stop: int) -> None:
            self.draw(plain.values, plain.offsets[start : stop + 1], out[start:stop])

        spread(work, len(plain), _BLOCK, checked_threads(threads))
        out = out.reshape(*plain.shape, *self.pixels)
        return torch.from_numpy(out).to(diagrams.values.device) if tensors else out

    def draw(self, values: NDArray[Any], bounds: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        """Draw the diagrams ``values[bounds[i]:bounds[i + 1]]``, finite, into ``out`` on the calling thread."""
        unit = 255.0 if values.dtype == np.uint8 else 1.0
        draw_diagrams(self.drawing(), values, bounds, unit, out.reshape(len(out), math.prod(out.shape[1:])))

    def drawing(self, full: float = 1.0) -> Drawing:
        """The settings for the kernels, which multiply images by ``full``."""
        across, down, limit = offset_tables(self)
        if limit < math.inf and self.scaling != "max":
            # What the tables leave out is far below 1, but a logarithm may begin that low.
            limit = math.inf if self.scaling == "log" and self.scale < limit else -1.0
        return Drawing(
            float(self.min_persistence),
            self.weight == "linear",
            float(self.bandwidth),
            *self.edges("persistences"),
            *self.edges("births"),
            across,
            down,
            limit,
            SCALINGS[self.scaling],
            float(self.scale),
            full,
        )

    def _differentiable(self, diagrams: Diagrams[Tensor], threads: int) -> Tensor:
        values = diagrams.values.double()
        if values.device.type == "cpu":
            plain = dataclasses.replace(self, scaling="none").drawing()._replace(limit=offset_tables(self)[2])
            images = reference.scaled(raw_images(values, diagrams.offsets, plain, threads), self.scaling, self.scale)
        else:
            columns, rows = (
                tuple(torch.from_numpy(edge).to(values.device) for edge in self.edges(axis))
                for axis in ("births", "persistences")
            )
            blocks = [
                reference.image(
                    block,
                    columns=(columns[0], columns[1]),
                    rows=(rows[0], rows[1]),
                    bandwidth=self.bandwidth,
                    min_persistence=self.min_persistence,
                    linear=self.weight == "linear",
                    scaling=self.scaling,
                    scale=self.scale,
                )
                for block in rectangles(values, diagrams.offsets, sum(self.pixels))
            ]
            images = torch.cat(blocks)
        return images.reshape(*diagrams.shape, *self.pixels).float()

    def edges(self, axis: Literal["births", "persistences"]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper edges of the boxes along an axis, in rising order."""
        count = self.pixels[1] if axis == "births" else self.pixels[0]
        low, high = self.births if axis == "births" else self.persistences
        if self.grid == "published":
            lower = np.linspace(low, high, count)
            return lower, lower + (high - low) / count
        bounds = np.linspace(low, high, count + 1)
        return bounds[:-1].copy(), bounds[1:].copy()


def unit_values(values: NDArray[Any]) -> NDArray[np.float64]:
    """Values in float64; 8-bit levels divided by 255."""
    return values / 255.0 if values.dtype == np.uint8 else values.astype(np.float64)


def _require_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"PersistenceImages.{name} must be made of numbers; got {value!r}.")
    if not math.isfinite(value):
        raise ValueError(f"PersistenceImages.{name} must be finite; got {value!r}.")


def _weighted_quantile(values: NDArray[Any], weights: NDArray[Any], quantile: float) -> float:
    """The least value at or below which lies the share ``quantile`` of the weight."""
    order = np.argsort(values)
    heaped = np.cumsum(weights[order])
    position = np.searchsorted(heaped, quantile * heaped[-1])
    return float(values[order][min(position, len(values) - 1)])
