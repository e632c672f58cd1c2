"""The Secret of a pipeline: what is in it, how it is made anew and rotated.

    nats-user, nats-password    the login of the operator at NATS now: one of the two that its user has
    nats-SERVICE-user, nats-SERVICE-password   likewise of each service
    nats-passwords.conf         the passwords of all logins, for the NATS servers; those not in use are the former ones,
                                so that pods from before a rotation go on working
    nats-route-password         of the NATS servers among themselves; not rotated
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
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from eventpipeline import users

USER, PASSWORD = "postgres-user", "postgres-password"
OWNER_PASSWORD, PREVIOUS_PASSWORD = "postgres-owner-password", "postgres-previous-password"
REPORTER_PASSWORD, REPORTER_PREVIOUS = "postgres-reporter-password", "postgres-reporter-previous-password"
NATS_USER, NATS_PASSWORD = "nats-user", "nats-password"
NATS_USERS = {service.name: f"nats-{service.name}-user" for service in users.SERVICES}
NATS_PASSWORDS = {service.name: f"nats-{service.name}-password" for service in users.SERVICES}
NATS_FILE, ROUTE_PASSWORD = users.PASSWORDS_FILE, "nats-route-password"
_NATS_KEYS = {
    users.OWNER: (NATS_USER, NATS_PASSWORD),
    **{service: (NATS_USERS[service], NATS_PASSWORDS[service]) for service in NATS_USERS},
}
"""Of each user of NATS, the keys of the login in use."""
REQUIRED_KEYS = (NATS_PASSWORD, USER, PASSWORD, OWNER_PASSWORD)
LATER_KEYS = (
    *NATS_PASSWORDS.values(), REPORTER_PASSWORD, NATS_USER, *NATS_USERS.values(), ROUTE_PASSWORD, NATS_FILE,
)  # fmt: skip
"""Keys that Secrets of earlier releases lack. They are added; what runs goes on with those that were there."""

OWNER_ROLE = "eventpipeline_owner"
LOGIN_ROLES = ("eventpipeline_a", "eventpipeline_b")


@dataclass(frozen=True)
class SecretHashes:
    """Hashes of what pods read from secrets: where one changes, those pods are replaced."""

    nats: Mapping[str, str] = field(default_factory=dict)
    """What each service logs in to NATS with."""
    nats_server: str = ""
    """What the servers of a managed NATS read only when they start."""
    store: str = ""
    """What the collectors log in to Postgres with."""
    reporter_store: str = ""
    """What the reporter logs in to Postgres with."""
    postgres: str = ""
    """What a managed Postgres sets only when it starts; `migrate` sets the passwords of the services while it runs."""


NO_HASHES = SecretHashes()
_NOTHING: Mapping[str, str] = {}


def hashes(
    auth: Mapping[str, str], *, nats_url: str | None = None, database_url: str | None = None,
    nats_tls: Mapping[str, str] = _NOTHING, store_tls: Mapping[str, str] = _NOTHING,
) -> SecretHashes:  # fmt: skip
    """The hashes of a pipeline with the Secret `auth`, and with the content of the secrets of external servers."""
    return SecretHashes(
        nats={name: _digest(nats_url or auth.get(key, ""), *nats_tls.values()) for name, key in NATS_PASSWORDS.items()},
        nats_server=_digest(auth.get(ROUTE_PASSWORD, "")),
        store=_digest(database_url or f"{auth.get(USER)}:{auth.get(PASSWORD)}", *store_tls.values()),
        reporter_store=_digest(database_url or f"{auth.get(USER)}:{auth.get(REPORTER_PASSWORD)}", *store_tls.values()),
        postgres=_digest(auth.get(OWNER_PASSWORD, "")),
    )


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def new_auth() -> dict[str, str]:
    """The content of a new Secret."""
    return completed(
        {
            NATS_PASSWORD: secrets.token_hex(24),
            ROUTE_PASSWORD: secrets.token_hex(24),
            USER: LOGIN_ROLES[0],
            PASSWORD: secrets.token_hex(24),
            OWNER_PASSWORD: secrets.token_hex(24),
        }
    )


def completed(auth: Mapping[str, str]) -> dict[str, str]:
    """`auth` with the keys that it lacks because an earlier release made it."""
    made = {key: secrets.token_hex(24) for key in (*NATS_PASSWORDS.values(), REPORTER_PASSWORD)}
    # The servers of an earlier release speak among themselves with the password that was the operator's too.
    made |= {user_key: user for user, (user_key, _) in _NATS_KEYS.items()} | {ROUTE_PASSWORD: auth[NATS_PASSWORD]}
    whole = {**made, **auth}
    in_use = {whole[user_key]: whole[password_key] for user_key, password_key in _NATS_KEYS.values()}
    passwords = {login: in_use.get(login) or secrets.token_hex(24) for login in users.ALL_LOGINS}
    return {NATS_FILE: users.passwords_file(passwords), **whole}


def fault(auth: Mapping[str, str]) -> str | None:
    """What is wrong with a Secret that somebody has changed, without a password in it; None where nothing is."""
    passwords = users.read_passwords_file(auth[NATS_FILE])
    if missing := [login for login in users.ALL_LOGINS if not passwords.get(login)]:
        return f"{NATS_FILE} has no password of {', '.join(missing)}"
    for user, (user_key, password_key) in _NATS_KEYS.items():
        if auth[user_key] not in users.logins(user):
            return f"{user_key} is not {' or '.join(users.logins(user))}"
        if not hmac.compare_digest(passwords[auth[user_key]].encode(), auth[password_key].encode()):
            return f"{password_key} is not what {NATS_FILE} has for {auth[user_key]}"
    return None


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


def nats_logins(auth: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The logins of NATS with their passwords: those in use, and the others."""
    passwords = users.read_passwords_file(auth[NATS_FILE])
    in_use = {auth[user_key] for user_key, _ in _NATS_KEYS.values()}
    others = {login: password for login, password in passwords.items() if login not in in_use}
    return {login: passwords[login] for login in passwords if login in in_use}, others


def nats_renewed(auth: Mapping[str, str]) -> dict[str, str]:
    """`auth` with new passwords for the logins of NATS that are not in use, which the servers have to learn."""
    in_use, others = nats_logins(auth)
    passwords = in_use | {login: secrets.token_hex(24) for login in others}
    ordered = {login: passwords[login] for login in users.ALL_LOGINS}
    return {**auth, NATS_FILE: users.passwords_file(ordered)}


def nats_switched(auth: Mapping[str, str]) -> dict[str, str]:
    """`auth` with the logins of NATS in use that were not, which the servers have learnt."""
    _, others = nats_logins(auth)
    changed: dict[str, str] = {}
    for user, (user_key, password_key) in _NATS_KEYS.items():
        login = next(login for login in users.logins(user) if login in others)
        changed |= {user_key: login, password_key: others[login]}
    return {**auth, **changed}
