"""The corruptions that the load contains, and the oracle: which of them make an event invalid, and with which reason.

A corruption is drawn without regard to the event it strikes. Where the field belongs to the event's source and stage
the event becomes invalid; elsewhere it leaves a stray field, or takes away what was not there, and the event stays
valid. The table says so on its own, and not by asking the gateway's validator: an oracle that shares the rules of what
it judges finds none of their faults.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Final

Place = tuple[str, str]
"""Source and funnel stage of an event."""

_FACEBOOK: Final = frozenset({("facebook", "top"), ("facebook", "bottom")})
_TIKTOK: Final = frozenset({("tiktok", "top"), ("tiktok", "bottom")})
_ANYWHERE: Final = _FACEBOOK | _TIKTOK

_DELETED: Final = object()


@dataclass(frozen=True, slots=True)
class Corruption:
    """One way to spoil an event."""

    name: str
    path: tuple[str, ...]
    """The member that is replaced by `value`, or deleted."""
    value: object
    reason: str
    """The reason code of the dead letter where the event becomes invalid."""
    breaks: frozenset[Place]
    """Where the member belongs to the event, which therefore becomes invalid."""

    def apply(self, event: dict[str, Any]) -> None:
        """Spoils `event`, which must have its `data`, `user` and `engagement`, in place."""
        *parents, member = self.path
        target = event
        for parent in parents:
            target = target[parent]
        if self.value is _DELETED:
            target.pop(member, None)
        else:
            target[member] = self.value

    def reason_at(self, source: str, stage: str) -> str | None:
        """Why an event of this source and stage is refused after this corruption; None where it stays valid."""
        return self.reason if (source, stage) in self.breaks else None


def _user(member: str) -> tuple[str, ...]:
    return ("data", "user", member)


def _engagement(member: str) -> tuple[str, ...]:
    return ("data", "engagement", member)


KINDS: Final[tuple[tuple[Corruption, ...], ...]] = (
    (Corruption("timestamp invalid", ("timestamp",), "invalid-timestamp", "invalid_value", _ANYWHERE),),
    (
        Corruption("eventId deleted", ("eventId",), _DELETED, "missing_field", _ANYWHERE),
        Corruption("user deleted", ("data", "user"), _DELETED, "missing_field", _ANYWHERE),
        Corruption("user.name deleted", _user("name"), _DELETED, "missing_field", _FACEBOOK),
        Corruption("user.username deleted", _user("username"), _DELETED, "missing_field", _TIKTOK),
    ),
    (Corruption("funnelStage invalid", ("funnelStage",), "invalid-stage", "invalid_value", _ANYWHERE),),
    (Corruption("eventType an array", ("eventType",), ["array", "of", "types"], "wrong_type", _ANYWHERE),),
    (
        Corruption(
            "actionTime -1",
            _engagement("actionTime"),
            -1,
            "wrong_type",
            frozenset({("facebook", "top"), ("tiktok", "bottom")}),
        ),
        Corruption("watchTime -1", _engagement("watchTime"), -1, "invalid_value", frozenset({("tiktok", "top")})),
    ),
    (
        Corruption("adId deleted", _engagement("adId"), _DELETED, "missing_field", frozenset({("facebook", "bottom")})),
        Corruption(
            "purchasedItem deleted",
            _engagement("purchasedItem"),
            _DELETED,
            "missing_field",
            frozenset({("tiktok", "bottom")}),
        ),
    ),
    (Corruption("gender alien", _user("gender"), "alien", "invalid_value", _FACEBOOK),),
    (Corruption("followers not a number", _user("followers"), "not-a-number", "wrong_type", _TIKTOK),),
)
"""The eight kinds, each as likely as another, and within a kind its forms."""

CORRUPTIONS: Final = {corruption.name: corruption for kind in KINDS for corruption in kind}


def draw(rng: random.Random) -> Corruption:
    return rng.choice(rng.choice(KINDS))
