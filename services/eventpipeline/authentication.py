"""How senders and readers prove who they are, as it stands in the resource. Pure.

It names keys and holds none: they are in Secrets, on a laptop in files or the environment.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from eventpipeline.models import DnsName, Model

HEADER_PATTERN = r"^[A-Za-z0-9-]+$"
KEY_PATTERN = r"^[-._a-zA-Z0-9]+$"


class KeyRef(Model):
    """A key of a Secret in the namespace of this resource; on a laptop the file NAME/KEY in the keys folder."""

    name: DnsName = Field(description="The name of the Secret.")
    key: str = Field(default="key", min_length=1, max_length=253, pattern=KEY_PATTERN, description="The key in it.")


def variable(reference: KeyRef) -> str:
    """The environment variable that may hold a key, where there is no file of it."""
    return "EVENTPIPELINE_KEY_" + re.sub("[^A-Z0-9]", "_", f"{reference.name}_{reference.key}".upper())


Keys = Annotated[
    tuple[KeyRef, ...],
    Field(
        min_length=1, max_length=2,
        description="One key, or two that are valid at the same time: add the new one, let the sender change, remove "
        "the old one.",
    ),
]  # fmt: skip
Tolerance = Annotated[
    int,
    Field(ge=1, le=86400, description="How far, in seconds, the time in the signature may be from now, either way."),
]


class Meta(Model):
    """Webhooks of Meta: X-Hub-Signature-256 with the app secret, and the GET that verifies the endpoint."""

    keys: Keys
    verify_tokens: tuple[KeyRef, ...] = Field(
        default=(), max_length=2,
        description="What hub.verify_token may be when Meta verifies the endpoint; without it, that is refused.",
    )  # fmt: skip


class TikTok(Model):
    """Webhooks of TikTok: TikTok-Signature with the client secret."""

    keys: Keys
    tolerance_seconds: Tolerance = 300


class StandardWebhooks(Model):
    """Standard Webhooks: webhook-id, webhook-timestamp and webhook-signature, with a secret such as whsec_…"""

    keys: Keys
    tolerance_seconds: Tolerance = 300


class Hmac(Model):
    """An HMAC of the body in a header of your choice."""

    keys: Keys
    header: str = Field(
        default="X-Signature", pattern=HEADER_PATTERN, max_length=128, description="The header with the signature."
    )
    algorithm: Literal["sha1", "sha256", "sha512"] = Field(default="sha256", description="The hash function.")
    encoding: Literal["hex", "base64"] = Field(default="hex", description="How the signature is written.")
    prefix: str = Field(
        default="", max_length=64, pattern=r"^[!-~]*$",
        description="What stands before the signature in the header, such as sha256=.",
    )  # fmt: skip


class Bearer(Model):
    """Tokens in the header Authorization, after the word Bearer."""

    keys: Keys


class Nobody(Model):
    """Senders prove nothing: anyone who reaches the gateway may send."""


class Authentication(Model):
    """How senders prove who they are: one of these."""

    meta: Meta | None = None
    tiktok: TikTok | None = None
    standard_webhooks: StandardWebhooks | None = None
    hmac: Hmac | None = None
    bearer: Bearer | None = None
    none: Nobody | None = None

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if sum(getattr(self, name) is not None for name in type(self).model_fields) > 1:
            raise ValueError("give only one of meta, tiktok, standardWebhooks, hmac, bearer and none")
        return self

    @property
    def method(self) -> Meta | TikTok | StandardWebhooks | Hmac | Bearer | None:
        """The one that is given; None where anyone may send."""
        return self.meta or self.tiktok or self.standard_webhooks or self.hmac or self.bearer

    @property
    def references(self) -> tuple[KeyRef, ...]:
        """Every key that is needed."""
        tokens = self.meta.verify_tokens if self.meta else ()
        return (*(self.method.keys if self.method else ()), *tokens)


class ReaderKeys(Model):
    """Bearer keys of readers. The Secrets hold their hashes, a line each: sha256: and 64 hexadecimal digits. Any number
    of lines is valid at the same time: add one, let its reader change, remove the old one.
    """

    read: KeyRef | None = Field(default=None, description="Hashes of keys that read reports, status and dead letters.")
    operate: KeyRef | None = Field(
        default=None, description="Hashes of keys that also drop dead letters; they read as well."
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not (self.read or self.operate):
            raise ValueError("give read, operate or both")
        return self


SECURE_URL_PATTERN = r"^(https://|http://(localhost|127\.0\.0\.1)[:/])[^\s?#]*$"
SecureUrl = Annotated[str, Field(pattern=SECURE_URL_PATTERN, max_length=2048)]
"""Without TLS only on the machine itself: whoever is on the way could sign tokens."""
RoleValues = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(max_length=32)]


class Oidc(Model):
    """Tokens of an OpenID Connect provider, signed with an asymmetric key."""

    issuer: SecureUrl = Field(description="What iss must be, letter by letter; its keys are found from here.")
    audience: str = Field(min_length=1, max_length=256, description="What aud must be, or must have in it.")
    jwks_url: SecureUrl | None = Field(
        default=None, description="Where the provider's keys are; without it, what its discovery document says."
    )
    role_claim: str = Field(
        default="roles", min_length=1, max_length=256, pattern=r"^[^.\s]+(\.[^.\s]+)*$",
        description="The claim with the roles, a text or an array of them; dots lead into objects, such as "
        "realm_access.roles.",
    )  # fmt: skip
    read: RoleValues = Field(default=("eventpipeline-read",), description="Values of the claim that may read.")
    operate: RoleValues = Field(
        default=("eventpipeline-operate",), description="Values of the claim that may also drop dead letters."
    )


class ReaderAuthentication(Model):
    """How readers prove who they are: by a key, or by a token of a provider. With neither, anyone may read."""

    bearer: ReaderKeys | None = None
    oidc: Oidc | None = None

    @property
    def is_open(self) -> bool:
        """Whether anyone who reaches the reporter may read, and drop dead letters."""
        return not (self.bearer or self.oidc)

    @property
    def references(self) -> tuple[KeyRef, ...]:
        """Every Secret's key that is needed."""
        given = (self.bearer.read, self.bearer.operate) if self.bearer else ()
        return tuple(reference for reference in given if reference)


class RateLimit(Model):
    """A limit on the requests that each replica takes."""

    requests_per_second: int = Field(ge=1, le=100_000, description="How many requests a second are taken for long.")
    burst: int = Field(default=10, ge=1, le=1_000_000, description="How many may come at once.")
