"""The OpenAPI document: its examples fit its schemas, and each door's parameters stand in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from eventpipeline.reporter.openapi import openapi
from eventpipeline.sources import BUILT_IN, load

DOCUMENT = openapi(load(BUILT_IN))


def _examples() -> Iterator[tuple[str, str, Any]]:
    for path, operations in DOCUMENT["paths"].items():
        for status, answer in operations.get("get", operations.get("post"))["responses"].items():
            for content in answer.get("content", {}).values():
                if "example" in content and "$ref" in content["schema"]:
                    yield f"{path} {status}", content["schema"]["$ref"], content["example"]
    for name, answer in DOCUMENT["components"]["responses"].items():
        for content in answer["content"].values():
            yield name, content["schema"]["$ref"], content["example"]


@pytest.mark.parametrize(("reference", "example"), [pytest.param(*rest, id=name) for name, *rest in _examples()])
def test_examples_fit_their_schemas(reference: str, example: Any) -> None:
    schema = {"$ref": reference, "components": DOCUMENT["components"]}
    jsonschema_rs.validate(schema, example)


def test_the_parameters_are_those_of_the_contract() -> None:
    names = {
        path: [parameter["name"] for parameter in operations["get"].get("parameters", ())]
        for path, operations in DOCUMENT["paths"].items()
        if path.startswith("/reports/")
    }
    assert names == {
        "/reports/events": ["from", "to", "source", "format", "funnelStage", "eventType", "interval"],
        "/reports/revenue": ["from", "to", "source", "format", "campaignId", "groupBy", "limit", "interval"],
        "/reports/demographics": ["from", "to", "source", "format", "exact"],
    }


def test_known_names_are_listed() -> None:
    parameters = DOCUMENT["paths"]["/reports/events"]["get"]["parameters"]
    schemas = {parameter["name"]: parameter["schema"] for parameter in parameters}
    assert schemas["source"]["enum"] == ["facebook", "tiktok"]
    assert "checkout.complete" in schemas["eventType"]["enum"]
    assert schemas["from"] == {"type": "string", "format": "date-time"}
