"""A fuzzer's bytes become draws, and nothing hangs once they are used up."""

import random

from guided_draws import GuidedDraws


def test_bytes_become_draws_in_order() -> None:
    draw = GuidedDraws(bytes([3, 255, 0, 128, 7]))
    assert draw.getrandbits(8) == 3
    assert draw.getrandbits(4) == 15
    assert draw.random() == 0.5
    assert draw.choice("abcdefgh") == "h"


def test_a_changed_byte_changes_one_draw() -> None:
    content = bytes(random.Random(0).choices(range(128), k=40))
    changed = bytes([*content[:5], content[5] ^ 1, *content[6:]])
    draws = [[draw.getrandbits(8) for _ in range(40)] for draw in (GuidedDraws(content), GuidedDraws(changed))]
    assert sum(one != other for one, other in zip(*draws, strict=True)) == 1


def test_draws_go_on_when_bytes_are_used_up() -> None:
    first, again = ([draw.choice(range(10)) for _ in range(50)] for draw in (GuidedDraws(b"x"), GuidedDraws(b"x")))
    assert first == again
    assert len(set(first)) > 5
