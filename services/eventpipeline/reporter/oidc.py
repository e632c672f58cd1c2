"""Tokens of an OpenID Connect provider.

Discovery     https://openid.net/specs/openid-connect-discovery-1_0.html
JWT, JWKS     RFC 7519, RFC 7517; what can go wrong with them: RFC 8725
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx2
import jwt
import orjson

from eventpipeline.authentication import Oidc
from eventpipeline.readers import ProviderUnavailable, Role, Unauthenticated
from eventpipeline.telemetry import log

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Asymmetric ones only: with HS256 the provider's public key would be a key to sign with."""
_FRESH_SECONDS = 3600.0
_LEAST_SECONDS = 10.0
"""Between two looks at the provider, however many tokens of unknown keys come."""
_TIMEOUT_SECONDS = 5.0
_LEEWAY_SECONDS = 30
_MOST_BYTES = 1024 * 1024
_MOST_TOKEN = 8192
_log = log("oidc")


class OidcProvider:
    """Checks the tokens of one provider, whose keys it fetches when they are needed."""

    def __init__(self, oidc: Oidc, now: Callable[[], float] = time.monotonic) -> None:
        self._oidc = oidc
        self._now = now
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._fetched = self._tried = float("-inf")
        self._fetching = asyncio.Lock()

    async def role(self, token: str) -> Role | None:
        """The role that `token` gives; None where it is valid and gives none.

        Raises Unauthenticated, or ProviderUnavailable where it cannot be told.
        """
        key = await self._key(_header(token))
        try:
            claims = jwt.decode(
                token, key, algorithms=[key.algorithm_name], audience=self._oidc.audience, issuer=self._oidc.issuer,
                leeway=_LEEWAY_SECONDS, options={"require": ["exp", "iss", "aud"]},
            )  # fmt: skip
        except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError):
            raise Unauthenticated("stale") from None
        except (jwt.InvalidIssuerError, jwt.InvalidAudienceError, jwt.MissingRequiredClaimError):
            raise Unauthenticated("claims") from None
        except jwt.InvalidSignatureError:
            raise Unauthenticated("mismatch") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise Unauthenticated("malformed") from None
        return self._role_in(claims)

    def _role_in(self, claims: Any) -> Role | None:
        for name in self._oidc.role_claim.split("."):
            claims = claims.get(name) if isinstance(claims, dict) else None
        given = (
            {claims}
            if isinstance(claims, str)
            else set(filter(_is_text, claims))
            if isinstance(claims, list)
            else set()
        )
        if given & set(self._oidc.operate):
            return "operate"
        return "read" if given & set(self._oidc.read) else None

    async def _key(self, header: dict[str, Any]) -> jwt.PyJWK:
        """The provider's key that the header names, for the algorithm that it names. Raises Unauthenticated."""
        kid = header.get("kid")
        if self._now() - self._fetched > _FRESH_SECONDS or kid not in self._keys:
            await self._refresh(kid)
        key = self._keys.get(kid)
        if key is None:
            raise Unauthenticated("mismatch")
        # The key says which algorithm is right, not the token.
        if header["alg"] != key.algorithm_name:
            raise Unauthenticated("malformed")
        return key

    async def _refresh(self, kid: str | None) -> None:
        async with self._fetching:
            fresh = self._now() - self._fetched <= _FRESH_SECONDS
            if (fresh and kid in self._keys) or self._now() - self._tried < _LEAST_SECONDS:
                pass  # another request was here first, or the provider was asked just now
            else:
                self._tried = self._now()
                try:
                    self._keys = await self._fetch()
                    self._fetched = self._now()
                except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, KeyError, TypeError, AttributeError) as error:
                    # The keys from before go on: a provider that is away for a while locks nobody out.
                    _log.error("the provider's keys cannot be had", issuer=self._oidc.issuer, error=_told(error))
        if not self._keys:
            raise ProviderUnavailable

    async def _fetch(self) -> dict[str | None, jwt.PyJWK]:
        async with httpx2.AsyncClient(timeout=_TIMEOUT_SECONDS, follow_redirects=False) as client:
            address = self._oidc.jwks_url or await self._discovered(client)
            return _usable(await _json(client, address))

    async def _discovered(self, client: httpx2.AsyncClient) -> str:
        found = await _json(client, f"{self._oidc.issuer.rstrip('/')}/.well-known/openid-configuration")
        if found["issuer"] != self._oidc.issuer:
            raise ValueError("its discovery document is of another issuer")
        address = str(found["jwks_uri"])
        if urlsplit(address).scheme != "https" and urlsplit(self._oidc.issuer).scheme == "https":
            raise ValueError("its jwks_uri is not https")
        return address


def _header(token: str) -> dict[str, Any]:
    if len(token) > _MOST_TOKEN:
        raise Unauthenticated("malformed")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise Unauthenticated("malformed") from None
    if header.get("alg") not in ALGORITHMS or not isinstance(header.get("kid"), str | None):
        raise Unauthenticated("malformed")
    return header


def _usable(document: Any) -> dict[str | None, jwt.PyJWK]:
    """The keys of a JWKS that sign with one of ALGORITHMS, by kid; a key alone may have none."""
    found: dict[str | None, jwt.PyJWK] = {}
    for entry in document["keys"]:
        if entry.get("use", "sig") != "sig":
            continue
        try:
            key = jwt.PyJWK(entry)
        except (jwt.PyJWTError, ValueError, TypeError):
            continue  # of a kind that is not known here, or broken
        if key.algorithm_name in ALGORITHMS:
            found[key.key_id] = key
    if not found:
        raise ValueError("it has no key that can be used")
    return {**found, None: next(iter(found.values()))} if len(found) == 1 else found


async def _json(client: httpx2.AsyncClient, address: str) -> Any:
    body = bytearray()
    async with client.stream("GET", address, headers={"accept": "application/json"}) as response:
        response.raise_for_status()
        async for part in response.aiter_bytes():
            body += part
            if len(body) > _MOST_BYTES:
                raise ValueError(f"the document has more than {_MOST_BYTES} bytes")
    return orjson.loads(body)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
