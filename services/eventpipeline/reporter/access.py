"""Who may ask the reporter what. Closed by default: a path that is not named here needs a key.

401    the request does not prove who asks; what was wrong is counted, and never told
403    the role is not enough, or a page of another site asks
429    whoever asks has asked too often
503    what the proof is held against cannot be had here
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from eventpipeline.authentication import KeyRef, RateLimit, ReaderAuthentication
from eventpipeline.keys import KeyRing, KeysMissing
from eventpipeline.problems import Problem
from eventpipeline.rates import Callers
from eventpipeline.readers import ROLES, Provider, ProviderUnavailable, Role, Unauthenticated, is_key, read_hashes
from eventpipeline.reporter.metrics import ReporterMetrics
from eventpipeline.telemetry import PROBES

COOKIE = "eventpipeline-key"
OPEN_PATHS = PROBES | {"/", "/docs", "/session"}
"""The page, which holds no figures, its sign-in, and what the cluster asks."""
OPEN_FOLDERS = ("/assets/", "/docs/assets/")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_RETRY_AFTER = 30


class Access:
    """Holds what requests bring against the keys and the provider of `authentication`."""

    def __init__(
        self,
        authentication: ReaderAuthentication | None,
        keys: KeyRing,
        provider: Provider | None,
        metrics: ReporterMetrics,
        rate_limit: RateLimit | None = None,
    ) -> None:
        self.is_open = authentication is None or authentication.is_open
        bearer = authentication.bearer if authentication else None
        self._references: dict[Role, KeyRef] = {
            role: reference for role in ROLES if bearer and (reference := getattr(bearer, role))
        }
        self._keys = keys
        self._provider = provider
        self._metrics = metrics
        self._callers = Callers(rate_limit) if rate_limit else None

    async def check(self) -> str | None:
        """What is wrong with the hashes of the keys, for readiness; None where all can be read."""
        return self._keys.fault(read_hashes, tuple(self._references.values()))

    async def role(self, request: Request) -> Role | None:
        """The role of whoever asks, None where a token is valid and gives none. Raises Problem 401 or 503."""
        if self.is_open:
            return ROLES[-1]
        try:
            return await self._role_of(_token(request))
        except Unauthenticated as error:
            self._metrics.unauthenticated.labels(error.reason).inc()
            raise Problem(
                401, "the request does not prove that it may do this", headers={"www-authenticate": "Bearer"}
            ) from None
        except KeysMissing:
            detail = "the keys of readers cannot be read here; try again later"
            raise Problem(503, detail, retry_after=_RETRY_AFTER) from None
        except ProviderUnavailable:
            detail = "the keys of the provider of tokens cannot be had here; try again later"
            raise Problem(503, detail, retry_after=_RETRY_AFTER) from None

    async def _role_of(self, token: str) -> Role | None:
        if not is_key(token):
            return await self._role_of_provider(token)
        if not self._references:
            raise Unauthenticated("mismatch")
        # The hashes of every role are looked through in any case.
        held = [role for role, reference in self._references.items() if self._has(reference, token)]
        if not held:
            self._keys.of(read_hashes, tuple(self._references.values()))
            raise Unauthenticated("mismatch")
        return max(held, key=ROLES.index)

    def _has(self, reference: KeyRef, token: str) -> bool:
        try:
            return self._keys.of(read_hashes, (reference,))[0].have(token)
        except KeysMissing:
            return False

    async def _role_of_provider(self, token: str) -> Role | None:
        if self._provider is None:
            raise Unauthenticated("malformed")
        return await self._provider.role(token)

    async def permit(self, request: Request) -> None:
        """Raises Problem 401, 403, 429 or 503 where this request is not to be answered."""
        if request.method not in _SAFE_METHODS and _is_of_another_site(request):
            self._metrics.forbidden.labels("origin").inc()
            raise Problem(403, "a page of another site may not do this")
        if _is_open(request.scope["path"]):
            return
        needed: Role = "read" if request.method in _SAFE_METHODS else "operate"
        role = await self.role(request)
        request.state.log = {"role": role}
        if role is None or ROLES.index(role) < ROLES.index(needed):
            self._metrics.forbidden.labels("role").inc()
            raise Problem(403, f"this needs the role {needed}")
        self._limit(request)

    def _limit(self, request: Request) -> None:
        """Only of requests that may be answered, so that nobody uses up what others may ask."""
        if self._callers and (wait := self._callers.take(self._caller(request))):
            self._metrics.limited.inc()
            raise Problem(429, "too many requests; send fewer", retry_after=math.ceil(wait))

    def _caller(self, request: Request) -> str:
        """Who asks: by the key, which is not kept, or by the address: what X-Forwarded-For says anyone can write."""
        if self.is_open:
            return request.client.host if request.client else ""
        return hashlib.sha256(_token(request).encode()).hexdigest()


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(OPEN_FOLDERS)


def _token(request: Request) -> str:
    """What proves who asks: the header, or the cookie of the page."""
    given = request.headers.getlist("authorization")
    bearers = [
        token.strip(" ") for scheme, _, token in (one.partition(" ") for one in given) if scheme.lower() == "bearer"
    ]
    if len(bearers) > 1:
        raise Unauthenticated("malformed")
    # A header of another scheme is meant for a proxy that stands before.
    token = bearers[0] if bearers else request.cookies.get(COOKIE, "")
    if not token:
        raise Unauthenticated("malformed" if bearers else "missing")
    return token


def _is_of_another_site(request: Request) -> bool:
    """Whether a browser says that a page of another origin asks. SameSite alone lets other ports and subdomains in."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        return site not in ("same-origin", "none")
    return origin is not None and origin.partition("://")[2].lower() != request.headers.get("host", "").lower()


@dataclass(frozen=True)
class AccessMiddleware:
    """Lets nothing through that `access` does not permit. Inside of what answers Problems."""

    app: ASGIApp
    access: Access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                await self.access.permit(Request(scope))
            except Problem as problem:
                await problem.response()(scope, receive, send)
                return
        await self.app(scope, receive, send)
