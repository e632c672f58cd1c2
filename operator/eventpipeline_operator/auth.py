"""The Secret of a pipeline: what is in it, how it is made anew and rotated.

    nats-password               of the services and the operator at NATS
    postgres-user               the login role that the services use now: one of LOGIN_ROLES
    postgres-password           its password
    postgres-previous-password  of the other login role, so that pods from before a rotation go on working; optional
    postgres-owner-password     of the role that owns the tables, under which `migrate` and `maintain` run

A password has only letters, digits and `-._~`, since it becomes part of a URL; the start of Postgres refuses others.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

NATS_PASSWORD, USER, PASSWORD = "nats-password", "postgres-user", "postgres-password"
OWNER_PASSWORD, PREVIOUS_PASSWORD = "postgres-owner-password", "postgres-previous-password"
REQUIRED_KEYS = (NATS_PASSWORD, USER, PASSWORD, OWNER_PASSWORD)

OWNER_ROLE = "eventpipeline_owner"
LOGIN_ROLES = ("eventpipeline_a", "eventpipeline_b")


@dataclass(frozen=True)
class SecretHashes:
    """Hashes of what pods read from secrets: where one changes, those pods are replaced."""

    nats: str = ""
    """What the services log in to NATS with."""
    store: str = ""
    """What the services log in to Postgres with."""
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
        nats=_digest(nats_url or auth.get(NATS_PASSWORD, ""), *nats_tls.values()),
        store=_digest(database_url or f"{auth.get(USER)}:{auth.get(PASSWORD)}", *store_tls.values()),
        postgres=_digest(*(f"{key}={auth[key]}" for key in sorted(auth) if key.startswith("postgres-"))),
    )


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def new_auth() -> dict[str, str]:
    """The content of a new Secret."""
    return {
        NATS_PASSWORD: secrets.token_hex(24),
        USER: LOGIN_ROLES[0],
        PASSWORD: secrets.token_hex(24),
        OWNER_PASSWORD: secrets.token_hex(24),
    }


def rotated(auth: Mapping[str, str]) -> dict[str, str]:
    """`auth` with the other login role and a new password; the present ones stay valid until the next rotation."""
    user = LOGIN_ROLES[1] if auth[USER] == LOGIN_ROLES[0] else LOGIN_ROLES[0]
    return {**auth, USER: user, PASSWORD: secrets.token_hex(24), PREVIOUS_PASSWORD: auth[PASSWORD]}
