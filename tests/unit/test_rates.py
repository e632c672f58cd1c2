"""Token buckets, with a clock that the test moves."""

from __future__ import annotations

from eventpipeline.authentication import RateLimit
from eventpipeline.rates import Buckets, Callers

LIMIT = RateLimit(requests_per_second=2, burst=3)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_as_many_as_burst_come_at_once_and_then_as_many_a_second() -> None:
    clock = Clock()
    callers = Callers(LIMIT, clock)
    assert [callers.take("a") for _ in range(5)] == [0, 0, 0, 0.5, 0.5]
    assert callers.take("b") == 0, "each caller has its own"
    clock.now += 0.5
    assert [callers.take("a") for _ in range(2)] == [0, 0.5]
    clock.now += 1000
    assert [callers.take("a") > 0 for _ in range(4)] == [False, False, False, True], "no more than burst are saved up"


def test_who_has_not_called_for_longest_is_forgotten() -> None:
    callers = Callers(LIMIT, Clock(), most=2)
    for name in ("a", "b", "b", "b"):
        assert not callers.take(name)
    assert callers.take("b")
    assert not callers.take("a")
    assert not callers.take("c"), "b is the one that goes"
    assert not callers.take("b")
    assert len(callers._buckets) == 2


def test_a_request_of_several_sources_takes_of_all_or_of_none() -> None:
    clock = Clock()
    buckets = Buckets({"a": LIMIT, "b": RateLimit(requests_per_second=1, burst=1)}, clock)
    assert buckets.limited(("a", "c")) == {"a"}
    assert buckets.take(("a", "b", "c")) == 0
    assert buckets.take(("a", "b")) == 1.0
    assert [buckets.take("a") for _ in range(3)] == [0, 0, 0.5]
