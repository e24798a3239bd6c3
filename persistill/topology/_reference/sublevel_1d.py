"""H0 of the sublevel sets of signals in plain Python. Tests hold the kernels to it."""

from collections.abc import Sequence


def sublevel_pairs(signal: Sequence[float]) -> list[tuple[int, int]]:
    """(birth, death) indices of H0 of the sublevel sets, by a union of neighbors in the order (value, index).

    The global minimum, which never dies, comes with death -1; bars of no length are included.
    """
    elder: dict[int, int] = {}

    def root(i: int) -> int:
        while elder[i] != i:
            i = elder[i]
        return i

    pairs = []
    for i in sorted(range(len(signal)), key=lambda i: (signal[i], i)):
        elder[i] = i
        for j in (i - 1, i + 1):
            if j in elder and root(j) != root(i):
                old, young = sorted((root(i), root(j)), key=lambda r: (signal[r], r))
                elder[young] = old
                if young != i:
                    pairs.append((young, i))
    return [*pairs, (root(0), -1)]
