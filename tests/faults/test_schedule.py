"""The schedule is the seed's, and goes through everything."""

from __future__ import annotations

from collections import Counter
from itertools import islice

from faults.gates import GATES
from faults.schedule import Fault, Kind, Targets, is_timed, schedule

TARGETS = Targets(
    programs=("gateway-0", "gateway-1", "facebook-collector-0", "nats", "postgres"),
    joints=("gateway-0-nats", "facebook-collector-0-postgres", "publisher-gateway"),
    sources=("facebook", "tiktok"),
    volumes=("nats", "postgres"),
    clocks=("gateway-0",),
)


def test_the_same_seed_gives_the_same_schedule() -> None:
    first, second = (list(islice(schedule(7, TARGETS, 3.0), 300)) for _ in range(2))
    assert first == second
    assert first != list(islice(schedule(8, TARGETS, 3.0), 300))


def test_first_comes_each_fault_alone_and_every_kind_soon() -> None:
    steps = list(islice(schedule(7, TARGETS, 3.0), 60))
    alone = [step.faults[0] for step in steps if len(step.faults) == 1]
    assert {fault.kind for fault in alone[: len(Kind)]} == set(Kind)
    assert {fault.name for fault in alone} >= {
        "kill -9 gateway", "kill -9 facebook-collector", "kill -9 nats", "kill -9 postgres", "kill -9 postgres-backend",
        "half-open gateway-nats", "cut publisher-gateway", "disk full nats", "disk full by own data postgres",
    }  # fmt: skip


def test_a_fault_whose_recovery_is_timed_comes_alone_as_often_as_asked() -> None:
    steps = islice(schedule(7, TARGETS, 3.0, samples=5), 150)
    alone = Counter(step.faults[0].name for step in steps if len(step.faults) == 1)
    timed = {
        "kill -9 gateway", "kill -9 facebook-collector", "kill -9 nats", "kill -9 postgres", "kill -9 postgres-backend",
        "restart nats", "restart postgres", "disk full nats", "disk full postgres", "disk full by own data nats",
        "disk full by own data postgres",
    }  # fmt: skip
    assert alone == {name: 5 if name in timed else 1 for name in alone}
    assert timed <= alone.keys()


def test_every_gate_is_about_faults_that_are_timed() -> None:
    faults = [step.faults[0] for step in islice(schedule(7, TARGETS, 3.0), 60) if len(step.faults) == 1]
    for fault in faults:
        assert is_timed(fault) == any(gate.applies(fault) for gate in GATES), fault


def test_several_come_together_but_only_one_disk_is_full_at_a_time() -> None:
    steps = list(islice(schedule(7, TARGETS, 30.0), 400))
    assert {len(step.faults) for step in steps} <= set(range(1, 6))
    disks = (Kind.DISK_FULL, Kind.DISK_FULL_OWN)
    assert all(sum(fault.kind in disks for fault in step.faults) <= 1 for step in steps)
    assert max(fault.seconds for step in steps for fault in step.faults) == 30.0


def test_without_volumes_no_disk_is_full() -> None:
    bare = Targets(TARGETS.programs, TARGETS.joints, TARGETS.sources, volumes=(), clocks=())
    kinds = {fault.kind for step in islice(schedule(7, bare, 3.0), 200) for fault in step.faults}
    assert kinds == set(Kind) - {Kind.DISK_FULL, Kind.DISK_FULL_OWN, Kind.CLOCK}


def test_replicas_are_counted_together() -> None:
    assert Fault(Kind.CUT, "gateway-1-nats", 1.0).name == "cut gateway-nats"
