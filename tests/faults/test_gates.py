"""The gates of time, over recoveries that are made up."""

from __future__ import annotations

from faults.breaking import Recovery
from faults.gates import passed
from faults.schedule import Fault, Kind, Step


def recovery(*faults: Fault, answering: float | None = 1.0, drained: float | None = 1.0, failed: int = 0) -> Recovery:
    return Recovery(Step(faults, 0.0, 0.0), answering, drained, 1.0, failed)


def test_a_gate_takes_the_worst_of_the_faults_that_came_alone() -> None:
    killed = Fault(Kind.KILL, "gateway-1", 0.0)
    found = passed(
        [
            recovery(killed, failed=0),
            recovery(killed, Fault(Kind.KILL, "nats", 0.0), failed=9),
            recovery(Fault(Kind.RESTART, "nats", 0.0), answering=4.0),
            recovery(Fault(Kind.KILL, "nats", 0.0), answering=11.0),
        ]
    )
    assert [(one.gate.unit, one.measured, one.kept) for one in found] == [
        ("requests", (0.0,), True), ("s", (4.0, 11.0), False),
    ]  # fmt: skip
    assert "at most 10 s; median 7.5, worst 11.0 in 2 times, MISSED" in str(found[1])


def test_what_never_came_back_misses_its_gate() -> None:
    (found,) = passed([recovery(Fault(Kind.KILL, "postgres-backend", 0.0), drained=None)])
    assert not found.kept
    assert "median never, worst never in 1 time, MISSED" in str(found)


def test_a_joint_is_no_server() -> None:
    assert passed([recovery(Fault(Kind.CUT, "gateway-0-nats", 1.0))]) == []
