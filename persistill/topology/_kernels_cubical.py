"""Compiled kernel for H0 and H1 of the sublevel sets of images.

Pixels enter in the order (value, raster index), which is strict. What a pixel does when it enters depends only on
which of its eight neighbours are there already, an 8-bit mask. Around the pixel these form *arcs*, as do those that are
still to come; two pixels of one arc are joined without the help of the pixel in their middle.

* No arc below: a minimum, where a component is born.
* No arc above: a maximum, where a hole is filled.
* One arc: nothing happens, and the pixel belongs to whatever its neighbours in that arc belong to.
* More: a saddle. It joins the components at its arcs below or, where two arcs already lie in one component, closes a
  loop around a new hole.

Seen from above, in the reverse order, holes are components too: of the pixels that are still to come and of one node
for all that lies outside of the image, which is older than everything (Alexander duality). Two diagonal neighbours
touch seen from one side only: below if pixels are top cells, above if they are vertices.

So both dimensions are the same minimum spanning forest of extrema, joined at saddles, the elder rule naming the pairs.
Components come first; a saddle that joined nothing there is one that joins two holes, and no other does. What makes it
fast: classification is vector arithmetic; only saddles, one pixel in ten or fewer, are sorted and united; the walks
from saddles downhill or uphill to extrema advance all at once, two steps a round, so that they wait for memory and for
mispredicted branches together and not one after another; joining takes no branch that depends on who is older.

Images are stored with a margin of one row and one pixel on both sides and none between rows. A step over the right
edge arrives at the left edge and vice versa: harmless, since seen from above both are the outside, and from below
no such step is ever taken. Positions are uint32 and steps wrap around, because the compiler tests signed indices.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

# Neighbours in the order of the bits of a mask, clockwise from above, as (row, column) steps; sides have even numbers.
RING = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
_NORTH, _EAST, _SOUTH, _WEST = 0b10000011, 0b00001110, 0b00111000, 0b11100000
_STAY = 8  # in place of a neighbour's number

_REGULAR, _MINIMUM, _MAXIMUM, _SADDLE = 0, 1, 2, 3


def arcs(mask: int, *, diagonal: bool) -> list[int]:
    """One neighbour, near the middle, of every arc of the neighbours in ``mask``.

    Args:
        mask: which of the eight neighbours are meant.
        diagonal: whether the two sides of a corner touch without the corner, and corners touch the pixel. If not,
            only arcs with a side in them count.
    """
    present = [bool(mask >> k & 1) for k in range(8)]
    joined = list(present)
    for corner in (1, 3, 5, 7):
        sides = present[corner - 1], present[(corner + 1) % 8]
        joined[corner] = present[corner] or all(sides) if diagonal else present[corner] and all(sides)
    if all(joined):
        return [0 if present[0] else 1]
    found = []
    for start in range(8):
        if joined[start] and not joined[start - 1]:
            run = [start]
            while joined[(run[-1] + 1) % 8]:
                run.append((run[-1] + 1) % 8)
            touching = [k for k in run if present[k] and (diagonal or k % 2 == 0)]
            found.append(touching[len(touching) // 2])
    return found


def tables(*, diagonal: bool) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """What every mask of lower neighbours means.

    Args:
        diagonal: whether diagonal neighbours touch below (and not above).

    Returns:
        kinds (256,); arcs below and arcs above, each (256, 4), numbers of neighbours filled up with 8.
    """
    kinds = np.zeros(256, np.uint8)
    below, above = np.full((2, 256, 4), _STAY, np.uint8)
    for mask in range(256):
        low, high = arcs(mask, diagonal=diagonal), arcs(255 - mask, diagonal=not diagonal)
        kinds[mask] = _MINIMUM if not low else _MAXIMUM if not high else _SADDLE if len(low) > 1 else _REGULAR
        below[mask, : len(low)] = low
        above[mask, : len(high)] = high
    return kinds, below, above


@njit(nogil=True, cache=True)
def _classify(levels: NDArray[Any], height: int, width: int, masks: NDArray[np.uint8]) -> None:
    """Masks of the lower neighbours of all pixels; what lies outside counts as higher."""
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


@njit(nogil=True, cache=True)
def _collect(
    masks: NDArray[np.uint8],
    kinds: NDArray[np.uint8],
    first: int,
    size: int,
    critical: NDArray[np.uint32],
    minima: NDArray[np.uint32],
    maxima: NDArray[np.uint32],
    saddles: NDArray[np.uint32],
) -> tuple[int, int, int]:
    """List the critical pixels by kind, in raster order; gives the numbers of minima, maxima and saddles."""
    # Every pixel is written, and the next one over it unless it counts: cheaper than a branch nobody can predict.
    count = 0
    for p in range(first, first + size):
        critical[count] = p
        count += kinds[masks[p]] != _REGULAR
    low = high = between = 0
    for i in range(count):
        p = critical[i]
        kind = kinds[masks[p]]
        minima[low] = maxima[high] = saddles[between] = p
        low += kind == _MINIMUM
        high += kind == _MAXIMUM
        between += kind == _SADDLE
    return low, high, between


@njit(nogil=True, cache=True)
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
            counts[digit, rest & np.uint64(255)] += np.uint32(1)
            rest >>= np.uint64(8)
    for digit in range(len(counts)):
        shift = np.uint64(8 * digit)
        places = counts[digit]
        if n == 0 or places[(np.uint64(now[0]) >> shift) & np.uint64(255)] == n:
            continue
        total = 0
        for value in range(256):
            count = places[value]
            places[value] = total
            total += count
        for i in range(n):
            value = (np.uint64(now[i]) >> shift) & np.uint64(255)
            after[places[value]] = now[i]
            spare[places[value]] = positions[i]
            places[value] += np.uint32(1)
        now, after = after, now
        positions, spare = spare, positions
    return positions


@njit(nogil=True, cache=True)
def _start(
    saddles: NDArray[np.uint32],
    masks: NDArray[np.uint8],
    arcs: NDArray[np.uint8],
    ring: NDArray[np.uint32],
    middles: NDArray[np.uint32],
    ends: NDArray[np.uint32],
) -> int:
    """Write the edges of saddles in their order: a saddle joins its first arc to every other arc.

    ``middles`` takes the saddle of each edge, ``ends`` the two pixels beside it; gives the number of edges.
    """
    count = 0
    for p in saddles:
        if count and middles[count - 1] == p:
            continue
        arc = arcs[masks[p]]
        for k in range(1, 4):
            if arc[k] == _STAY:
                break
            middles[count] = p
            ends[2 * count] = p + ring[arc[0]]
            ends[2 * count + 1] = p + ring[arc[k]]
            count += 1
    return count


@njit(nogil=True, cache=True)
def _walk(
    walkers: NDArray[np.uint32],
    masks: NDArray[np.uint8],
    steps: NDArray[np.uint32],
    names: NDArray[np.uint32],
    active: NDArray[np.uint32],
) -> None:
    """Let all walkers step where the masks point until none moves; then replace them by the names of their places."""
    for i in range(len(walkers)):
        active[i] = i
    moving = len(walkers)
    while moving:
        count = moving
        moving = 0
        for k in range(count):
            i = active[k]
            p = walkers[i]
            p = np.uint32(p + steps[masks[p]])
            step = steps[masks[p]]
            walkers[i] = p + step
            active[moving] = i
            moving += step != 0
    for i in range(len(walkers)):
        walkers[i] = names[walkers[i]]


@njit(nogil=True, cache=True)
def _oldest(parents: NDArray[np.uint32], i: int) -> Any:
    """The extremum that stands for the component of extremum ``i``; shortens the way there."""
    while True:
        parent = parents[i]
        grandparent = parents[parent]
        if parent == grandparent:
            return parent
        parents[i] = grandparent
        i = grandparent


@njit(nogil=True, cache=True)
def _unite(
    middles: NDArray[np.uint32],
    ends: NDArray[np.uint32],
    ages: NDArray[Any],
    parents: NDArray[np.uint32],
    extrema: NDArray[np.uint32],
    values: NDArray[Any],
    margin: int,
    threshold: float,
    pairs: NDArray[np.int64],
    loops: NDArray[np.uint32],
) -> tuple[int, int]:
    """Join extrema along the edges in their order; the younger of two, higher in ``ages`` or else later, ends there.

    ``pairs`` takes (extremum, saddle) of bars longer than ``threshold``, without the margin; ``loops`` the saddles of
    edges that join nothing. Gives the numbers of both.
    """
    for i in range(len(parents)):
        parents[i] = i
    bars = closed = 0
    for e in range(len(middles)):
        a = _oldest(parents, ends[2 * e])
        b = _oldest(parents, ends[2 * e + 1])
        first = (ages[a] < ages[b]) | ((ages[a] == ages[b]) & (a < b))
        young = b if first else a
        parents[young] = a if first else b
        # As in _collect: write, then count if it was right.
        loops[closed] = middles[e]
        closed += a == b
        born, died = np.int64(extrema[young]) - margin, np.int64(middles[e]) - margin
        pairs[bars, 0] = born
        pairs[bars, 1] = died
        bars += (a != b) & (abs(np.float64(values[died]) - np.float64(values[born])) > threshold)
    return bars, closed


@njit(nogil=True, cache=True)
def merge(
    images: NDArray[Any],
    levels: NDArray[Any],
    kinds: NDArray[np.uint8],
    below: NDArray[np.uint8],
    above: NDArray[np.uint8],
    threshold: float,
    essential: bool,
    components: NDArray[np.int64],
    holes: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> tuple[int, int]:
    """Write the (birth, death) pixels of all bars longer than ``threshold``.

    Args:
        images: (n, H, W) uint8, float32 or float64, C-contiguous, finite.
        levels: (n, H, W) unsigned integers in the order of the images' values, or in the reverse order.
        kinds: what ``tables`` gives, like the next two.
        below: see ``kinds``.
        above: see ``kinds``.
        threshold: bars of this length or shorter are left out.
        essential: whether to write (pixel of the minimum, -1) as the last pair of dimension 0 of each image.
        components: (n * (H * W // 2 + 1), 2), for the output in dimension 0; (0, 2) if that is not wanted.
        holes: the same for dimension 1.
        counts: (2, n), for the number of pairs of each dimension and image.

    Returns:
        The number of pairs written in dimension 0 and in dimension 1.
    """
    n, height, width = images.shape
    size = height * width
    margin = width + 1
    ring = np.zeros(9, np.uint32)
    for k in range(8):
        ring[k] = RING[k][0] * width + RING[k][1]
    downhill, uphill = ring[below[:, 0]], ring[above[:, 0]]
    level = np.empty(size + 2 * margin, levels.dtype)
    masks, names = np.full(size + 2 * margin, 255, np.uint8), np.zeros(size + 2 * margin, np.uint32)
    # Lists have a cell or two more, for an entry that is written but does not count and for the outside.
    critical, saddles, loops = (
        np.empty(size + 1, np.uint32),
        np.empty(size + 1, np.uint32),
        np.empty(size + 1, np.uint32),
    )
    minima, maxima, spare = np.empty(size + 1, np.uint32), np.empty(size + 2, np.uint32), np.empty(size, np.uint32)
    middles, ends, active = np.empty(size, np.uint32), np.empty(2 * size, np.uint32), np.empty(2 * size, np.uint32)
    ages, parents = np.empty(size + 1, levels.dtype), np.empty(size + 1, np.uint32)
    keys = np.empty((2, size), levels.dtype)
    n_components = n_holes = 0
    for i in range(n):
        values = images[i].reshape(size)
        level[margin : margin + size] = levels[i].reshape(size)
        _classify(level, height, width, masks)
        low, high, between = _collect(masks, kinds, margin, size, critical, minima, maxima[1:], saddles)
        order = _sort(saddles[:between], level, spare[:between], keys)
        if len(components):
            for k in range(low):
                names[minima[k]] = k
                ages[k] = level[minima[k]]
            edges = _start(order, masks, below, ring, middles, ends)
            _walk(ends[: 2 * edges], masks, downhill, names, active)
            bars, closed = _unite(
                middles[:edges],
                ends,
                ages,
                parents[:low],
                minima,
                values,
                margin,
                threshold,
                components[n_components:],
                loops,
            )
            order = loops[:closed]
            if essential:
                components[n_components + bars, 0] = minima[_oldest(parents, np.uint32(0))] - margin
                components[n_components + bars, 1] = -1
                bars += 1
            counts[0, i] = bars
            n_components += bars
        if len(holes):
            # From above: the last and highest comes first, and the outside, number 0, before all.
            maxima[0] = margin
            maxima[1 : high + 1] = maxima[1 : high + 1][::-1].copy()
            ages[0] = 0
            for k in range(1, high + 1):
                names[maxima[k]] = k
                ages[k] = ~level[maxima[k]]
            edges = _start(order[::-1], masks, above, ring, middles, ends)
            _enclose(masks, names, height, width)
            _walk(ends[: 2 * edges], masks, uphill, names, active)
            bars, closed = _unite(
                middles[:edges],
                ends,
                ages,
                parents[: high + 1],
                maxima,
                values,
                margin,
                threshold,
                holes[n_holes:],
                loops,
            )
            counts[1, i] = bars
            n_holes += bars
    for k in range(n_holes):
        holes[k, 0], holes[k, 1] = holes[k, 1], holes[k, 0]
    return n_components, n_holes


@njit(nogil=True, cache=True)
def _enclose(masks: NDArray[np.uint8], names: NDArray[np.uint32], height: int, width: int) -> None:
    """Make the border pixels part of the outside, as they are seen from above; walkers stop there."""
    size = height * width
    mask, name = masks[width + 1 :], names[width + 1 :]
    for column in range(width):
        mask[column] = mask[size - 1 - column] = 255
        name[column] = name[size - 1 - column] = 0
    for row in range(height):
        mask[row * width] = mask[row * width + width - 1] = 255
        name[row * width] = name[row * width + width - 1] = 0
