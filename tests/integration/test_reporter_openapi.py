"""The reporter does what its OpenAPI document says: requests made from the document, right and wrong ones."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import negative_data_rejection, positive_data_acceptance

from brute_force import random_events
from eventpipeline.reporter.openapi import openapi
from eventpipeline.sources import BUILT_IN, load
from reporter_client import fill, reporter_process
from servers import postgres_server

schema = schemathesis.openapi.from_dict(openapi(load(BUILT_IN)))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("reporter")
    with postgres_server(folder) as url:
        fill(url, random_events(seed=13, count=200))
        with reporter_process(url, folder / "reporter.log") as (_process, served_at):
            yield served_at


@schema.parametrize()
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_the_reporter_keeps_its_document(case: schemathesis.Case[Any], address: str) -> None:
    is_refused = _is_refused_beyond_the_schema(case.query or {}) or _is_vague(case)
    excluded = [positive_data_acceptance] if is_refused else []
    response = case.call(base_url=address)
    if response.status_code == 413:
        # It refuses what is wrong as well; schemathesis does not count it among the answers that do.
        excluded.append(negative_data_rejection)
    case.validate_response(response, excluded_checks=excluded)


def _is_vague(case: schemathesis.Case[Any]) -> bool:
    """What a schema has no words for: to replay, a key is of the form that `sign` says; to drop, say what."""
    return case.path == "/dead-letters/replay" or (case.method == "DELETE" and case.path == "/dead-letters")


def _is_refused_beyond_the_schema(query: dict[str, Any]) -> bool:
    """What a schema cannot say: a window that ends before it begins, too many buckets, a cursor that none gave."""
    if "after" in query:
        return True
    bounds = [query[name] for name in ("from", "to") if name in query]
    if "interval" in query:
        return bool(bounds)
    try:
        return len(bounds) == 2 and datetime.fromisoformat(bounds[0]) >= datetime.fromisoformat(bounds[1])
    except (ValueError, TypeError):
        return False
