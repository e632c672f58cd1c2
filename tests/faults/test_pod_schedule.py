"""The schedule of faults on a cluster, which tests/full plays: the seed's, and through everything."""

from __future__ import annotations

from itertools import islice

from faults.schedule import Fault
from full.pod_schedule import COMPONENTS, FIRST, GATES, PodKind, schedule


def alone(nats_servers: int) -> list[Fault]:
    steps = islice(schedule(7, nats_servers=nats_servers), 100)
    return [step.faults[0] for step in steps if len(step.faults) == 1]


def test_the_same_seed_gives_the_same_schedule() -> None:
    first, second = (list(islice(schedule(7, nats_servers=3), 100)) for _ in range(2))
    assert first == second
    assert first != list(islice(schedule(8, nats_servers=3), 100))


def test_each_fault_comes_alone_first_and_every_kind_soon() -> None:
    faults = alone(nats_servers=3)
    assert {fault.kind for fault in faults[len(FIRST) :][: len(PodKind)]} == set(PodKind)
    for kind in (PodKind.DELETE, PodKind.FORCE, PodKind.KILL, PodKind.ROLL):
        assert sorted(fault.target for fault in faults if fault.kind is kind) == sorted(COMPONENTS)
    assert len(faults) == len(set(faults))


def test_every_seed_begins_with_the_deletion_of_a_gateway_and_of_postgres() -> None:
    for seed in range(20):
        for nats_servers in (1, 3):
            steps = islice(schedule(seed, nats_servers=nats_servers), len(FIRST))
            assert {(fault.kind, fault.target) for step in steps for fault in step.faults} == FIRST


def test_then_two_or_three_different_ones_at_once() -> None:
    steps = list(islice(schedule(7, nats_servers=1), 200))
    together = [step.faults for step in steps if len(step.faults) > 1]
    assert {len(faults) for faults in together} == {2, 3}
    assert all(len(set(faults)) == len(faults) for faults in together)


def test_one_server_has_no_leader_to_lose() -> None:
    assert PodKind.LEADER not in {fault.kind for fault in alone(nats_servers=1)}


def test_every_gate_is_about_faults_that_come() -> None:
    for gate in GATES:
        assert any(gate.applies(fault) for fault in alone(nats_servers=1)), gate.name
