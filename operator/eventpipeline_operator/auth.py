"""The Secret of a pipeline: what is in it, how it is made anew and rotated.

    nats-password               of the operator at NATS, and of its servers among themselves
    nats-SERVICE-password       of each service at NATS
    postgres-user               the login role that the services use now: one of LOGIN_ROLES
    postgres-password           its password
    postgres-previous-password  of the other login role, so that pods from before a rotation go on working; optional
    postgres-reporter-password  of the reporter, whose role is the one of postgres-user with `_reporter` behind it
    postgres-reporter-previous-password   likewise of the other one; optional
    postgres-owner-password     of the role that owns the tables, under which `migrate` and `maintain` run

A password has only letters, digits and `-._~`, since it becomes part of a URL; the start of Postgres refuses others.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from eventpipeline import users

NATS_PASSWORD, USER, PASSWORD = "nats-password", "postgres-user", "postgres-password"
OWNER_PASSWORD, PREVIOUS_PASSWORD = "postgres-owner-password", "postgres-previous-password"
REPORTER_PASSWORD, REPORTER_PREVIOUS = "postgres-reporter-password", "postgres-reporter-previous-password"
NATS_PASSWORDS = {service.name: f"nats-{service.name}-password" for service in users.SERVICES}
REQUIRED_KEYS = (NATS_PASSWORD, USER, PASSWORD, OWNER_PASSWORD)
LATER_KEYS = (*NATS_PASSWORDS.values(), REPORTER_PASSWORD)
"""Keys that Secrets of earlier releases lack. They are added; what runs goes on with those that were there."""

OWNER_ROLE = "eventpipeline_owner"
LOGIN_ROLES = ("eventpipeline_a", "eventpipeline_b")


@dataclass(frozen=True)
class SecretHashes:
    """Hashes of what pods read from secrets: where one changes, those pods are replaced."""

    nats: Mapping[str, str] = field(default_factory=dict)
    """What each service logs in to NATS with."""
    nats_server: str = ""
    """What a managed NATS knows its users by."""
    store: str = ""
    """What the collectors log in to Postgres with."""
    reporter_store: str = ""
    """What the reporter logs in to Postgres with."""
    postgres: str = ""
    """What a managed Postgres sets its roles to."""


NO_HASHES = SecretHashes()
_NOTHING: Mapping[str, str] = {}


def hashes(
    auth: Mapping[str, str], *, nats_url: str | None = None, database_url: str | None = None,
    nats_tls: Mapping[str, str] = _NOTHING, store_tls: Mapping[str, str] = _NOTHING,
) -> SecretHashes:  # fmt: skip
    """The hashes of a pipeline with the Secret `auth`, and with the content of the secrets of external servers."""
    return SecretHashes(
        nats={name: _digest(nats_url or auth.get(key, ""), *nats_tls.values()) for name, key in NATS_PASSWORDS.items()},
        nats_server=_digest(*(f"{key}={auth[key]}" for key in sorted(auth) if key.startswith("nats-"))),
        store=_digest(database_url or f"{auth.get(USER)}:{auth.get(PASSWORD)}", *store_tls.values()),
        reporter_store=_digest(database_url or f"{auth.get(USER)}:{auth.get(REPORTER_PASSWORD)}", *store_tls.values()),
        postgres=_digest(*(f"{key}={auth[key]}" for key in sorted(auth) if key.startswith("postgres-"))),
    )


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def new_auth() -> dict[str, str]:
    """The content of a new Secret."""
    return completed(
        {
            NATS_PASSWORD: secrets.token_hex(24),
            USER: LOGIN_ROLES[0],
            PASSWORD: secrets.token_hex(24),
            OWNER_PASSWORD: secrets.token_hex(24),
        }
    )


def completed(auth: Mapping[str, str]) -> dict[str, str]:
    """`auth` with the keys that it lacks because an earlier release made it."""
    return {**{key: secrets.token_hex(24) for key in LATER_KEYS}, **auth}


def rotated(auth: Mapping[str, str]) -> dict[str, str]:
    """`auth` with the other login role and a new password; the present ones stay valid until the next rotation."""
    user = LOGIN_ROLES[1] if auth[USER] == LOGIN_ROLES[0] else LOGIN_ROLES[0]
    return {
        **auth,
        USER: user,
        PASSWORD: secrets.token_hex(24),
        PREVIOUS_PASSWORD: auth[PASSWORD],
        REPORTER_PASSWORD: secrets.token_hex(24),
        REPORTER_PREVIOUS: auth[REPORTER_PASSWORD],
    }
