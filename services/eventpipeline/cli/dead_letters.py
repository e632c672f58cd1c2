"""`eventpipeline dead-letters`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from eventpipeline.cli.connection import DATA_DIR, get, reporter_url
from eventpipeline.cli.output import CommandError, OutputFormat, fail, print_json, print_table

app = App(name="dead-letters", help="List and show the events that were refused, with the reason and their own bytes.")


@app.command(name="list")
def list_(
    *,
    source: str | None = None,
    reason: str | None = None,
    funnel_stage: str | None = None,
    event_id: str | None = None,
    from_: Annotated[str | None, Parameter(name="--from")] = None,
    to: str | None = None,
    limit: int = 20,
    output: OutputFormat = "table",
    url: str | None = None,
    data_dir: Path = DATA_DIR,
) -> int:
    """List the newest refused events.

    Parameters
    ----------
    source
        Only of this source.
    reason
        Only with this reason, such as missing_field.
    funnel_stage
        Only of this stage, as the event named it.
    event_id
        Only of this event.
    from_
        Only refused since then: ISO 8601 with an offset.
    to
        Only refused before then.
    limit
        How many, at most 1000.
    output
        `table` for people, `json` for scripts.
    url
        The reporter's address; by default that of the pipeline in --data-dir, or http://127.0.0.1:3003.
    data_dir
        Where `eventpipeline up` keeps the pipeline.
    """
    asked = {
        "source": source, "reason": reason, "funnelStage": funnel_stage, "eventId": event_id,
        "from": from_, "to": to, "limit": limit,
    }  # fmt: skip
    try:
        page = get(reporter_url(url, data_dir), "/dead-letters", asked).json()
    except CommandError as error:
        return fail(str(error))
    if output == "json":
        print_json(page)
        return 0
    columns = ("id", "received", "source", "event", "reason", "what is wrong")
    print_table("Dead letters", columns, [_row(item) for item in page["items"]])
    if page["next"]:
        print("There are more; narrow the list, or raise --limit.")
    return 0


def _row(item: dict[str, Any]) -> list[Any]:
    faults = [f"{'.'.join(map(str, fault['loc']))} {fault['msg']}".strip() for fault in item["detail"][:2]]
    return [item["id"], item["receivedAt"], item["source"], item["eventId"], item["reason"], "; ".join(faults)]


@app.command
def show(identity: str, /, *, output: OutputFormat = "table", url: str | None = None, data_dir: Path = DATA_DIR) -> int:
    """Show one refused event: why, and the event as it came.

    Parameters
    ----------
    identity
        The id that `dead-letters list` shows.
    output
        `table` for people, `json` for scripts.
    url
        The reporter's address; by default that of the pipeline in --data-dir, or http://127.0.0.1:3003.
    data_dir
        Where `eventpipeline up` keeps the pipeline.
    """
    try:
        letter = get(reporter_url(url, data_dir), f"/dead-letters/{identity}").json()
    except CommandError as error:
        return fail(str(error))
    if output == "json":
        print_json(letter)
        return 0
    facts = [name for name in letter if name not in ("payload", "detail")]
    print_table("Dead letter", ("field", "value"), [[name, letter[name]] for name in facts])
    rows = [[".".join(map(str, fault["loc"])), fault["msg"]] for fault in letter["detail"]]
    print_table("What is wrong", ("place", "message"), rows)
    print(letter["payload"])
    return 0
