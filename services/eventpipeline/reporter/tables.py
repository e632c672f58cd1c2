"""Reports as CSV (RFC 4180). Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from eventpipeline.reporter.shapes import Report

MEDIA_TYPE = "text/csv"
EVENTS = ("source", "funnelStage", "eventType", "count")
EVENTS_SERIES = ("start", "count")
REVENUE = ("source", "currency", "revenue", "transactions", "averageOrderValue")
REVENUE_BY_CAMPAIGN = ("source", "campaignId", "currency", "revenue", "transactions", "averageOrderValue")
REVENUE_SERIES = ("start", "currency", "revenue", "transactions")
_DEMOGRAPHICS = ("source", "measure", "label", "value", "share")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def table(columns: Sequence[str], rows: Iterable[Report]) -> str:
    """A line for each of `rows`, with these members of it."""
    return _written(columns, ([row[column] for column in columns] for row in rows))


def demographics_table(report: Report) -> str:
    """A line for each number of a demographics report.

    `value` is the number; `label` says of which value or range, where it belongs to a distribution. A line `estimates`
    says of a figure that is not exact how wrong it can be.
    """
    rows: list[Sequence[Any]] = []
    for item in report["items"]:
        for measure, content in item.items():
            if isinstance(content, list):
                rows += [
                    (item["source"], measure, entry.get("value", entry.get("range")), entry["events"], entry["share"])
                    for entry in content
                ]
            elif measure == "estimates":
                rows += [(item["source"], measure, name, *bound.values(), "") for name, bound in content.items()]
            elif measure != "source":
                rows.append((item["source"], measure, "", content, ""))
    return _written(_DEMOGRAPHICS, rows)


def _written(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([_safe(cell) for cell in row] for row in rows)
    return text.getvalue()


def _safe(cell: Any) -> Any:
    """A spreadsheet would run a text that begins like a formula; an apostrophe keeps it a text."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell
