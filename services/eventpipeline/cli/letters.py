"""Dead letters as the commands about them see them: which ones are meant, and each with its bytes."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from eventpipeline.cli.connection import get
from eventpipeline.cli.output import CommandError

_PAGE = 500


@Parameter(name="*")
@dataclass(frozen=True)
class Selected:
    """Which dead letters are meant.

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
    """

    source: str | None = None
    reason: str | None = None
    funnel_stage: str | None = None
    event_id: str | None = None
    from_: Annotated[str | None, Parameter(name="--from")] = None
    to: str | None = None

    def parameters(self) -> dict[str, str | None]:
        """As the reporter names them."""
        return {
            "source": self.source, "reason": self.reason, "funnelStage": self.funnel_stage,
            "eventId": self.event_id, "from": self.from_, "to": self.to,
        }  # fmt: skip

    def __bool__(self) -> bool:
        return any(self.parameters().values())


ALL = Selected()


def identities(url: str, selected: Selected, given: tuple[str, ...] = ()) -> list[str]:
    """The ids of those that are meant, the newest first: the `given` ones, else the selected ones.

    Raises CommandError.
    """
    if given and selected:
        raise CommandError("give either ids or a selection, not both")
    return list(given) if given else [item["id"] for item in _items(url, selected)]


def _items(url: str, selected: Selected) -> Iterator[dict[str, Any]]:
    after: str | None = None
    while True:
        page = get(url, "/dead-letters", {**selected.parameters(), "limit": _PAGE, "after": after}).json()
        yield from page["items"]
        after = page["next"]
        if after is None:
            return


def letter(url: str, identity: str) -> dict[str, Any]:
    """One dead letter with its bytes, as the reporter shows it. Raises CommandError."""
    shown: dict[str, Any] = get(url, f"/dead-letters/{identity}").json()
    return shown


def payload(shown: dict[str, Any]) -> bytes:
    """The bytes of its event. Raises CommandError where only their beginning was kept."""
    text: str = shown["payload"]
    event = base64.b64decode(text) if shown.get("payloadEncoding") == "base64" else text.encode()
    if len(event) < shown["payloadBytes"]:
        raise CommandError(f"only the first {len(event):,} of its {shown['payloadBytes']:,} bytes were kept")
    return event
