"""The shapes of the reporter's answers as JSON Schema, for its OpenAPI document. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eventpipeline.readers import ROLES
from eventpipeline.sources import FUNNEL_STAGES, Distribution, Source

Schema = dict[str, Any]

_COUNT: Schema = {"type": "integer", "minimum": 0}
_AMOUNT: Schema = {"type": "string", "pattern": r"^\d+\.\d{2,}$", "description": "An exact decimal amount."}
_INSTANT: Schema = {"type": "string", "format": "date-time"}
_TEXT: Schema = {"type": "string"}
_CURRENCY: Schema = {"type": ["string", "null"], "description": "The currency; null where the source names none."}


def nullable(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def closed(properties: Schema, optional: Sequence[str] = (), **more: Any) -> Schema:
    """An object with exactly these members."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False, **more}


def array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


_BOUNDS: Schema = {"from": nullable(_INSTANT), "to": nullable(_INSTANT)}
_MEAN_AMOUNT = {
    **nullable(_AMOUNT),
    "description": "Revenue over the transactions that have an amount; null where there are none.",
}
_TOTAL: Schema = {
    "total": {**nullable(_AMOUNT), "description": "The sum; null where there is more than one currency: see totals."},
    "transactions": _COUNT,
    "averageOrderValue": _MEAN_AMOUNT,
}

EVENTS = closed(
    {
        **_BOUNDS,
        "total": _COUNT,
        "items": array(
            closed(
                {
                    "source": _TEXT,
                    "funnelStage": {"type": "string", "enum": list(FUNNEL_STAGES)},
                    "eventType": _TEXT,
                    "count": _COUNT,
                }
            )
        ),
        "series": array(closed({"start": _INSTANT, "count": _COUNT})),
    },
    optional=["series"],
)

REVENUE = closed(
    {
        **_BOUNDS,
        **_TOTAL,
        "totals": array(closed({"currency": _CURRENCY, **_TOTAL})),
        "items": array(
            closed(
                {
                    "source": _TEXT,
                    "campaignId": {"type": ["string", "null"]},
                    "currency": _CURRENCY,
                    "revenue": _AMOUNT,
                    "transactions": _COUNT,
                    "averageOrderValue": _MEAN_AMOUNT,
                },
                optional=["campaignId"],
            )
        ),
        "series": array(closed({"start": _INSTANT, "currency": _CURRENCY, "revenue": _AMOUNT, "transactions": _COUNT})),
    },
    optional=["totals", "series"],
)

_DEAD_LETTER: Schema = {
    "id": {"type": "string", "format": "uuid"},
    "receivedAt": _INSTANT,
    "source": nullable(_TEXT),
    "funnelStage": nullable(_TEXT),
    "eventType": nullable(_TEXT),
    "eventId": nullable(_TEXT),
    "reason": _TEXT,
    "detail": array(
        closed({"loc": array({"type": ["string", "integer"]}), "msg": _TEXT, "type": _TEXT}, description="One fault.")
    ),
    "correlationId": nullable(_TEXT),
    "payloadBytes": {**_COUNT, "description": "The length of the whole event."},
    "expiresAt": {**nullable(_INSTANT), "description": "When it goes by itself; null: it is kept until it is dropped."},
}

DEAD_LETTERS = closed(
    {
        "items": array(closed(_DEAD_LETTER)),
        "next": {"type": ["string", "null"], "description": "What `after` takes for the next page; null at the end."},
    }
)

DROPPED = closed({"dropped": _COUNT})
DEAD_LETTER = closed(
    {
        **_DEAD_LETTER,
        "payload": {"type": "string", "description": "The event as it came; the first 64 KiB of one too large."},
        "payloadEncoding": {"type": "string", "const": "base64", "description": "Where the payload is not UTF-8."},
        "payloadSha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    },
    optional=["payloadEncoding"],
)

_REPLAY: Schema = {
    "ids": {**array({"type": "string", "format": "uuid"}), "maxItems": 1000, "description": "In place of a selection."},
    "set": {**array(_TEXT), "maxItems": 100, "description": "Members to set first: data.user.gender=male."},
    "patch": {**array({"type": "object"}), "description": "A JSON Patch (RFC 6902), applied before `set`."},
    "rate": {"type": "number", "minimum": 0.1, "maximum": 10000, "description": "Events a second, at most; 500."},
    "dryRun": {"type": "boolean", "description": "Mend and check only."},
    "drop": {"type": "boolean", "description": "Drop the dead letters whose events are accepted."},
    "sign": {"type": "string", "enum": ["meta", "tiktok", "standardWebhooks", "hmac", "bearer"]},
    "key": {"type": "string", "minLength": 1, "maxLength": 4096, "description": "The sender's, for `sign`; not kept."},
}
REPLAY = closed(_REPLAY, optional=tuple(_REPLAY))

_SUMS: Schema = {"accepted": _COUNT, "failed": _COUNT}
REPLAY_LINE: Schema = {
    "description": "An event that is refused still; what one request did; and at the end the sums.",
    "oneOf": [
        closed({"refused": closed({"id": _TEXT, "eventId": nullable(_TEXT), "reason": _TEXT, "message": _TEXT})}),
        closed({"progress": closed({**_SUMS, "of": _COUNT}), "accepted": array(_TEXT)}),
        closed({"done": {"type": "boolean"}, **_SUMS, "dryRun": {"type": "boolean"}, "error": nullable(_TEXT)}),
    ],
}

STATUS = closed(
    {
        "time": _INSTANT,
        "stream": {"type": "string", "description": "ok, or why the stream does not answer."},
        "sources": array(
            closed(
                {
                    "source": _TEXT,
                    "events": _COUNT,
                    "transactions": _COUNT,
                    "pendingMessages": nullable(_COUNT),
                    "oldestPendingSeconds": {"type": ["number", "null"], "minimum": 0},
                    "streamBytes": nullable(_COUNT),
                    "streamByteLimit": nullable(_COUNT),
                    "deadLetters": _COUNT,
                }
            )
        ),
        "deadLetters": closed(
            {
                "total": _COUNT,
                "retentionSeconds": {
                    **nullable(_COUNT),
                    "description": "How long each is kept; null: until it is dropped.",
                },
                "pendingMessages": nullable(_COUNT),
                "streamBytes": nullable(_COUNT),
                "streamByteLimit": {
                    **nullable(_COUNT),
                    "description": "What the stream holds at most; what is refused while it is full is not kept.",
                },
                "byReason": {"type": "object", "additionalProperties": _COUNT},
                "bySource": {"type": "object", "additionalProperties": _COUNT},
            }
        ),
    }
)

SESSION = closed(
    {
        "open": {"type": "boolean", "description": "Whether anyone may ask for everything."},
        "role": {"type": ["string", "null"], "enum": [*ROLES, None], "description": "Of whoever asks."},
    }
)

PROBLEM: Schema = {
    "type": "object",
    "description": "RFC 9457 problem details.",
    "properties": {
        "type": _TEXT,
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "correlationId": nullable(_TEXT),
        "errors": array(closed({"loc": array(_TEXT), "msg": _TEXT, "type": _TEXT})),
    },
    "required": ["type", "title", "status", "detail", "correlationId"],
}


def demographics(sources: Sequence[Source]) -> Schema:
    """The demographics report, with an item of its own for each source."""
    return closed({**_BOUNDS, "items": array({"oneOf": [_demographics_item(source) for source in sources]})})


def _demographics_item(source: Source) -> Schema:
    mean = {"type": ["number", "null"], "description": "The mean, to two digits after the point."}
    return closed(
        {
            "source": {"type": "string", "const": source.name},
            "events": _COUNT,
            "users": {**_COUNT, "description": "Distinct users; an estimate where `estimates` names it."},
            "estimates": _estimates(source),
            **{average.name: mean for average in source.averages},
            **{distribution.name: _distribution(distribution) for distribution in source.distributions},
        },
        title=source.name,
    )


def _estimates(source: Source) -> Schema:
    """A member for each figure that is not exact."""
    share = {"type": "number", "description": "How far off it is at most, as a share of it, in 95 of 100 cases."}
    events = {"type": "integer", "description": "How many events a count can be too low; it is never too high."}
    counts = {item.name: closed({"maxError": events}) for item in source.distributions}
    members = {"users": closed({"relativeError": share}), **counts}
    return closed(members, optional=list(members), description="What is not exact; `exact=true` makes it so.")


def _distribution(distribution: Distribution) -> Schema:
    share = {"type": "number", "minimum": 0, "maximum": 1, "description": "Of the events that carry the field."}
    if distribution.ranges:
        labels = {"type": "string", "enum": list(distribution.range_labels)}
        return array(closed({"range": labels, "events": _COUNT, "share": share}))
    return array(closed({"value": _TEXT, "events": _COUNT, "share": share}))
