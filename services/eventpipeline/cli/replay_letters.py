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
from eventpipeline.cli.publish import SignatureKind, signer
from eventpipeline.events import UNREADABLE, EventValidator, fault_without_source, source_of
from eventpipeline.mend import MendError, Mending
from eventpipeline.sources import BUILT_IN, load

_AT_ONCE = 100
"""Events of one request."""


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
class _Failed:
    id: str
    event_id: str | None
    reason: str
    message: str


@dataclass
class _Ready:
    """A mended event that is valid."""

    id: str
    event: bytes


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
    failed: list[_Failed] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._known = [source["source"] for source in get(self.reporter, "/status").json()["sources"]]
        self._validators = {name: EventValidator(*load([name])) for name in self._known if name in BUILT_IN}

    def all(self, ids: Sequence[str], show: Any) -> None:
        started = time.monotonic()
        for first in range(0, len(ids), _AT_ONCE):
            some = ids[first : first + _AT_ONCE]
            time.sleep(max(0.0, started + first / self.rate - time.monotonic()))
            self._send(list(self._ready(some)))
            show(f"Replaying: {first + len(some):,} of {len(ids):,}, {len(self.failed):,} not accepted")

    def _ready(self, ids: Sequence[str]) -> Iterator[_Ready]:
        for identity in ids:
            shown = letter(self.reporter, identity)
            try:
                event = self.mending(payload(shown))
            except (MendError, CommandError) as error:
                self.failed.append(_Failed(identity, shown["eventId"], shown["reason"], str(error)))
                continue
            if fault := self._fault(event):
                where = [f"{'.'.join(map(str, one['loc']))} {one['msg']}".strip() for one in fault.detail[:3]]
                self.failed.append(_Failed(identity, fault.event_id, fault.reason, "; ".join(where)))
            else:
                yield _Ready(identity, event)

    def _fault(self, event: bytes) -> Any:
        """Why the gateway would refuse it."""
        name = _source_name(event)
        if name not in self._known:
            return fault_without_source(event, self._known)
        return self._validators[name].fault(event) if name in self._validators else None

    def _send(self, ready: Sequence[_Ready]) -> None:
        if not ready:
            return
        refused = {} if self.dry_run else self._post(ready)
        for index, one in enumerate(ready):
            if error := refused.get(index):
                where = [f"{'.'.join(map(str, part['loc']))} {part['msg']}".strip() for part in error["detail"][:3]]
                self.failed.append(_Failed(one.id, error["eventId"], error["reason"], "; ".join(where)))
                continue
            self.accepted.append(one.id)
            if self.drop and not self.dry_run:
                delete(self.reporter, f"/dead-letters/{one.id}")

    def _post(self, ready: Sequence[_Ready]) -> dict[int, dict[str, Any]]:
        """What the gateway refuses all the same, by index. Raises CommandError where it takes nothing."""
        body = b"[" + b",".join(one.event for one in ready) + b"]"
        headers = {"content-type": "application/json", **self.sign(body)}
        try:
            answer = httpx2.post(
                f"{self.gateway}/webhook/events", content=body, headers=headers, timeout=60.0, trust_env=False
            )
            told = answer.json()
        except (httpx2.HTTPError, ValueError) as error:
            raise CommandError(f"the gateway at {self.gateway} does not answer: {type(error).__name__}") from error
        if answer.status_code not in (202, 422) or "errors" not in told:
            raise CommandError(f"the gateway answered {answer.status_code}: {told.get('detail', told)}; try again")
        return {error["index"]: error for error in told["errors"]}


def _source_name(event: bytes) -> str | None:
    try:
        return source_of(event).source
    except UNREADABLE:
        return None


def _print(done: _Replay, output: OutputFormat) -> None:
    if output == "json":
        failed = [
            {"id": one.id, "eventId": one.event_id, "reason": one.reason, "message": one.message} for one in done.failed
        ]
        print_json({"accepted": done.accepted, "failed": failed, "dryRun": done.dry_run})
        return
    if done.failed:
        rows = [[one.id, one.event_id, one.reason, one.message] for one in done.failed]
        print_table("Still refused", ("id", "event", "reason", "what is wrong"), rows)
    verb = "would be accepted" if done.dry_run else "accepted"
    console.print(f"{len(done.accepted):,} events {verb}, {len(done.failed):,} not")
