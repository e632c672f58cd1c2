"""An example of each answer, for the OpenAPI document; a test holds that each fits its schema."""

from __future__ import annotations

from typing import Any

_MAY: dict[str, Any] = {"from": "2024-05-01T00:00:00Z", "to": "2024-06-01T00:00:00Z"}

REPORTS: dict[str, Any] = {
    "events": {
        **_MAY,
        "total": 1500,
        "items": [
            {"source": "facebook", "funnelStage": "top", "eventType": "ad.view", "count": 1000},
            {"source": "tiktok", "funnelStage": "bottom", "eventType": "purchase", "count": 500},
        ],
        "series": [{"start": "2024-05-01T00:00:00Z", "count": 1500}],
    },
    "revenue": {
        **_MAY,
        "total": "1280.75",
        "transactions": 40,
        "averageOrderValue": "36.59",
        "items": [
            {
                "source": "tiktok",
                "currency": None,
                "revenue": "1280.75",
                "transactions": 40,
                "averageOrderValue": "36.59",
            }
        ],
    },
    "demographics": {
        **_MAY,
        "items": [
            {
                "source": "facebook",
                "events": 1000,
                "users": 800,
                "estimates": {"users": {"relativeError": 0.0319}},
                "averageAge": 38.25,
                "ages": [
                    {"range": "18-24", "events": 400, "share": 0.4},
                    {"range": "35-44", "events": 600, "share": 0.6},
                ],
                "genders": [{"value": "female", "events": 1000, "share": 1.0}],
                "countries": [
                    {"value": "France", "events": 900, "share": 0.9},
                    {"value": "other", "events": 100, "share": 0.1},
                ],
                "cities": [{"value": "Lyon", "events": 1000, "share": 1.0}],
            }
        ],
    },
}

TABLES: dict[str, str] = {
    "events": "source,funnelStage,eventType,count\r\nfacebook,top,ad.view,1000\r\n",
    "revenue": "source,currency,revenue,transactions,averageOrderValue\r\ntiktok,,1280.75,40,36.59\r\n",
    "demographics": "source,measure,label,value,share\r\nfacebook,genders,female,1000,1.0\r\n",
}

STATUS: dict[str, Any] = {
    "time": "2024-05-01T12:00:00Z",
    "stream": "ok",
    "sources": [
        {
            "source": "facebook",
            "events": 1000,
            "transactions": 12,
            "pendingMessages": 3,
            "oldestPendingSeconds": 0.42,
            "streamBytes": 1048576,
            "streamByteLimit": 1073741824,
            "deadLetters": 1,
        }
    ],
    "deadLetters": {
        "total": 1,
        "retentionSeconds": None,
        "pendingMessages": 0,
        "streamBytes": 4096,
        "streamByteLimit": 268435456,
        "byReason": {"missing_field": 1},
        "bySource": {"facebook": 1, "other": 0},
    },
}

_LETTER: dict[str, Any] = {
    "id": "0b6c1a52-5f0d-4f0e-9a52-3e8f0c1d2b3a",
    "receivedAt": "2024-05-01T12:00:00.123456Z",
    "source": "facebook",
    "funnelStage": "top",
    "eventType": "ad.view",
    "eventId": "fb-1",
    "reason": "missing_field",
    "detail": [{"loc": ["data", "user", "name"], "msg": "Field required", "type": "missing"}],
    "correlationId": "8a4d6c1e",
    "payloadBytes": 24,
    "expiresAt": None,
}

DEAD_LETTERS: dict[str, Any] = {"items": [_LETTER], "next": None}
DEAD_LETTER: dict[str, Any] = {**_LETTER, "payload": '{"eventId":"fb-1","…":1}', "payloadSha256": "5f" * 32}


def _problem(status: int, title: str, detail: str) -> dict[str, Any]:
    return {"type": "about:blank", "title": title, "status": status, "detail": detail, "correlationId": "8a4d6c1e"}


SESSION: dict[str, Any] = {"open": False, "role": "read"}
UNAUTHORIZED = _problem(401, "Unauthorized", "the request does not prove that it may do this")
FORBIDDEN = _problem(403, "Forbidden", "the reporter's role in the database may not drop dead letters")
NOT_FOUND = _problem(404, "Not found", "there is no dead letter 0b6c1a52-5f0d-4f0e-9a52-3e8f0c1d2b3a")
DROPPED = {"dropped": 3}
CONFLICT = _problem(409, "Conflict", "another replay is under way here; try again when it is done")
INVALID = _problem(422, "Unprocessable content", "query parameter to: must be later than from") | {
    "errors": [{"loc": ["query", "to"], "msg": "must be later than from", "type": "empty_window"}]
}
LIMITED = _problem(429, "Too many requests", "too many requests; send fewer")
UNAVAILABLE = _problem(503, "Service unavailable", "Postgres did not answer: connection refused")
