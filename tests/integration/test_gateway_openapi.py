"""The gateway answers as its OpenAPI document says, whatever is sent."""

from __future__ import annotations

from collections.abc import Iterator

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

from gateways import Gateway, running_gateway
from samples import PLACES, event
from servers import nats_server

GIB = 1024**3


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with (
        nats_server(tmp_path_factory.mktemp("nats"), max_file_bytes=8 * GIB) as url,
        running_gateway(tmp_path_factory.mktemp("gateway"), url) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def document(gateway: Gateway) -> schemathesis.BaseSchema:
    config = schemathesis.Config()
    # JSON Schema has no way to say that U+0000 may stand nowhere.
    config.projects.default.generation.update(allow_x00=False)
    return schemathesis.openapi.from_url(f"http://127.0.0.1:{gateway.port}/openapi.json", config=config)


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_answers_conform(document: schemathesis.BaseSchema, mode: GenerationMode) -> None:
    operation = document["/webhook/events"]["POST"]
    statuses: set[int] = set()

    @settings(
        max_examples=150,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode, media_type="application/json"))
    def check(case: schemathesis.Case) -> None:
        response = case.call_and_validate()
        assert response.status_code < 500
        statuses.add(response.status_code)

    check()
    assert (202 if mode is GenerationMode.POSITIVE else 422) in statuses


def test_valid_events_are_valid_by_the_document(document: schemathesis.BaseSchema) -> None:
    raw = document.raw_schema
    validator = jsonschema_rs.validator_for(raw["components"]["schemas"]["Event"] | {"components": raw["components"]})
    for source, stage in PLACES:
        assert validator.is_valid(event(source, stage))
        assert not validator.is_valid(event(source, stage, ""))
        assert not validator.is_valid(event(source, stage, timestamp="2024-02-30T00:00:00Z"))
