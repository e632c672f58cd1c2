"""How a stream and its consumer have to be configured, and where they are not. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
    StreamInfo,
)

CONSUMER = "collector"
"""The durable consumer of each stream, shared by all replicas of its collector."""
ACK_WAIT_SECONDS = 8
"""A message that a killed collector held comes again after this; whoever works longer on one says so in between."""

_FULLEST = 0.9
"""A stream that shrinks keeps at least a tenth of its limit free: its gateway must not be refused for it."""
_STREAM_FIELDS = (
    "subjects", "discard", "discard_new_per_subject", "max_age", "max_msgs", "max_msgs_per_subject", "max_msg_size",
    "num_replicas", "no_ack", "allow_direct", "duplicate_window", "retention", "storage", "sealed", "deny_delete",
    "deny_purge",
)  # fmt: skip
"""What is compared of a stream beside its byte limit; descriptions, placement and the like are others' to choose."""
_FIXED = ("storage", "sealed", "deny_delete", "deny_purge")
_CONSUMER_FIELDS = (
    "ack_policy", "deliver_policy", "max_deliver", "backoff", "filter_subject", "filter_subjects", "headers_only",
    "deliver_subject", "mem_storage", "pause_until", "ack_wait", "max_ack_pending", "inactive_threshold",
)  # fmt: skip
_HARMLESS = frozenset({"ack_wait", "max_ack_pending", "inactive_threshold"})
"""What changes only when messages are delivered. Under anything else some may have been passed over for good."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something that was made or changed. `fields`: what was changed, such as `max_age: 0.0, was 3600.0`."""

    what: str
    fields: tuple[str, ...] = ()

    @property
    def made(self) -> bool:
        """Whether it was not there, or had to be made anew."""
        return not self.fields


@dataclass(frozen=True, slots=True)
class Ensured:
    """What was found and done for one source."""

    changes: tuple[Change, ...] = ()
    faults: tuple[str, ...] = ()
    """What is not as it has to be and cannot be changed in place, and what to do."""
    made_at: dict[str, datetime] = field(default_factory=dict)
    """When the stream and the consumer, by what they are called, were made: another time means another one."""
    fits: bool = True
    """Whether the stream has the byte limit that it should have. It comes closer to it whenever it is ensured."""


def stream_config(name: str, subject: str, *, max_bytes: int, replicas: int) -> StreamConfig:
    return StreamConfig(
        name=name,
        subjects=[subject],
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.NEW,
        discard_new_per_subject=False,
        storage=StorageType.FILE,
        max_bytes=max_bytes,
        max_age=0,
        max_msgs=-1,
        max_msgs_per_subject=-1,
        max_msg_size=-1,
        num_replicas=replicas,
        no_ack=False,
        allow_direct=True,
        duplicate_window=1,  # seconds; no Nats-Msg-Id is sent: the store removes duplicates
        sealed=False,
        deny_delete=False,
        deny_purge=False,
    )


def consumer_config() -> ConsumerConfig:
    return ConsumerConfig(
        durable_name=CONSUMER,
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT_SECONDS,
        max_deliver=-1,
        max_ack_pending=100_000,
    )


def stream_differences(wanted: StreamConfig, present: StreamConfig) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The fields to change and their values, and those that cannot be changed in place. Without the byte limit."""
    different = _different(_STREAM_FIELDS, wanted, present)
    fixed = [name for name in different if name in _FIXED]
    if "retention" in different and present.retention == RetentionPolicy.WORK_QUEUE:
        fixed.append("retention")
    return {name: value for name, value in different.items() if name not in fixed}, tuple(fixed)


def consumer_differences(present: ConsumerConfig) -> tuple[str, ...]:
    return tuple(_different(_CONSUMER_FIELDS, consumer_config(), present))


def can_be_changed(differences: Iterable[str]) -> bool:
    """Whether a consumer with these differences may be changed in place, or has to be made anew."""
    return _HARMLESS.issuperset(differences)


def said(names: Iterable[str], wanted: object, present: object) -> tuple[str, ...]:
    """Differences for people."""
    return tuple(f"{name}: {_value(wanted, name)}, was {_value(present, name)}" for name in names)


def fits(present: int, wanted: int, *, larger_is_fine: bool) -> bool:
    """Whether a stream may keep the byte limit that it has; a negative one is none."""
    return present == wanted or (larger_is_fine and (present < 0 or present > wanted))


def fitting_limit(info: StreamInfo, wanted: int) -> int:
    """The byte limit a stream can have now: `wanted`, but never less than what it holds, and a tenth free."""
    present = info.config.max_bytes or -1
    least = max(wanted, math.ceil(info.state.bytes / _FULLEST))
    return min(least, present) if present > wanted else least


def _different(names: Iterable[str], wanted: object, present: object) -> dict[str, Any]:
    return {name: getattr(wanted, name) for name in names if _plain(wanted, name) != _plain(present, name)}


def _plain(config: object, name: str) -> Any:
    """A field in the form in which it can be compared: the server leaves out what is empty."""
    return _value(config, name) or None


def _value(config: object, name: str) -> Any:
    value = getattr(config, name)
    return str(value.value) if isinstance(value, Enum) else value
