"""Times of exported files."""

import pytest

from persistill.exporters import latency


@pytest.mark.parametrize(("longest", "sizes"), [(10.0, [1, 64]), (0.0, [1])])
def test_batches_that_would_take_too_long_are_not_timed(monkeypatch, longest, sizes):
    monkeypatch.setattr(latency, "LONGEST", longest)
    monkeypatch.setattr(latency, "SECONDS", 0.0)
    seen = []
    found = latency.milliseconds(lambda images: seen.append(tuple(images.shape)), (3, 4, 4))
    assert [*found] == [str(size) for size in sizes]
    assert seen == [(size, 3, 4, 4) for size in sizes for _ in range(1 + latency.LEAST)]
