"""Sources: where events come from, each described by one declaration.

Gateway, collector and reporter all read the same description, so an event type, a field or a dimension is
written down once. The declarations of facebook and tiktok are files beside this one; a resource may hold others in
the same form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel

from eventpipeline.sources.declaration import Average, Declaration, Distribution, Source, SourceName, Transactions
from eventpipeline.sources.schema import FUNNEL_STAGES, FunnelStage, Schema

__all__ = [
    "BUILT_IN", "FUNNEL_STAGES", "RESERVED", "Average", "Declaration", "Distribution", "FunnelStage", "Schema",
    "Source", "SourceName", "Transactions", "built_in", "load", "written",
]  # fmt: skip

BUILT_IN: tuple[str, ...] = ("facebook", "tiktok")
RESERVED: tuple[str, ...] = ("unknown", "other", "events")
"""Names that mean something else in metrics, reports and paths."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Each service reads these files when it starts; libyaml, where PyYAML has it, takes a tenth of the time."""


@cache
def built_in(name: str) -> Source:
    """The source `name` that comes with the project. Raises ValueError for a name that is not one of `BUILT_IN`."""
    if name not in BUILT_IN:
        raise ValueError(f"there is no source {name!r}; known are {', '.join(BUILT_IN)}")
    text = (Path(__file__).parent / f"{name}.yaml").read_text(encoding="utf-8")
    return Source.model_validate(yaml.load(text, Loader=_LOADER))  # noqa: S506 - it is a safe one


def load(names: Sequence[str], declarations: Mapping[str, Declaration] | None = None) -> tuple[Source, ...]:
    """The sources of these names, in this order: each one built in, or one of `declarations`.

    Raises ValueError for an unknown one.
    """
    declared = declarations or {}
    return tuple(declared[name].named(name) if name in declared else built_in(name) for name in names)


def written(parts: Mapping[str, BaseModel]) -> str:
    """The JSON text in which parts of a resource, by source, travel in an environment variable."""
    dumped = {name: part.model_dump(mode="json", by_alias=True, exclude_defaults=True) for name, part in parts.items()}
    return json.dumps(dumped, ensure_ascii=False, separators=(",", ":"))
