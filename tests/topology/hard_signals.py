"""Signals that break engines, as (N,) uint8 levels; and oracles that share no code with the package."""

import gudhi
import numpy as np
import scipy.sparse
import scipy.stats


def hard_signals() -> dict[str, np.ndarray]:
    """Name -> (N,) uint8."""
    rng = np.random.default_rng(0)
    n = np.arange(300)
    half = np.arange(100)
    tooth = np.concatenate([np.arange(0, 250, 10), np.arange(250, 0, -25)])
    walk = np.cumsum(rng.integers(-9, 10, 1024))
    spiral_in = np.stack([half, 255 - half], 1).ravel()
    far = np.tile([250, 190], 50)
    made = {
        "one sample": np.array([77]),
        "two samples rising": np.array([3, 200]),
        "two samples falling": np.array([200, 3]),
        "two equal samples": np.array([9, 9]),
        "constant": np.full(64, 128),
        "zeros": np.zeros(64),
        "full": np.full(64, 255),
        "rising": np.arange(256),
        "falling": np.arange(256)[::-1],
        "rising in plateaus": np.repeat(np.arange(40), 5),
        "alternating 0 255": np.tile([0, 255], 128),
        "alternating 255 0": np.tile([255, 0], 512),
        "alternating 40 60": np.tile([40, 60], 512),
        "alternating 200 255": np.tile([200, 255], 100),
        "wide plateaus": np.repeat(rng.integers(0, 256, 60), rng.integers(1, 9, 60)),
        "ties of two values": rng.integers(0, 2, 512) * 30 + 20,
        "ties of four values": rng.integers(0, 4, 512) * 12 + 10,
        "sawtooth": np.tile(tooth, 8),
        "sawtooth backwards": np.tile(tooth[::-1], 8),
        "spiral in": spiral_in,
        "spiral out": spiral_in[::-1],
        "noise": rng.integers(0, 256, 1024),
        "dark": rng.integers(0, 20, 1024),
        "bright": rng.integers(225, 256, 1024),
        "walk": np.clip(walk - walk.min(), 0, 255),
        "sine": 128 + 100 * np.sin(n / 7) + 15 * np.sin(n),
        "beyond the births": far,
        "far beyond the births": np.tile([255, 249], 60),
        "beyond the persistences": np.tile([10, 120], 50),
        "beyond both": np.tile([100, 200], 50),
        "at the edge": np.tile([76, 77, 153, 70, 78, 155], 30),
        "far with one near": np.concatenate([far, [60, 75], far]),
        "bars of five and six levels": np.tile([10, 15, 9, 15, 30, 36], 40),
    }
    return {name: signal.astype(np.uint8) for name, signal in made.items()}


def gudhi_diagram(signal: np.ndarray, *, essential: bool = False) -> np.ndarray:
    """(k, 2) float64: H0 of the path as a cubical complex whose vertices are the samples, in GUDHI."""
    complex_ = gudhi.CubicalComplex(vertices=signal.astype(np.float64))
    complex_.compute_persistence()
    diagram = complex_.persistence_intervals_in_dimension(0).reshape(-1, 2)
    return diagram if essential else diagram[np.isfinite(diagram[:, 1])]


def path_matrix(signal: np.ndarray) -> scipy.sparse.coo_matrix:
    """The distance matrix of the path graph that the TGD paper's code gives to ripser."""
    n = len(signal)
    left = np.arange(n - 1)
    values = np.concatenate([np.maximum(signal[:-1], signal[1:]), signal])
    return scipy.sparse.coo_matrix(
        (values, (np.concatenate([left, np.arange(n)]), np.concatenate([left + 1, np.arange(n)]))), shape=(n, n)
    )


def as_multiset(diagram: np.ndarray) -> np.ndarray:
    """The points of a diagram in a fixed order."""
    return diagram[np.lexsort(diagram.T)]


def image_by_formula(
    diagram: np.ndarray,
    rows: tuple[np.ndarray, np.ndarray],
    columns: tuple[np.ndarray, np.ndarray],
    bandwidth: float,
    numbers: np.ndarray | None = None,
) -> np.ndarray:
    """Unscaled persistence image with linear weights, point by point, each counted so many times."""
    drawn = np.zeros((len(rows[0]), len(columns[0])))
    for (birth, death), times in zip(diagram, np.ones(len(diagram)) if numbers is None else numbers, strict=True):
        length = death - birth
        law_x, law_y = scipy.stats.norm(birth, bandwidth), scipy.stats.norm(length, bandwidth)
        across = law_x.cdf(columns[1]) - law_x.cdf(columns[0])
        up = law_y.cdf(rows[1]) - law_y.cdf(rows[0])
        drawn += times * length * np.outer(up, across)
    return drawn[::-1]
