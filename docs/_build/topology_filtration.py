"""Draw the figure of the topology page: python docs/_build/topology_filtration.py docs/assets."""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from persistill.topology import PersistenceImageConfig, persistence_images, sublevel_persistence

INK, PALE, COLOURS = "#1f2733", "#9aa3ad", ("#c8401a", "#1f6f8b", "#b8860b", "#5b7a3a")
LEVELS = (0.35, 0.56, 0.75)


def main() -> None:
    x = np.linspace(0, 1, 120)
    signal = 0.5 - 0.22 * np.sin(9 * x) - 0.16 * np.sin(21 * x + 1) + 0.12 * x
    diagrams = sublevel_persistence(signal, essential=True)
    minima = diagrams.indices[:, 0]
    colors = {place: COLOURS[k] for k, place in enumerate(sorted(minima, key=lambda i: signal[i]))}
    settings = PersistenceImageConfig((32, 32), 0.04, (0, 0.8), (0, 0.8), grid="tiled")

    style = {"font.size": 8.5, "axes.titlesize": 9, "axes.spines.top": False, "axes.spines.right": False}
    with mpl.rc_context(style | {"axes.edgecolor": PALE, "text.color": INK, "axes.labelcolor": INK}):
        figure = Figure(figsize=(12, 2.7), dpi=160, layout="constrained")
        axes = figure.subplots(1, 5)
        for place, level in zip(axes, LEVELS, strict=False):
            place.plot(x, signal, color=PALE, linewidth=1)
            below = signal <= level
            edges = np.flatnonzero(np.diff(np.concatenate([[0], below.astype(int), [0]])))
            for start, stop in edges.reshape(-1, 2):
                inside = [i for i in minima if start <= i < stop]
                eldest = min(inside, key=lambda i: signal[i])
                place.plot(
                    x[start:stop], signal[start:stop], color=colors[eldest], linewidth=3, solid_capstyle="round"
                )
                place.plot(x[eldest], signal[eldest], "o", color=colors[eldest], markersize=6)
            place.axhline(level, color=INK, linewidth=0.7, linestyle=(0, (4, 3)))
            place.set_title(f"t = {level}: {len(edges) // 2} components", loc="left")
            place.set(xticks=[], ylim=(0, 1))
        axes[3].plot([0, 1], [0, 1], color=PALE, linewidth=0.8)
        for (birth, death), place in zip(diagrams.values, minima, strict=True):
            if np.isfinite(death):
                axes[3].plot(birth, death, "o", color=colors[place], markersize=6)
        axes[3].set(xlabel="birth", ylabel="death", xlim=(0, 1), ylim=(0, 1), box_aspect=1)
        axes[3].set_title("Diagram", loc="left")
        image = persistence_images(diagrams.finite(), settings)
        axes[4].imshow(image, cmap="magma", extent=(0, 0.8, 0, 0.8))
        axes[4].set(xlabel="birth", ylabel="persistence")
        axes[4].set_title("Persistence image", loc="left")
        figure.savefig(Path(sys.argv[1]) / "topology_filtration.png")


main()
