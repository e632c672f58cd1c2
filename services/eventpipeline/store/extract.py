"""How the fields of a source are read from the JSON of an event in SQL: composed from its declarative file.

A field is read only in the funnel stages whose schema has it. Elsewhere a stray member of that name may hold
anything, and a cast of it would make Postgres refuse a whole batch.

The declaration of a source that is not built in may change while events that were valid by the one before are on
their way, or stored. Such a source is read with a guard before each cast: what does not fit counts as not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import LiteralString

from psycopg import sql

from eventpipeline.events import DECIMAL_PATTERN
from eventpipeline.sources import BUILT_IN, FUNNEL_STAGES, Distribution, Source
from eventpipeline.store.statements import statement

NULL = sql.SQL("NULL")


def _path(pointer: str) -> sql.Literal:
    # In quotes, or a member called null would be no name in the notation of arrays.
    return sql.Literal('{"' + pointer.strip("/").replace("/", '","') + '"}')


def text(pointer: str) -> sql.Composed:
    """The member at `pointer` of `data` as text."""
    return sql.SQL("data #>> {}").format(_path(pointer))


def _is_guarded(source: Source) -> bool:
    return source.name not in BUILT_IN


def _key(source: Source, pointer: str) -> sql.Composed:
    """The member at `pointer` of `data` as text that fits an index."""
    return sql.SQL("left({}, 256)").format(text(pointer)) if _is_guarded(source) else text(pointer)


def number(source: Source, pointer: str) -> sql.Composed:
    """The member at `pointer` of `data`, a JSON number, exact: bigint where it is declared as an integer."""
    exact = sql.SQL("(data #> {})::{}").format(_path(pointer), sql.SQL(_number_type(source, pointer)))
    if not _is_guarded(source):
        return exact
    return sql.SQL("CASE WHEN jsonb_typeof(data #> {}) = 'number' THEN {} END").format(_path(pointer), exact)


def _number_type(source: Source, pointer: str) -> LiteralString:
    if _is_guarded(source):
        return "numeric"
    declared = [source.schema_of(stage).at(pointer) for stage in source.stages_with(pointer)]
    return "bigint" if all(schema and "integer" in schema.types for schema in declared) else "numeric"


def where_declared(source: Source, pointer: str, expression: sql.Composable) -> sql.Composable:
    """`expression` in the funnel stages that declare `pointer`, NULL in the others."""
    stages = source.stages_with(pointer)
    if len(stages) == len(FUNNEL_STAGES):
        return expression
    return sql.SQL("CASE WHEN funnel_stage = {} THEN {} END").format(sql.Literal(stages[0]), expression)


def user_id(source: Source) -> sql.Composable:
    found = where_declared(source, source.user, _key(source, source.user))
    return sql.SQL("coalesce({}, '')").format(found) if _is_guarded(source) else found


def campaign_id(source: Source) -> sql.Composable:
    return where_declared(source, source.campaign, _key(source, source.campaign)) if source.campaign else NULL


def is_transaction(source: Source) -> sql.Composable:
    if not source.transactions:
        return sql.SQL("false")
    return sql.SQL("event_type IN ({})").format(_listed([*map(sql.Literal, source.transactions.event_types)]))


def amount(source: Source) -> sql.Composable:
    """The amount of a transaction; NULL in a transaction without one, and in everything else."""
    if not source.transactions:
        return NULL
    found = text(source.transactions.amount)
    exact = sql.SQL("({})::numeric").format(found)
    if _is_guarded(source):
        exact = sql.SQL("CASE WHEN {} ~ {} THEN {} END").format(found, sql.Literal(DECIMAL_PATTERN), exact)
    return sql.SQL("CASE WHEN {} THEN {} END").format(is_transaction(source), exact)


def currency(source: Source) -> sql.Composable:
    if not source.transactions or not source.transactions.currency:
        return NULL
    return sql.SQL("CASE WHEN {} THEN {} END").format(
        is_transaction(source), _key(source, source.transactions.currency)
    )


def spread(source: Source, events: sql.Composable) -> sql.Composed:
    """A query of `(minute, dimension, value, events, total)` over the relation `events`.

    `events` has the columns `timestamp`, `funnel_stage` and `data`. There is a row for each value, or label of a
    range, of each distribution, with how many events have it; and one for each average, with value '', how many
    events carry the number, and their sum in `total`. Events that lack a field count nowhere.
    """
    minute = sql.Identifier("minute")
    values = [sql.Identifier(f"value_{index}") for index in range(len(source.distributions))]
    numbers = [sql.Identifier(f"number_{index}") for index in range(len(source.averages))]
    fields = [
        sql.SQL("{} AS {}").format(where_declared(source, distribution.pointer, _value(source, distribution)), name)
        for distribution, name in zip(source.distributions, values, strict=True)
    ] + [
        sql.SQL("{} AS {}").format(where_declared(source, average.pointer, number(source, average.pointer)), name)
        for average, name in zip(source.averages, numbers, strict=True)
    ]
    all_folded = (1 << len(values)) - 1
    rows = [
        sql.SQL("(folded = {}, {}, {}, count_all, 0)").format(
            # GROUPING sets the bit of each column that is folded; the last column has the lowest bit.
            sql.Literal(all_folded & ~(1 << (len(values) - 1 - index))),
            sql.Literal(distribution.name),
            values[index],
        )
        for index, distribution in enumerate(source.distributions)
    ] + [
        sql.SQL("(folded = {}, {}, CASE WHEN {count} > 0 THEN '' END, {count}, {total})").format(
            sql.Literal(all_folded),
            sql.Literal(average.name),
            count=sql.Identifier(f"count_{index}"),
            total=sql.Identifier(f"sum_{index}"),
        )
        for index, average in enumerate(source.averages)
    ]
    sums: list[sql.Composable] = [sql.SQL("count(*) AS count_all")]
    sums += [
        sql.SQL("count({number}) AS {}, sum({number}) AS {}").format(
            sql.Identifier(f"count_{index}"), sql.Identifier(f"sum_{index}"), number=name
        )
        for index, name in enumerate(numbers)
    ]
    sets = [sql.SQL("({}, {})").format(minute, name) for name in values] + [sql.SQL("({})").format(minute)]
    return sql.SQL(statement("spread")).format(
        columns=_listed([minute, *values]),
        fields=_listed(fields or [NULL]),
        sums=_listed(sums),
        sets=_listed(sets),
        rows=_listed(rows or [sql.SQL("(false, NULL, NULL, 0, 0)")]),
        events=events,
    )


def spread_listed(source: Source, events: sql.Composable) -> sql.Composed:
    """Further rows `(source, dimension, minutes, values, events, totals)`: the distributions of high cardinality.

    Each value is of one event; `events` and `totals` are NULL.
    """
    return sql.SQL("").join(
        sql.SQL(statement("spread_listed")).format(
            source=sql.Literal(source.name),
            dimension=sql.Literal(distribution.name),
            value=where_declared(source, distribution.pointer, _value(source, distribution)),
            events=events,
        )
        for distribution in source.distributions
        if distribution.high_cardinality
    )


def _listed(parts: Sequence[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)


def _value(source: Source, distribution: Distribution) -> sql.Composed:
    if not distribution.ranges:
        return _key(source, distribution.pointer)
    return sql.SQL("(ARRAY[{}])[width_bucket({}, ARRAY[{}]::{}[]) + 1]").format(
        _listed([*map(sql.Literal, distribution.range_labels)]),
        number(source, distribution.pointer),
        _listed([*map(sql.Literal, distribution.ranges)]),
        sql.SQL(_number_type(source, distribution.pointer)),
    )
