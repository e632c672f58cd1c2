"""Signatures and tokens of requests: read from the headers, held against the keys, and made. Pure.

Meta               https://developers.facebook.com/docs/graph-api/webhooks/getting-started
TikTok             https://developers.tiktok.com/doc/webhooks-verification
Standard Webhooks  https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
Bearer             RFC 6750
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn

from eventpipeline.authentication import Bearer, Hmac, Meta, StandardWebhooks, TikTok

Method = Meta | TikTok | StandardWebhooks | Hmac | Bearer
Reason = Literal["missing", "malformed", "stale", "mismatch"]
REASONS: tuple[Reason, ...] = ("missing", "malformed", "stale", "mismatch")
HeaderValues = Callable[[str], Sequence[str]]
"""All values of the header of a name."""

_META_HEADER, _TIKTOK_HEADER = "X-Hub-Signature-256", "TikTok-Signature"
_MOST_SIGNATURES = 16
_TIME = re.compile(r"[0-9]{1,12}")
_HEX = re.compile(r"[0-9a-fA-F]*")
_ID = re.compile(r"[!-~]{1,256}")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,4096}")


class Unauthenticated(Exception):  # noqa: N818 - what the answer says
    """A request does not prove that it may send. `reason` is for us; the answer never tells it."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class Key:
    """A secret. It cannot be compared but in constant time, and does not show itself."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        """Raises ValueError for an empty one, with which anybody could sign."""
        if not value:
            raise ValueError("is empty")
        self._value = value

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("a key is compared by `equals` only, in constant time")

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "Key(…)"

    def equals(self, given: bytes) -> bool:
        """Whether it is `given`; how long that takes depends on neither."""
        return hmac.compare_digest(hashlib.sha256(self._value).digest(), hashlib.sha256(given).digest())

    def text(self) -> str:
        return self._value.decode()

    def mac(self, algorithm: str, *parts: bytes) -> bytes:
        made = hmac.new(self._value, digestmod=algorithm)
        for part in parts:
            made.update(part)
        return made.digest()


@dataclass(frozen=True)
class Claim:
    """What the headers of a request claim."""

    signatures: tuple[bytes, ...] = ()
    algorithm: str = "sha256"
    before: bytes = b""
    """What is signed before the body."""
    token: bytes | None = None
    """What stands in place of a signature; the body is not needed then."""

    def holds(self, keys: Sequence[Key], body: bytes) -> bool:
        """Whether one of `keys` made it; every key is tried in any case."""
        if self.token is not None:
            return sum(key.equals(self.token) for key in keys) > 0
        made = [key.mac(self.algorithm, self.before, body) for key in keys]
        return sum(hmac.compare_digest(one, given) for one in made for given in self.signatures) > 0


def claimed(method: Method, values: HeaderValues, now: float) -> Claim:
    """The claim in the headers of a request at the time `now`, in seconds since 1970. Raises Unauthenticated."""
    match method:
        case Meta():
            return Claim((_unhexed(_after(_one(values, _META_HEADER), "sha256="), 32),))
        case Hmac():
            written, size = (
                _after(_one(values, method.header), method.prefix),
                hashlib.new(method.algorithm).digest_size,
            )
            signature = _unhexed(written, size) if method.encoding == "hex" else _decoded(written, size)
            return Claim((signature,), method.algorithm)
        case TikTok():
            return _tiktok(_one(values, _TIKTOK_HEADER), now, method.tolerance_seconds)
        case StandardWebhooks():
            return _standard(values, now, method.tolerance_seconds)
        case Bearer():
            scheme, _, token = _one(values, "Authorization").partition(" ")
            if scheme.lower() != "bearer" or not _TOKEN.fullmatch(token := token.strip(" ")):
                raise Unauthenticated("malformed")
            return Claim(token=token.encode())


def _one(values: HeaderValues, name: str) -> str:
    found = values(name)
    if not found:
        raise Unauthenticated("missing")
    if len(found) > 1:
        raise Unauthenticated("malformed")
    return found[0]


def _after(text: str, prefix: str) -> str:
    if not text.startswith(prefix):
        raise Unauthenticated("malformed")
    return text[len(prefix) :]


def _unhexed(text: str, size: int) -> bytes:
    if len(text) != 2 * size or not _HEX.fullmatch(text):
        raise Unauthenticated("malformed")
    return bytes.fromhex(text)


def _decoded(text: str, size: int) -> bytes:
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Unauthenticated("malformed") from None
    if len(found) != size:
        raise Unauthenticated("malformed")
    return found


def _decoded_or_none(text: str) -> bytes | None:
    try:
        return _decoded(text, 32)
    except Unauthenticated:
        return None


def _fresh(written: str, now: float, tolerance: int) -> str:
    if not _TIME.fullmatch(written):
        raise Unauthenticated("malformed")
    if abs(now - int(written)) > tolerance:
        raise Unauthenticated("stale")
    return written


def _tiktok(header: str, now: float, tolerance: int) -> Claim:
    pairs = [part.strip().partition("=") for part in header.split(",", _MOST_SIGNATURES)]
    found = {name: value for name, _, value in pairs}
    if len(found) != len(pairs) or not {"t", "s"} <= found.keys():
        raise Unauthenticated("malformed")
    signature = _unhexed(found["s"], 32)
    return Claim((signature,), before=f"{_fresh(found['t'], now, tolerance)}.".encode())


def _standard(values: HeaderValues, now: float, tolerance: int) -> Claim:
    identity, moment, header = (_one(values, f"webhook-{name}") for name in ("id", "timestamp", "signature"))
    written = header.split(" ")
    # Versions that are not known here may stand beside the one that is.
    ours = [part[3:] for part in written if part.startswith("v1,")]
    signatures = tuple(found for one in ours if (found := _decoded_or_none(one)))
    if not _ID.fullmatch(identity) or not signatures or len(written) > _MOST_SIGNATURES:
        raise Unauthenticated("malformed")
    return Claim(signatures, before=f"{identity}.{_fresh(moment, now, tolerance)}.".encode())


def key_reader(method: Method) -> Callable[[bytes], Key]:
    """What makes a key of the bytes of a file or Secret; it raises ValueError where they are none."""
    return _standard_key if isinstance(method, StandardWebhooks) else _plain_key


def read_key(method: Method, written: bytes) -> Key:
    """The key that is written in a file or Secret. Raises ValueError where it is none."""
    return key_reader(method)(written)


def _plain_key(written: bytes) -> Key:
    return Key(written.strip())


def _standard_key(written: bytes) -> Key:
    try:
        return Key(base64.b64decode(written.strip().removeprefix(b"whsec_"), validate=True))
    except binascii.Error:
        raise ValueError("is no secret of Standard Webhooks, such as whsec_ and base64") from None


def signed(method: Method, key: Key, body: bytes, *, now: float, identity: str) -> Mapping[str, str]:
    """The headers that prove to `claimed` that the owner of `key` sends `body`.

    `identity` is the message's, for methods that have one: the same for each retry.
    """
    match method:
        case Meta():
            return {_META_HEADER: f"sha256={key.mac('sha256', body).hex()}"}
        case Hmac():
            mac = key.mac(method.algorithm, body)
            written = mac.hex() if method.encoding == "hex" else base64.b64encode(mac).decode()
            return {method.header: method.prefix + written}
        case TikTok():
            moment = str(int(now))
            return {_TIKTOK_HEADER: f"t={moment},s={key.mac('sha256', f'{moment}.'.encode(), body).hex()}"}
        case StandardWebhooks():
            moment = str(int(now))
            mac = key.mac("sha256", f"{identity}.{moment}.".encode(), body)
            return {
                "webhook-id": identity,
                "webhook-timestamp": moment,
                "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
            }
        case Bearer():
            return {"Authorization": f"Bearer {key.text()}"}
