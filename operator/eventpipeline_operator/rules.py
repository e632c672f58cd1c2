"""What the API server checks beyond the schema, in CEL, so that no webhook has to run. Pure data.

The models of `spec.py` hold the same rules for `eventpipeline validate`; a test runs both over the same table. Rules
with `oldSelf` say what cannot change while a pipeline runs; only the API server knows what was there before.

The API server also runs the rules over the defaults in the schema, where nothing is filled in yet; and leaving out a
block must mean the same as writing its defaults.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from eventpipeline.authentication import Authentication, ReaderKeys
from eventpipeline.sources import BUILT_IN, FUNNEL_STAGES, RESERVED, Declaration, FunnelStage
from eventpipeline.spec import (
    PIPELINE_NAME_PATTERN,
    Autoscaling,
    EventPipeline,
    ManagedNats,
    ManagedPostgres,
    Resources,
    SourceRef,
    Store,
    Stream,
)


@dataclass(frozen=True)
class Rule:
    """`rule` must be true of the part of the resource it stands on; else `message` is shown beside `field_path`."""

    rule: str
    message: str
    field_path: str | None = None

    def to_schema(self) -> dict[str, str]:
        found = {"rule": self.rule, "message": self.message}
        return found | ({"fieldPath": self.field_path} if self.field_path else {})


def _amount_within_limit(name: str) -> Rule:
    return Rule(
        f"!self.?requests.?{name}.hasValue() || !self.?limits.?{name}.hasValue() || "
        f"quantity(self.requests.{name}).compareTo(quantity(self.limits.{name})) <= 0",
        f"requests.{name} must not be greater than limits.{name}",
        f".requests.{name}",
    )


def _before(expression: str) -> str:
    """The same of what was there before the change."""
    return expression.replace("self.", "oldSelf.")


def _only_grows(block: str, default: str) -> Rule:
    # `quantity` stands in each branch: only there does the API server know how long the string can be, and so the cost.
    size = f"(has(self.{block}) ? quantity(self.{block}.storage) : quantity('{default}'))"
    return Rule(
        f"{size}.compareTo({_before(size)}) >= 0",
        "storage can only grow: volumes do not shrink",
        f".{block}.storage",
    )


def _same_replicas(block: str, default: int) -> Rule:
    count = f"(has(self.{block}) ? self.{block}.replicas : {default})"
    return Rule(
        f"{count} == {_before(count)}",
        "replicas cannot change: streams do not move between servers; make a new pipeline",
        f".{block}.replicas",
    )


def _same_storage_class(block: str) -> Rule:
    given = f"has(self.{block}) && has(self.{block}.storageClassName)"
    name = f"self.{block}.storageClassName"
    return Rule(
        f"({given}) ? ({_before(given)} && {name} == {_before(name)}) : !({_before(given)})",
        "storageClassName cannot change: its volumes are made with it; make a new pipeline",
        f".{block}.storageClassName",
    )


def _fixed_manager(what: str) -> Rule:
    return Rule(
        "has(self.external) == has(oldSelf.external)",
        f"a pipeline cannot change between a managed and an external {what}: make a new one and replay into it",
        ".external",
    )


_METHODS = tuple(field.alias or name for name, field in Authentication.model_fields.items())
_TYPES = {stage: f"self.eventTypes.?{stage}.orValue([])" for stage in FUNNEL_STAGES}


def _schema_of_stage(stage: FunnelStage) -> Rule:
    return Rule(
        f"({_TYPES[stage]}.size() > 0) == has(self.schema.{stage})",
        f"schema.{stage} must be there where eventTypes.{stage} has event types, and only there",
        f".schema.{stage}",
    )


RULES: dict[type[BaseModel], tuple[Rule, ...]] = {
    EventPipeline: (
        Rule(
            f"self.metadata.name.matches('{PIPELINE_NAME_PATTERN}')",
            "metadata.name must have at most 40 lower-case letters, digits and '-', and begin with a letter, "
            "because the names of objects are made from it",
        ),
    ),
    SourceRef: (
        Rule(
            f"self.name in {list(BUILT_IN)} || has(self.declaration)",
            f"there is no such source; known are {', '.join(BUILT_IN)}; declare it in declaration",
            ".name",
        ),
        Rule(
            f"!(self.name in {list(BUILT_IN)} && has(self.declaration))",
            f"{' and '.join(BUILT_IN)} are built in; give a source with a declaration another name",
            ".declaration",
        ),
        Rule(
            f"!(self.name in {list(RESERVED)})",
            f"must not be {' or '.join(RESERVED)}, which stand for something else in metrics and paths",
            ".name",
        ),
    ),
    Authentication: (
        Rule(
            " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in _METHODS) + " <= 1",
            f"give only one of {', '.join(_METHODS)}",
        ),
    ),
    ReaderKeys: (Rule("has(self.read) || has(self.operate)", "give read, operate or both"),),
    Declaration: (
        Rule(
            f"{_TYPES['top']}.size() + {_TYPES['bottom']}.size() > 0",
            "names no event type; give at least one, in top or in bottom",
            ".eventTypes",
        ),
        *(_schema_of_stage(stage) for stage in FUNNEL_STAGES),
    ),
    Autoscaling: (
        Rule(
            "self.?minReplicas.orValue(1) <= self.?maxReplicas.orValue(10)",
            "minReplicas must not be greater than maxReplicas",
            ".minReplicas",
        ),
    ),
    Resources: (_amount_within_limit("cpu"), _amount_within_limit("memory")),
    Stream: (
        Rule("!(has(self.nats) && has(self.external))", "give either nats or external, not both", ".external"),
        _fixed_manager("NATS"),
        _same_replicas("nats", ManagedNats().replicas),
        _same_storage_class("nats"),
        _only_grows("nats", ManagedNats().storage),
    ),
    Store: (
        Rule("!(has(self.postgres) && has(self.external))", "give either postgres or external, not both", ".external"),
        _fixed_manager("Postgres"),
        _same_storage_class("postgres"),
        _only_grows("postgres", ManagedPostgres().storage),
    ),
}  # fmt: skip
