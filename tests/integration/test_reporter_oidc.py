"""Tokens of an OpenID Connect provider, made by PyJWT, against a provider on loopback."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from eventpipeline.authentication import Oidc
from eventpipeline.readers import ProviderUnavailable, Unauthenticated
from eventpipeline.reporter.oidc import OidcProvider
from identity import AUDIENCE, RSA_KEY, Provider, provider, public
from reader_keys import READ, bearing, closed
from reporter_client import reporter


@pytest.fixture
def issuer() -> Iterator[Provider]:
    with provider() as made:
        yield made


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def checking(issuer: Provider, clock: Clock | None = None, **changes: Any) -> OidcProvider:
    oidc = Oidc.model_validate({"issuer": issuer.issuer, "audience": AUDIENCE} | changes)
    return OidcProvider(oidc, clock or Clock())


async def refused(checked: OidcProvider, token: str) -> str:
    with pytest.raises(Unauthenticated) as error:
        await checked.role(token)
    return error.value.reason


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
async def test_a_token_gives_the_role_of_its_claim(issuer: Provider, algorithm: str) -> None:
    issuer.keys = [public("first", algorithm), public("other")]
    checked = checking(issuer)
    assert await checked.role(issuer.token(algorithm)) == "read"
    assert await checked.role(issuer.token(algorithm, roles="eventpipeline-operate")) == "operate"
    assert await checked.role(issuer.token(algorithm, roles=["x", "eventpipeline-operate", 7])) == "operate"
    for nothing in (None, [], "other", {"eventpipeline-read": 1}, 7, ["EVENTPIPELINE-READ"], [["eventpipeline-read"]]):
        assert await checked.role(issuer.token(algorithm, roles=nothing)) is None
    assert await checked.role(issuer.token(algorithm, aud=["other", AUDIENCE])) == "read"


async def test_the_claim_may_be_in_an_object_and_have_other_values(issuer: Provider) -> None:
    checked = checking(issuer, roleClaim="realm_access.roles", read=["staff"], operate=["admin", "root"])
    for value, role in (
        ({"roles": ["staff"]}, "read"),
        ({"roles": ["root"]}, "operate"),
        ({"roles": 1}, None),
        ("x", None),
    ):
        assert await checked.role(issuer.token(realm_access=value)) == role
    assert await checked.role(issuer.token()) is None


def _part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def _with_header(token: str, **changes: Any) -> str:
    header, rest = token.split(".", 1)
    decoded = json.loads(base64.urlsafe_b64decode(header + "=="))
    return f"{_part(decoded | changes)}.{rest}"


def _with_claims(token: str, **changes: Any) -> str:
    header, claims, signature = token.split(".")
    decoded = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    return f"{header}.{_part(decoded | changes)}.{signature}"


def _hmac_with_the_public_key(issuer: Provider) -> str:
    """The classic: the provider's public key as the secret of HS256."""
    import hashlib
    import hmac

    pem = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = _with_header(issuer.token(), alg="HS256").rsplit(".", 1)[0]
    mac = base64.urlsafe_b64encode(hmac.digest(pem, signed.encode(), hashlib.sha256)).decode().rstrip("=")
    return f"{signed}.{mac}"


HOUR = 3600
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
BAD: dict[str, tuple[Any, str]] = {
    "expired": (lambda p: p.token(exp=int(time.time()) - 60), "stale"),
    "not yet": (lambda p: p.token(nbf=int(time.time()) + HOUR), "stale"),
    "no expiry": (lambda p: p.token(exp=None), "claims"),
    "no issuer": (lambda p: p.token(iss=None), "claims"),
    "another issuer": (lambda p: p.token(iss=p.issuer + "/"), "claims"),
    "no audience": (lambda p: p.token(aud=None), "claims"),
    "another audience": (lambda p: p.token(aud="other"), "claims"),
    "expiry no number": (lambda p: p.token(exp="never"), "malformed"),
    "audience no text": (lambda p: p.token(aud=7), "claims"),
    "another key": (lambda p: p.token(key=STRANGER), "mismatch"),
    "unknown kid": (lambda p: p.token(kid="other"), "mismatch"),
    "no kid": (lambda p: p.token(kid=None), "mismatch"),
    "another algorithm of the key": (lambda p: p.token("PS256"), "malformed"),
    "algorithm none": (lambda p: _with_header(p.token(), alg="none").rsplit(".", 1)[0] + ".", "malformed"),
    "algorithm nonE": (lambda p: _with_header(p.token(), alg="nonE").rsplit(".", 1)[0] + ".", "malformed"),
    "hmac with the public key": (_hmac_with_the_public_key, "malformed"),
    "algorithm a list": (lambda p: _with_header(p.token(), alg=["RS256"]), "malformed"),
    "kid no text": (lambda p: _with_header(p.token(), kid=7), "malformed"),
    "a critical extension": (lambda p: _with_header(p.token(), crit=["exp"]), "malformed"),
    "claims changed": (lambda p: _with_claims(p.token(), roles=["eventpipeline-operate"]), "mismatch"),
    "signature cut": (lambda p: p.token()[:-6], "mismatch"),
    "signature away": (lambda p: p.token().rsplit(".", 1)[0] + ".", "mismatch"),
    "parts away": (lambda p: p.token().rsplit(".", 1)[0], "malformed"),
    "no JSON": (lambda _: "a.b.c", "malformed"),
    "nothing": (lambda _: "..", "malformed"),
    "too long": (lambda p: p.token(more="x" * 9000), "malformed"),
    "a header deep as the sea": (lambda _: base64.urlsafe_b64encode(b"[" * 3000).decode() + ".e30.x", "malformed"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
async def test_a_token_that_proves_nothing_is_refused(issuer: Provider, name: str) -> None:
    issuer.keys = [public("first"), public("second", "ES256")]
    make, reason = BAD[name]
    checked = checking(issuer)
    assert await checked.role(issuer.token()) == "read"
    assert await refused(checked, make(issuer)) == reason


async def test_a_key_alone_needs_no_name(issuer: Provider) -> None:
    assert await checking(issuer).role(issuer.token(kid=None)) == "read"


async def test_a_key_that_is_new_is_fetched_and_seldom(issuer: Provider) -> None:
    clock = Clock()
    checked = checking(issuer, clock)
    assert await checked.role(issuer.token()) == "read"
    assert issuer.requests == ["/.well-known/openid-configuration", "/keys"]
    issuer.requests.clear()
    issuer.keys = [public("first"), public("new", "ES256")]
    for number in range(50):
        assert await refused(checked, issuer.token(kid=f"unknown-{number}")) == "mismatch"
    assert issuer.requests == []
    clock.now += 11
    assert await checked.role(issuer.token("ES256", kid="new")) == "read"
    for number in range(50):
        assert await refused(checked, issuer.token(kid=f"unknown-{number}")) == "mismatch"
    assert issuer.requests == ["/.well-known/openid-configuration", "/keys"]


async def test_a_key_that_was_withdrawn_is_forgotten(issuer: Provider) -> None:
    clock = Clock()
    checked = checking(issuer, clock)
    assert await checked.role(issuer.token()) == "read"
    issuer.keys = [public("new", "ES256")]
    clock.now += 3601
    assert await refused(checked, issuer.token()) == "mismatch"


async def test_keys_outlive_a_provider_that_is_away(issuer: Provider) -> None:
    clock = Clock()
    checked = checking(issuer, clock)
    issuer.away = True
    with pytest.raises(ProviderUnavailable):
        await checked.role(issuer.token())
    issuer.away = False
    with pytest.raises(ProviderUnavailable):
        await checked.role(issuer.token())
    clock.now += 11
    assert await checked.role(issuer.token()) == "read"
    issuer.away = True
    clock.now += 4000
    assert await checked.role(issuer.token()) == "read"


@pytest.mark.parametrize(
    "change",
    [
        {"discovery": {"issuer": "https://other.example.com", "jwks_uri": "https://other.example.com/keys"}},
        {"discovery": {}},
        {"discovery": []},
        {"keys": []},
        {"keys": [7]},
        {"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "first", "alg": "HS256"}]},
        {"keys": [public("first", use="enc")]},
        {"keys": [{"kty": "RSA", "n": "AQ", "e": "!", "kid": "first"}]},
        {"keys": "none"},
    ],
)
async def test_documents_that_cannot_be_used_are_as_none(issuer: Provider, change: dict[str, Any]) -> None:
    for name, value in change.items():
        setattr(issuer, name, value)
    with pytest.raises(ProviderUnavailable):
        await checking(issuer).role(issuer.token())


async def test_the_address_of_the_keys_may_be_given(issuer: Provider) -> None:
    issuer.discovery = {}
    assert await checking(issuer, jwksUrl=f"{issuer.issuer}/keys").role(issuer.token()) == "read"


async def test_the_reporter_takes_tokens_beside_keys(database: str, issuer: Provider, tmp_path: Path) -> None:
    settings = closed(tmp_path, oidc={"issuer": issuer.issuer, "audience": AUDIENCE})
    async with reporter(database, **settings) as client:

        async def status(key: str) -> int:
            return (await client.get("/status", headers=bearing(key))).status_code

        assert await status(READ) == 200
        assert await status(issuer.token()) == 200
        assert await status(issuer.token(roles=[])) == 403
        assert await status(issuer.token(aud="other")) == 401
        signed_in = await client.post("/session", json={"key": issuer.token(roles="eventpipeline-operate")})
        assert signed_in.json() == {"open": False, "role": "operate"}
        assert (await client.get("/status")).status_code == 200
        assert (await client.post("/session", json={"key": issuer.token(roles=[])})).status_code == 403
        counted = (await client.get("/metrics")).text
        assert 'reporter_requests_unauthenticated_total{reason="claims"} 1.0' in counted


async def test_a_provider_that_is_away_is_not_the_readers_fault(
    database: str, issuer: Provider, tmp_path: Path
) -> None:
    issuer.away = True
    settings = {"authentication": {"oidc": {"issuer": issuer.issuer, "audience": AUDIENCE}}}
    async with reporter(database, **settings) as client:
        answer = await client.get("/status", headers=bearing(issuer.token()))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
        assert issuer.issuer not in answer.text
        assert (await client.get("/status", headers=bearing(READ))).status_code == 401
