"""What an answer must not be, whatever was asked."""

from __future__ import annotations

import re
from collections.abc import Mapping

SERVER_OWN = b"Invalid HTTP request received."
"""What uvicorn says, in plain text, of bytes that are no HTTP: no application of ours is asked."""
_TRACES = re.compile(rb"Traceback|File \"|site-packages|\.py\b|0x[0-9a-f]{8,}|psycopg|starlette|msgspec", re.IGNORECASE)
_HEADERS = ("x-content-type-options", "content-security-policy", "referrer-policy", "cache-control", "x-correlation-id")
_PROBES = ("/livez", "/readyz", "/health/")


def faults(path: str, status: int, headers: Mapping[str, str], body: bytes) -> list[str]:
    """What is wrong with an answer; `headers` have names in lower case."""
    found: list[str] = []
    if body == SERVER_OWN and status == 400:
        return found
    probe = path.startswith(_PROBES)
    if status >= 500 and not (status == 503 and ("retry-after" in headers or probe)):
        found.append(f"it answered {status}")
    # What somebody asked for may stand in the answer.
    matches = (one for one in _TRACES.finditer(body) if one[0] not in path.encode("latin-1"))
    if _is_of_errors(headers, status) and (match := next(matches, None)):
        found.append(f"its body shows how it is made: {body[max(0, match.start() - 40) : match.end() + 40]!r}")
    found += [f"it has no {name}" for name in _HEADERS if name not in headers]
    if any(name.startswith("access-control-") for name in headers):
        found.append("it has CORS headers")
    is_problem = headers.get("content-type") == "application/problem+json"
    if status >= 400 and not (is_problem or probe) and body:
        found.append(f"its {status} is no problem document, but {headers.get('content-type')}")
    return found


def _is_of_errors(headers: Mapping[str, str], status: int) -> bool:
    """Pages and scripts that are served may name files, and hold nothing of what a request was."""
    return status >= 400 or headers.get("content-type", "").startswith("application/json")
