"""Persistence of images by the definition: cells, boundaries and matrix reduction. Tests hold the kernel to it."""

import itertools
from collections.abc import Sequence

Cell = tuple[int, int]


def cubical_pairs(image: Sequence[Sequence[float]], *, construction: str) -> dict[int, list[tuple[int, int]]]:
    """Dimension -> (birth, death) pixels of the sublevel sets; bars of no length are included.

    Cells lie on a grid of twice the fineness, where an odd coordinate means an open interval and an even one a point.
    A cell enters with the first of the pixels of which it is a face ("top_cells"), or with the last of the pixels that
    are its corners ("vertices"), pixels being ordered by (value, raster index). The component that never dies comes
    with death -1.
    """
    height, width = len(image), len(image[0])
    shift, ends = (1, 1) if construction == "top_cells" else (0, -1)
    enters = min if construction == "top_cells" else max
    pixels = sorted(range(height * width), key=lambda p: (image[p // width][p % width], p))
    rank = {(2 * (p // width) + shift, 2 * (p % width) + shift): place for place, p in enumerate(pixels)}
    near = (-1, 0, 1)
    moment = {
        (i, j): enters(rank[i + di, j + dj] for di, dj in itertools.product(near, near) if (i + di, j + dj) in rank)
        for i, j in itertools.product(range(2 * height + ends), range(2 * width + ends))
    }
    order = sorted(moment, key=lambda cell: (moment[cell], _dimension(cell), cell))
    number = {cell: place for place, cell in enumerate(order)}

    pairs: dict[int, list[tuple[int, int]]] = {0: [], 1: []}
    reduced: dict[int, set[int]] = {}  # columns by their last row, the cell whose class they kill
    creators: set[Cell] = set()
    for cell in order:
        column = {number[face] for face in _faces(cell)}
        while column and max(column) in reduced:
            column ^= reduced[max(column)]
        if column:
            killed = order[max(column)]
            reduced[max(column)] = column
            creators.remove(killed)
            if moment[killed] != moment[cell]:
                pairs[_dimension(killed)].append((pixels[moment[killed]], pixels[moment[cell]]))
        else:
            creators.add(cell)
    for cell in creators:
        pairs[_dimension(cell)].append((pixels[moment[cell]], -1))
    return pairs


def _dimension(cell: Cell) -> int:
    return cell[0] % 2 + cell[1] % 2


def _faces(cell: Cell) -> list[Cell]:
    i, j = cell
    return [(i + step, j) for step in (-1, 1) if i % 2] + [(i, j + step) for step in (-1, 1) if j % 2]
