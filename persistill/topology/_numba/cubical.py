"""Compiled kernel for H0 and H1 of the sublevel sets of images.

Pixels enter in the order (value, raster index), which is strict. What a pixel does when it enters depends only on
which of its eight neighbors are there already, an 8-bit mask. Around the pixel these form *arcs*, as do those that are
still to come; two pixels of one arc are joined without the help of the pixel in their middle.

* No arc below: a minimum, where a component is born.
* No arc above: a maximum, where a hole is filled.
* One arc: nothing happens, and the pixel belongs to whatever its neighbors in that arc belong to.
* More: a saddle. It joins the components at its arcs below or, where two arcs already lie in one component, closes a
  loop around a new hole.

Seen from above, in the reverse order, holes are components too: of the pixels that are still to come and of one node
for all that lies outside of the image, which is older than everything (Alexander duality). Two diagonal neighbors
touch seen from one side only: below if pixels are top cells, above if they are vertices.

So both dimensions are the same minimum spanning forest of extrema, joined at saddles, the elder rule naming the pairs.
Components come first. An edge of a saddle that joins nothing there closes a loop, and only at the saddles of such edges
are holes joined. What makes it fast: classification is vector arithmetic; only extrema and saddles, a fifth of the
pixels or fewer, are sorted, which numbers extrema by age; the walks from saddles downhill or uphill to extrema advance
all at once, two steps a round, so that they wait for memory together and not one after another; and nothing branches on
what cannot be predicted, except the search for the eldest of a component, which is the larger part of what is left.

Images are stored with a margin of one row and one pixel on both sides and none between rows. A step over the right
edge arrives at the left edge and vice versa: harmless, since seen from above both are the outside, and from below
no such step is ever taken. Positions are uint32 and steps wrap around, because the compiler tests signed indices.
"""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persistill.topology._numba.jit import kernel

# Neighbors in the order of the bits of a mask, clockwise from above, as (row, column) steps; sides have even numbers.
RING = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
_NORTH, _EAST, _SOUTH, _WEST = 0b10000011, 0b00001110, 0b00111000, 0b11100000
_STAY = 8  # in place of a neighbor's number

_REGULAR, _MINIMUM, _MAXIMUM, _SADDLE = 0, 1, 2, 3
_BYTE = np.uint64(255)


def arcs(mask: int, *, diagonal: bool) -> list[int]:
    """One neighbor, near the middle, of every arc of the neighbors in ``mask``.

    Args:
        mask: which of the eight neighbors are meant.
        diagonal: whether the two sides of a corner touch without the corner, and corners touch the pixel. If not,
            only arcs with a side in them count.
    """
    present = [bool(mask >> k & 1) for k in range(8)]
    joined = list(present)
    for corner in (1, 3, 5, 7):
        sides = present[corner - 1], present[(corner + 1) % 8]
        joined[corner] = present[corner] or all(sides) if diagonal else present[corner] and all(sides)
    if all(joined):
        return [0]
    found = []
    for start in range(8):
        if joined[start] and not joined[start - 1]:
            run = [start]
            while joined[(run[-1] + 1) % 8]:
                run.append((run[-1] + 1) % 8)
            touching = [k for k in run if present[k] and (diagonal or k % 2 == 0)]
            found.append(touching[len(touching) // 2])
    return found


@functools.cache
def _tables(*, diagonal: bool) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """For every mask of lower neighbors its kind (256,), its arcs below and its arcs above (256, 4)."""
    kinds = np.zeros(256, np.uint8)
    below, above = np.full((2, 256, 4), _STAY, np.uint8)
    for mask in range(256):
        low, high = arcs(mask, diagonal=diagonal), arcs(255 - mask, diagonal=not diagonal)
        kinds[mask] = _MINIMUM if not low else _MAXIMUM if not high else _SADDLE if len(low) > 1 else _REGULAR
        below[mask, : len(low)] = low
        above[mask, : len(high)] = high
    return kinds, below, above


def tables(width: int, *, diagonal: bool) -> tuple[NDArray[np.uint8], NDArray[np.uint32], NDArray[np.uint32]]:
    """What the masks of lower neighbors mean.

    Args:
        width: of the images.
        diagonal: whether diagonal neighbors touch as seen from below; they then do not as seen from above.

    Returns:
        The kind of pixel (256,), the steps to its arcs below and the steps to its arcs above (256, 4), filled with 0.
    """
    kinds, below, above = _tables(diagonal=diagonal)
    ring = np.array([row * width + column for row, column in RING] + [0]).astype(np.uint32)
    return kinds, ring[below], ring[above]


@kernel
def _enter(bits: NDArray[Any], sign: Any, flip: Any, levels: NDArray[Any]) -> None:
    """Unsigned integers in the order of the numbers that ``bits`` stand for; both zeros are equal."""
    for i in range(len(bits)):
        levels[i] = (-bits[i] if bits[i] & sign else bits[i] ^ sign) ^ flip


@kernel
def _classify(levels: NDArray[Any], height: int, width: int, masks: NDArray[np.uint8]) -> None:
    """Masks of the lower neighbors of all pixels; what lies outside counts as higher."""
    size = height * width
    first = width + 1
    # Slices instead of computed indices: the compiler makes vectors of the loop only then.
    center, mask = levels[first : first + size], masks[first : first + size]
    n, ne, e, se = levels[1:], levels[2:], levels[first + 1 :], levels[2 * first :]
    s, sw, w, nw = levels[2 * first - 1 :], levels[2 * first - 2 :], levels[first - 1 :], levels
    for i in range(size):
        x = center[i]
        mask[i] = (
            (n[i] <= x)
            | ((ne[i] <= x) << 1)
            | ((e[i] < x) << 2)
            | ((se[i] < x) << 3)
            | ((s[i] < x) << 4)
            | ((sw[i] < x) << 5)
            | ((w[i] <= x) << 6)
            | ((nw[i] <= x) << 7)
        )
    for i in range(width):
        mask[i] &= ~_NORTH
        mask[size - 1 - i] &= ~_SOUTH
    for i in range(0, size, width):
        mask[i] &= ~_WEST
        mask[i + width - 1] &= ~_EAST


@kernel
def _collect(masks: NDArray[np.uint8], margin: int, counted: NDArray[np.uint8], positions: NDArray[np.uint32]) -> Any:
    """List the pixels whose mask is ``counted`` (256 of 0 or 1), in raster order; gives the length of the list."""
    # Every position is written, and the next one over it unless it counts: cheaper than a branch nobody can predict.
    count = np.uint32(0)
    for i in range(len(masks)):
        positions[count] = i + margin
        count += counted[masks[i]]
    return count


@kernel
def _sort(
    positions: NDArray[np.uint32], levels: NDArray[Any], spare: NDArray[np.uint32], keys: NDArray[Any]
) -> NDArray[np.uint32]:
    """``positions`` by their levels, stably: a radix sort, byte by byte, which leaves out bytes that are all equal.

    ``spare`` (n,) and ``keys`` (2, n) are overwritten; the result is ``positions`` or ``spare``.
    """
    n = len(positions)
    counts = np.zeros((levels.itemsize, 256), np.uint32)
    now, after = keys[0], keys[1]
    for i in range(n):
        now[i] = levels[positions[i]]
        rest = np.uint64(now[i])
        for digit in range(len(counts)):
            counts[digit, rest & _BYTE] += np.uint32(1)
            rest >>= np.uint64(8)
    for digit in range(len(counts)):
        shift = np.uint64(8 * digit)
        places = counts[digit]
        if n == 0 or places[np.uint64(now[0]) >> shift & _BYTE] == n:
            continue
        place: Any = 0
        for byte in range(256):
            count = places[byte]
            places[byte] = place
            place += count
        for i in range(n):
            key = np.uint64(now[i]) >> shift & _BYTE
            after[places[key]], spare[places[key]] = now[i], positions[i]
            places[key] += np.uint32(1)
        now, after = after, now
        positions, spare = spare, positions
    return positions


@kernel
def _start(
    saddles: NDArray[np.uint32],
    masks: NDArray[np.uint8],
    steps: NDArray[np.uint32],
    middles: NDArray[np.uint32],
    ends: NDArray[np.uint32],
) -> Any:
    """Write the edges of saddles in their order: a saddle joins its first arc to each of the others.

    Args:
        saddles: positions, of which equal ones may follow one another and count once.
        masks: the lower neighbors of every position.
        steps: (256, 4) for every mask the steps to its arcs, filled up with 0.
        middles: takes the saddle of each edge.
        ends: (n, 2) takes the positions on both sides.

    Returns:
        The number of edges.
    """
    count: Any = 0
    before = np.uint32(0)  # no saddle: it is in the margin
    for p in saddles:
        if p == before:
            continue
        before = p
        step = steps[masks[p]]
        for k in range(1, 4):
            middles[count] = p
            ends[count, 0] = p + step[0]
            ends[count, 1] = p + step[k]
            count += step[k] != 0
    return count


@kernel
def _walk(
    walkers: NDArray[np.uint32],
    masks: NDArray[np.uint8],
    steps: NDArray[np.uint32],
    names: NDArray[np.uint32],
    moving: NDArray[np.uint32],
) -> None:
    """Let all walkers step where the masks point until none moves; then replace them by the names of their places."""
    for i in range(len(walkers)):
        moving[i] = i
    count = len(walkers)
    while count:
        still = 0
        for k in range(count):
            i = moving[k]
            p = np.uint32(walkers[i] + steps[masks[walkers[i]], 0])
            step = steps[masks[p], 0]
            walkers[i] = p + step
            moving[still] = i
            still += step != 0
        count = still
    for i in range(len(walkers)):
        walkers[i] = names[walkers[i]]


@kernel
def _eldest(parents: NDArray[np.uint32], i: Any) -> Any:
    """The extremum that stands for the component of extremum ``i``; shortens the way there."""
    while True:
        parent = parents[i]
        grandparent = parents[parent]
        if parent == grandparent:
            return parent
        parents[i] = grandparent
        i = grandparent


@kernel
def _unite(
    middles: NDArray[np.uint32],
    ends: NDArray[np.uint32],
    extrema: NDArray[np.uint32],
    parents: NDArray[np.uint32],
    pairs: NDArray[np.int64],
    loops: NDArray[np.uint32],
) -> tuple[int, int]:
    """Join extrema, numbered by age, along the edges in their order; the younger of two components ends there.

    ``pairs`` takes (extremum, saddle) of every end, ``loops`` the saddles of edges that join nothing; gives the
    numbers of both.
    """
    for i in range(len(parents)):
        parents[i] = i
    bars = closed = 0
    for e in range(len(middles)):
        a, b = _eldest(parents, ends[e, 0]), _eldest(parents, ends[e, 1])
        old, young = min(a, b), max(a, b)
        parents[young] = old
        # As in _collect: written first, counted if it is right.
        loops[closed] = middles[e]
        closed += old == young
        pairs[bars, 0], pairs[bars, 1] = extrema[young], middles[e]
        bars += old != young
    return bars, closed


@kernel
def _select(
    pairs: NDArray[np.int64], bars: int, values: NDArray[Any], margin: int, threshold: float, from_above: bool
) -> Any:
    """Keep those of the first ``bars`` pairs that are longer than ``threshold``, as (birth, death) in the image."""
    kept: Any = 0
    for i in range(bars):
        extremum, saddle = pairs[i, 0] - margin, pairs[i, 1] - margin
        pairs[kept, 0] = saddle if from_above else extremum
        pairs[kept, 1] = extremum if from_above else saddle
        kept += abs(np.float64(values[saddle]) - np.float64(values[extremum])) > threshold
    return kept


@kernel
def _enclose(masks: NDArray[np.uint8], names: NDArray[np.uint32], height: int, width: int) -> None:
    """Make the pixels on the border part of the outside, which they are as seen from above: walkers stop there."""
    size = height * width
    mask, name = masks[width + 1 :], names[width + 1 :]
    for i in range(width):
        mask[i] = mask[size - 1 - i] = 255
        name[i] = name[size - 1 - i] = 0
    for i in range(0, size, width):
        mask[i] = mask[i + width - 1] = 255
        name[i] = name[i + width - 1] = 0


@kernel
def merge(
    images: NDArray[Any],
    bits: NDArray[Any],
    sign: Any,
    flip: Any,
    kinds: NDArray[np.uint8],
    downhill: NDArray[np.uint32],
    uphill: NDArray[np.uint32],
    threshold: float,
    essential: bool,
    components: NDArray[np.int64],
    holes: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> tuple[int, int]:
    """Write the (birth, death) pixels of all bars longer than ``threshold``.

    Args:
        images: (n, H, W) uint8, float32 or float64, C-contiguous, finite.
        bits: (n, H, W) the same memory as unsigned integers.
        sign: the sign bit of floating-point ``bits``, 0 for integers, in their dtype.
        flip: all bits to turn the images upside down, else 0, in the dtype of ``bits``.
        kinds: what ``tables`` gives, as the next two.
        downhill: see ``kinds``.
        uphill: see ``kinds``.
        threshold: bars of this length or shorter are left out.
        essential: whether to write (pixel of the minimum, -1) as the last pair of dimension 0 of each image.
        components: (n * (H * W // 2 + 1), 2), for the pairs of dimension 0; (0, 2) if they are not wanted.
        holes: the same for dimension 1.
        counts: (n, 2), for the number of pairs of each image and dimension.

    Returns:
        The number of pairs written in dimension 0 and in dimension 1.
    """
    n, height, width = images.shape
    size = height * width
    margin = width + 1
    levels = np.empty(size + 2 * margin, bits.dtype)
    masks, names = np.full(size + 2 * margin, 255, np.uint8), np.zeros(size + 2 * margin, np.uint32)
    # Lists are one longer than they can get, for an entry that is written but does not count.
    counted, critical = np.minimum(kinds, 1), np.empty(size + 1, np.uint32)
    spare, keys = np.empty(size, np.uint32), np.empty((2, size), bits.dtype)
    lists, lengths = np.empty((4, size + 1), np.uint32), np.empty(4, np.uint32)
    tops, loops = np.empty(size + 1, np.uint32), np.empty(size, np.uint32)
    middles, ends = np.empty(size + 1, np.uint32), np.empty((size + 1, 2), np.uint32)
    walkers, moving = ends.reshape(2 * size + 2), np.empty(2 * size, np.uint32)
    parents = np.empty(size + 1, np.uint32)
    n_components = n_holes = 0
    for i in range(n):
        values = images[i].reshape(size)
        _enter(bits[i].reshape(size), sign, flip, levels[margin : margin + size])
        _classify(levels, height, width, masks)
        count = _collect(masks[margin : margin + size], margin, counted, critical)
        lengths[:] = 0
        for p in _sort(critical[:count], levels, spare[:count], keys):
            kind = kinds[masks[p]]
            lists[kind, lengths[kind]] = p
            lengths[kind] += np.uint32(1)
        minima, maxima = lists[_MINIMUM, : lengths[_MINIMUM]], lists[_MAXIMUM, : lengths[_MAXIMUM]]
        saddles = lists[_SADDLE, : lengths[_SADDLE]]
        if len(components):
            for k in range(len(minima)):
                names[minima[k]] = k
            edges = _start(saddles, masks, downhill, middles, ends)
            _walk(walkers[: 2 * edges], masks, downhill, names, moving)
            found = components[n_components:]
            bars, closed = _unite(middles[:edges], ends, minima, parents[: len(minima)], found, loops)
            saddles = loops[:closed]
            bars = _select(found, bars, values, margin, threshold, False)
            if essential:
                found[bars] = np.int64(minima[0]) - margin, -1
                bars += 1
            counts[i, 0] = bars
            n_components += bars
        if len(holes):
            # The oldest comes first: the outside, without a place of its own, then the highest and last maximum.
            tops[0] = margin
            for k in range(len(maxima)):
                names[maxima[k]] = len(maxima) - k
                tops[len(maxima) - k] = maxima[k]
            edges = _start(saddles[::-1], masks, uphill, middles, ends)
            _enclose(masks, names, height, width)
            _walk(walkers[: 2 * edges], masks, uphill, names, moving)
            found = holes[n_holes:]
            bars, closed = _unite(middles[:edges], ends, tops, parents[: len(maxima) + 1], found, loops)
            bars = _select(found, bars, values, margin, threshold, True)
            counts[i, 1] = bars
            n_holes += bars
    return n_components, n_holes
