"""The seam between the plan and the services: what is written is what is read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from declared import WEBSHOP
from eventpipeline.authentication import (
    Authentication,
    Hmac,
    KeyRef,
    Meta,
    Oidc,
    RateLimit,
    ReaderAuthentication,
    ReaderKeys,
)
from eventpipeline.settings import (
    CollectorSettings,
    Environment,
    GatewaySettings,
    MaintainSettings,
    MigrateSettings,
    ReporterSettings,
    SettingsError,
)

# What an environment variable can hold: anything but NUL, in UTF-8.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=50)
NAMES = st.lists(st.sampled_from(["facebook", "tiktok"]), min_size=1, unique=True).map(tuple)
BYTES = st.integers(1, 2**60)
SECONDS = st.floats(0.001, 1e6)
STREAM: dict[str, st.SearchStrategy[Any]] = {
    "environment": TEXT,
    "log_level": st.sampled_from(["debug", "info", "warning", "error"]),
    "host": TEXT,
    "port": st.integers(0, 65535),
    "drain_seconds": SECONDS,
    "nats_url": TEXT,
    "nats_tls_dir": st.none() | TEXT,
    "nats_inbox_prefix": TEXT,
    "stream_prefix": TEXT,
    "stream_bytes": BYTES,
    "stream_larger": st.booleans(),
    "dead_bytes": BYTES,
    "stream_replicas": st.integers(1, 5),
    "stream_retention_seconds": st.integers(1, 10**9),
}
DECLARED: dict[str, st.SearchStrategy[Any]] = STREAM | {
    "declarations": st.sampled_from([None, {"shop": WEBSHOP}, {"a": WEBSHOP, "b-2": WEBSHOP}])
}
SENDERS: dict[str, st.SearchStrategy[Any]] = {
    "authentication": st.sampled_from(
        [
            None,
            {"facebook": Authentication(meta=Meta(keys=(KeyRef(name="a"), KeyRef(name="a", key="b"))))},
            {"a": Authentication(hmac=Hmac(keys=(KeyRef(name="a"),), prefix="v0=$(X)")), "b": Authentication()},
        ]
    ),
    "keys_dir": st.none() | TEXT,
    "rate_limits": st.sampled_from([None, {"tiktok": RateLimit(requests_per_second=5, burst=7)}]),
}
READERS: dict[str, st.SearchStrategy[Any]] = {
    "authentication": st.sampled_from(
        [
            None,
            ReaderAuthentication(bearer=ReaderKeys(read=KeyRef(name="a"), operate=KeyRef(name="a", key="b"))),
            ReaderAuthentication(oidc=Oidc(issuer="https://id.example.com/$(X)", audience="é", read=("a", "b"))),
        ]
    ),
    "keys_dir": st.none() | TEXT,
    "rate_limit": st.sampled_from([None, RateLimit(requests_per_second=5, burst=7)]),
}
STORE: dict[str, st.SearchStrategy[Any]] = {"database_url": TEXT, "database_tls_dir": st.none() | TEXT}
RETENTION = {"retention_days": st.none() | st.integers(1, 36500)}
FIELDS: dict[type[Environment], dict[str, st.SearchStrategy[Any]]] = {
    GatewaySettings: DECLARED
    | RETENTION
    | SENDERS
    | {"sources": NAMES, "max_body_bytes": BYTES, "max_in_flight_bytes": BYTES, "ack_timeout_seconds": SECONDS}
    | {"makes_streams": st.booleans()},
    CollectorSettings: DECLARED | STORE | {"source": st.sampled_from(["facebook", "tiktok"]), "batch_bytes": BYTES},
    ReporterSettings: DECLARED | READERS | STORE | {"sources": NAMES, "gateway_url": st.none() | TEXT},
    MigrateSettings: STORE | {"service_database_url": st.just("") | TEXT, "reporter_database_url": st.just("") | TEXT},
    MaintainSettings: RETENTION | STORE,
}
NEEDED = {"nats_url": "nats://n", "database_url": "postgresql://p", "source": "facebook", "sources": ("facebook",)}


def settings_of(kind: type[Environment]) -> st.SearchStrategy[Environment]:
    return st.fixed_dictionaries({}, optional=FIELDS[kind]).map(
        lambda given: kind.model_validate({name: NEEDED[name] for name in NEEDED if name in kind.model_fields} | given)
    )


@pytest.mark.parametrize("kind", FIELDS)
def test_every_setting_is_tried(kind: type[Environment]) -> None:
    assert set(FIELDS[kind]) == set(kind.model_fields)


@given(st.sampled_from([*FIELDS]).flatmap(settings_of), st.dictionaries(TEXT.map(lambda name: f"X_{name}"), TEXT))
def test_reading_is_the_inverse_of_writing(settings: Environment, of_others: dict[str, str]) -> None:
    environ = settings.environ()

    assert type(settings).read(of_others | environ) == settings
    assert all(type(name) is str and type(value) is str and name.isupper() for name, value in environ.items())


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({}, ["NATS_URL", "DATABASE_URL", "SOURCE"]),
        ({"PORT": "99999"}, ["PORT"]),
        ({"PORT": "http"}, ["PORT"]),
        ({"LOG_LEVEL": "loud"}, ["LOG_LEVEL"]),
        ({"BATCH_BYTES": "4MiB", "STREAM_BYTES": "0"}, ["BATCH_BYTES", "STREAM_BYTES"]),
    ],
)
def test_a_mistake_is_named(environ: dict[str, str], named: list[str]) -> None:
    good = {"NATS_URL": "nats://n", "DATABASE_URL": "postgresql://p", "SOURCE": "facebook"} if environ else {}

    with pytest.raises(SettingsError) as refused:
        CollectorSettings.read(good | environ)

    faults = str(refused.value).removeprefix("settings in the environment: ").split("; ")
    assert sorted(fault.split(":")[0] for fault in faults) == sorted(named)
