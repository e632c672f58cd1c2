"""Keys of readers: made, hashed, and found among the hashes that are kept. Pure.

A key is 256 random bits, so one round of SHA-256 is enough: it cannot be guessed from its hash, as a password could,
and there is nothing that a slow hash or a salt would add. Keys that are shorter than KEY_LENGTH are never taken, so
that nobody comes to use a password here.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Literal, Protocol

Role = Literal["read", "operate"]
ROLES: tuple[Role, ...] = ("read", "operate")
"""Each may do what those before it may."""
Reason = Literal["missing", "malformed", "stale", "mismatch", "claims"]
REASONS: tuple[Reason, ...] = ("missing", "malformed", "stale", "mismatch", "claims")
KEY_LENGTH = 32
"""The fewest characters of a key."""

_PREFIX = "sha256:"
_KEY = re.compile(rf"[A-Za-z0-9_~+/=-]{{{KEY_LENGTH},512}}")
_LINE = re.compile(rf"{_PREFIX}([0-9a-f]{{64}})")
_MOST = 1000


class Unauthenticated(Exception):  # noqa: N818 - what the answer says
    """A request does not prove who asks. `reason` is for us; the answer never tells it."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class ProviderUnavailable(Exception):  # noqa: N818 - a state of things, for which a caller is not to blame
    """The keys of a provider of tokens cannot be had, and none are known from before."""


class Provider(Protocol):
    """A provider of tokens."""

    async def role(self, token: str) -> Role | None:
        """The role that `token` gives; None where it is valid and gives none.

        Raises Unauthenticated, or ProviderUnavailable where it cannot be told.
        """


def new_key() -> str:
    """A new key. Its prefix lets scanners of secrets find one that was published by mistake."""
    return f"evp_{secrets.token_urlsafe(32)}"


def hashed(key: str) -> str:
    """The line that is kept of a key."""
    return _PREFIX + hashlib.sha256(key.encode()).hexdigest()


def is_key(token: str) -> bool:
    """Whether it has the form of a key; a token of a provider, which has dots in it, has not."""
    return _KEY.fullmatch(token) is not None


@dataclass(frozen=True)
class KeyHashes:
    """The hashes of all keys of one role."""

    digests: tuple[bytes, ...] = field(repr=False)

    def have(self, key: str) -> bool:
        """Whether `key` is one of them; how long that takes depends on their number only."""
        digest = hashlib.sha256(key.encode()).digest()
        return sum(hmac.compare_digest(digest, one) for one in self.digests) > 0


def read_hashes(written: bytes) -> KeyHashes:
    """The hashes in a file or Secret, one a line; empty lines and those after a # say nothing.

    Raises ValueError, which never quotes what is there, where a line is no hash or there is none at all.
    """
    lines = written.decode("ascii", errors="replace").splitlines()
    wanted = [(number, line) for number, text in enumerate(lines, 1) if (line := text.split("#")[0].strip())]
    found = [(number, _LINE.fullmatch(line)) for number, line in wanted]
    if strange := [number for number, match in found if not match]:
        raise ValueError(f"has in line {strange[0]} no hash of a key; `eventpipeline new-key` makes a key and its hash")
    if not 0 < len(found) <= _MOST:
        raise ValueError(f"has {len(found)} hashes of keys; between 1 and {_MOST} are taken")
    return KeyHashes(tuple(bytes.fromhex(match[1]) for _, match in found if match))
