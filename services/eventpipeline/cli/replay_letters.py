"""`eventpipeline dead-letters replay`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx2
from cyclopts import Parameter

from eventpipeline.cli.connection import DATA_DIR, delete, gateway_url, get, reporter_url
from eventpipeline.cli.letters import ALL, Selected, identities, letter, payload
from eventpipeline.cli.output import CommandError, OutputFormat, console, fail, print_json, print_table
from eventpipeline.cli.publish import signer
from eventpipeline.events import EventValidator
from eventpipeline.mend import MendError, Mending
from eventpipeline.resend import (
    PATH,
    Checked,
    Failed,
    NotTaken,
    Ready,
    SignatureKind,
    batch_size,
    body_of,
    refused,
)  # fmt: skip
from eventpipeline.sources import BUILT_IN, load


def replay(
    *ids: str,
    selected: Selected = ALL,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
    patch: Path | None = None,
    rate: float = 500.0,
    dry_run: bool = False,
    drop: bool = False,
    sign: SignatureKind | None = None,
    key_file: Path | None = None,
    output: OutputFormat = "table",
    url: str | None = None,
    gateway: str | None = None,
    data_dir: Path = DATA_DIR,
) -> int:
    """Send refused events again through the gateway, mended if need be.

    An event keeps its identity, so one that is replayed twice is counted once. Each is checked before it is sent: one
    that would be refused again is not sent, and said with the reason; what a resource declares, only the gateway can
    check. Exit code 1 where there is such a one.

    Parameters
    ----------
    ids
        Only these, by the id that `dead-letters list` shows.
    set_
        Set a member of each event first: data.user.gender=male. The value is JSON where it can be read as JSON.
    patch
        A file with a JSON Patch (RFC 6902), applied to each event before --set.
    rate
        Events a second, at most.
    dry_run
        Mend and check only; send nothing.
    drop
        Drop the dead letters whose events were accepted.
    sign
        How to prove who sends, where the gateway asks for it; a key is of one source, so give --source too.
    key_file
        The file with the key for --sign.
    output
        `table` for people, `json` for scripts.
    url
        The reporter's address; by default that of the pipeline in --data-dir, or http://127.0.0.1:3003.
    gateway
        The gateway's address; by default that of the pipeline in --data-dir, or http://127.0.0.1:3000.
    data_dir
        Where `eventpipeline up` keeps the pipeline.
    """
    try:
        if rate <= 0:
            raise CommandError("--rate must be above 0")
        mending = Mending.of(set_, patch.read_bytes() if patch else None)
        reporter = reporter_url(url, data_dir)
        done = _Replay(
            reporter, gateway_url(gateway, data_dir), mending, rate, signer(sign, key_file),
            dry_run=dry_run, drop=drop,
        )  # fmt: skip
        with console.status("Replaying") as shown:
            done.all(identities(reporter, selected, ids), shown.update)
    except (CommandError, MendError, OSError) as error:
        return fail(str(error))
    _print(done, output)
    return 1 if done.failed else 0


@dataclass
class _Replay:
    reporter: str
    gateway: str
    mending: Mending
    rate: float
    sign: Callable[[bytes], Mapping[str, str]]
    dry_run: bool
    drop: bool
    accepted: list[str] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)

    def __post_init__(self) -> None:
        known = [source["source"] for source in get(self.reporter, "/status").json()["sources"]]
        validators = {name: EventValidator(*load([name])) for name in known if name in BUILT_IN}
        self._checked = Checked(self.mending, known, validators)

    def all(self, ids: Sequence[str], show: Any) -> None:
        started, at_once = time.monotonic(), batch_size(self.rate)
        for first in range(0, len(ids), at_once):
            some = ids[first : first + at_once]
            time.sleep(max(0.0, started + first / self.rate - time.monotonic()))
            self._send(list(self._ready(some)))
            show(f"Replaying: {first + len(some):,} of {len(ids):,}, {len(self.failed):,} not accepted")

    def _ready(self, ids: Sequence[str]) -> Iterator[Ready]:
        for identity in ids:
            shown = letter(self.reporter, identity)
            try:
                found = self._checked(identity, payload(shown))
            except (MendError, CommandError) as error:
                found = Failed(identity, shown["eventId"], shown["reason"], str(error))
            if isinstance(found, Failed):
                self.failed.append(found)
            else:
                yield found

    def _send(self, ready: Sequence[Ready]) -> None:
        if not ready:
            return
        still = {} if self.dry_run else self._post(ready)
        self.failed += still.values()
        for one in ready:
            if one.id in still:
                continue
            self.accepted.append(one.id)
            if self.drop and not self.dry_run:
                delete(self.reporter, f"/dead-letters/{one.id}")

    def _post(self, ready: Sequence[Ready]) -> dict[str, Failed]:
        """What the gateway refuses all the same. Raises CommandError where it takes nothing."""
        body = body_of(ready)
        headers = {"content-type": "application/json", **self.sign(body)}
        try:
            answer = httpx2.post(f"{self.gateway}{PATH}", content=body, headers=headers, timeout=60.0, trust_env=False)
            return refused(answer.status_code, answer.content, ready)
        except httpx2.HTTPError as error:
            raise CommandError(f"the gateway at {self.gateway} does not answer: {type(error).__name__}") from error
        except NotTaken as error:
            raise CommandError(str(error)) from error


def _print(done: _Replay, output: OutputFormat) -> None:
    if output == "json":
        failed = [one.written() for one in done.failed]
        print_json({"accepted": done.accepted, "failed": failed, "dryRun": done.dry_run})
        return
    if done.failed:
        rows = [[one.id, one.event_id, one.reason, one.message] for one in done.failed]
        print_table("Still refused", ("id", "event", "reason", "what is wrong"), rows)
    verb = "would be accepted" if done.dry_run else "accepted"
    console.print(f"{len(done.accepted):,} events {verb}, {len(done.failed):,} not")
