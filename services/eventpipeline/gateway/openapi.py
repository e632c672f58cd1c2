"""The gateway's OpenAPI 3.1 document, with the schemas of the sources it takes."""

from __future__ import annotations

from typing import Any

from eventpipeline import __version__
from eventpipeline.authentication import Bearer, Hmac, Meta, StandardWebhooks, TikTok
from eventpipeline.events import DECIMAL_PATTERN, INSTANT_PATTERN, MAX_NUMBER
from eventpipeline.settings import GatewaySettings
from eventpipeline.sources import FunnelStage, Schema, Source

_CORRELATION = {
    "name": "x-correlation-id",
    "in": "header",
    "required": False,
    "description": "1 to 128 visible ASCII characters; anything else is replaced. Echoed, logged and stored.",
    "schema": {"type": "string"},
}
_EXAMPLE = {
    "eventId": "fb-2f1c6a0e",
    "timestamp": "2024-05-01T12:00:00.000Z",
    "source": "facebook",
    "funnelStage": "bottom",
    "eventType": "checkout.complete",
    "data": {
        "user": {
            "userId": "u-1",
            "name": "Ada Moreau",
            "age": 34,
            "gender": "female",
            "location": {"country": "France", "city": "Lyon"},
        },
        "engagement": {
            "adId": "ad-7",
            "campaignId": "spring-sale",
            "clickPosition": "center",
            "device": "mobile",
            "browser": "Firefox",
            "purchaseAmount": "49.90",
        },
    },
}


def openapi(sources: tuple[Source, ...], settings: GatewaySettings) -> dict[str, Any]:
    """The document that the gateway serves at /openapi.json."""
    events = {f"{source.name}-{stage}": _event(source, stage) for source in sources for stage in source.stages}
    references = [{"$ref": f"#/components/schemas/{name}"} for name in events]
    body = {
        "required": True,
        "description": f"At most {settings.max_body_bytes} bytes, decompressed. `Content-Encoding: gzip` is taken.",
        "content": {
            "application/json": {
                "schema": {
                    "oneOf": [
                        {"$ref": "#/components/schemas/Event"},
                        {"type": "array", "items": {"$ref": "#/components/schemas/Event"}},
                    ]
                },
                "examples": {"one event": {"value": _EXAMPLE}, "several": {"value": [_EXAMPLE]}},
            },
            "application/x-ndjson": {"schema": {"type": "string"}, "example": '{"eventId": "…"}\n{"eventId": "…"}\n'},
        },
    }
    post = {
        "operationId": "postEvents",
        "summary": "Take events",
        "description": (
            "One event, or many. Each is validated on its own: one that is invalid never fails the others, and is kept "
            "as a dead letter with its reason. The answer comes when every valid event is on disk; after a 503, send "
            "the same body again: what was stored is counted once."
        ),
        "parameters": [_CORRELATION],
        "requestBody": body,
        "responses": {
            "202": _json("Every valid event is stored durably.", {"$ref": "#/components/schemas/Taken"}),
            "400": _problem("The body is not JSON, is cut short, or is not gzip."),
            "401": _problem("The request does not prove that it may send this. It is not said what was wrong."),
            "408": _problem("The body stands still."),
            "413": _problem("The body is too large, or has too many events."),
            "415": _problem("The content type or encoding is not taken."),
            "422": _problem("Every event is invalid, or the body is neither an object nor an array."),
            "429": _problem("More requests for a source than its rate limit.", retry=True),
            "503": _problem("JetStream is away, full or slow, or too many bytes are in flight.", retry=True),
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "EventPipeline gateway",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/webhook/events": {"post": post},
            **{f"/webhook/{source.name}": _of_source(source, post, settings) for source in sources},
        },
        "components": {"schemas": {"Event": {"oneOf": references}, **events, **_ANSWERS}},
    }


def _of_source(source: Source, post: dict[str, Any], settings: GatewaySettings) -> dict[str, Any]:
    """The path of one source, which alone its senders need to know."""
    authentication = (settings.authentication or {}).get(source.name)
    method = authentication.method if authentication else None
    proof = _PROOFS[type(method)] if method else "Nothing: anyone may send."
    made = {
        "post": {
            **post,
            "operationId": f"post{source.name.title().replace('-', '')}Events",
            "summary": f"Take events of {source.name}",
            "description": f"{post['description']} What proves who sends: {proof}",
        }
    }
    if isinstance(method, Meta):
        query = [
            {"name": f"hub.{name}", "in": "query", "required": True, "schema": {"type": "string"}}
            for name in ("mode", "verify_token", "challenge")
        ]
        made["get"] = {
            "operationId": f"verify{source.name.title().replace('-', '')}",
            "summary": "Meta verifies the endpoint",
            "parameters": query,
            "responses": {
                "200": {"description": "The challenge.", "content": {"text/plain": {"schema": {"type": "string"}}}},
                "401": _problem("The verify token is wrong."),
            },
        }
    return made


_PROOFS: dict[type, str] = {
    Meta: "`X-Hub-Signature-256`.",
    TikTok: "`TikTok-Signature`.",
    StandardWebhooks: "`webhook-id`, `webhook-timestamp` and `webhook-signature`.",
    Hmac: "an HMAC of the body in a header.",
    Bearer: "`Authorization: Bearer` and a token.",
}


def _event(source: Source, stage: FunnelStage) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["eventId", "timestamp", "source", "funnelStage", "eventType", "data"],
        "properties": {
            "eventId": {"type": "string", "minLength": 1, "maxLength": 128},
            "timestamp": {"type": "string", "format": "date-time", "pattern": INSTANT_PATTERN},
            "source": {"const": source.name},
            "funnelStage": {"const": stage},
            "eventType": {"enum": list(source.event_types_of(stage))},
            "data": _schema(source.schema_of(stage)),
        },
    }


def _schema(schema: Schema) -> dict[str, Any]:
    """A source's schema as full JSON Schema."""
    made: dict[str, Any] = schema.model_dump(
        by_alias=True, exclude_none=True, exclude_defaults=True, exclude={"properties", "format"}, mode="json"
    )
    if schema.properties:
        made["properties"] = {name: _schema(member) for name, member in schema.properties.items()}
    if schema.format == "date-time":
        made |= {"format": "date-time", "pattern": INSTANT_PATTERN}
    elif schema.format == "decimal":
        made |= {"pattern": DECIMAL_PATTERN}
    if "integer" in schema.types or "number" in schema.types:
        made = {"minimum": -MAX_NUMBER, "maximum": MAX_NUMBER} | made
    return made


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _problem(description: str, *, retry: bool = False) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": description,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if retry:
        answer["headers"] = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
    return answer


_ERRORS = {"type": "array", "maxItems": 100, "items": {"$ref": "#/components/schemas/Rejection"}}
_ANSWERS: dict[str, Any] = {
    "Rejection": {
        "type": "object",
        "required": ["index", "eventId", "reason", "detail"],
        "properties": {
            "index": {"type": "integer", "description": "The event's place in the body, from 0."},
            "eventId": {"type": ["string", "null"]},
            "reason": {"type": "string"},
            "detail": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
                        "msg": {"type": "string"},
                        "type": {"type": "string"},
                    },
                },
            },
        },
    },
    "Taken": {
        "type": "object",
        "required": ["accepted", "rejected", "errors", "correlationId"],
        "properties": {
            "accepted": {"type": "integer"},
            "rejected": {"type": "integer"},
            "errors": _ERRORS,
            "correlationId": {"type": "string"},
        },
    },
    "Problem": {
        "type": "object",
        "description": "RFC 9457 problem details.",
        "required": ["type", "title", "status", "detail", "correlationId"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "correlationId": {"type": ["string", "null"]},
            "accepted": {"type": "integer"},
            "rejected": {"type": "integer"},
            "errors": _ERRORS,
        },
    },
}
