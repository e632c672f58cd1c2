"""Sources that users declare: what is refused, with its place, and that what is taken is a whole source."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from declared import WEBSHOP, order, random_event, random_source, visit, webshop_document
from eventpipeline import resource
from eventpipeline.events import EventValidator
from eventpipeline.faults import Fault, flattened, refusal
from eventpipeline.plan import Addresses, plan
from eventpipeline.settings import CollectorSettings, GatewaySettings, ReporterSettings, SettingsError
from eventpipeline.sources import Declaration, built_in, load
from eventpipeline.spec import MAX_DECLARATIONS, EventPipeline

REMOVE = object()


def changed(path: str, value: Any) -> dict[str, Any]:
    """The declaration of the web shop with another value at a path such as `schema.top.type`."""
    document = webshop_document()
    at: Any = document
    *parents, last = [int(part) if part.isdigit() else part for part in path.split("|")]
    for part in parents:
        at = at[part]
    if value is REMOVE:
        del at[last]
    else:
        at[last] = value
    return document


def faults(document: dict[str, Any]) -> dict[str, str]:
    try:
        Declaration.model_validate(document)
    except ValidationError as error:
        return {".".join(map(str, fault["loc"])): fault["msg"] for fault in flattened(error.errors())}
    return {}


BOTTOM = "schema|bottom|properties"
MISTAKES: list[tuple[str, Any, str, str]] = [
    ("eventTypes", {}, "eventTypes", "names no event type"),
    ("eventTypes|top", ["search", "search"], "eventTypes.top.1", "again"),
    ("eventTypes|top", ["a search"], "eventTypes.top.0", "pattern"),
    ("eventTypes|top", [], "schema.top", "remove it"),
    ("schema|top", REMOVE, "schema.top", "is missing"),
    ("schema|top|type", ["object", "null"], "schema.top.type", "must be object"),
    ("schema|top|type", "string", "schema.top.properties", "says nothing of string"),
    ("schema|top|required", ["customer", "basket"], "schema.top.required.1", "'basket'"),
    ("schema|top|oneOf", [], "schema.top.oneOf", "Extra inputs"),
    (f"{BOTTOM}|order|properties|items|type", "array", f"{BOTTOM}.order.properties.items.type.0", "Input should be"),
    (f"{BOTTOM}|order|properties|items|type", ["string", "integer"], f"{BOTTOM}.order.properties.items.type", "one"),
    (f"{BOTTOM}|order|properties|items|type", "null", f"{BOTTOM}.order.properties.items.type", "one type"),
    (f"{BOTTOM}|order|properties|items|maxLength", 3, f"{BOTTOM}.order.properties.items.maxLength", "is for type"),
    (f"{BOTTOM}|order|properties|items|minimum", 2**53, f"{BOTTOM}.order.properties.items.minimum", "within"),
    (f"{BOTTOM}|order|properties|items|maximum", 0, f"{BOTTOM}.order.properties.items.minimum", "must not be greater"),
    (f"{BOTTOM}|customer|properties|id|minLength", 999, f"{BOTTOM}.customer.properties.id.minLength", "not be greater"),
    (f"{BOTTOM}|customer|properties|id|minLength", -1, f"{BOTTOM}.customer.properties.id.minLength", "negative"),
    (f"{BOTTOM}|customer|properties|tier|enum", [], f"{BOTTOM}.customer.properties.tier.enum", "no value"),
    (f"{BOTTOM}|customer|properties|tier|type", ["string", "null"], f"{BOTTOM}.customer.properties.tier.enum", "null"),
    (f"{BOTTOM}|customer|properties|tier|maxLength", 9, f"{BOTTOM}.customer.properties.tier.maxLength", "beside enum"),
    ("user", "customer", "user", "pattern"),
    ("user", "/customer/name", "user", "/customer/name is not there"),
    (f"{BOTTOM}|customer|required", ["tier"], "user", "required string"),
    (f"{BOTTOM}|customer|type", ["object", "null"], "user", "required string"),
    (f"{BOTTOM}|customer|properties|id|maxLength", 257, "user", "at most 256"),
    (f"{BOTTOM}|customer|properties|id", {"type": ["string", "null"], "maxLength": 9}, "user", "required string"),
    ("transactions|eventTypes", ["order.sent"], "transactions.eventTypes.0", "'order.sent'"),
    ("transactions|eventTypes", [], "transactions.eventTypes", "at least 1"),
    ("transactions|eventTypes", ["order.paid", "search"], "transactions.amount", "schema of top"),
    ("transactions|amount", "/order/items", "transactions.amount", "format decimal"),
    ("transactions|amount", "/order/price", "transactions.amount", "format decimal"),
    ("transactions|currency", "/order/items", "transactions.currency", "256"),
    ("transactions|currency", "/order/coin", "transactions.currency", "256"),
    ("campaign", "/order/items", "campaign", "256"),
    ("campaign", "/order/voucher", "campaign", "no schema"),
    ("averages|0|pointer", "/order/total", "averages.0.pointer", "integer or number"),
    ("averages|0|pointer", "/order/weight", "averages.0.pointer", "no schema"),
    ("averages|0|name", "tiers", "distributions.0.name", "share one list"),
    ("averages|0|name", "users", "averages.0.name", "must not be users"),
    ("averages|0|name", "Average Items", "averages.0.name", "pattern"),
    ("distributions|0|pointer", "/order/items", "distributions.0.pointer", "256"),
    ("distributions|3|pointer", "/order/campaign", "distributions.3.pointer", "integer or number"),
    ("distributions|3|ranges", [2, 2], "distributions.3.ranges", "must ascend"),
    ("distributions|3|ranges", [2, 2**60], "distributions.3.ranges", "must ascend"),
    ("metricsPrefix", "Shop", "metricsPrefix", "pattern"),
    ("usr", "/x", "usr", "Extra inputs"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "place", "message"), MISTAKES)
def test_a_mistake_in_a_declaration_is_named(path: str, value: Any, place: str, message: str) -> None:
    found = faults(changed(path, value))
    assert message in found.get(place.replace("|", "."), ""), found


def test_all_mistakes_are_told_at_once() -> None:
    document = changed("user", "/nobody") | {"campaign": "/nothing"}
    document["averages"] = [{"name": "events", "pointer": "/nowhere"}]
    assert set(faults(document)) == {"user", "campaign", "averages.0.name", "averages.0.pointer"}


def test_no_schema_is_too_deep() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(17):
        schema = {"type": "object", "properties": {"a": schema}}
    found = faults(changed("schema|top|properties|deep", schema))
    (place,) = found
    assert "deeper than 16" in found[place]


@pytest.mark.parametrize("name", ["facebook", "tiktok"])
def test_the_built_in_sources_keep_the_same_rules(name: str) -> None:
    document = built_in(name).model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"name"})
    assert faults(document) == {}


def test_a_refusal_of_nothing_is_none() -> None:
    assert refusal([]) is None
    error = refusal([Fault(("a", 0), "is {odd}"), Fault((), "and more")])
    assert error is not None
    assert "a.0 is {odd}" in error.message()


# --- the source it is ------------------------------------------------------------------------------------------------


def test_a_declared_source_validates_its_events() -> None:
    validator = EventValidator(WEBSHOP.named("webshop"))
    good = [order("o-1"), order("o-2", total=None), visit("v-1", category="hats"), visit("v-2", stray=[1])]
    bad = [
        order("o-3", total="49,90"),
        order("o-4", currency="CHF"),
        order("o-5", items=0),
        {**visit("v-3"), "eventType": "order.paid"},
        {**order("o-6"), "source": "facebook"},
    ]
    assert validator.all_valid(json.dumps(good).encode())
    assert [validator.fault(json.dumps(event).encode()) for event in good] == [None] * 4
    for event in bad:
        assert not validator.all_valid(json.dumps([event]).encode())
        assert validator.fault(json.dumps(event).encode())


LARGE_EXPONENT = re.compile(rb"[0-9]e[+-]?[0-9]{3}")


@pytest.mark.parametrize("seed", range(60))
def test_many_events_at_once_are_judged_as_each_alone(seed: int) -> None:
    """Whatever is declared: what the fast validator takes, the exact one takes; and both take something."""
    rng = random.Random(seed)
    source = random_source(rng)
    validator = EventValidator(source)
    events = [json.dumps(random_event(rng, source, f"e-{index}")).encode() for index in range(30)]
    for whole in [*map(json.loads, events)]:
        events += [json.dumps({name: whole[name] for name in whole if name != left_out}).encode() for left_out in whole]
    events += [event.replace(b"null", b"[1]", 1).replace(b'"y', b'"' + b"y" * 300, 1) for event in events]
    together = [event for event in events if validator.all_valid(b"[" + event + b"]")]
    assert [event for event in together if validator.fault(event)] == []
    # Only the quickest route takes a large exponent, and one event that is not for it takes all others along.
    mixed = [event for event in together if not LARGE_EXPONENT.search(event)]
    assert mixed
    assert validator.all_valid(b"[" + b",".join(mixed) + b"]")


def test_a_source_may_have_one_stage_only() -> None:
    document = changed("eventTypes|top", REMOVE)
    del document["schema"]["top"], document["averages"][1], document["distributions"][2]
    source = Declaration.model_validate(document).named("webshop")
    validator = EventValidator(source)
    assert source.stages == ("bottom",)
    assert validator.fault(json.dumps(order("o-1")).encode()) is None
    rejection = validator.fault(json.dumps(visit("v-1")).encode())
    assert rejection
    assert [(fault["loc"], fault["msg"]) for fault in rejection.detail] == [(["funnelStage"], "must be 'bottom'")]
    without = {name: value for name, value in order("o-1").items() if name != "funnelStage"}
    assert validator.fault(json.dumps(without).encode())
    assert not validator.all_valid(json.dumps([without]).encode())
    assert validator.all_valid(json.dumps([order("o-1")]).encode())


def test_metrics_begin_with_the_name_or_what_is_given() -> None:
    assert WEBSHOP.named("web-shop").metrics_prefix == "web_shop_collector"
    given = Declaration.model_validate(changed("metricsPrefix", "ws"))
    assert given.named("web-shop").metrics_prefix == "ws"


def test_sources_are_loaded_by_name() -> None:
    assert [source.name for source in load(["webshop", "tiktok"], {"webshop": WEBSHOP})] == ["webshop", "tiktok"]
    with pytest.raises(ValueError, match="there is no source 'webshop'"):
        load(["webshop"])


# --- in a resource, and on its way to the services -------------------------------------------------------------------


def pipeline(*sources: dict[str, Any]) -> EventPipeline:
    return EventPipeline.model_validate(
        {
            "apiVersion": "eventpipeline.dev/v1alpha1",
            "kind": "EventPipeline",
            "metadata": {"name": "m"},
            "spec": {"sources": list(sources)},
        }
    )


def test_each_service_gets_the_declarations_it_needs() -> None:
    made = pipeline(
        {"name": "facebook"}, {"name": "tiktok"}, {"name": "shop", "declaration": webshop_document()},
        {"name": "second", "declaration": webshop_document()},
    )  # fmt: skip
    found = plan(made, Addresses("nats://n", "postgresql://p"))
    gateway = GatewaySettings.read(found.gateway.settings.environ())
    reporter = ReporterSettings.read(found.reporter.settings.environ())
    collectors = [CollectorSettings.read(one.settings.environ()) for one in found.collectors]
    assert set(gateway.declarations or {}) == set(reporter.declarations or {}) == {"shop", "second"}
    assert [set(one.declarations or {}) for one in collectors] == [set(), set(), {"shop"}, {"second"}]
    assert "DECLARATIONS" not in found.collectors[0].settings.environ()
    assert load(["shop"], collectors[2].declarations) == load(["shop"], gateway.declarations)
    assert load(["shop"], gateway.declarations) == (WEBSHOP.named("shop"),)
    assert [one.port for one in collectors] == [3001, 3002, 3004, 3005]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"name": "shop"}, "spec.sources[0].name: there is no source 'shop'; known are facebook, tiktok; declare"),
        ({"name": "facebook", "declaration": webshop_document()}, "spec.sources[0].declaration: is given, but"),
        ({"name": "unknown", "declaration": webshop_document()}, "spec.sources[0].name: must not be unknown"),
        ({"name": "Web Shop", "declaration": webshop_document()}, "spec.sources[0].name: must be at most 32"),
        (
            {"name": "shop", "declaration": changed("schema|top|properties|page|oneOf", [])},
            "declaration.schema.top.properties.page.oneOf: is not supported in the schema of a source; supported are",
        ),
        (
            {"name": "shop", "declaration": changed("schema|top|properties|page|type", "array")},
            "declaration.schema.top.properties.page.type[0]: is 'array', which is not supported",
        ),
        (
            {"name": "shop", "declaration": changed("usr", "/id")},
            "declaration.usr: is no field of an EventPipeline; did you mean user?",
        ),
        ({"name": "shop", "declaration": changed("user", "id")}, "declaration.user: must be a JSON Pointer into data"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_resource_has_a_place_and_a_hint(source: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        pipeline(source)
    found = list(map(str, resource.explained(caught.value)))
    assert any(message in mistake for mistake in found), found


def test_the_line_of_a_mistake_is_told(tmp_path: Path) -> None:
    text = (Path(__file__).resolve().parents[2] / "manifests/webshop.yaml").read_text()
    file = tmp_path / "shop.yaml"
    file.write_text(text.replace("campaign: /order/campaign", "campaign: /order/voucher"))
    with pytest.raises(resource.ResourceError) as caught:
        resource.load(file)
    (mistake,) = caught.value.mistakes
    assert file.read_text().splitlines()[(mistake.line or 0) - 1].strip() == "campaign: /order/voucher"
    assert mistake.place == "spec.sources[2].declaration.campaign"


def test_declarations_fit_an_environment_variable() -> None:
    long = changed("schema|top|description", "x" * (MAX_DECLARATIONS // 2))
    assert pipeline({"name": "one", "declaration": long})
    with pytest.raises(ValidationError, match=f"at most {MAX_DECLARATIONS} are taken"):
        pipeline({"name": "one", "declaration": long}, {"name": "two", "declaration": long})


@pytest.mark.parametrize(
    ("declarations", "named"),
    [("{", "DECLARATIONS:"), ('{"shop": {"user": "/id"}}', "DECLARATIONS.shop.eventTypes:"), ("{}", "SOURCES:")],
)
def test_a_wrong_declaration_in_the_environment_is_named(declarations: str, named: str) -> None:
    with pytest.raises(SettingsError) as refused:
        GatewaySettings.read({"NATS_URL": "nats://n", "SOURCES": "shop", "DECLARATIONS": declarations})
    assert named in str(refused.value)
