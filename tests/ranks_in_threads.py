"""Ranks as threads of this process, one of which runs at a time: what they tell each other, without starting any."""

import pickle
import threading
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from persistill.ranks import Ranks
from persistill.ranks.ranks import _pickled

SECONDS = 120


class World:
    """What the ranks have in common: whose turn it is, and what each has to say."""

    def __init__(self, size: int) -> None:
        self.turn, self.size = threading.Lock(), size
        self.meeting = threading.Barrier(size)
        self.said: list[bytes] = [b""] * size


class ThreadRanks(Ranks):
    """A rank that meets the others in memory. What is told is pickled on the way, as between processes."""

    def __init__(self, rank: int, world: World) -> None:
        super().__init__()
        self.rank, self.size, self.world = rank, world.size, world

    def tell_all(self, value: Any) -> list[Any]:
        self.world.said[self.rank] = _pickled(value)
        self._meet()
        heard = [pickle.loads(one) for one in self.world.said]
        self._meet()
        return heard

    def _meet(self) -> None:
        self.world.turn.release()
        try:
            self.world.meeting.wait(SECONDS)
        finally:
            self.world.turn.acquire()

    def _gather(self, rows: Tensor, counts: Sequence[int]) -> list[Tensor]:
        heard = self.tell_all(rows)
        assert [len(one) for one in heard] == list(counts)
        return heard

    def from_leader(self, value: Any) -> Any:
        return self.tell_all(value if self.leads else None)[0]

    def to_leader(self, value: Any) -> list[Any]:
        heard = self.tell_all(value)
        return heard if self.leads else []


def in_ranks(size: int, work: Callable[[Ranks], Any]) -> list[Any]:
    """What some work comes to on every rank. A mistake of one ends all, and is raised here."""
    world, found, failed = World(size), [None] * size, []

    def run(rank: int) -> None:
        with world.turn:
            try:
                found[rank] = work(ThreadRanks(rank, world) if size > 1 else Ranks())
            except threading.BrokenBarrierError:
                pass  # another one's mistake
            except BaseException as error:  # noqa: BLE001
                failed.append(error)
                world.meeting.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return found
