"""Draws that a fuzzer steers: what a case draws from ``random.Random`` comes out of the fuzzer's bytes."""

import random


class GuidedDraws(random.Random):
    """Draws from bytes; from a generator that the bytes seed once they are used up.

    A small change of the bytes changes one draw and leaves the others, so that a fuzzer that watches which lines are
    reached learns which bytes lead there.

    Args:
        content: the fuzzer's.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._left = memoryview(content)

    def getrandbits(self, k: int) -> int:
        """A number below 2 ** k."""
        size = (k + 7) // 8
        if len(self._left) < size:
            return super().getrandbits(k)
        drawn, self._left = self._left[:size], self._left[size:]
        return int.from_bytes(drawn, "little") & ((1 << k) - 1)

    def random(self) -> float:
        """In [0, 1), in steps of 2 ** -16: two bytes."""
        return self.getrandbits(16) / 2**16
