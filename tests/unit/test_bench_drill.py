"""The pure parts of the drill. The drill itself is run by `make bench NAME=drill`."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest

# The benchmarks are no part of the distribution.
sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.drill import asked
from benchmarks.lag import Sample, quarters
from benchmarks.load import Plan
from benchmarks.report import LOAD, PIPELINE, Phase, document, failures, rows
from benchmarks.resources import collected_ticks, kib_of, kind_of, own_ticks

COSTS = {name: float(index) for index, name in enumerate((*PIPELINE, *LOAD), start=1)}
GOOD = Phase(
    seconds=3.0,
    seed=1,
    bodies="memory",
    requests=3,
    answers={"202": 3},
    accepted=150_000,
    rejected=0,
    body_mb=65.6,
    events_per_second=48_687.8761,
    committed_per_second=32_784.9,
    answer_p50_ms=1120.3,
    answer_p99_ms=1221.2,
    answer_max_ms=1221.2,
    sent_late_max_ms=2.5,
    lag_max_messages=57,
    lag_max_seconds=1.31,
    lag_max_seconds_by_quarter=(0.0, 0.7, 1.0, 1.31),
    lag_samples=3,
    lag_samples_missed=0,
    drain_seconds=1.494,
    cpu_seconds=COSTS,
    cpu_us_per_event=COSTS,
    postgres_cpu_us_per_event={"connections": 4.5, "checkpointer": 1.5},
    other_cpu_cores=0.5,
    peak_memory_mb=COSTS,
    refused=0,
    lost=0,
    doubled=0,
    invented=0,
    verdict="150,000 events accepted in 3 requests: every one is counted exactly once",
    differences=(),
    died=(),
)


def test_the_json_has_what_was_measured_by_phase() -> None:
    written = json.loads(json.dumps(document({"true": GOOD, "ceiling": GOOD}, {"machine": {"cores": 2}})))
    assert written["ok"]
    assert written["machine"] == {"cores": 2}
    assert list(written["phases"]) == ["true", "ceiling"]
    phase = written["phases"]["ceiling"]
    assert phase["lag_bounded"]
    assert phase["events_per_second"] == 48_687.876
    assert phase["drain_seconds"] == 1.494
    assert phase["lag_max_seconds_by_quarter"] == [0.0, 0.7, 1.0, 1.31]
    assert phase["cpu_us_per_event"]["postgres"] == 6.0
    assert phase["peak_memory_mb"].keys() == {*PIPELINE, *LOAD}
    assert (phase["refused"], phase["lost"], phase["doubled"]) == (0, 0, 0)


def test_the_table_has_a_column_a_phase_and_adds_up_the_pipeline_without_the_load() -> None:
    table = {row[0]: row[1:] for row in rows({"true": GOOD, "ceiling": dataclasses.replace(GOOD, drain_seconds=None)})}
    assert table["events/s answered"] == ["48,688", "48,688"]
    assert table["drained after s"] == ["1.5", "never"]
    assert table["  checkpointer"] == ["1.5", "1.5"]
    assert table["  publisher"] == ["7.0", "7.0"]
    assert table["  the pipeline together"] == ["21.0", "21.0"]
    assert {len(values) for values in table.values()} == {2}


@pytest.mark.parametrize(
    ("change", "failure"),
    [
        ({"refused": 2, "answers": {"202": 1, "503": 2}}, "true: 2 of 3 posts refused (2 × 503)"),
        ({"lost": 1_000, "differences": ("…",)}, "true: 1,000 events lost"),
        ({"doubled": 3, "invented": 1, "differences": ("…",)}, "true: 4 events doubled"),
        ({"drain_seconds": None}, "true: the lag did not drain"),
        (
            {"lag_max_seconds_by_quarter": (1.0, 6.0, 9.0, 12.0)},
            "true: the lag was not bounded: the oldest waited 1.0, 6.0, 9.0, 12.0 s at most in each quarter",
        ),
        ({"differences": ("Money is missing.",)}, "true: the reports are not right: Money is missing."),
        ({"died": ("nats died (pid 7): killed by SIGKILL",)}, "true: nats died (pid 7): killed by SIGKILL"),
    ],
)
def test_what_misses_the_bar_is_named(change: dict[str, object], failure: str) -> None:
    phases = {"true": dataclasses.replace(GOOD, **change), "ceiling": GOOD}  # type: ignore[arg-type]
    assert failures(phases) == [failure]
    assert document(phases, {})["ok"] is False


@pytest.mark.parametrize(
    ("rate", "seconds", "batches", "size", "interval"),
    [(50_000, 60, 60, 50_000, 1.0), (2_000, 3, 3, 2_000, 1.0), (100_000, 5, 10, 50_000, 0.5), (10, 0.1, 1, 10, 1.0)],
)
def test_a_rate_is_one_post_a_second_as_long_as_a_post_may_carry_it(
    rate: int, seconds: float, batches: int, size: int, interval: float
) -> None:
    assert Plan.of(rate, seconds) == Plan(batches, size, interval)


def test_options_come_from_arguments_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRILL_TRUE_SECONDS", "4")
    monkeypatch.setenv("DRILL_RATE", "1000")
    options = asked(["--rate", "2000"])
    assert (options.true_seconds, options.ceiling_seconds, options.rate) == (4.0, 60.0, 2000)
    assert options.folder == Path("/var/tmp")


def test_a_lag_is_shown_by_quarters_of_the_time() -> None:
    samples = [
        Sample(100.0 + at, 0, 0, 0, age) for at, age in ((0.5, 1.0), (1.5, 3.0), (1.9, 2.0), (3.9, 4.0), (4.1, 9.0))
    ]
    assert quarters(samples, 100.0, 104.0) == [1.0, 3.0, 0.0, 4.0]


def test_a_sample_adds_up_the_sources_and_is_none_without_a_stream() -> None:
    status = {
        "stream": "ok",
        "sources": [
            {"events": 5, "pendingMessages": 2, "oldestPendingSeconds": 0.5},
            {"events": 6, "pendingMessages": 0, "oldestPendingSeconds": 0.0},
        ],
        "deadLetters": {"pendingMessages": 0},
    }
    assert Sample.of(1.0, status) == Sample(1.0, 11, 2, 0, 0.5)
    assert Sample.of(1.0, status | {"stream": "NATS is not connected"}) is None


def test_ticks_are_found_behind_any_process_name() -> None:
    stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 11 22 33 44 20 0 1 0 5 6 7"
    assert own_ticks(stat) == 33
    assert collected_ticks(stat) == 77
    assert kib_of("Name:\tx\nVmHWM:\t  1234 kB\n", "VmHWM") == 1234


@pytest.mark.parametrize(
    ("title", "kind"),
    [
        ("postgres: checkpointer ", "checkpointer"),
        ("postgres: io worker 2", "io worker"),
        ("postgres: autovacuum worker eventpipeline", "autovacuum worker"),
        ("postgres: autovacuum launcher ", "autovacuum launcher"),
        ("postgres: background writer ", "background writer"),
        ("postgres: eventpipeline_service eventpipeline 127.0.0.1(43210) INSERT", "connections"),
        ("postgres: postgres eventpipeline [local] idle", "connections"),
        ("/usr/lib/postgresql/18/bin/postgres -D data", "postmaster"),
    ],
)
def test_the_processes_of_postgres_are_told_by_their_titles(title: str, kind: str) -> None:
    assert kind_of(title) == kind
