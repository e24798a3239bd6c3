"""How far our persistence images lie from ``persim.PersImage`` on exact diagrams, for every image of a data set.

    python benchmarks/agreement.py             # CIFAR-10's 50,000 training images: half a minute
    python benchmarks/agreement.py --quick     # 1,000 of them
    python benchmarks/agreement.py --window    # what the published window holds of the test images

persim computes a hundred persistence images a second, so its formula is written here once more, in float64 and with
tables for the 256 levels; that is first held to persim itself, on some whose window holds points and on some that are
all tail. Diagrams are GUDHI's, in float64 and therefore exact. CIFAR-10 is looked for below the folder that
PERSISTILL_SHARED names (or ../shared).
"""

import argparse
import time
import warnings
from typing import Any

import numpy as np
from gudhi._pers_cub_low_dim_ext import _persistence_on_a_line
from numpy.typing import NDArray
from persim import PersImage
from scipy.stats import norm
from topology import Images, _signals, real_images

from persistill.topology import PersistenceImageConfig, scan_persistence_images, sublevel_persistence

SIDE, SPREAD, HIGH, SHORTEST = 50, 0.01, 0.3, 0.02
BLOCK = 500  # images
TAIL = 1e-4  # persistence images whose maximum is below this, before the division, consist of tails


class Formula:
    """persim's sum of products of differences of ``norm.cdf``, from profiles of the levels."""

    def __init__(self) -> None:
        lower = np.linspace(0, HIGH, SIDE)
        levels = np.arange(256)[:, None] / 255
        self.profiles = norm.cdf(lower + HIGH / SIDE, levels, SPREAD) - norm.cdf(lower, levels, SPREAD)

    def __call__(self, bars: NDArray[np.int64]) -> NDArray[np.float64]:
        """(50, 50) of the levels (P, 2) of a diagram, not divided by its maximum."""
        births, lengths = bars[:, 0], bars[:, 1] - bars[:, 0]
        weights = lengths / max(lengths.max(initial=1), 1)
        image: NDArray[np.float64] = (self.profiles[lengths] * weights[:, None]).T @ self.profiles[births]
        return image[::-1]


def exact_bars(signal: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Levels (P, 2) of all bars that are longer than 0.02 of 255."""
    bars = _persistence_on_a_line(signal.astype(np.float64))[:-1].astype(np.int64)
    kept: NDArray[np.int64] = bars[bars[:, 1] / 255 - bars[:, 0] / 255 > SHORTEST]
    return kept


def divided(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """By its maximum, if it has one."""
    top = image.max()
    return image / top if top > 0 else image


def check_formula(images: Images, formula: Formula) -> None:
    """Compare the formula with persim on persistence images of both sorts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        theirs = PersImage(pixels=[SIDE, SIDE], spread=SPREAD, specs={"minBD": 0, "maxBD": HIGH}, verbose=False)
    worst = {"persistence images": (0, 0.0), "persistence images that are all tail": (0, 0.0)}
    for signal in _signals(images):
        bars = exact_bars(signal)
        image = formula(bars)
        sort = "persistence images" if image.max() > TAIL else "persistence images that are all tail"
        count, most = worst[sort]
        if len(bars) and count < 20:
            gap = abs(divided(image) - divided(theirs.transform(bars / 255))).max()
            worst[sort] = (count + 1, max(most, gap))
    for sort, (count, most) in worst.items():
        print(f"The formula and persim itself, {count} {sort}: {most:.1e}.")


def compare(images: Images, source: str) -> None:
    """Print the largest deviations over all images."""
    formula = Formula()
    check_formula(images[:200], formula)
    kinds: dict[str, Any] = {"8-bit": lambda part: part, "float64": lambda part: part / 255.0}
    worst = {kind: {False: 0.0, True: 0.0} for kind in kinds}
    where = dict.fromkeys(kinds, "")
    tails = blank = 0
    begun = time.process_time()
    for start in range(0, len(images), BLOCK):
        part = images[start : start + BLOCK]
        raw = np.stack([formula(exact_bars(signal)) for signal in _signals(part)])
        expected = np.stack([divided(unscaled) for unscaled in raw]).reshape(2, len(part), 3, SIDE, SIDE)
        expected = expected.swapaxes(0, 1).reshape(len(part), 6, SIDE, SIDE)
        tops = raw.max((1, 2)).reshape(2, len(part), 3).swapaxes(0, 1).reshape(len(part), 6)
        tails, blank = tails + int((tops <= TAIL).sum()), blank + int((tops == 0).sum())
        for kind, convert in kinds.items():
            gaps = abs(scan_persistence_images(convert(part), PersistenceImageConfig.tgd(), threads=1) - expected).max(
                (2, 3)
            )
            for tail in (False, True):
                chosen = np.where((tops <= TAIL) == tail, gaps, 0)
                if chosen.max() > max(worst[kind].values()):
                    image, channel = np.unravel_index(chosen.argmax(), chosen.shape)
                    where[kind] = f"image {start + image}, channel {channel}"
                worst[kind][tail] = max(worst[kind][tail], float(chosen.max()))
    seconds = time.process_time() - begun
    print(f"\n{len(images):,} {source}, {6 * len(images):,} persistence images, {seconds:.0f} s;")
    print(f"{tails:,} of them are all tail, {blank} blank.")
    for kind, sorts in worst.items():
        print(f"{kind}: largest deviation {sorts[False]:.2e}, of tails {sorts[True]:.2e} ({where[kind]}).")


def window(images: Images, source: str) -> None:
    """Print what share of bars and of persistence the published window holds."""
    bars = sublevel_persistence(_signals(images), min_persistence=5, indices=False).values.astype(np.int64)
    births, lengths = bars[:, 0], bars[:, 1] - bars[:, 0]
    inside = (births <= HIGH * 255) & (lengths <= HIGH * 255)
    print(
        f"{len(images):,} {source}: {len(bars):,} bars longer than {SHORTEST}; the window holds {inside.mean():.1%} "
        f"of them and {lengths[inside].sum() / lengths.sum():.1%} of their persistence."
    )


def main() -> None:
    """Check and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1,000 images")
    parser.add_argument("--window", action="store_true", help="only tell what the published window holds")
    given = parser.parse_args()
    if given.window:
        window(*real_images(10_000, "test"))
    else:
        compare(*real_images(1000 if given.quick else 50_000, "train"))


if __name__ == "__main__":
    main()
