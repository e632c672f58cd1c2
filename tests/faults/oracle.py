"""The oracle: what was sent and answered, against what Postgres holds, event by event, and what the reporter says.

The rows are compared one by one with the record of what was sent; each rollup with what the rows add up to, counted
by SQL that shares nothing with the product's; the reports and the dead letters with what was answered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg

from eventpipeline.publisher.ledger import Ledger
from eventpipeline.publisher.verify import Verdict

SQL = Path(__file__).with_name("sql")


@dataclass(frozen=True)
class Found:
    """What a run came to, in events. All but the first four must be zero."""

    sent: int
    """In requests, copies counted each time."""
    accepted: int
    """Of them answered 202."""
    refused: int
    """Of them answered 503 or not at all: they may be there, each at most once."""
    rejected: int
    """Of them answered as invalid."""
    stored: int
    """Rows."""
    lost: int
    """Answered 202, and not a row, or missing in a rollup or in a report."""
    doubled: int
    """More than one row, or counted more than once in a rollup or in a report."""
    invented: int
    """Rows of events that were never sent."""
    unexplained: int
    """Everything else that is not as it must be; `differences` says what."""

    def as_json(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True)
class Judgement:
    found: Found
    differences: tuple[str, ...]
    """Each a sentence; none where all is well."""

    @property
    def ok(self) -> bool:
        return not self.differences


def judge(database_url: str, sent: Path, ledger: Ledger, reported: Verdict) -> Judgement:
    """Compares everything. `sent` is a file that `Sent` wrote, `reported` the verdict over what the reporter says."""
    with psycopg.connect(database_url, autocommit=True, options="-c timezone=UTC -c work_mem=256MB") as connection:
        _load(connection, sent, ledger)
        lost = _row(connection, "lost")
        doubled = _row(connection, "doubled")
        invented = _row(connection, "invented")
        altered = _row(connection, "altered")
        dead = _row(connection, "dead_after_accepted")
        minutes = _row(connection, "minutes")
        demographics = _row(connection, "demographics")
        campaigns = _row(connection, "campaigns")
        users = _row(connection, "users")
        stored = _row(connection, "stored")
    differences = [
        *_said(lost[0], "events that were answered 202 are no row"),
        *_said(doubled[0], "rows are there beside another of the same event"),
        *_said(invented[0], "rows are of events that were not sent, or whose request was refused for good"),
        *_said(altered[0], "rows differ from what was sent"),
        *_said(dead[0], "dead letters are of valid events"),
        *_said(minutes[0], "events are rows but missing in the rollup of events"),
        *_said(minutes[1], "events are in the rollup of events beyond their rows"),
        *_said(minutes[2], "lines of the rollup of events have wrong sums"),
        *_said(demographics[0], "values are missing in the rollup of demographics"),
        *_said(demographics[1], "values are in the rollup of demographics beyond the rows"),
        *_said(demographics[2], "lines of the rollup of demographics have wrong sums"),
        *_said(campaigns[0], "transactions are rows but missing in the rollup of campaigns"),
        *_said(campaigns[1], "transactions are in the rollup of campaigns beyond their rows"),
        *_said(campaigns[2], "lines of the rollup of campaigns have wrong sums"),
        *_said(users[0], "registers of the sketches of users are not what the rows make them"),
        *(f"The reports: {difference}" for difference in reported.differences),
    ]
    counted = {
        "lost": max(lost[0] + minutes[0], campaigns[0], reported.lost) or min(demographics[0], 1),
        "doubled": max(doubled[0] + minutes[1], campaigns[1], reported.doubled) or min(demographics[1], 1),
        "invented": max(invented[0], reported.invented),
    }
    unexplained = altered[0] + dead[0] + minutes[2] + demographics[2] + campaigns[2] + users[0]
    if not any(counted.values()):
        unexplained += len(reported.differences)
    totals = ledger.totals()
    found = Found(
        sent=totals.sent, accepted=totals.accepted, refused=totals.refused + totals.unanswered,
        rejected=totals.rejected, stored=stored[0], unexplained=unexplained, **counted,
    )  # fmt: skip
    return Judgement(found, tuple(differences))


def _load(connection: psycopg.Connection[Any], sent: Path, ledger: Ledger) -> None:
    """What was sent, and what may be concluded from the answers, as tables beside the product's."""
    connection.execute(_sql("tables"))
    with connection.cursor() as cursor:
        with cursor.copy("COPY oracle.sent FROM STDIN") as copy, sent.open("rb") as file:
            while chunk := file.read(2**20):
                copy.write(chunk)
        with cursor.copy("COPY oracle.fate FROM STDIN") as copy:
            for row in _fates(ledger):
                copy.write_row(row)
    connection.execute("ANALYZE oracle.sent")
    connection.execute("ANALYZE events")


def _fates(ledger: Ledger) -> Iterable[tuple[int, bool]]:
    """Each batch that may be there, and whether it must."""
    must = {request.batch for request in ledger.requests if request.fate.settled}
    may = {request.batch for request in ledger.requests if request.fate.open} | must
    return [(batch, batch in must) for batch in sorted(may)]


def _row(connection: psycopg.Connection[Any], name: str) -> tuple[int, ...]:
    row = connection.execute(_sql(name)).fetchone()
    assert row is not None
    return tuple(int(value or 0) for value in row)


def _sql(name: str) -> Any:
    return (SQL / f"{name}.sql").read_text()


def _said(count: int, what: str) -> list[str]:
    return [f"{count:,} {what}."] if count else []
