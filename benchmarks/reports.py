"""Report latency: a random mix of filters and edges, asked over HTTP of a reporter over millions of events.

    make bench NAME=reports
    .venv/bin/python -m benchmarks.reports --sizes 1000000,10000000 --requests 300
    .venv/bin/python -m benchmarks.reports --sizes 10000000 --keep /var/tmp/filled

See README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2

from benchmarks import machine
from benchmarks.fill import DAYS, MOST_OF_THEIR_OWN, fill
from benchmarks.resources import Meter
from benchmarks.servers import Server, postgres_server, reporter
from eventpipeline.cli.output import console, print_table
from eventpipeline.publisher.ledger import Latency
from eventpipeline.store.schema import migrate

_BYTES_AN_EVENT = 5000
"""Free while a store is filled: the row, its key, the log of both, what rebuilding the rollups sorts, and a reserve."""
_BYTES_A_COPY = 500
"""The narrow row, its key, and a reserve."""
_BAR_MS, _BAR_EVENTS = 20.0, 10_000_000
_FIRST = date(2026, 1, 1)
_FILLED = "filled.json"
"""Stands in the folder of a store that was filled to the end."""
_WARM_UP = 20

Parameters = dict[str, str]


class Questions:
    """Random filters and edges, seeded."""

    def __init__(self, seed: int, campaigns: int) -> None:
        self._random = random.Random(seed)
        self._campaigns = campaigns

    def window(self, longest: timedelta = timedelta(days=DAYS)) -> Parameters:
        """From any microsecond to any other; one in five is open at one end or both."""
        start = self._instant()
        end = min(start + self._random.random() * longest, self._instant(last=True))
        window = {"from": start.isoformat(), "to": max(end, start + timedelta(seconds=1)).isoformat()}
        if longest >= timedelta(days=DAYS) and self._random.random() < 0.2:
            for name in self._random.choice((("from",), ("to",), ("from", "to"))):
                del window[name]
        return window

    def _instant(self, *, last: bool = False) -> datetime:
        whole = timedelta(days=DAYS)
        return datetime(_FIRST.year, _FIRST.month, _FIRST.day, tzinfo=UTC) + (
            whole if last else self._random.random() * whole
        )

    def _one_of(self, name: str, *values: str) -> Parameters:
        """A filter in half of the questions."""
        return {name: self._random.choice(values)} if self._random.random() < 0.5 else {}

    def events(self) -> Parameters:
        return {
            **self.window(),
            **self._one_of("source", "facebook", "tiktok"),
            **self._one_of("funnelStage", "top", "bottom"),
            **self._one_of("eventType", "ad.view", "video.view", "purchase", "checkout.complete"),
        }

    def events_by_time(self) -> Parameters:
        return self.events() | {"interval": self._random.choice(("hour", "day"))}

    def events_by_minute(self) -> Parameters:
        return self.events() | self.window(timedelta(days=1)) | {"interval": "minute"}

    def revenue(self) -> Parameters:
        return {**self.window(), **self._one_of("source", "facebook", "tiktok")}

    def revenue_by_time(self) -> Parameters:
        return self.revenue() | {"interval": self._random.choice(("hour", "day"))}

    def revenue_by_campaign(self) -> Parameters:
        return self.revenue() | {"groupBy": "campaign"}

    def revenue_of_campaign(self) -> Parameters:
        return self.revenue() | {"campaignId": f"campaign {self._random.randrange(self._campaigns)}"}

    def demographics(self) -> Parameters:
        return {**self.window(), **self._one_of("source", "facebook", "tiktok")}

    def every(self) -> dict[str, tuple[str, Callable[[], Parameters]]]:
        return {
            "events": ("events", self.events),
            "events, by hour or day": ("events", self.events_by_time),
            "events, by minute of a day": ("events", self.events_by_minute),
            "revenue": ("revenue", self.revenue),
            "revenue, by hour or day": ("revenue", self.revenue_by_time),
            "revenue, by campaign": ("revenue", self.revenue_by_campaign),
            "revenue, of one campaign": ("revenue", self.revenue_of_campaign),
            "demographics": ("demographics", self.demographics),
        }


def measure(service: Server, database: Server, requests: int, seed: int, campaigns: int) -> dict[str, Any]:
    """Milliseconds and CPU of each kind of report, one request after the other over one connection."""
    return {
        name: _measured(service, database, requests, report, question)
        for name, (report, question) in Questions(seed, campaigns).every().items()
    }


def _measured(
    service: Server, database: Server, requests: int, report: str, question: Callable[[], Parameters]
) -> dict[str, float]:
    seconds = []
    meter = Meter(lambda: {"reporter": service.pid, "postgres": database.pid}, trees=("postgres",))
    with httpx2.Client(base_url=service.url, timeout=60.0, trust_env=False) as client:
        for number in range(_WARM_UP + requests):
            if number == _WARM_UP:
                meter.start()
            parameters = question()
            started = time.perf_counter()
            response = client.get(f"/reports/{report}", params=parameters)
            taken = time.perf_counter() - started
            if response.status_code != 200:
                raise RuntimeError(f"{report} {parameters}: {response.status_code} {response.text}")
            if number >= _WARM_UP:
                seconds.append(taken)
    meter.sample()
    latency, used = Latency.of(seconds), sum(meter.cpu_seconds().values())
    return {
        "p50_ms": round(latency.p50 * 1000, 2),
        "p99_ms": round(latency.p99 * 1000, 2),
        "cpu_ms": round(used / requests * 1000, 2),
    }


def of_size(events: int, wanted: argparse.Namespace) -> dict[str, Any]:
    """A store of so many events, filled and asked. Raises RuntimeError where the disk is too small."""
    with _folder(events, wanted) as folder:
        filled = folder / _FILLED
        needed = min(events, MOST_OF_THEIR_OWN) * _BYTES_AN_EVENT + max(events - MOST_OF_THEIR_OWN, 0) * _BYTES_A_COPY
        if not filled.exists() and shutil.disk_usage(folder).free < needed:
            raise RuntimeError(f"{events:,} events need {needed / 1e9:.0f} GB free in {folder}")
        with postgres_server(folder) as database:
            if filled.exists():
                migrate(database.url)
            else:
                started = time.monotonic()
                fill(database.url, events, _FIRST, users=max(events // 10, 1), campaigns=wanted.campaigns)
                filled.write_text(json.dumps({"fill_seconds": round(time.monotonic() - started, 1)}))
            with reporter(database.url, folder) as service:
                load = machine.load_average()
                measured = measure(service, database, wanted.requests, wanted.seed, wanted.campaigns)
        return {**json.loads(filled.read_text()), "load_average": load, "reports": measured}


@contextmanager
def _folder(events: int, wanted: argparse.Namespace) -> Iterator[Path]:
    """Where the store of so many events is: kept where that is asked for, else gone afterwards."""
    if wanted.keep:
        kept = Path(wanted.keep) / str(events)
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
    else:
        with tempfile.TemporaryDirectory(prefix="eventpipeline-reports-", dir=wanted.folder) as name:
            yield Path(name)


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 where every report is under the bar at every size up to its own, 1 where not."""
    parser = argparse.ArgumentParser(prog="benchmarks.reports", description=(__doc__ or "").splitlines()[0])
    environ = os.environ.get
    parser.add_argument("--sizes", default=environ("REPORTS_SIZES", f"1000000,{_BAR_EVENTS}"), help="events, by commas")
    parser.add_argument("--requests", type=int, default=int(environ("REPORTS_REQUESTS", "300")), help="of each kind")
    parser.add_argument("--campaigns", type=int, default=int(environ("REPORTS_CAMPAIGNS", "500")))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", default=environ("REPORTS_FOLDER", "/var/tmp"))
    parser.add_argument(
        "--keep", default=environ("REPORTS_KEEP"), help="a folder whose filled stores are kept and reused"
    )
    wanted = parser.parse_args(arguments)
    sizes = [int(size) for size in wanted.sizes.split(",")]
    measured = {size: of_size(size, wanted) for size in sizes}
    names = list(measured[sizes[0]]["reports"])
    rows = [
        (
            name,
            *(
                " / ".join(f"{one['reports'][name][figure]:.1f}" for figure in ("p50_ms", "p99_ms", "cpu_ms"))
                for one in measured.values()
            ),
        )
        for name in names
    ]
    print_table("Reports over HTTP, ms: p50 / p99 / CPU", ("", *(f"{size:,} events" for size in sizes)), rows)
    conditions = {
        "requests": wanted.requests, "days": DAYS, "campaigns": wanted.campaigns, "seed": wanted.seed,
        "file_system": machine.file_system(Path(wanted.folder)),
    }  # fmt: skip
    slow = [
        f"{name} at {size:,} events: p99 {one['reports'][name]['p99_ms']} ms"
        for size, one in measured.items() if size <= _BAR_EVENTS
        for name in names if one["reports"][name]["p99_ms"] >= _BAR_MS
    ]  # fmt: skip
    for line in slow:
        console.print(f"over the bar of {_BAR_MS:g} ms: {line}", markup=False)
    about = {"machine": machine.machine(), "versions": machine.versions(), "conditions": conditions}
    document = {"benchmark": "reports", "ok": not slow, "failures": slow, "sizes": measured, **about}
    print(json.dumps(document), flush=True)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
