"""`eventpipeline dead-letters`."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from eventpipeline.cli.connection import DATA_DIR, delete, get, reporter_url
from eventpipeline.cli.letters import ALL, Selected, identities, letter
from eventpipeline.cli.output import CommandError, OutputFormat, fail, print_json, print_table

app = App(name="dead-letters", help="The events that were refused: list, show, export, replay and drop them.")
app.command(
    "eventpipeline.cli.replay_letters:replay", name="replay", help="Send refused events again, mended if need be."
)


@app.command(name="list")
def list_(
    *,
    selected: Selected = ALL,
    limit: int = 20,
    output: OutputFormat = "table",
    url: str | None = None,
    data_dir: Path = DATA_DIR,
) -> int:
    """List the newest refused events.

    Parameters
    ----------
    limit
        How many, at most 1000.
    output
        `table` for people, `json` for scripts.
    url
        The reporter's address; by default that of the pipeline in --data-dir, or http://127.0.0.1:3003.
    data_dir
        Where `eventpipeline up` keeps the pipeline.
    """
    asked = {**selected.parameters(), "limit": limit}
    try:
        page = get(reporter_url(url, data_dir), "/dead-letters", asked).json()
    except CommandError as error:
        return fail(str(error))
    if output == "json":
        print_json(page)
        return 0
    columns = ("id", "received", "source", "event", "reason", "what is wrong")
    print_table("Dead letters", columns, [_row(item) for item in page["items"]])
    if page["items"]:
        print("Each is kept until it is dropped.")
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
    facts = {name: value for name, value in letter.items() if name not in ("payload", "detail")}
    facts["expiresAt"] = letter["expiresAt"] or "when it is dropped"
    print_table("Dead letter", ("field", "value"), [[name, value] for name, value in facts.items()])
    rows = [[".".join(map(str, fault["loc"])), fault["msg"]] for fault in letter["detail"]]
    print_table("What is wrong", ("place", "message"), rows)
    print(letter["payload"])
    return 0


@app.command
def export(
    *ids: str,
    selected: Selected = ALL,
    file: Path | None = None,
    url: str | None = None,
    data_dir: Path = DATA_DIR,
) -> int:
    """Write refused events out: a line of JSON each, with the reason and the event as it came.

    Parameters
    ----------
    ids
        Only these, by the id that `dead-letters list` shows.
    file
        Where to; by default to the standard output.
    url
        The reporter's address; by default that of the pipeline in --data-dir, or http://127.0.0.1:3003.
    data_dir
        Where `eventpipeline up` keeps the pipeline.
    """
    reporter = reporter_url(url, data_dir)
    try:
        with contextlib.nullcontext(sys.stdout) if file is None else file.open("w") as out:
            for identity in identities(reporter, selected, ids):
                print(json.dumps(letter(reporter, identity), ensure_ascii=False), file=out)
    except (CommandError, OSError) as error:
        return fail(str(error))
    return 0


@app.command
def drop(
    *ids: str,
    selected: Selected = ALL,
    every: Annotated[bool, Parameter(name="--all", negative=())] = False,
    url: str | None = None,
    data_dir: Path = DATA_DIR,
) -> int:
    """Drop refused events for good. Say which: ids, a selection, or --all.

    Parameters
    ----------
    ids
        Only these, by the id that `dead-letters list` shows.
    every
        All of them.
    url
        The reporter's address; by default that of the pipeline in --data-dir, or http://127.0.0.1:3003.
    data_dir
        Where `eventpipeline up` keeps the pipeline.
    """
    if not (ids or selected or every):
        return fail("say which dead letters to drop: ids, a selection such as --reason missing_field, or --all")
    reporter, dropped = reporter_url(url, data_dir), 0
    try:
        for identity in identities(reporter, selected, ids):
            delete(reporter, f"/dead-letters/{identity}")
            dropped += 1
    except CommandError as error:
        return fail(f"{error}; {dropped:,} were dropped")
    print(f"{dropped:,} dropped")
    return 0
