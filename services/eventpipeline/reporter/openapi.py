"""The reporter's OpenAPI 3.1 document: parameters from the models that parse them, answers from `schemas`. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from eventpipeline import __version__
from eventpipeline.reporter import examples, schemas
from eventpipeline.reporter.access import COOKIE
from eventpipeline.reporter.params import (
    DeadLettersQuery,
    DemographicsQuery,
    DropQuery,
    EventsQuery,
    Query,
    RevenueQuery,
    SelectedQuery,
    Vocabulary,
)
from eventpipeline.sources import Source

Part = dict[str, Any]

_DESCRIPTION = """Reports about the events that the pipeline has stored: exact, from any time to any other.

A parameter that is unknown, repeated or wrong is refused with 422 and named. `from` is inclusive, `to` exclusive;
without them a report is about all time. Errors are RFC 9457 problem details. HEAD works wherever GET does."""

_DEAD_LETTER_ID: Part = {
    "name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"},
}  # fmt: skip
_DROP_FAILURES = {"403": "Forbidden", "404": "NotFound", "422": "Invalid", "503": "Unavailable"}


_RETRY_AFTER: Part = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
_SERVICE, _SIGN_IN = "service", "sign-in"


def openapi(sources: Sequence[Source], *, is_open: bool = True) -> Part:
    """The document that the reporter serves at /openapi.json; where it is not open, with what proves who asks."""
    document = _document(sources)
    for operation in _guarded(document):
        operation["responses"]["429"] = _response("Limited")
    return document if is_open else _closed(document)


def _guarded(document: Part) -> Iterator[Part]:
    """The operations that only readers may call where the reporter is closed."""
    operations = (operation for operations in document["paths"].values() for operation in operations.values())
    return (operation for operation in operations if operation["tags"][0] not in (_SERVICE, _SIGN_IN))


def _closed(document: Part) -> Part:
    for operation in _guarded(document):
        operation["security"] = [{"bearer": []}, {"cookie": []}]
        operation["responses"] |= {"401": _response("Unauthorized"), "403": _response("Forbidden")}
    document["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "A key, or a token of the provider."},
        "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "Set by signing in on the page."},
    }
    return document


def _document(sources: Sequence[Source]) -> Part:
    vocabulary = Vocabulary.of(sources)
    demographics = schemas.demographics(sources)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "EventPipeline reporter",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": name} for name in ("reports", "pipeline", _SIGN_IN, _SERVICE)],
        "paths": {
            "/reports/events": _report("Events by source, funnel stage and type", "events", EventsQuery, vocabulary),
            "/reports/revenue": _report("Revenue and transactions", "revenue", RevenueQuery, vocabulary),
            "/reports/demographics": _report("Who the users are", "demographics", DemographicsQuery, vocabulary),
            "/status": _get("How the pipeline fares", "status", "pipeline", {"200": _json("Status", examples.STATUS)}),
            "/dead-letters": {
                **_get(
                    "The events that were refused, newest first",
                    "listDeadLetters",
                    "pipeline",
                    {"200": _json("DeadLetters", examples.DEAD_LETTERS)},
                    _parameters(DeadLettersQuery, vocabulary),
                ),
                "delete": {
                    "summary": "Drops those that the parameters mean, for good",
                    "operationId": "dropDeadLetters",
                    "tags": ["pipeline"],
                    "parameters": _parameters(DropQuery, vocabulary),
                    "responses": {
                        "200": _json("Dropped", examples.DROPPED),
                        **{status: _response(name) for status, name in _DROP_FAILURES.items() if status != "404"},
                    },
                },
            },
            "/dead-letters/export": _get(
                "The events that were refused with their bytes, newest first, a line of JSON each",
                "exportDeadLetters",
                "pipeline",
                {"200": _lines("DeadLetter")},
                _parameters(SelectedQuery, vocabulary),
            ),
            "/dead-letters/replay": _replay(vocabulary),
            "/dead-letters/{id}": {
                **_get(
                    "One event that was refused, with its bytes",
                    "showDeadLetter",
                    "pipeline",
                    {"200": _json("DeadLetter", examples.DEAD_LETTER), "404": _response("NotFound")},
                    [_DEAD_LETTER_ID],
                ),
                "delete": {
                    "summary": "Drops one event that was refused, for good",
                    "operationId": "dropDeadLetter",
                    "tags": ["pipeline"],
                    "parameters": [_DEAD_LETTER_ID],
                    "responses": {
                        "204": {"description": "It is gone."},
                        **{status: _response(name) for status, name in _DROP_FAILURES.items()},
                    },
                },
            },
            "/session": _session(),
            **_service_paths(),
        },
        "components": {
            "schemas": {
                "Events": schemas.EVENTS,
                "Revenue": schemas.REVENUE,
                "Demographics": demographics,
                "Status": schemas.STATUS,
                "DeadLetters": schemas.DEAD_LETTERS,
                "DeadLetter": schemas.DEAD_LETTER,
                "Dropped": schemas.DROPPED,
                "Replay": schemas.REPLAY,
                "ReplayLine": schemas.REPLAY_LINE,
                "Session": schemas.SESSION,
                "Problem": schemas.PROBLEM,
            },
            "responses": {
                "Unauthorized": _problem("The request does not prove who asks.", examples.UNAUTHORIZED),
                "Forbidden": _problem(
                    "The role of whoever asks, or of the reporter in the database, lacks the right.", examples.FORBIDDEN
                ),
                "NotFound": _problem("There is nothing of this name.", examples.NOT_FOUND),
                "Conflict": _problem("Another replay is under way, or no gateway is known.", examples.CONFLICT),
                "Invalid": _problem("A parameter is unknown, repeated or wrong, or the body is.", examples.INVALID),
                "Limited": _problem("More requests of a reader than the rate limit.", examples.LIMITED, _RETRY_AFTER),
                "Unavailable": _problem(
                    "What the answer needs does not answer, or not in time: Postgres, or what a proof is held against.",
                    examples.UNAVAILABLE,
                    _RETRY_AFTER,
                ),
            },
        },
    }


def _report(summary: str, name: str, query: type[Query], vocabulary: Vocabulary) -> Part:
    answer = _json(name.capitalize(), examples.REPORTS[name])
    answer["content"]["text/csv"] = {"schema": {"type": "string"}, "example": examples.TABLES[name]}
    return _get(summary, f"{name}Report", "reports", {"200": answer}, _parameters(query, vocabulary))


def _get(summary: str, operation: str, tag: str, answers: Part, parameters: Sequence[Part] = ()) -> Part:
    return {
        "get": {
            "summary": summary,
            "operationId": operation,
            "tags": [tag],
            "parameters": list(parameters),
            "responses": {
                **answers,
                "422": _response("Invalid"),
                "503": _response("Unavailable"),
            },
        }
    }


def _parameters(query: type[Query], vocabulary: Vocabulary) -> list[Part]:
    return [_parameter(name, schema, vocabulary) for name, schema in query.model_json_schema()["properties"].items()]


def _parameter(name: str, described: Part, vocabulary: Vocabulary) -> Part:
    """A parameter that may be left out; in a URL there is no null, which the model has for that."""
    schema = next((kind for kind in described.get("anyOf", ()) if kind.get("type") != "null"), described)
    keys = ("type", "format", "enum", "const", "pattern", "minimum", "maximum", "maxLength", "default")
    parameter = {
        "name": name,
        "in": "query",
        "required": False,
        "description": described["description"],
        "schema": {key: schema[key] for key in keys if key in schema},
    }
    if known := vocabulary.for_parameter(name):
        # Where any text may stand in a dead letter, the known names are only usual.
        parameter["schema"] |= {} if "maxLength" in schema else {"enum": list(known)}
    if "examples" in described:
        parameter["example"] = described["examples"][0]
    return parameter


def _response(name: str) -> Part:
    return {"$ref": f"#/components/responses/{name}"}


def _json(schema: str, example: Any) -> Part:
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": example}
    return {"description": "The answer.", "content": {"application/json": content}}


def _lines(schema: str) -> Part:
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    return {"description": "Lines of JSON, each of this schema.", "content": {"application/x-ndjson": content}}


def _replay(vocabulary: Vocabulary) -> Part:
    failures = {"403": "Forbidden", "409": "Conflict", "413": "Invalid", "422": "Invalid", "503": "Unavailable"}
    body = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Replay"}}}}
    return {
        "post": {
            "summary": "Sends refused events again through the gateway, mended if need be; goes on while it is read",
            "operationId": "replayDeadLetters",
            "tags": ["pipeline"],
            "parameters": _parameters(SelectedQuery, vocabulary),
            "requestBody": body,
            "responses": {
                "200": _lines("ReplayLine"),
                **{status: _response(name) for status, name in failures.items()},
            },
        }
    }


def _problem(description: str, example: Any, headers: Part | None = None) -> Part:
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}
    answer: Part = {"description": description, "content": {"application/problem+json": content}}
    return answer | ({"headers": headers} if headers else {})


def _session() -> Part:
    answer: Part = {"200": _json("Session", examples.SESSION)}
    key: Part = {"type": "object", "required": ["key"], "additionalProperties": False, "properties": {"key": {}}}
    key["properties"]["key"] = {"type": "string", "maxLength": 3800}
    body = {"required": True, "content": {"application/json": {"schema": key}}}
    refusals = {
        "401": _response("Unauthorized"),
        "403": _response("Forbidden"),
        "413": _response("Invalid"),
        "422": _response("Invalid"),
        "503": _response("Unavailable"),
    }
    gone = {"204": {"description": "The cookie is gone."}, "403": _response("Forbidden")}

    def operation(summary: str, name: str, answers: Part, **more: Any) -> Part:
        return {"summary": summary, "operationId": name, "tags": [_SIGN_IN], "responses": answers, **more}

    return {
        "get": operation("Who asks", "session", answer | {"503": _response("Unavailable")}),
        "post": operation("Sign in: the key becomes a cookie", "signIn", answer | refusals, requestBody=body),
        "delete": operation("Sign out", "signOut", gone),
    }


def _service_paths() -> Part:
    def probe(summary: str, operation: str) -> Part:
        said = {"application/json": {"schema": {"type": "object", "required": ["status"]}}}
        answers = {"200": {"description": "Yes.", "content": said}, "503": {"description": "No.", "content": said}}
        return {"get": {"summary": summary, "operationId": operation, "tags": [_SERVICE], "responses": answers}}

    metrics = {"description": "Prometheus text.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    return {
        "/livez": probe("Whether the service lives", "livez"),
        "/readyz": probe("Whether what it depends on answers", "readyz"),
        "/health/liveness": probe("As /livez", "liveness"),
        "/health/readiness": probe("As /readyz", "readiness"),
        "/metrics": {
            "get": {
                "summary": "What the service counts",
                "operationId": "metrics",
                "tags": [_SERVICE],
                "responses": {"200": metrics},
            }
        },
    }
