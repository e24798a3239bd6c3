"""Vietoris-Rips persistence as in a textbook, by reducing the boundary matrix. Tests hold the kernels to it."""

import itertools
from collections.abc import Sequence

Simplex = tuple[int, ...]


def rips_pairs(distances: Sequence[Sequence[float]], dimension: int) -> list[tuple[Simplex, Simplex | None]]:
    """Pairs (birth, death) of simplices, of all lengths, also of none; death None for classes that never die.

    Each simplex stands for its longest edge: a pair of H0 is (vertex, edge), a pair of H1 is (edge, edge). Edges of
    equal length enter by their vertices.
    """
    n = len(distances)
    edges = sorted(itertools.combinations(range(n), 2), key=lambda edge: (distances[edge[0]][edge[1]], edge))
    rank: dict[Simplex, int] = {(v,): -1 for v in range(n)} | {edge: i for i, edge in enumerate(edges)}
    triangles: list[Simplex] = list(itertools.combinations(range(n), 3))
    longest: dict[Simplex, Simplex] = {t: max(itertools.combinations(t, 2), key=rank.__getitem__) for t in triangles}
    simplices: list[Simplex] = [*rank, *triangles]
    longest |= {simplex: simplex for simplex in rank}
    simplices.sort(key=lambda simplex: (rank[longest[simplex]], len(simplex), simplex))
    place = {simplex: i for i, simplex in enumerate(simplices)}
    columns: dict[int, set[int]] = {}  # reduced boundaries, by their latest face
    births, pairs = set(), []
    for simplex in simplices:
        boundary: set[int] = set()
        if len(simplex) > 1:
            boundary = {place[face] for face in itertools.combinations(simplex, len(simplex) - 1)}
        while boundary and max(boundary) in columns:
            boundary ^= columns[max(boundary)]
        if boundary:
            youngest = simplices[max(boundary)]
            columns[max(boundary)] = boundary
            births.discard(youngest)
            if len(youngest) == dimension + 1:
                pairs.append((longest[youngest], longest[simplex]))
        elif len(simplex) == dimension + 1:
            births.add(simplex)
    return [*pairs, *((longest[birth], None) for birth in sorted(births))]
