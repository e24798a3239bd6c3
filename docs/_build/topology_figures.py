"""Draw the figures of the pages on images, clouds and diagrams: python docs/_build/topology_figures.py docs/assets.

The photograph is by vultilion, https://creativecommons.org/licenses/by/2.0/, cropped and made smaller; it ships with
scikit-learn, as the digits do.
"""

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from persistill.topology import (
    Diagrams,
    PersistenceImageConfig,
    betti_curves,
    cubical_persistence,
    landscapes,
    persistence_images,
    rips_persistence,
    silhouettes,
)

ROOM = ConstrainedLayoutEngine(h_pad=0.12)
INK, PALE, WARM, COLD = "#1f2733", "#9aa3ad", "#c8401a", "#1f6f8b"


def diagonal(axes: Axes, span: tuple[float, float]) -> None:
    axes.plot(span, span, color=PALE, linewidth=0.8)
    axes.set(xlim=span, ylim=span, xlabel="birth", ylabel="death", box_aspect=1)


def told(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"


def bare(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def images() -> Figure:
    """A photograph, two of its sublevel sets, the diagrams, and where the longest bars begin and end."""
    crop = Image.fromarray(load_sample_images().images[1]).convert("L").crop((190, 30, 530, 370))
    pixels = np.asarray(crop.resize((96, 96), Image.Resampling.LANCZOS)) / 255
    components, holes = cubical_persistence(pixels, min_persistence=0.02)
    figure = Figure(figsize=(12, 2.9), dpi=160, layout=ROOM)
    axes = figure.subplots(1, 5)
    axes[0].imshow(pixels, cmap="gray", vmin=0, vmax=1)
    bare(axes[0], "Image")
    for place, level in zip(axes[1:3], (0.25, 0.45), strict=True):
        alive = [int(((one.births <= level) & (one.deaths > level)).sum()) for one in (components, holes)]
        place.imshow(pixels <= level, cmap="gray_r", vmin=0, vmax=1.4)
        bare(place, f"t = {level}: {told(alive[0] + 1, 'component')}, {told(alive[1], 'hole')}")
    diagonal(axes[3], (0, 1))
    for one, color, name in ((components, COLD, "H0"), (holes, WARM, "H1")):
        axes[3].scatter(one.births, one.deaths, s=5, color=color, linewidths=0, label=name)
    axes[3].legend(frameon=False, handletextpad=0.1, loc="lower right")
    axes[3].set_title("Diagrams", loc="left")
    axes[4].imshow(pixels, cmap="gray", vmin=-0.6, vmax=1.6)
    for one, color in ((components, COLD), (holes, WARM)):
        longest = np.argsort(-one.persistences)[:12]
        for end, marker in ((0, "o"), (1, "x")):
            y, x = np.divmod(one.indices[longest, end], pixels.shape[1])
            axes[4].scatter(x, y, s=14, marker=marker, color=color, linewidths=1)
    bare(axes[4], "Births (o) and deaths (x)")
    return figure


def pulled_apart(points: np.ndarray[Any, Any], steps: int) -> np.ndarray[Any, Any]:
    """Points after gradient steps that lengthen the longest loop of their cloud."""
    leaf = torch.tensor(points, requires_grad=True)
    optimizer = torch.optim.Adam([leaf], lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        loops = rips_persistence(leaf, dimension=1)
        inside = (leaf.abs() - 1).clamp(min=0).square().sum()
        (inside - loops.persistences.max()).backward()
        optimizer.step()
    return leaf.detach().numpy()


def clouds() -> Figure:
    """Two noisy rings at three scales, their diagrams, and a random cloud before and after an optimization."""
    rng = np.random.default_rng(0)
    angles = rng.random(70) * 2 * np.pi
    rings = np.stack([np.cos(angles), np.sin(angles)], 1) * np.where(np.arange(70) < 45, 1, 0.5)[:, None]
    points = rings + np.where(np.arange(70) < 45, 0, 1.75)[:, None] + rng.normal(0, 0.05, (70, 2))
    gaps = np.linalg.norm(points[:, None] - points[None], axis=2)
    components, holes = rips_persistence(points), rips_persistence(points, dimension=1)
    figure = Figure(figsize=(12, 2.9), dpi=160, layout=ROOM)
    axes = figure.subplots(1, 5)
    for place, scale in zip(axes[:2], (0.3, 0.6), strict=True):
        u, v = np.nonzero(np.triu(gaps <= scale, 1))
        place.add_collection(LineCollection(list(points[np.stack([u, v], 1)]), colors=PALE, linewidths=0.5))
        place.scatter(*points.T, s=8, color=INK, linewidths=0)
        alive = [int(((one.births <= scale) & (one.deaths > scale)).sum()) for one in (components, holes)]
        bare(place, f"t = {scale}: {told(alive[0] + 1, 'component')}, {told(alive[1], 'loop')}")
        place.set_aspect("equal")
    diagonal(axes[2], (-0.05, 1.8))
    for one, color, name in ((components, COLD, "H0"), (holes, WARM, "H1")):
        axes[2].scatter(one.births, one.deaths, s=10, color=color, linewidths=0, label=name)
    axes[2].legend(frameon=False, handletextpad=0.1, loc="lower right")
    axes[2].set_title("Diagrams", loc="left")
    start = rng.uniform(-1, 1, (60, 2))
    for place, cloud, name in (
        (axes[3], start, "Random points"),
        (axes[4], pulled_apart(start, 200), "200 steps later"),
    ):
        place.scatter(*cloud.T, s=8, color=INK, linewidths=0)
        place.set(aspect="equal", xlim=(-1.5, 1.5), ylim=(-1.5, 1.5))
        longest = rips_persistence(cloud, dimension=1).persistences.max()
        bare(place, f"{name}: longest loop {longest:.2f}")
    return figure


def vectors() -> Figure:
    """Two digits, their diagrams, and what becomes of these."""
    digits = load_digits()
    chosen = [int(np.flatnonzero(digits.target == digit)[0]) for digit in (8, 0)]
    images = [
        np.asarray(
            Image.fromarray(255 - (digits.images[i] * 255 / 16).astype(np.uint8)).resize(
                (40, 40), Image.Resampling.BICUBIC
            )
        )
        for i in chosen
    ]
    (holes,) = cubical_persistence(np.stack(images) / 255, dimensions=(1,), min_persistence=0.01)
    grid = np.linspace(0, 1, 200)
    settings = PersistenceImageConfig((32, 32), 0.05, (0, 1), (0, 1), grid="tiled", scaling="none")
    panels = (("Landscapes", landscapes(holes, grid, levels=2)), ("Silhouettes", silhouettes(holes, grid)[:, None]))
    figure = Figure(figsize=(12, 4.3), dpi=160, layout=ROOM)
    axes = figure.subplots(2, 6)
    for i, line in enumerate(axes):
        line[0].imshow(images[i], cmap="gray", vmin=0, vmax=255)
        bare(line[0], "Image" if i == 0 else "")
        diagonal(line[1], (-0.05, 1.05))
        line[1].scatter(*holes[i].T, s=12, color=WARM, linewidths=0)
        image = persistence_images(Diagrams.from_list([holes[i]]), settings)[0]
        line[2].imshow(image, cmap="magma", extent=(0, 1, 0, 1))
        line[2].set(xlabel="birth", ylabel="persistence")
        for place, (_, values) in zip(line[3:5], panels, strict=True):
            for curve in values[i]:
                place.plot(grid, curve, color=WARM, linewidth=1)
            place.set(xlabel="t", ylim=(0, 0.5), box_aspect=1)
        line[5].step(grid, betti_curves(holes, grid)[i], color=WARM, linewidth=1, where="post")
        line[5].set(xlabel="t", ylim=(-0.1, 4.1), box_aspect=1)
    for place, title in zip(axes[0][1:], ("Holes", "Image", "Landscapes", "Silhouette", "Betti curve"), strict=True):
        place.set_title(title, loc="left")
    return figure


def main() -> None:
    style = {"font.size": 8.5, "axes.titlesize": 9, "axes.spines.top": False, "axes.spines.right": False}
    with mpl.rc_context(style | {"axes.edgecolor": PALE, "text.color": INK, "axes.labelcolor": INK}):
        for draw in (images, clouds, vectors):
            draw().savefig(Path(sys.argv[1]) / f"topology_{draw.__name__}.png")


main()
