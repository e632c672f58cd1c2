"""Sources that users declare: a web shop, and random declarations with events that hunt for what the store refuses."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from eventpipeline.sources import FUNNEL_STAGES, Declaration, Schema, Source
from eventpipeline.spec import EventPipeline

WEBSHOP_FILE = Path(__file__).resolve().parents[1] / "manifests" / "webshop.yaml"
WEBSHOP = EventPipeline.model_validate(yaml.safe_load(WEBSHOP_FILE.read_text())).spec.declarations["webshop"]


def webshop_document() -> dict[str, Any]:
    """The declaration of the web shop as it is written, to be changed."""
    document: dict[str, Any] = yaml.safe_load(WEBSHOP_FILE.read_text())["spec"]["sources"][2]["declaration"]
    return document


def order(event_id: str, **data: Any) -> dict[str, Any]:
    """A paid order of the web shop; `data` replaces members of its order."""
    return {
        "eventId": event_id,
        "timestamp": "2024-05-01T12:00:00Z",
        "source": "webshop",
        "funnelStage": "bottom",
        "eventType": "order.paid",
        "data": {
            "customer": {"id": "c-7", "tier": "gold", "country": "France"},
            "order": {"total": "49.90", "currency": "EUR", "items": 3, "campaign": "spring-sale"} | data,
        },
    }


def visit(event_id: str, **page: Any) -> dict[str, Any]:
    """A view of a product in the web shop."""
    return {
        "eventId": event_id,
        "timestamp": "2024-05-01T12:00:30Z",
        "source": "webshop",
        "funnelStage": "top",
        "eventType": "product.view",
        "data": {"customer": {"id": "c-8"}, "page": page},
    }


# --- random ones -----------------------------------------------------------------------------------------------------

_MEMBERS = ("a", "b", "null", "user-1", "Ünï", "deep")
_STRINGS = ("", "x", "\U0001f600" * 256, "y" * 256, "null", "'; --", '"', "\\", "\ufffe", "{a,b}", "%s")
_NUMBERS = (0, 1, -1, 5.0, 0.5, 1e15, 2**53 - 1, -(2**53 - 1), 1e-300, 150)
_DECIMALS = ("0", "0.00", "007.1", "999999999999999.999999", "49.90")
_STRAY = (None, "x", -1, [1, {"a": None}], {"a": "b"}, True, 1e300, "1e400")


def random_source(rng: random.Random) -> Source:
    """A declaration that is taken; most of what is drawn is not, so it is drawn again and again."""
    while True:
        try:
            return Declaration.model_validate(_declaration(rng)).named("declared")
        except ValidationError:
            continue


def _declaration(rng: random.Random) -> dict[str, Any]:
    stages = [stage for stage in FUNNEL_STAGES if rng.random() < 0.8]
    pointers = [f"/{a}/{b}" for a in _MEMBERS[:4] for b in _MEMBERS[:4]] + [f"/{a}" for a in _MEMBERS[:4]]
    made: dict[str, Any] = {
        "eventTypes": {stage: ["t.one", f"t.{stage}"] for stage in stages},
        "schema": {stage: _object(rng, 0) for stage in stages},
        "user": "/id",
        "averages": [{"name": f"avg{i}", "pointer": rng.choice(pointers)} for i in range(rng.randrange(3))],
        "distributions": [
            {"name": f"dist{i}", "pointer": rng.choice(pointers)}
            | ({"ranges": [-5, 0, 10**12]} if rng.random() < 0.5 else {})
            for i in range(rng.randrange(3))
        ],
    }
    for schema in made["schema"].values():
        schema["properties"]["id"] = {"type": "string", "maxLength": 256}
        schema["required"] = [*schema["required"], "id"]
    if stages and rng.random() < 0.7:
        made["transactions"] = {"eventTypes": [rng.choice(["t.one", "t.top", "t.bottom"])], "amount": "/amount"}
        for schema in made["schema"].values():
            schema["properties"]["amount"] = {"type": ["string", "null"], "format": "decimal"}
        if rng.random() < 0.5:
            made["transactions"]["currency"] = rng.choice(pointers)
    if rng.random() < 0.5:
        made["campaign"] = rng.choice(pointers)
    return made


def _object(rng: random.Random, depth: int) -> dict[str, Any]:
    names = rng.sample(_MEMBERS, rng.randrange(1, len(_MEMBERS)))
    return {
        "type": "object",
        "properties": {name: _schema(rng, depth + 1) for name in names},
        "required": [name for name in names if rng.random() < 0.5],
    }


def _schema(rng: random.Random, depth: int) -> dict[str, Any]:
    kind = rng.choice(["string", "string", "integer", "number", *(["object"] * 3 if depth < 3 else [])])
    if kind == "object":
        return _object(rng, depth)
    made: dict[str, Any] = {"type": [kind, "null"] if rng.random() < 0.2 else kind}
    if kind == "string":
        made |= rng.choice([{}, {"maxLength": 256}, {"maxLength": 256}, {"format": "date-time"}, {"format": "decimal"}])
        if made == {"type": "string"} and rng.random() < 0.5:
            made["enum"] = list(_STRINGS)
    return made


def random_event(rng: random.Random, source: Source, event_id: str) -> dict[str, Any]:
    """An event that the gateway may take: of the source's form for the most part, with stray members."""
    stage = rng.choice(source.stages)
    return {
        "eventId": event_id,
        "timestamp": "2024-05-01T12:00:00Z",
        "source": source.name,
        "funnelStage": stage,
        "eventType": rng.choice(source.event_types_of(stage)),
        "data": _value(rng, source.schema_of(stage)),
    }


def _value(rng: random.Random, schema: Schema) -> Any:
    if "null" in schema.types and rng.random() < 0.3:
        return None
    if "object" in schema.types:
        kept = {
            name: _value(rng, member)
            for name, member in schema.properties.items()
            if name in schema.required or rng.random() < 0.6
        }
        stray = {name: rng.choice(_STRAY) for name in (*_MEMBERS, "amount") if name not in schema.properties}
        return stray | kept if rng.random() < 0.5 else kept
    if "string" in schema.types:
        if schema.format:
            return rng.choice(_DECIMALS) if schema.format == "decimal" else "2024-05-01T12:00:00Z"
        return rng.choice(schema.enum or _STRINGS)
    numbers = [number for number in _NUMBERS if "number" in schema.types or number == int(number)]
    return rng.choice(numbers)
