"""A small pipeline for the tests of the publisher, and a check of events that shares no code with the product."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from decimal import Decimal
from itertools import count
from typing import Any

import httpx2

from eventpipeline.sources import Schema, built_in

MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
PYTHON_TYPES = {"object": dict, "string": str, "integer": int, "number": (int, float), "null": type(None)}


def fault(event: dict[str, Any]) -> str | None:
    """The reason code with which `event` is refused, or None."""
    source = built_in(event["source"])
    for name in ("eventId", "timestamp", "funnelStage", "eventType", "data"):
        if name not in event:
            return "missing_field"
    if not re.fullmatch(MOMENT, event["timestamp"]) or event["funnelStage"] not in ("top", "bottom"):
        return "invalid_value"
    if not isinstance(event["eventType"], str):
        return "wrong_type"
    if event["eventType"] not in source.event_types_of(event["funnelStage"]):
        return "invalid_value"
    return schema_fault(source.schema_of(event["funnelStage"]), event["data"])


def schema_fault(schema: Schema, value: Any) -> str | None:
    if isinstance(value, bool) or not any(isinstance(value, PYTHON_TYPES[kind]) for kind in schema.types):
        return "wrong_type"
    if isinstance(value, dict):
        if any(name not in value for name in schema.required):
            return "missing_field"
        faults = (schema_fault(member, value[name]) for name, member in schema.properties.items() if name in value)
        return next((found for found in faults if found), None)
    if value is None:
        return None
    wrong = (
        (schema.enum is not None and value not in schema.enum)
        or (schema.format == "date-time" and not re.fullmatch(MOMENT, value))
        or (schema.format == "decimal" and not re.fullmatch(r"\d{1,15}\.\d\d", value))
        or (schema.min_length is not None and len(value) < schema.min_length)
        or (schema.max_length is not None and len(value) > schema.max_length)
        or (schema.minimum is not None and value < schema.minimum)
        or (schema.maximum is not None and value > schema.maximum)
    )
    return "invalid_value" if wrong else None


class FakePipeline:
    """Gateway, store and reporter, behind `transport`; answers like DESIGN sections 3 and 6."""

    def __init__(self) -> None:
        self.transport = httpx2.MockTransport(self.answer)
        self.events: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.dead_letters: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.statuses: dict[int, int] = {}
        """Requests, by their number, that are answered with this status and not kept; 0 is an answer that is lost."""
        self.page = 2
        self._numbers = count()

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/webhook/events":
            return self.take(request.read())
        if request.url.path == "/dead-letters":
            start = int(request.url.params.get("after", "0"))
            more = start + self.page < len(self.dead_letters)
            items = self.dead_letters[start : start + self.page]
            return httpx2.Response(200, json={"items": items, "next": str(start + self.page) if more else None})
        return httpx2.Response(200, json=self.report(request.url.path))

    def take(self, body: bytes) -> httpx2.Response:
        number = next(self._numbers)
        self.bodies.append(body)
        status = self.statuses.get(number, 202)
        if status == 0:
            raise httpx2.ReadError("the connection was lost")
        if status == -1:
            raise httpx2.ConnectError("nobody listens")
        if status != 202:
            return httpx2.Response(status, json={"title": "no", "correlationId": f"c{number}"})
        accepted, errors = 0, []
        for index, event in enumerate(json.loads(body)):
            if reason := fault(event):
                errors.append({"index": index, "eventId": event.get("eventId"), "reason": reason, "detail": []})
                letter = {"id": f"d{len(self.dead_letters)}", "source": event["source"], "correlationId": f"c{number}"}
                self.dead_letters.append(letter | errors[-1])
            else:
                accepted += 1
                self.events[event["source"], event["eventId"], event["timestamp"]] = event
        answer = {"accepted": accepted, "rejected": len(errors), "errors": errors, "correlationId": f"c{number}"}
        return httpx2.Response(202 if accepted else 422, json=answer)

    def report(self, path: str) -> dict[str, Any]:
        events = self.events.values()
        if path == "/reports/events":
            counts = Counter((event["source"], event["funnelStage"], event["eventType"]) for event in events)
            names = ("source", "funnelStage", "eventType")
            items = [dict(zip(names, key, strict=True), count=number) for key, number in counts.items()]
            return {"from": None, "to": None, "total": len(events), "items": items}
        sales: defaultdict[str, list[Decimal]] = defaultdict(list)
        orders: Counter[str] = Counter()
        for event in events:
            if event["eventType"] in ("checkout.complete", "purchase"):
                orders[event["source"]] += 1
                amount = event["data"]["engagement"]["purchaseAmount"]
                sales[event["source"]] += [] if amount is None else [Decimal(amount)]
        rows = [
            {
                "source": source,
                "revenue": str(sum(sales[source], Decimal("0.00"))),
                "transactions": orders[source],
                "averageOrderValue": f"{sum(sales[source]) / len(sales[source]):.2f}" if sales[source] else None,
            }
            for source in orders
        ]
        total = sum((Decimal(row["revenue"]) for row in rows), Decimal("0.00"))
        return {"total": str(total), "transactions": orders.total(), "averageOrderValue": None, "items": rows}
