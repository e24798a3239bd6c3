"""Similarity maps of each teacher, the teachers merged, and the student before and after, side by side."""

import base64
import io
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from persistill.errors import UserError
from persistill.report.comparison import ArmSummary, Comparison
from persistill.report.figure import Section
from persistill.report.similarity import Matrix, similarity_maps


class Panel(NamedTuple):
    """One similarity map in the page itself.

    Attributes:
        title: whose it is.
        source: a data URI.
        text: what it shows, for who cannot see it.
        label: what stands below it.
    """

    title: str
    source: str
    text: str
    label: str


class Row(NamedTuple):
    """The maps around one student, at its last stage.

    Attributes:
        title: the arm and the seed.
        panels: teachers first, the student after the distillation last.
    """

    title: str
    panels: tuple[Panel, ...]


def similarity(comparison: Comparison) -> Section | str:
    """For the first seed of every arm with teachers, the maps of the last stage."""
    settings = comparison.settings.get("arms") or {}
    taught = [arm for arm in comparison.arms if arm.runs and (settings.get(arm.name) or {}).get("teachers")]
    if not taught:
        return "Similarity maps: no complete arm of this comparison has teachers."
    rows = []
    images = 0
    try:
        for arm in taught:
            row, images = _row(comparison, arm)
            rows.append(row)
    except (UserError, KeyError, ValueError) as error:
        return f"Similarity maps: {error}"
    return Section(
        name="similarity",
        title="Similarity maps",
        text=(
            f"How alike {images} test images are to a network, sorted by class: each row holds the inner products "
            "of one image's map with all others', scaled to unit length. Brighter is more alike, one scale for the "
            "maps of a row. A network that sees classes shows bright squares along the diagonal. Maps are of the "
            "last stage and the first seed. “Before” is the student that it started from, or the baseline where it "
            "started from random weights."
        ),
        template="similarity.html",
        content={"rows": tuple(rows)},
    )


def classes_apart(gram: Matrix, target: NDArray[np.int64]) -> tuple[float, float]:
    """Mean similarity of two different images of one class, and of two classes.

    Args:
        gram: (B, B).
        target: (B,) classes.

    Returns:
        Both means; nan where there are no such pairs.
    """
    same = target[:, None] == target[None, :]
    other_image = ~np.eye(len(target), dtype=bool)
    within, between = gram[same & other_image], gram[~same]
    return (
        float(within.mean()) if within.size else float("nan"),
        float(between.mean()) if between.size else float("nan"),
    )


def _row(comparison: Comparison, arm: ArmSummary) -> tuple[Row, int]:
    run = arm.runs[0]
    found = similarity_maps(comparison, arm, run)
    if not found.stages:
        raise UserError(f"the evaluation of {arm.name} holds no maps.")
    panels = found.stages[-1].panels
    # An image is always most like itself: the diagonal would leave no contrast for the rest.
    rest = ~np.eye(len(found.target), dtype=bool)
    low = min(float(panel[rest].min(initial=np.inf)) for panel in panels.values())
    high = max(float(panel[rest].max(initial=-np.inf)) for panel in panels.values())
    drawn = []
    for title, panel in panels.items():
        within, between = classes_apart(panel, found.target)
        label = f"same class {within:.3f}, others {between:.3f}"
        text = f"Similarity map of {title}: mean similarity to images of the {label}"
        drawn.append(Panel(title, _uri(panel, low, high), text, label))
    seed = "" if run.seed is None else f", seed {run.seed}"
    return Row(f"{arm.name}{seed}", tuple(drawn)), len(found.target)


def _uri(gram: Matrix, low: float, high: float) -> str:
    scaled = np.clip((gram - low) / (high - low if high > low else 1.0), 0.0, 1.0)
    image = Image.fromarray(np.round(255 * scaled).astype(np.uint8)).convert("P")
    image.putpalette(np.round(255 * colormaps["viridis"](np.arange(256))[:, :3]).astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
