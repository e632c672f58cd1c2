"""Several mistakes of one part of a document, each with its own place, as one error of pydantic. Pure.

A validator of a model can raise only one error, whose place is the model's. `refusal` makes one of many, and
`flattened` takes it apart again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydantic_core import ErrorDetails, PydanticCustomError

Place = tuple[str | int, ...]
_KIND = "faults"


@dataclass(frozen=True)
class Fault:
    """`place` is seen from the model that is validated; `message` follows it: "is missing"."""

    place: Place
    message: str


def refusal(faults: Iterable[Fault]) -> PydanticCustomError | None:
    """The error to raise for `faults`; None where there are none."""
    listed = tuple(faults)
    if not listed:
        return None
    summary = "; ".join(f"{'.'.join(map(str, fault.place))} {fault.message}" for fault in listed)
    return PydanticCustomError(_KIND, "{summary}", {"summary": summary, "faults": listed})


def flattened(errors: Iterable[ErrorDetails]) -> Iterator[ErrorDetails]:
    """`errors` of a ValidationError, with one for each fault that `refusal` put together."""
    for error in errors:
        if error["type"] != _KIND:
            yield error
            continue
        for fault in error["ctx"]["faults"]:
            yield {
                "type": "value_error",
                "loc": (*error["loc"], *fault.place),
                "msg": fault.message,
                "input": error["input"],
            }
