"""The statements of the reports, each in a form for windows that leave no events at their ends, or at one or both."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from psycopg import AsyncConnection, AsyncRawCursor, sql

from eventpipeline.sources import Source
from eventpipeline.store import extract
from eventpipeline.store.statements import statement

Which = Literal["none", "all", "one", "events"]
"""By campaign: not; all of them; one; or all or one, from the events themselves."""


_COUNTED = "source, funnel_stage, event_type, currency, events, transactions, amounts, revenue"
_SUMMED = (
    "NULL AS source, NULL AS funnel_stage, NULL AS event_type, NULL AS currency,"
    " sum(events)::bigint AS events, 0 AS transactions, 0 AS amounts, 0 AS revenue"
)

_PARAMETER = re.compile(r"%\((\w+)\)s")


@dataclass(frozen=True, slots=True)
class Query:
    """A statement as Postgres takes it, with the names of its parameters in order.

    psycopg would look for them in each text again for each report: of one as long as these it keeps nothing.
    """

    text: bytes
    names: tuple[str, ...]

    @classmethod
    def of(cls, composed: sql.Composable) -> Query:
        names: dict[str, int] = {}

        def numbered(found: re.Match[str]) -> str:
            return f"${names.setdefault(found[1], len(names) + 1)}"

        text = _PARAMETER.sub(numbered, composed.as_string()).replace("%%", "%")
        return cls(text.encode(), tuple(names))


async def fetched(
    connection: AsyncConnection[Any], query: Query, parameters: dict[str, object], *, prepare: bool = True
) -> list[tuple[Any, ...]]:
    """All rows that `query` gives for what `parameters` have under its names."""
    values = [parameters[name] for name in query.names]
    async with AsyncRawCursor(connection) as cursor:
        await cursor.execute(query.text, values, prepare=prepare, binary=True)  # as text, bytes are twice as many
        return await cursor.fetchall()


@cache
def plain(name: str) -> Query:
    return Query.of(sql.SQL(statement(name)))


@cache
def events_query(edges: int, has_series: bool) -> Query:
    items = sql.SQL(statement("report_events")).format(counts=_counts(edges))
    if not has_series:
        return Query.of(items)
    series = sql.SQL(statement("report_events_series")).format(counts=_counts(edges, "series"))
    return Query.of(sql.SQL("({}) UNION ALL ({})").format(items, series))


@cache
def revenue_query(which: Which, edges: int, has_series: bool) -> Query:
    if which == "none":
        transactions: sql.Composable = sql.SQL(statement("report_transactions")).format(counts=_counts(edges))
    elif which == "events":
        transactions = sql.SQL(statement("report_campaigns_events"))
    else:
        transactions = sql.SQL(statement("report_campaigns")).format(
            campaign=sql.SQL(statement(f"report_campaigns_{which}")),
            position=sql.SQL(", array_position(campaign_id, %(campaign_id)s::text) AS position" * (which == "one")),
            where=sql.SQL("WHERE r.campaign_id IS NULL OR r.position IS NOT NULL" * (which == "one")),
            edges=_edges("report_campaigns_edge", edges),
        )
    return Query.of(
        sql.SQL(statement("report_revenue")).format(
            transactions=transactions,
            start=sql.SQL("start" if has_series else "NULL::timestamptz"),
            is_bucket=sql.SQL("GROUPING(start) = 0" if has_series else "false"),
            series=sql.SQL(", (start, currency)" if has_series else ""),
        )
    )


def demographics_query(source: Source, edges: int) -> Query:
    return _demographics(source, _each_edge("report_edge", edges), sql.SQL(statement("report_edge_users")))


def exact_demographics_query(source: Source) -> Query:
    """The whole window is one edge: each event is counted, and its users are left to others."""
    return _demographics(source, _each_edge("report_whole", 1), sql.SQL(""))


def _demographics(source: Source, edges: Sequence[sql.Composable], edge_users: sql.Composable) -> Query:
    """The events of the edges are looked for once, and make up the part `edge`."""
    query = sql.SQL(statement("report_demographics"))
    nothing = sql.SQL("")
    if not edges:
        return Query.of(query.format(edge=nothing, edges=nothing, edge_users=nothing))
    return Query.of(
        query.format(
            edge=sql.SQL("edge AS MATERIALIZED ({}), ").format(sql.SQL(" UNION ALL ").join(edges)),
            edges=sql.SQL(
                "UNION ALL SELECT number, value, events, total FROM ({}) AS spread JOIN asked USING (dimension)"
            ).format(extract.spread(source, sql.Identifier("edge"))),
            edge_users=edge_users,
        )
    )


@cache
def users_query(edges: int) -> Query:
    return Query.of(sql.SQL(statement("report_users_sketches")).format(edges=_edges("report_users_edge", edges)))


def _counts(edges: int, buckets: Literal["items", "series"] = "items") -> sql.Composed:
    """Of a series only `timestamp` and `events` are anything.

    Its rows of a bucket are added up where they are read, which is in the order of their time: to hash the times of all
    of them takes as long as to read them.
    """
    is_series = buckets == "series"
    prefix = "series_" if is_series else ""
    steps, firsts, lasts = (sql.Placeholder(prefix + name) for name in ("steps", "firsts", "lasts"))
    return sql.SQL(statement("report_counts")).format(
        steps=steps, firsts=firsts, lasts=lasts, edges=_edges("report_counts_edge", edges),
        columns=sql.SQL(_SUMMED if is_series else _COUNTED), grouping=sql.SQL("GROUP BY start" * is_series),
    )  # fmt: skip


def _edges(name: str, count: int) -> sql.Composed:
    return sql.SQL("").join(_each_edge(name, count))


def _each_edge(name: str, count: int) -> list[sql.Composed]:
    """Looks at the events of each edge on its own, by its range of the key."""
    names = ("head", "tail")[:count]
    return [
        sql.SQL(statement(name)).format(first=sql.Placeholder(f"{edge}_from"), last=sql.Placeholder(f"{edge}_to"))
        for edge in names
    ]
