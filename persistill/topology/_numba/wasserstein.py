"""Compiled kernels for the best matching between two persistence diagrams.

A matching pairs some points of the first diagram with points of the second and sends all others to the diagonal.
Written naively this is an assignment problem among n + m and m + n points. Both kernels solve smaller problems.

Wasserstein: everybody starts at the diagonal, and a pair (i, j) changes the cost by ``c(i, j) - a(i) - b(j)``, where a
and b are the costs of the diagonal. Pairs that do not gain count as 0 (both stay at the diagonal), so it is enough to
assign the smaller diagram's points to the larger one's at least cost: an n x m problem, solved by shortest augmenting
paths with dual prices (Jonker and Volgenant, 1987).

Bottleneck: within a distance e there is a matching if and only if the points farther than e from the diagonal can be
paired, those of the first diagram with some of the second and those of the second with some of the first: two
matchings that cover one side each can be mended into one that covers both (Mendelsohn and Dulmage, 1958). So each side
is served alone, point after point, each time by the augmenting path whose longest step is shortest.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from persistill.topology._numba.jit import kernel

DIAGONAL = -1


@kernel
def gap(x: NDArray[Any], y: NDArray[Any], euclidean: bool) -> Any:
    """Distance between two points of the plane."""
    births = np.abs(x[0] - y[0])
    deaths = np.abs(x[1] - y[1])
    return np.hypot(births, deaths) if euclidean else max(births, deaths)


@kernel
def height(x: NDArray[Any], euclidean: bool) -> Any:
    """Distance of a point from the diagonal."""
    return np.abs(x[1] - x[0]) * (np.sqrt(0.5) if euclidean else 0.5)


@kernel
def assign(costs: NDArray[np.float64], columns: NDArray[np.int64]) -> None:
    """Give every row of (n, m) costs, n <= m, a column of its own, written to ``columns`` (n,), at least total cost."""
    n, m = costs.shape
    row_prices = np.zeros(n)
    column_prices = np.zeros(m)
    owner = np.full(m, -1)
    reached_from = np.empty(m, np.int64)
    shortest = np.empty(m)
    open_ = np.empty(m, np.int64)
    for root in range(n):
        for j in range(m):
            shortest[j] = np.inf
            open_[j] = j
        waiting = m
        row = root
        so_far = 0.0
        while True:
            nearest = np.inf
            place = 0
            for k in range(waiting):
                j = open_[k]
                length = so_far + costs[row, j] - row_prices[row] - column_prices[j]
                if length < shortest[j]:
                    shortest[j] = length
                    reached_from[j] = row
                if shortest[j] < nearest or (shortest[j] == nearest and owner[j] < 0):
                    nearest = shortest[j]
                    place = k
            so_far = nearest
            end = open_[place]
            waiting -= 1
            open_[place] = open_[waiting]
            open_[waiting] = end  # Columns from `waiting` on are settled.
            if owner[end] < 0:
                break
            row = owner[end]
        row_prices[root] += so_far
        for k in range(waiting, m):
            j = open_[k]
            column_prices[j] -= so_far - shortest[j]
            if owner[j] >= 0:
                row_prices[owner[j]] += so_far - shortest[j]
        while True:
            row = reached_from[end]
            owner[end] = row
            end, columns[row] = columns[row], end
            if row == root:
                break


@kernel
def match(
    first: NDArray[np.float64],
    first_offsets: NDArray[np.int64],
    second: NDArray[np.float64],
    second_offsets: NDArray[np.int64],
    order: float,
    euclidean: bool,
    partners: NDArray[np.int64],
) -> None:
    """Match the i-th diagrams of two batches at the least sum of distances to the power ``order``.

    Args:
        first: (P, 2) finite.
        first_offsets: (n + 1,) bounds of the diagrams in ``first``.
        second: (Q, 2) finite.
        second_offsets: (n + 1,) bounds of the diagrams in ``second``.
        order: at least 1.
        euclidean: the distance in the plane: Euclidean, or else the larger of the coordinates' distances.
        partners: (P,), for the output: each point's partner as a position in ``second``, or ``DIAGONAL``.
    """
    for pair in range(len(first_offsets) - 1):
        a, b = first_offsets[pair], second_offsets[pair]
        rows, columns = first[a : first_offsets[pair + 1]], second[b : second_offsets[pair + 1]]
        partners[a : a + len(rows)] = DIAGONAL
        swapped = len(rows) > len(columns)
        if swapped:
            rows, columns = columns, rows
        if len(rows) == 0:
            continue
        # In units of the farthest point's distance from the diagonal no power overflows.
        unit = 0.0
        for x in rows:
            unit = max(unit, height(x, euclidean))
        for y in columns:
            unit = max(unit, height(y, euclidean))
        if unit == 0:
            continue
        home = np.empty(len(columns))
        for j in range(len(columns)):
            home[j] = (height(columns[j], euclidean) / unit) ** order
        costs = np.empty((len(rows), len(columns)))
        for i in range(len(rows)):
            away = (height(rows[i], euclidean) / unit) ** order
            for j in range(len(columns)):
                distance = (gap(rows[i], columns[j], euclidean) / unit) ** order
                costs[i, j] = min(0.0, distance - away - home[j])
        chosen = np.empty(len(rows), np.int64)
        assign(costs, chosen)
        for i in range(len(rows)):
            if costs[i, chosen[i]] < 0:
                if swapped:
                    partners[a + chosen[i]] = b + i
                else:
                    partners[a + i] = b + chosen[i]


@kernel
def cover(rows: NDArray[np.float64], columns: NDArray[np.float64], bound: float, step: NDArray[np.int64]) -> float:
    """The least e >= ``bound`` such that rows farther than e from the diagonal can be paired within e.

    ``step`` (2,) becomes the row and the column (or ``DIAGONAL``) whose distance is e, if e > ``bound``.
    """
    owner = np.full(len(columns), -1)
    reached_from = np.empty(len(columns), np.int64)
    chosen = np.full(len(rows), DIAGONAL)
    longest = np.empty(len(columns))
    open_ = np.empty(len(columns), np.int64)
    steps = np.empty((len(columns), 2), np.int64)
    last = np.empty(2, np.int64)  # where the step of length `so_far` is
    out_step = np.empty(2, np.int64)
    for root in range(len(rows)):
        for j in range(len(columns)):
            longest[j] = np.inf
            open_[j] = j
        waiting = len(columns)
        row = root
        so_far = bound
        last[:] = step
        # The best way out so far: some row on the path, the leaver, goes to the diagonal.
        way_out = np.inf
        leaver = root
        while True:
            own = height(rows[row], False)
            if max(so_far, own) < way_out:
                way_out = max(so_far, own)
                leaver = row
                if own > so_far:
                    out_step[0], out_step[1] = row, DIAGONAL
                else:
                    out_step[:] = last
            if way_out <= bound:
                break
            nearest = np.inf
            place = -1
            for k in range(waiting):
                j = open_[k]
                distance = gap(rows[row], columns[j], False)
                length = max(so_far, distance)
                if length < longest[j]:
                    longest[j] = length
                    reached_from[j] = row
                    if distance > so_far:
                        steps[j, 0], steps[j, 1] = row, j
                    else:
                        steps[j] = last
                if longest[j] < nearest or (longest[j] == nearest and owner[j] < 0):
                    nearest = longest[j]
                    place = k
            if nearest >= way_out:
                break
            so_far = nearest
            end = open_[place]
            last[:] = steps[end]
            waiting -= 1
            open_[place] = open_[waiting]
            if owner[end] < 0:
                leaver = -1
                break
            row = owner[end]
        if leaver >= 0:
            so_far = way_out
            last[:] = out_step
            end = chosen[leaver]
            chosen[leaver] = DIAGONAL
        # Along the path each row takes the column by which it was left; the root had none.
        while end != DIAGONAL:
            row = reached_from[end]
            owner[end] = row
            end, chosen[row] = chosen[row], end
        if so_far > bound:
            bound = so_far
            step[:] = last
    return bound


@kernel
def bottlenecks(
    first: NDArray[np.float64],
    first_offsets: NDArray[np.int64],
    second: NDArray[np.float64],
    second_offsets: NDArray[np.int64],
    steps: NDArray[np.int64],
) -> None:
    """Find the longest step of the best matching between the i-th diagrams of two batches.

    Args:
        first: (P, 2) finite.
        first_offsets: (n + 1,) bounds of the diagrams in ``first``.
        second: (Q, 2) finite.
        second_offsets: (n + 1,) bounds of the diagrams in ``second``.
        steps: (n, 2), for the output: positions in ``first`` and in ``second`` of the two points whose distance is the
            bottleneck distance, one of them ``DIAGONAL`` where it is a distance from the diagonal, both where the
            distance is 0.
    """
    for pair in range(len(first_offsets) - 1):
        a, b = first_offsets[pair], second_offsets[pair]
        rows, columns = first[a : first_offsets[pair + 1]], second[b : second_offsets[pair + 1]]
        steps[pair] = DIAGONAL
        step = np.full(2, DIAGONAL)
        bound = cover(rows, columns, 0.0, step)
        if bound > 0:
            steps[pair, 0] = a + step[0]
            steps[pair, 1] = DIAGONAL if step[1] == DIAGONAL else b + step[1]
        if cover(columns, rows, bound, step) > bound:
            steps[pair, 0] = DIAGONAL if step[1] == DIAGONAL else a + step[1]
            steps[pair, 1] = b + step[0]
