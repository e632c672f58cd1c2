"""`eventpipeline report`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from eventpipeline.cli.connection import DATA_DIR, get, reporter_url
from eventpipeline.cli.output import CommandError, console, fail, print_json, print_table

app = App(name="report", help="Ask a running pipeline for a report: events, revenue or demographics.")

ReportFormat = Literal["table", "json", "csv"]
Interval = Literal["minute", "hour", "day"]


@Parameter(name="*")
@dataclass(frozen=True)
class Asked:
    """What every report takes."""

    from_: Annotated[str | None, Parameter(name="--from")] = None
    "First instant, inclusive: ISO 8601 with an offset, such as 2024-05-01T00:00:00Z. Without it, from the beginning."

    to: str | None = None
    "Last instant, exclusive. Without it, to the end."

    source: str | None = None
    "Only events of this source, such as facebook."

    output: ReportFormat = "table"
    "table for people, json or csv for scripts."

    url: str | None = None
    "The reporter's address; by default that of the pipeline in --data-dir, or http://127.0.0.1:3003."

    data_dir: Path = DATA_DIR
    "Where `eventpipeline up` keeps the pipeline that is asked."

    def params(self) -> dict[str, Any]:
        return {"from": self.from_, "to": self.to, "source": self.source}


_DEFAULTS = Asked()


def _report(name: str, asked: Asked, params: dict[str, Any]) -> int:
    try:
        url = reporter_url(asked.url, asked.data_dir)
        if asked.output == "csv":
            print(get(url, f"/reports/{name}", params, accept="text/csv").text, end="")
            return 0
        report = get(url, f"/reports/{name}", params).json()
    except CommandError as error:
        return fail(str(error))
    if asked.output == "json":
        print_json(report)
    else:
        print_report(name, report)
    return 0


@app.command
def events(
    *, asked: Asked = _DEFAULTS, funnel_stage: Literal["top", "bottom"] | None = None, event_type: str | None = None,
    interval: Interval | None = None,
) -> int:  # fmt: skip
    """How many events there are, by source, funnel stage and type.

    Parameters
    ----------
    funnel_stage
        Only events of this stage.
    event_type
        Only events of this type, such as ad.click.
    interval
        Adds a series of counts by minute, hour or day.
    """
    own = {"funnelStage": funnel_stage, "eventType": event_type, "interval": interval}
    return _report("events", asked, asked.params() | own)


@app.command
def revenue(
    *, asked: Asked = _DEFAULTS, campaign_id: str | None = None, by_campaign: bool = False, limit: int | None = None,
    interval: Interval | None = None,
) -> int:  # fmt: skip
    """What transactions brought, by source. Amounts are exact decimals.

    Parameters
    ----------
    campaign_id
        Only transactions of this campaign.
    by_campaign
        One line a campaign, the largest first.
    limit
        How many campaigns, at most 1000.
    interval
        Adds a series by minute, hour or day.
    """
    own = {
        "campaignId": campaign_id,
        "groupBy": "campaign" if by_campaign else None,
        "limit": limit,
        "interval": interval,
    }
    return _report("revenue", asked, asked.params() | own)


@app.command
def demographics(*, asked: Asked = _DEFAULTS, exact: bool = False) -> int:
    """Who the users are, by source: distributions weighted by events, averages, distinct users.

    Parameters
    ----------
    exact
        Counts distinct users, and values of which there are very many, one by one: slow over many events. Without it
        they are estimates, and it is said how good.
    """
    return _report("demographics", asked, asked.params() | {"exact": "true" if exact else None})


def print_report(name: str, report: dict[str, Any]) -> None:
    """A report as tables."""
    span = f"from {report['from'] or 'the beginning'} to {report['to'] or 'now'}"
    match name:
        case "events":
            rows = [[item["source"], item["funnelStage"], item["eventType"], item["count"]] for item in report["items"]]
            rows.append(["total", "", "", report["total"]])
            print_table(f"Events {span}", ("source", "stage", "type", "events"), rows)
        case "revenue":
            print_table(f"Revenue {span}", *_revenue(report))
        case _:
            for item in report["items"]:
                _print_demographics(item, span)
    if series := report.get("series"):
        print_table("Series", tuple(series[0]), [list(point.values()) for point in series])


def _revenue(report: dict[str, Any]) -> tuple[tuple[str, ...], list[list[Any]]]:
    by_campaign = any("campaignId" in item for item in report["items"])
    rows = [
        [item["source"], *([item["campaignId"]] if by_campaign else []),
         item["revenue"], item["transactions"], item["averageOrderValue"]]
        for item in report["items"]
    ]  # fmt: skip
    padding = [""] if by_campaign else []
    rows.append(["total", *padding, report["total"], report["transactions"], report["averageOrderValue"]])
    campaign = ("campaign",) if by_campaign else ()
    return ("source", *campaign, "revenue", "transactions", "average order value"), rows


def _print_demographics(item: dict[str, Any], span: str) -> None:
    lists = {name: value for name, value in item.items() if isinstance(value, list)}
    numbers = {name: value for name, value in item.items() if isinstance(value, int | float | None)}
    print_table(f"Demographics of {item['source']} {span}", tuple(numbers), [list(numbers.values())])
    for name, bound in item["estimates"].items():
        share, events = bound.get("relativeError"), bound.get("maxError")
        off = f"to {share:.1%}, in 95 of 100 cases" if share else f"counts are up to {events:,} events too low"
        console.print(f"  {name}: an estimate, {off}; --exact counts them", markup=False)
    for name, entries in lists.items():
        rows = [[e.get("range", e.get("value")), e["events"], f"{float(e['share']):.1%}"] for e in entries[:10]]
        more = f" (10 of {len(entries)})" if len(entries) > 10 else ""
        if rows:
            print_table(f"  {name}{more}", (f"  {name}", "events", "share"), rows)
