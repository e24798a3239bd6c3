"""Triton kernels that render persistence images on a GPU, from diagrams or straight from images.

A persistence image is a product of two thin matrices, the profiles of the bars along persistences (weighted) and along
births: (rows, k) times (k, columns) for k bars, one program for each persistence image.

* 8-bit bars: profiles are looked up in tables of 256 rows, computed in float64 once for each configuration and device.
* Other bars: profiles are computed in float64 and rounded.

Products are summed in float32 over 16 or 32 bars and these sums in float64: hundreds of equal bars would otherwise
round in the same direction each time. Where a persistence image is to be divided by its maximum and the maximum is so
small that float32 has lost something, it is rendered again in float64. That kernel is started for all and ends at once
for the others (29 of 30 natural ones), so the host need not know which.

NaN and infinities cannot raise an error without waiting for the device: persistence images of such diagrams
hold NaN (0 in 8 bits).

*How far from the floor* (estimated, for the 300,000 persistence images of CIFAR-10's training set on an H100): 75 bars,
96 with padding, cost 64 * 64 * 96 multiplications, 3.5 ms in all at the peak of float32 and perhaps 15 as Triton runs
them; writing 3 GB takes 1 ms. Bars that are not 8-bit cost 15,000 float64 operations each, 20 ms in all on an H100; on
a GPU for graphics, with a 64th of the units for float64, a batch of 128 images takes a few milliseconds. Matrix units
(TF32) would lose three digits.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray
from torch import Tensor

from persistill.topology._dispatch import device_of
from persistill.topology._numba.persistence_image_exact import SCALINGS
from persistill.topology._triton.sublevel_1d import OPTIONS, blocks, padded_bars
from persistill.topology.diagrams import Diagrams
from persistill.topology.persistence_image._tables import uint8_tables
from persistill.topology.persistence_image.config import PersistenceImageConfig

_BARS, _BARS_OF_LEVELS = 16, 32  # bars in one product of matrices, as many as the registers hold
_TILE = 64  # rows and columns of a persistence image that are rendered at once, at most
_FAINT = 1e-24  # below this maximum, float32 may have lost what matters
# Of the Chebyshev series to degree 16, computed to 50 digits, the coefficients of the powers of t from t^16 down.
MILLS_RATIO = (
    2.945794859447854e-07,
    3.569071922888846e-07,
    -2.766502961957504e-06,
    -3.85229332880202e-06,
    1.7493575978396576e-05,
    2.5170563444596797e-05,
    -0.00011663453632756635,
    -0.00010652047837065493,
    0.0009153025479093898,
    -0.0005167716829965577,
    -0.006379841978793735,
    0.024543152051077773,
    -0.04796349989293258,
    0.05367730644595695,
    -0.01359527035238113,
    -0.07827991626151103,
    0.5664638478113444,
)
_MAXIMUM = tl.constexpr(SCALINGS["max"])
_LOGARITHM = tl.constexpr(SCALINGS["log"])


def scan_persistence_images(
    images: Tensor, config: PersistenceImageConfig, scans: Sequence[str], out: object
) -> Tensor:
    """``scan_persistence_images`` of checked images (B, C, H, W), without waiting for the device.

    Raises:
        TypeError: if ``out`` is no tensor of float32 or uint8.
        ValueError: if it has another shape or device, or does not suit the config.
    """
    count, channels, height, width = images.shape
    samples = height * width
    shape = (count, len(scans) * channels, *config.pixels)
    target = torch.empty(shape, device=images.device) if out is None else _checked(out, shape, images, config)
    # In levels, and a shade low: the kernel compares again, in the units of the values.
    threshold = config.min_persistence * (255 * (1 - 1e-12) if images.dtype == torch.uint8 else 1)
    for start, stop in blocks(count, shape[1], samples, images.dtype):
        part = images[start:stop].detach()
        turned = [part if scan == "rows" else part.swapaxes(-1, -2) for scan in scans]
        signals = torch.cat([one.reshape(stop - start, channels, samples) for one in turned], 1)
        bars, counts = padded_bars(signals.reshape(-1, samples), threshold)
        starts = torch.arange(len(bars), device=bars.device) * bars.shape[1]
        render(bars.reshape(-1, 2), starts, counts, config, target[start:stop].flatten(0, 1))
    return target


def persistence_images(diagrams: Diagrams[Tensor], config: PersistenceImageConfig) -> Tensor:
    """``persistence_images`` of diagrams without gradients; waits for the check that all points are finite.

    Raises:
        ValueError: if a point is not finite (its number is named).
    """
    values = diagrams.values.detach().contiguous()
    if diagrams.scale != (255 if values.dtype == torch.uint8 else 1):  # the scales that the kernels know
        values = values.double() / diagrams.scale
    strange = ~values.isfinite().all(1)
    if bool(strange.any()):
        point = int(strange.nonzero()[0])
        raise ValueError(
            f"point {point} of the diagrams is {values[point].tolist()}; drop classes that never die with finite(), "
            "or let them end with cut()."
        )
    out = torch.empty((len(diagrams), *config.pixels), device=values.device)
    render(values, diagrams.offsets[:-1].contiguous(), diagrams.offsets.diff(), config, out)
    return out.reshape(*diagrams.shape, *config.pixels)


def render(bars: Tensor, starts: Tensor, counts: Tensor, config: PersistenceImageConfig, out: Tensor) -> None:
    """Render n diagrams, without waiting for the device.

    Args:
        bars: (P, 2) births and deaths, uint8, float32 or float64, contiguous, finite.
        starts: (n,) int64, the first bar of each diagram.
        counts: (n,) integers, how many bars it has; a negative number asks for a persistence image of NaN.
        config: how to render.
        out: (n, rows, columns) float32, or uint8 for floor(255 * value); contiguous.
    """
    n, rows, columns = out.shape
    if n == 0:
        return
    levels = bars.dtype == torch.uint8
    known = _known(config, bars.device)
    peaks = torch.empty(n, dtype=torch.float64, device=bars.device)
    for rough in (True, False) if config.scaling == "max" else (True,):
        tables = known.edges if not levels else known.rough if rough else known.exact
        with device_of(bars):
            _render[(n,)](
                bars,
                starts,
                counts,
                *tables,
                known.numbers,
                peaks,
                out,
                rows,
                columns,
                LEVELS=levels,
                LINEAR=config.weight == "linear",
                SCALING=SCALINGS[config.scaling],
                BARS=1 if not rough else _BARS_OF_LEVELS if levels else _BARS,
                FAINT=_FAINT,
                ROWS=_side(rows),
                COLUMNS=_side(columns),
                WHOLE=rows <= _TILE and columns <= _TILE,
                num_warps=8,
                num_stages=1,
                **OPTIONS,
            )


def _checked(out: object, shape: tuple[int, ...], images: Tensor, config: PersistenceImageConfig) -> Tensor:
    if not isinstance(out, Tensor) or out.dtype not in (torch.float32, torch.uint8):
        kind = out.dtype if isinstance(out, Tensor) else type(out).__name__
        raise TypeError(f"out must be a torch tensor, float32 or uint8; got {kind}.")
    if out.device != images.device:
        raise ValueError(f"out must be on the device of the images, {images.device}; got {out.device}.")
    if out.shape != shape or not out.is_contiguous():
        raise ValueError(f"out must be contiguous of shape {shape}; got {tuple(out.shape)}.")
    if out.dtype == torch.uint8 and config.scaling != "max":
        raise ValueError(f'8-bit images need scaling="max"; the settings have {config.scaling!r}.')
    return out


@dataclass(frozen=True)
class _Known:
    """What is known of a configuration before any diagram comes, on a device; columns first, then rows.

    Columns and rows are padded to whole tiles, and rows start with the largest persistence.

    Attributes:
        rough: profiles of the 256 levels, (256, padded), in float32; those of the rows weighted.
        exact: the same in float64, not weighted.
        edges: lower and upper edges of the boxes, (2, padded), in float64.
        numbers: inverse bandwidth, least persistence, scale, MILLS_RATIO, in float64 (as arguments, and in its first
            versions as constants, Triton rounds Python's floats to float32).
    """

    rough: tuple[Tensor, Tensor]
    exact: tuple[Tensor, Tensor]
    edges: tuple[Tensor, Tensor]
    numbers: Tensor


def edges_of(
    config: PersistenceImageConfig, device: torch.device
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Lower and upper edges of the boxes along births and along persistences, in rising order, float64."""
    rows, columns = config.pixels
    across, down = (known.unbind() for known in _known(config, device).edges)
    return (across[0][:columns], across[1][:columns]), (down[0][:rows].flip(0), down[1][:rows].flip(0))


@functools.lru_cache(maxsize=16)
def _known(config: PersistenceImageConfig, device: torch.device) -> _Known:
    tables = uint8_tables(config, 1, 1)
    columns = np.stack(config.edges("births"))
    rows = np.stack(config.edges("persistences"))[:, ::-1]
    weights = np.where(np.arange(256) > tables.threshold, tables.weights, 0.0)
    numbers = np.array([1 / config.bandwidth, config.min_persistence, config.scale, *MILLS_RATIO])

    def padded(array: NDArray[np.float64], dtype: torch.dtype) -> Tensor:
        # Padding makes boxes from 0 to 0, which hold nothing.
        padding = -array.shape[1] % _side(array.shape[1])
        return torch.from_numpy(np.pad(array, ((0, 0), (0, padding)))).to(device, dtype)

    return _Known(
        (padded(tables.exact_columns, torch.float32), padded(tables.exact_rows * weights[:, None], torch.float32)),
        (padded(tables.exact_columns, torch.float64), padded(tables.exact_rows, torch.float64)),
        (padded(columns, torch.float64), padded(rows, torch.float64)),
        torch.from_numpy(numbers).to(device),
    )


def _side(pixels: int) -> int:
    """The side of a tile, a power of two; products of matrices want at least 16."""
    return min(_TILE, max(16, 1 << (pixels - 1).bit_length()))


@triton.jit
def _render(
    bars: tl.tensor,
    starts: tl.tensor,
    counts: tl.tensor,
    across: tl.tensor,
    down: tl.tensor,
    numbers: tl.tensor,
    peaks: tl.tensor,
    out: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    LEVELS: tl.constexpr,
    LINEAR: tl.constexpr,
    SCALING: tl.constexpr,
    BARS: tl.constexpr,
    FAINT: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    WHOLE: tl.constexpr,
) -> None:
    """Render one persistence image and note its maximum; with BARS = 1 only if a faint one was noted, and in float64.

    ``across`` and ``down`` are tables or edges of ``_Known``. Those that are larger than a tile, not WHOLE, are
    rendered twice where they have to be divided by their maximum.
    """
    WEIGHTED: tl.constexpr = LEVELS and BARS > 1
    image = tl.program_id(0).to(tl.int64)
    if BARS > 1 or tl.load(peaks + image) < FAINT:
        bars += 2 * tl.load(starts + image)
        count = tl.load(counts + image).to(tl.int32)
        longest = _longest(bars, count, LEVELS)
        wide = tl.cdiv(columns, COLUMNS)
        tiles = tl.cdiv(rows, ROWS) * wide
        peak = longest * 0
        if SCALING == _MAXIMUM and not WHOLE:
            for tile in range(tiles):
                r = tile // wide * ROWS + tl.arange(0, ROWS)
                c = tile % wide * COLUMNS + tl.arange(0, COLUMNS)
                rendered = _tile(
                    bars, count, longest, across, down, numbers, rows, columns, r, c, LEVELS, LINEAR, WEIGHTED, BARS
                )
                peak = tl.maximum(peak, tl.max(rendered))
        for tile in range(tiles):
            r = tile // wide * ROWS + tl.arange(0, ROWS)
            c = tile % wide * COLUMNS + tl.arange(0, COLUMNS)
            rendered = _tile(
                bars, count, longest, across, down, numbers, rows, columns, r, c, LEVELS, LINEAR, WEIGHTED, BARS
            )
            if SCALING == _MAXIMUM:
                if WHOLE:
                    peak = tl.max(rendered)
                divisor = tl.where(peak > 0, peak, 1.0)
                # The inverse of the smallest numbers is infinite.
                rendered = rendered * (1 / divisor) if BARS > 1 else rendered / divisor
            elif LINEAR and not WEIGHTED:
                rendered *= longest
            if SCALING == _LOGARITHM:
                rendered = tl.log(1 + rendered / tl.load(numbers + 2))
            value = tl.where(count >= 0, rendered, float("nan")).to(tl.float32)
            if out.dtype.element_ty == tl.uint8:
                value = tl.where(count >= 0, tl.floor(value * 255), 0.0)
            place = out + image * rows * columns + r[:, None] * columns + c[None, :]
            tl.store(place, value.to(out.dtype.element_ty), mask=(r < rows)[:, None] & (c < columns)[None, :])
        tl.store(peaks + image, peak)


@triton.jit
def _longest(bars: tl.tensor, count: tl.tensor, LEVELS: tl.constexpr) -> tl.tensor:
    """The length of the longest bar, in the units of the config."""
    longest = tl.zeros((64,), tl.float64)
    for begin in range(0, count, 64):
        k = begin + tl.arange(0, 64)
        _, length = _bar(bars, k, k < count)
        longest = tl.maximum(longest, length / 255.0 if LEVELS else length)
    return tl.max(longest, 0)


@triton.jit
def _bar(bars: tl.tensor, k: tl.tensor, real: tl.tensor) -> tl.tensor:
    """Births and lengths in float64, in the units of ``bars``; 0 where there is no bar."""
    birth = tl.load(bars + 2 * k, mask=real, other=0).to(tl.float64)
    death = tl.load(bars + 2 * k + 1, mask=real, other=0).to(tl.float64)
    return birth, tl.abs(death - birth)


@triton.jit
def _tile(
    bars: tl.tensor,
    count: tl.tensor,
    longest: tl.tensor,
    across: tl.tensor,
    down: tl.tensor,
    numbers: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    r: tl.tensor,
    c: tl.tensor,
    LEVELS: tl.constexpr,
    LINEAR: tl.constexpr,
    WEIGHTED: tl.constexpr,
    BARS: tl.constexpr,
) -> tl.tensor:
    """Pixels (r, c) in float64, not scaled; weights are relative to the longest bar or in the tables."""
    kind: tl.constexpr = tl.float32 if BARS > 1 else tl.float64
    row_stride = tl.cdiv(rows, r.shape[0]) * r.shape[0]
    column_stride = tl.cdiv(columns, c.shape[0]) * c.shape[0]
    rendered = tl.zeros((r.shape[0], c.shape[0]), tl.float64)
    for begin in range(0, count, BARS):
        k = begin + tl.arange(0, BARS)
        real = k < count
        birth, length = _bar(bars, k, real)
        if LEVELS:
            horizontal = tl.load(across + birth.to(tl.int32)[:, None] * column_stride + c[None, :])
            # A length of 0 has a weight of 0.
            vertical = tl.load(down + length.to(tl.int32)[None, :] * row_stride + r[:, None])
        else:
            low, high = tl.load(across + c), tl.load(across + column_stride + c)
            horizontal = _profile(low[None, :], high[None, :], birth[:, None], numbers).to(kind)
            low, high = tl.load(down + r), tl.load(down + row_stride + r)
            vertical = _profile(low[:, None], high[:, None], length[None, :], numbers).to(kind)
        if not WEIGHTED:
            length = length / 255.0 if LEVELS else length
            weight = length * (1 / longest) if LINEAR else 1.0
            weight = tl.where(real & (length > tl.load(numbers + 1)), weight, 0.0)
            vertical *= weight.to(kind)[None, :]
        if BARS > 1:
            rendered += tl.dot(vertical, horizontal, input_precision="ieee").to(tl.float64)
        else:
            rendered += vertical * horizontal
    return rendered


@triton.jit
def _profile(low: tl.tensor, high: tl.tensor, mean: tl.tensor, numbers: tl.tensor) -> tl.tensor:
    """Integral of a Gaussian from low to high, both of them on the side where the tails are small."""
    inverse = tl.load(numbers)
    low = (low - mean) * inverse
    high = (high - mean) * inverse
    above = low > 0
    low, high = tl.where(above, -high, low), tl.where(above, -low, high)
    upper = _tail(tl.abs(high), numbers + 3)
    return tl.where(high > 0, 1 - upper, upper) - _tail(tl.abs(low), numbers + 3)


@triton.jit
def _tail(z: tl.tensor, ratio: tl.tensor) -> tl.tensor:
    """Upper tail of the normal distribution for z >= 0 in float64, to 2e-12 of its value.

    The Mills ratio times (1 + 1.25 z) is a smooth function of t = (z - 4) / (z + 4), the polynomial ``MILLS_RATIO``.
    """
    z = tl.minimum(z, 40.0)
    factor = 1 + 1.25 * z
    inverse = 1 / ((z + 4) * factor)  # one division for both
    t = (z - 4) * factor * inverse
    p = tl.load(ratio)
    for k in tl.static_range(1, 17):
        p = p * t + tl.load(ratio + k)
    return tl.exp(-0.5 * z * z) * p * (z + 4) * inverse
