"""Requests that schemathesis makes from an OpenAPI document, right and wrong ones."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any

import hypothesis
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis import GenerationMode

from fuzz.client import Result
from fuzz.judge import faults

_FIRST_EXAMPLES, _EXAMPLES = 3, 15
"""Of an operation in a turn; the first is done whatever it takes."""


def explore(address: str, document: dict[str, Any], headers: Mapping[str, str], seed: int, *, seconds: float) -> Result:
    """Every operation of `document`, over and over for `seconds` and at least once, until one has a fault."""
    schema, deadline = schemathesis.openapi.from_dict(document), time.monotonic() + seconds
    result, turn = Result(), 0
    while turn == 0 or (time.monotonic() < deadline and not result.faults):
        for found in schema.get_all_operations():
            operation = found.ok()
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                _try(operation, mode, address, headers, seed + turn, result, _EXAMPLES if turn else _FIRST_EXAMPLES)
        turn += 1
    return result


def _try(
    operation: Any, mode: Any, address: str, headers: Mapping[str, str], seed: int, result: Result, examples: int
) -> None:
    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def try_one(case: Any) -> None:
        response = case.call(base_url=address, headers=dict(headers))
        result.statuses[str(response.status_code)] += 1
        named = {name.lower(): values[0] for name, values in response.headers.items()}
        for fault in faults(case.path, response.status_code, named, response.content):
            result.faults.append(f"{operation.label}, seed {seed}: {fault}\n    {case.as_curl_command()[:600]}")

    with contextlib.suppress(hypothesis.errors.Unsatisfiable):  # nothing about this operation can be wrong
        try_one()
