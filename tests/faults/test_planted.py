"""The oracle finds a bug of each kind that it is there for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg

from eventpipeline.publisher import Options as Load
from faults.oracle import Found
from faults.planted import entry
from faults.rig import Rig, Shape
from faults.run import Options, run
from faults.schedule import Fault, Kind, Step

SMALL = Shape(gateways=1, collectors=1, volumes=False)
LOAD = Load(rate=4.0, batch=(500, 1500), timeout=20.0)


def faulty(
    folder: Path,
    bug: str,
    *faults: Fault,
    shape: Shape = SMALL,
    load: Load = LOAD,
    prepare: Callable[[Rig], None] = lambda rig: None,
) -> Found:
    """What the oracle finds in a run of the services with the bug, with these faults at once."""
    shape = replace(shape, entry=entry(bug))
    options = Options(load=load, shape=shape, steps=(Step(faults, 0.2, 1.0),), prepare=prepare)
    outcome = asyncio.run(run(folder, options))
    print(outcome.judgement.found, *outcome.judgement.differences, sep="\n")
    return outcome.judgement.found


def killed_collectors() -> list[Fault]:
    return [Fault(Kind.KILL, f"{source}-collector-0", 0.0) for source in ("facebook", "tiktok")]


def test_what_is_acknowledged_before_the_commit_is_lost(tmp_path: Path) -> None:
    found = faulty(tmp_path, "ack-before-commit", *killed_collectors())
    assert found.lost > 0
    assert (found.doubled, found.invented) == (0, 0)


def test_without_a_unique_key_copies_are_counted_twice(tmp_path: Path) -> None:
    def drop_key(rig: Rig) -> None:
        with psycopg.connect(rig.database_url) as connection:
            connection.execute("ALTER TABLE events DROP CONSTRAINT events_pkey")

    copies = replace(LOAD, duplicates=0.5)
    found = faulty(tmp_path, "no-unique-key", Fault(Kind.KILL, "reporter-0", 0.0), load=copies, prepare=drop_key)
    assert found.doubled > 0
    assert (found.lost, found.invented) == (0, 0)


def test_a_rollup_outside_the_transaction_misses_events(tmp_path: Path) -> None:
    found = faulty(tmp_path, "rollup-outside-transaction", *killed_collectors())
    assert found.lost > 0
    assert (found.doubled, found.invented) == (0, 0)


def test_a_stream_that_drops_its_oldest_events_loses_them(tmp_path: Path) -> None:
    small = replace(SMALL, nats_storage="16Mi")
    load = replace(LOAD, batch=(2000, 6000))
    found = faulty(tmp_path, "discard-old", Fault(Kind.PAUSE, "facebook-collector-0", 4.0), load=load, shape=small)
    assert found.lost > 0
    assert (found.doubled, found.invented) == (0, 0)
