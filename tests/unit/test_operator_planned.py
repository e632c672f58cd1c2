"""The plan in a cluster, sources that drain, and the operator's settings."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from declared import webshop_document
from eventpipeline.settings import CollectorSettings, GatewaySettings
from eventpipeline.spec import Condition, EventPipeline, EventPipelineStatus
from eventpipeline_operator import chart
from eventpipeline_operator.errors import InvalidResource
from eventpipeline_operator.objects import DEPLOYMENT, Key
from eventpipeline_operator.observe import WorkloadSeen
from eventpipeline_operator.planned import (
    declared_live,
    droppable,
    may_rotate_database,
    may_rotate_nats,
    planned,
    refused_sources,
    removed_sources,
    still_draining,
)
from eventpipeline_operator.reconcile import _again, parsed
from eventpipeline_operator.secret import Credentials
from eventpipeline_operator.settings import OperatorSettings, parsed_image
from eventpipeline_operator.values import Image

REFUSING = WorkloadSeen("marketing-gateway", current=True, wanted=2, updated=2, ready=2, replicas=2)


def body(spec: dict[str, Any], states: dict[str, str] | None = None) -> dict[str, Any]:
    status = {"sources": [{"name": name, "state": state, "pending": 1} for name, state in (states or {}).items()]}
    return {
        "apiVersion": "eventpipeline.dev/v1alpha1", "kind": "EventPipeline",
        "metadata": {"name": "marketing", "namespace": "shop", "uid": "u1"}, "spec": spec, "status": status,
    }  # fmt: skip


def only_facebook(tiktok: str) -> EventPipeline:
    return parsed(body({"sources": [{"name": "facebook"}]}, {"facebook": "Active", "tiktok": tiktok}))


def test_a_source_that_drains_has_a_collector_and_the_gateway_refuses_it() -> None:
    plans = planned(only_facebook("Active"), ("tiktok",))
    assert [workload.name for workload in plans.plan.collectors] == ["facebook-collector"]
    assert [workload.name for workload in plans.draining] == ["tiktok-collector"]
    assert isinstance(plans.plan.gateway.settings, GatewaySettings)
    assert plans.plan.gateway.settings.sources == ("facebook",)
    assert plans.sources == ("facebook", "tiktok")


def test_what_drains_changes_no_setting_of_what_stays() -> None:
    both = planned(parsed(body({})), ())
    draining = planned(only_facebook("Draining"), ("tiktok",))
    drained = planned(only_facebook("Draining"), ())
    assert both.plan.collectors[0] == draining.plan.collectors[0] == drained.plan.collectors[0]
    assert draining.plan.gateway == drained.plan.gateway
    assert draining.plan.reporter == drained.plan.reporter


def test_a_declared_source_drains_by_the_declaration_that_its_collector_has() -> None:
    declaration = changed_enum("$(PIPELINE) costs $5")
    shop = {"name": "shop", "declaration": declaration}
    with_shop = parsed(body({"sources": [{"name": "facebook"}, shop]}))
    values = chart.values(with_shop, chart.plan(with_shop, "shop"), Image(repository="e"), chart.Extras("a"))
    environment = values.collectors[1].environment
    assert "$$(PIPELINE) costs $$5" in environment["DECLARATIONS"], "or Kubernetes would put the name in"
    deployment = {
        "spec": {"template": {"spec": {"containers": [{"env": [
            {"name": name, "value": value} for name, value in environment.items()
        ]}]}}}
    }  # fmt: skip
    live = {Key(DEPLOYMENT, "shop", "marketing-shop-collector"): deployment}

    declared = declared_live(live)
    assert declared == with_shop.spec.declarations
    without = parsed(body({"sources": [{"name": "facebook"}]}, {"facebook": "Active", "shop": "Active"}))
    assert removed_sources(without, declared) == ("shop",)
    assert still_draining(without, {}, {}, refused=(), declared=declared) == ("shop",)
    assert still_draining(
        parsed(body({"sources": [{"name": "facebook"}]})), {}, {"shop": 2}, refused=(), declared=declared
    ) == ("shop",)
    plans = planned(without, ("shop",), declared)
    (draining,) = plans.draining
    assert isinstance(draining.settings, CollectorSettings)
    assert draining.settings.declarations == declared
    assert isinstance(plans.plan.gateway.settings, GatewaySettings)
    assert plans.plan.gateway.settings.declarations is None

    assert removed_sources(without) == (), "nobody knows what it was"
    deployment["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "DECLARATIONS", "value": "{"}]
    assert declared_live(live) == {}


def changed_enum(value: str) -> dict[str, Any]:
    document = webshop_document()
    document["schema"]["bottom"]["properties"]["customer"]["properties"]["tier"]["enum"].append(value)
    return document


@pytest.mark.parametrize(
    ("pending", "refused", "stays"),
    [
        ({"tiktok": 1}, {"tiktok"}, True),
        ({}, {"tiktok"}, True),
        ({"tiktok": 0}, set(), True),
        ({"tiktok": 0}, {"tiktok"}, False),
    ],
)
@pytest.mark.parametrize("state", ["Active", "Draining"])
def test_a_source_goes_when_it_is_refused_and_nothing_is_pending(
    state: str, pending: dict[str, int], refused: set[str], stays: bool
) -> None:
    resource = only_facebook(state)
    assert removed_sources(resource) == ("tiktok",)
    assert still_draining(resource, pending, {}, refused=refused) == (("tiktok",) if stays else ())


@pytest.mark.parametrize(
    ("gateway", "refused"),
    [
        (None, False),
        (REFUSING, True),
        (replace(REFUSING, current=False), False),
        (replace(REFUSING, updated=1, replicas=3), False),
        (replace(REFUSING, ready=1), False),
        (replace(REFUSING, leaving=1), False),
    ],
)
def test_a_source_is_refused_once_no_gateway_of_before_is_left(gateway: WorkloadSeen | None, refused: bool) -> None:
    assert refused_sources(("tiktok",), gateway, ["facebook"]) == ({"tiktok"} if refused else set())
    assert refused_sources(("tiktok",), gateway, ["facebook", "tiktok"]) == set(), "it was not even told"


def test_a_stream_that_nobody_asked_for_is_drained_first_and_goes_when_nobody_would_make_it_again() -> None:
    """As after a removal while the operator was away, or after a gateway that ended late."""
    resource = parsed(body({"sources": [{"name": "facebook"}]}, {"facebook": "Active"}))
    assert still_draining(resource, {}, {"tiktok": 3, "strange": 1}, refused=()) == ("tiktok",)
    assert still_draining(resource, {}, {"tiktok": 0}, refused=()) == ()

    plans = planned(resource, ())
    assert droppable(plans, {"tiktok": 0, "strange": 1}, ()) == ("tiktok",)
    assert droppable(plans, {"tiktok": 0}, {"tiktok", None}) == ()
    assert droppable(planned(resource, ("tiktok",)), {"tiktok": 0}, ()) == ()


EVERYTHING = ("nats", "postgres", "facebook-collector", "reporter", "gateway")


def test_a_password_is_rotated_only_where_everything_has_the_present_one() -> None:
    settled = {name: replace(REFUSING, name=name) for name in EVERYTHING}
    for may_rotate, server, other in (
        (may_rotate_database, "postgres", "gateway"),
        (may_rotate_database, "postgres", "nats"),
        (may_rotate_nats, "nats", "postgres"),
    ):
        assert may_rotate(settled)
        assert may_rotate(settled | {other: replace(REFUSING, ready=0)}), "that does not log in there"
        assert not may_rotate({server: REFUSING})
        assert not may_rotate({name: seen for name, seen in settled.items() if name != server})
        for name in {server, "facebook-collector", "reporter"}:
            for change in ({"updated": 1}, {"leaving": 1}, {"current": False}, {"ready": 1}):
                assert not may_rotate(settled | {name: replace(REFUSING, **change)})
    assert not may_rotate_nats(settled | {"gateway": replace(REFUSING, ready=0)})


def test_a_source_that_comes_back_no_longer_drains() -> None:
    resource = parsed(body({}, {"facebook": "Active", "tiktok": "Draining"}))
    assert removed_sources(resource) == ()


def test_the_operators_own_address_of_nats() -> None:
    resource = parsed(body({}))
    variables = Credentials({"nats-user": "eventpipeline_b", "nats-password": "secret"}).variables(resource)
    settings = planned(resource, ()).stream_settings(variables)
    assert settings.nats_url == "nats://eventpipeline_b:secret@marketing-nats.shop.svc:4222"
    external = parsed(body({"stream": {"external": {"url": "nats://n:4222", "credentialsSecretRef": {"name": "n"}}}}))
    credentials = Credentials({}, nats_url="nats://u:p@n:4222")
    assert planned(external, ()).stream_settings(credentials.variables(external)).nats_url == "nats://u:p@n:4222"
    assert "secret" not in repr(Credentials({"nats-user": "eventpipeline_b", "nats-password": "secret"}))


def test_what_is_awaited_is_looked_at_less_and_less_often() -> None:
    start = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    ready = Condition(
        type="Ready", status="False", reason="Starting", message="", last_transition_time="2026-11-24T12:00:00Z"
    )
    delays = [
        _again(EventPipelineStatus(conditions=(ready,)), pending=False, now=start + timedelta(seconds=age))
        for age in (0, 60, 86400)
    ]
    assert delays == [5, 15, 60]
    done = EventPipelineStatus(conditions=(ready.model_copy(update={"status": "True"}),))
    assert _again(done, pending=False, now=start) is None
    assert _again(done, pending=True, now=start) == 5


def test_an_invalid_resource_is_said_field_by_field() -> None:
    wrong = body({"sources": [{"name": "myspace"}], "gateway": {"maxBodyBytes": 1}})
    with pytest.raises(InvalidResource) as caught:
        parsed(wrong)
    assert "spec.sources[0].name: there is no source 'myspace'" in str(caught.value)
    assert "spec.gateway.maxBodyBytes" in str(caught.value)


@pytest.mark.parametrize(
    ("reference", "repository", "tag", "digest"),
    [
        ("eventpipeline", "eventpipeline", "", ""),
        ("eventpipeline:1.2", "eventpipeline", "1.2", ""),
        ("registry:5000/a/b", "registry:5000/a/b", "", ""),
        ("registry:5000/a/b:1", "registry:5000/a/b", "1", ""),
        (f"a/b:1@sha256:{'0' * 64}", "a/b", "1", f"sha256:{'0' * 64}"),
    ],
)
def test_image_references(reference: str, repository: str, tag: str, digest: str) -> None:
    image = parsed_image(reference, "IfNotPresent")
    assert (image.repository, image.tag, image.digest) == (repository, tag, digest)


def test_settings_are_what_the_environment_says() -> None:
    settings = OperatorSettings.read({"IMAGE": "x:1", "WATCH_NAMESPACES": "a,b", "NATS_IMAGE": "nats:2"})
    assert settings.watch_namespaces == ("a", "b")
    assert settings.images.nats is not None
    assert settings.image_pull_secrets == ()
    assert OperatorSettings.read({"WATCH_NAMESPACES": ""}).watch_namespaces == ()
    assert OperatorSettings.read(settings.environ()) == settings


def test_operator_is_no_package() -> None:
    """With an __init__.py, it would hide the standard library's `operator` from whoever runs in the repository."""
    root = Path(__file__).resolve().parents[2]
    assert not (root / "operator" / "__init__.py").exists()
    assert not (root / "tests" / "operator").exists()
