"""Persistence images of clouds of embeddings, as TopKD draws them (Kim et al. 2024)."""

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from persistill import schemas
from persistill.errors import UserError
from persistill.topology import Diagrams, mst_lengths, point_persistence_images, rips_persistence
from persistill.utils.atomic_io import atomic
from persistill.utils.strict_json import decode_json

Dimension = Literal[0, 1]

SIDE = 20
"""Rows and columns of an image."""
_FIT_POINTS = 200  # whose distances decide the bandwidth
_APART = 1e-5  # distances up to this do not count there
_QUANTILE = 0.2
_SCALE = 10.0  # of the weights of points


@dataclass(frozen=True)
class CloudImages:
    """What the persistence images of all clouds share, fitted to the teacher's.

    An image is a sum of Gaussian densities of standard deviation ``bandwidth`` at the points (birth, persistence) of a
    cloud's diagram, weighted by ``10 tanh(persistence) + 10 ln(100 birth + 1)``, at 20 x 20 points of a window, divided
    by ``maximum``. In H0 all births are 0: the window has no width, and all columns are the same.

    Attributes:
        dimension: of the homology of the Vietoris-Rips filtration: 0, components, or 1, loops.
        bandwidth: in the units of distances between embeddings.
        births: (lowest, highest) of the window.
        persistences: likewise.
        maximum: largest value of the images that these were fitted to.
    """

    dimension: Dimension = 0
    bandwidth: float = 1.0
    births: tuple[float, float] = (0.0, 0.0)
    persistences: tuple[float, float] = (0.0, 0.0)
    maximum: float = 1.0

    @classmethod
    def fit(cls, clouds: Iterable[Tensor], dimension: Dimension = 0) -> "CloudImages":
        """Fit as the paper does, to a whole set of clouds.

        The bandwidth is the 20 % quantile of the distances, above 1e-5, between the first 200 points (birth,
        persistence). Where there is none it is a twentieth of the longest lifetime. The window holds all points.

        Args:
            clouds: (..., n, d) each, finite.
            dimension: of the homology.
        """
        diagrams = [_bare(rips_persistence(some.detach().cpu(), dimension=dimension)) for some in clouds]
        filled = [one for one in diagrams if len(one.values)]
        if not filled:
            return cls(dimension)
        births = _extent([one.births for one in filled])
        persistences = _extent([one.persistences for one in filled])
        apart = torch.pdist(_first_points(filled))
        apart = apart[apart > _APART]
        bandwidth = float(apart.quantile(_QUANTILE)) if len(apart) else persistences[1] / SIDE
        fitted = cls(dimension, bandwidth, births, persistences)
        largest = max(float(fitted._drawn(one).max()) for one in filled)
        return dataclasses.replace(fitted, maximum=largest or 1.0)

    def draw(self, clouds: Tensor) -> Tensor:
        """The images of clouds, differentiable.

        Args:
            clouds: (..., n, d), finite.

        Returns:
            (..., 20, 20) in fp32 (fp64 for fp64); row 0 holds the longest persistences, column 0 the lowest births.
            A cloud without any point in its diagram has the image 0. In H0 columns share their memory.
        """
        if self.dimension == 1:
            return self._drawn(rips_persistence(clouds, dimension=1))
        lengths = mst_lengths(clouds)
        first, last = self.persistences
        rows = torch.linspace(last, first, SIDE, dtype=lengths.dtype, device=lengths.device)
        near = (-0.5 * ((lengths[..., None] - rows) / self.bandwidth) ** 2).exp()
        heights = lengths.tanh() * (_SCALE / (2 * torch.pi * self.bandwidth**2 * self.maximum))
        column = (heights[..., None] * near).sum(-2)
        return column[..., None].expand(*column.shape, SIDE)

    def _drawn(self, diagrams: Diagrams[Tensor]) -> Tensor:
        images: Tensor = point_persistence_images(
            diagrams,
            pixels=(SIDE, SIDE),
            bandwidth=self.bandwidth,
            births=self.births,
            persistences=self.persistences,
            weight="topkd",
        )
        return images / self.maximum

    def save(self, path: Path) -> None:
        """Write them as JSON, atomically."""
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "CloudImages":
        """Read what ``save`` wrote.

        Raises:
            UserError: if the file is missing or holds something else.
        """
        try:
            content = decode_json(path.read_bytes())
            schemas.check(schemas.StoredCloudImages, content, str(path), "")
            return cls(**content | {name: tuple(content[name]) for name in ("births", "persistences")})
        except (OSError, ValueError, TypeError, UserError) as error:
            raise UserError(
                f"{path} does not hold settings of persistence images ({error}). Move its folder away and run the "
                "recipe again."
            ) from None


def _bare(diagrams: Diagrams[Tensor]) -> Diagrams[Tensor]:
    """Without indices: those of all clouds of a training would take gigabytes."""
    return Diagrams(diagrams.values, diagrams.offsets, diagrams.shape, dimension=diagrams.dimension)


def _extent(parts: list[Tensor]) -> tuple[float, float]:
    return min(float(part.min()) for part in parts), max(float(part.max()) for part in parts)


def _first_points(diagrams: list[Diagrams[Tensor]]) -> Tensor:
    """(up to 200, 2) births and persistences in fp64."""
    pairs = (torch.stack([one.births, one.persistences], 1)[:_FIT_POINTS].double() for one in diagrams)
    return torch.cat(list(pairs))[:_FIT_POINTS]
