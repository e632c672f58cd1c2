"""Signatures and tokens: published vectors, other people's signers, and everything that must not pass."""

from __future__ import annotations

import ast
import base64
import hashlib
import hmac
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from eventpipeline import signatures
from eventpipeline.authentication import Bearer, Hmac, KeyRef, Meta, StandardWebhooks, TikTok
from eventpipeline.signatures import Claim, Key, Method, Unauthenticated, claimed, read_key, signed

KEYS = (KeyRef(name="k"),)
META, TIKTOK, STANDARD = Meta(keys=KEYS), TikTok(keys=KEYS), StandardWebhooks(keys=KEYS)
BEARER = Bearer(keys=KEYS)
HMAC = Hmac(keys=KEYS, header="X-Shop-Signature", algorithm="sha512", encoding="base64", prefix="v0=")
PLAIN = Hmac(keys=KEYS)
NOW = 1_700_000_000.0
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = '{"name": "Zoë 😀", "n": 1}'.encode()


def passes(method: Method, headers: Any, body: bytes, *keys: bytes, now: float = NOW) -> bool:
    """Whether the request is let in; `headers` are a mapping or pairs."""
    pairs = [(name.lower(), value) for name, value in (headers.items() if isinstance(headers, dict) else headers)]
    claim = claimed(method, lambda name: [value for key, value in pairs if key == name.lower()], now)
    return claim.holds([read_key(method, key) for key in keys], body)


# --- published vectors, and signers that are not ours ----------------------------------------------------------------


def test_the_vector_of_the_standard_webhooks_libraries() -> None:
    # standard-webhooks/standard-webhooks: libraries/*, the sign test that all of them share
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    assert passes(STANDARD, headers, b'{"test": 2432232314}', SECRET.encode(), now=1_614_265_330)
    assert passes(STANDARD, headers, b'{"test": 2432232314}', SECRET.removeprefix("whsec_").encode(), now=1_614_265_330)
    made = signed(
        STANDARD, read_key(STANDARD, SECRET.encode()), b'{"test": 2432232314}', now=1_614_265_330,
        identity=headers["webhook-id"],
    )  # fmt: skip
    assert made == headers


def test_the_vector_of_x_hub_signature_256() -> None:
    # docs.github.com, "Validating webhook deliveries": the header has the same form as Meta's
    headers = {"X-Hub-Signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}
    assert passes(META, headers, b"Hello, World!", b"It's a Secret to Everybody")


def test_a_vector_of_hmac_sha512() -> None:
    # RFC 4231, test case 2
    mac = bytes.fromhex(
        "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
    )
    header = f"v0={base64.b64encode(mac).decode()}"
    assert passes(HMAC, {"x-shop-signature": header}, b"what do ya want for nothing?", b"Jefe")


def openssl(key: str, message: bytes, tmp_path: Path) -> str:
    file = tmp_path / "message"
    file.write_bytes(message)
    done = subprocess.run(
        ["openssl", "dgst", "-sha256", "-hmac", key, str(file)], capture_output=True, text=True, check=True
    )
    return done.stdout.split()[-1]


@pytest.mark.parametrize("body", [b"{}", BODY, b'{"name":"Zo\\u00eb \\ud83d\\ude00"}', b"", b"\xff\x00"])
def test_openssl_signs_as_meta_and_tiktok_describe(body: bytes, tmp_path: Path) -> None:
    """Meta signs what it sends, with unicode escaped; only the bytes as they came are right."""
    assert passes(META, {"X-Hub-Signature-256": f"sha256={openssl('app', body, tmp_path)}"}, body, b"app")
    mac = openssl("client", b"1699999990." + body, tmp_path)
    assert passes(TIKTOK, {"Tiktok-Signature": f"t=1699999990,s={mac}"}, body, b"client")


def test_the_header_of_tiktoks_documentation_is_read() -> None:
    # developers.tiktok.com/doc/webhooks-verification; the secret is not published, so it only cannot match
    header = "t=1633174587,s=18494715036ac4416a1d0a673871a2edbcfc94d94bd88ccd2c5ec9b3425afe66"
    assert not passes(TIKTOK, {"Tiktok-Signature": header}, b"{}", b"secret", now=1_633_174_600)


@pytest.mark.parametrize("body", ["{}", BODY.decode(), "[1,2]", "x" * 100_000])
def test_the_standard_webhooks_package_signs(body: str) -> None:
    moment = datetime.fromtimestamp(int(NOW), UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(NOW)),
        "webhook-signature": Webhook(SECRET).sign("msg_1", moment, body),
    }
    assert passes(STANDARD, headers, body.encode(), SECRET.encode())


def test_the_standard_webhooks_package_takes_what_we_sign() -> None:
    now = datetime.now(UTC).timestamp()
    headers = signed(STANDARD, read_key(STANDARD, SECRET.encode()), BODY, now=now, identity="batch-1")
    assert Webhook(SECRET).verify(BODY, dict(headers))
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(BODY + b" ", dict(headers))


@pytest.mark.parametrize("method", [META, TIKTOK, STANDARD, HMAC, PLAIN, BEARER], ids=lambda m: type(m).__name__)
def test_what_we_sign_passes_and_nothing_else_does(method: Method) -> None:
    key, other = SECRET.encode(), b"whsec_" + base64.b64encode(b"other" * 5)
    headers = dict(signed(method, read_key(method, key), BODY, now=NOW, identity="m-1"))
    assert passes(method, headers, BODY, key)
    assert passes(method, headers, BODY, other, key), "two keys are live at a time"
    assert passes(method, headers, BODY, key, other)
    assert not passes(method, headers, BODY, other)
    if method is not BEARER:
        assert not passes(method, headers, BODY + b" ", key)
        assert not passes(method, headers, BODY[:-1], key)
        assert not passes(method, headers, BODY.decode().encode("utf-16"), key)
        assert not passes(method, headers, b"", key)


# --- what must not pass ----------------------------------------------------------------------------------------------

_HEX = hmac.new(b"key", BODY, hashlib.sha256).hexdigest()
_T_HEX = hmac.new(b"key", b"1700000000." + BODY, hashlib.sha256).hexdigest()
_B64 = base64.b64encode(bytes.fromhex(_HEX)).decode()


def standard(**changed: str) -> dict[str, str]:
    return {"webhook-id": "m", "webhook-timestamp": "1700000000", "webhook-signature": f"v1,{_B64}"} | {
        f"webhook-{name}": value for name, value in changed.items()
    }


def hub(value: str) -> dict[str, str]:
    return {"x-hub-signature-256": value}


def tok(value: str) -> dict[str, str]:
    return {"tiktok-signature": value}


BAD: list[tuple[Method, Any, str]] = [
    (META, {}, "missing"),
    (META, {"x-hub-signature": f"sha1={'0' * 40}"}, "missing"),
    (META, hub(""), "malformed"),
    (META, hub("sha256="), "malformed"),
    (META, hub(_HEX), "malformed"),
    (META, hub(f"sha1={_HEX}"), "malformed"),
    (META, hub(f"SHA256={_HEX}"), "malformed"),
    (META, hub(f" sha256={_HEX}"), "malformed"),
    (META, hub(f"sha256={_HEX[:-1]}"), "malformed"),
    (META, hub(f"sha256={_HEX[:-2]}"), "malformed"),
    (META, hub(f"sha256={_HEX}00"), "malformed"),
    (META, hub(f"sha256={_HEX} "), "malformed"),
    (META, hub(f"sha256={_HEX[:-2]} 0"), "malformed"),
    (META, hub(f"sha256={_HEX[:-1]}g"), "malformed"),
    (META, hub(f"sha256={_HEX[:-1]}\u0660"), "malformed"),
    (META, hub(f"sha256={_B64}"), "malformed"),
    (META, hub(f"sha256={_HEX},sha256={_HEX}"), "malformed"),
    (META, [("x-hub-signature-256", f"sha256={_HEX}")] * 2, "malformed"),
    (META, hub(f"sha256={_HEX[::-1]}"), ""),
    (META, hub(f"sha256={'0' * 64}"), ""),
    (TIKTOK, {}, "missing"),
    (TIKTOK, tok(""), "malformed"),
    (TIKTOK, tok(_T_HEX), "malformed"),
    (TIKTOK, tok("t=1700000000"), "malformed"),
    (TIKTOK, tok(f"s={_T_HEX}"), "malformed"),
    (TIKTOK, tok(f"t=,s={_T_HEX}"), "malformed"),
    (TIKTOK, tok(f"t=now,s={_T_HEX}"), "malformed"),
    (TIKTOK, tok(f"t=1700000000.5,s={_T_HEX}"), "malformed"),
    (TIKTOK, tok(f"t=1_700_000_000,s={_T_HEX}"), "malformed"),
    (TIKTOK, tok(f"t=-1700000000,s={_T_HEX}"), "malformed"),
    (TIKTOK, tok(f"t=١٧٠٠٠٠٠٠٠٠,s={_T_HEX}"), "malformed"),
    (TIKTOK, tok(f"t={'9' * 400},s={_T_HEX}"), "malformed"),
    (TIKTOK, tok(f"t=1700000000,t=1700000000,s={_T_HEX}"), "malformed"),
    (TIKTOK, tok(f"t=1700000000,s={_T_HEX},s={_T_HEX}"), "malformed"),
    (TIKTOK, tok(f"t=1700000000;s={_T_HEX}"), "malformed"),
    (TIKTOK, tok(f"t=1700000000,s={_T_HEX[:-2]}"), "malformed"),
    (TIKTOK, tok(f"t=1699999699,s={_T_HEX}"), "stale"),
    (TIKTOK, tok(f"t=1700000301,s={_T_HEX}"), "stale"),
    (TIKTOK, tok(f"t=0,s={_T_HEX}"), "stale"),
    (TIKTOK, tok(f"t=1700000001,s={_T_HEX}"), ""),
    (TIKTOK, tok(f"t=1700000000,s={_HEX}"), ""),
    (STANDARD, {}, "missing"),
    (STANDARD, {name: value for name, value in standard().items() if name != "webhook-id"}, "missing"),
    (STANDARD, {name: value for name, value in standard().items() if name != "webhook-timestamp"}, "missing"),
    (STANDARD, {name: value for name, value in standard().items() if name != "webhook-signature"}, "missing"),
    (STANDARD, standard(id=""), "malformed"),
    (STANDARD, standard(id="a b"), "malformed"),
    (STANDARD, standard(id="x" * 257), "malformed"),
    (STANDARD, standard(timestamp="yesterday"), "malformed"),
    (STANDARD, standard(timestamp="2023-11-14T22:13:20Z"), "malformed"),
    (STANDARD, standard(timestamp=" 1700000000"), "malformed"),
    (STANDARD, standard(timestamp="1699999699"), "stale"),
    (STANDARD, standard(timestamp="1700000301"), "stale"),
    (STANDARD, standard(timestamp="1700000000000"), "malformed"),
    (STANDARD, standard(signature=""), "malformed"),
    (STANDARD, standard(signature="v1,"), "malformed"),
    (STANDARD, standard(signature=_B64), "malformed"),
    (STANDARD, standard(signature=f"v1a,{_B64}"), "malformed"),
    (STANDARD, standard(signature=f"v2,{_B64}"), "malformed"),
    (STANDARD, standard(signature=f"v1={_B64}"), "malformed"),
    (STANDARD, standard(signature=f"v1,{_B64[:-1]}"), "malformed"),
    (STANDARD, standard(signature=f"v1,{_HEX}"), "malformed"),
    (STANDARD, standard(signature=f"v1,{_B64.replace('=', '')}"), "malformed"),
    (STANDARD, standard(signature=f"v1, {_B64}"), "malformed"),
    (STANDARD, standard(signature=" ".join([f"v1,{_B64}"] * 17)), "malformed"),
    (STANDARD, [*standard().items(), ("webhook-id", "m")], "malformed"),
    (STANDARD, standard(), ""),
    (STANDARD, standard(signature=f"v1,{_B64} v1,{_B64}"), ""),
    (HMAC, {}, "missing"),
    (HMAC, {"x-shop-signature": _B64}, "malformed"),
    (HMAC, {"x-shop-signature": f"v0={_B64}"}, "malformed"),
    (HMAC, {"x-shop-signature": "v0=" + base64.b64encode(b"0" * 64).decode()}, ""),
    (PLAIN, {"x-signature": _HEX[2:]}, "malformed"),
    (PLAIN, {"x-signature": "0" * 64}, ""),
    (BEARER, {}, "missing"),
    (BEARER, {"authorization": ""}, "malformed"),
    (BEARER, {"authorization": "key"}, "malformed"),
    (BEARER, {"authorization": "Bearer"}, "malformed"),
    (BEARER, {"authorization": "Bearer "}, "malformed"),
    (BEARER, {"authorization": "Basic a2V5"}, "malformed"),
    (BEARER, {"authorization": "Bearer key key"}, "malformed"),
    (BEARER, {"authorization": "Bearer kéy"}, "malformed"),
    (BEARER, {"authorization": "Bearer " + "k" * 5000}, "malformed"),
    (BEARER, [("authorization", "Bearer key")] * 2, "malformed"),
    (BEARER, {"authorization": "Bearer ke"}, ""),
    (BEARER, {"authorization": "Bearer keyy"}, ""),
    (BEARER, {"authorization": "Bearer KEY"}, ""),
]  # fmt: skip


@pytest.mark.parametrize(("method", "headers", "reason"), BAD)
def test_what_must_not_pass_does_not(method: Method, headers: Any, reason: str) -> None:
    """`reason` is empty where only the key can tell."""
    key = base64.b64encode(b"key") if method is STANDARD else b"key"
    if reason:
        with pytest.raises(Unauthenticated) as caught:
            passes(method, headers, BODY, key)
        assert caught.value.reason == reason
    else:
        assert not passes(method, headers, BODY, key)


def test_the_table_is_long() -> None:
    assert len(BAD) >= 60


@pytest.mark.parametrize(
    "header",
    [f"t=1700000000,s={_T_HEX}", f"s={_T_HEX},t=1700000000", f"t=1700000000, s={_T_HEX.upper()}",
     f"t=1700000000,s={_T_HEX},v=2"],
)  # fmt: skip
def test_what_tiktok_may_write(header: str) -> None:
    assert passes(TIKTOK, tok(header), BODY, b"key")


@pytest.mark.parametrize("age", [-300, -299, 0, 299, 300])
def test_the_tolerance_is_inclusive_either_way(age: int) -> None:
    headers = dict(signed(TIKTOK, Key(b"key"), BODY, now=NOW - age, identity=""))
    assert passes(TIKTOK, headers, BODY, b"key")
    with pytest.raises(Unauthenticated):
        passes(TikTok(keys=KEYS, tolerance_seconds=100), headers, BODY, b"key", now=NOW + (101 if age >= 0 else -101))


def test_a_signature_of_a_new_version_may_stand_beside_ours() -> None:
    made = dict(signed(STANDARD, read_key(STANDARD, SECRET.encode()), BODY, now=NOW, identity="m"))
    good = made["webhook-signature"]
    for header in (f"v1a,xyz {good}", f"{good} v2,abc", f"v1,{_B64} {good}", f"v1,broken {good}"):
        assert passes(STANDARD, made | {"webhook-signature": header}, BODY, SECRET.encode())


# --- keys ------------------------------------------------------------------------------------------------------------


def test_a_key_is_compared_in_constant_time_or_not_at_all() -> None:
    key = Key(b"secret")
    for comparison in (lambda: key == b"secret", lambda: key == Key(b"secret"), lambda: key in [b"secret"]):
        with pytest.raises(TypeError):
            comparison()
    with pytest.raises(TypeError):
        hash(key)
    assert key.equals(b"secret")
    assert not key.equals(b"secreT")
    assert "secret" not in f"{key!r}{key}"


def test_every_comparison_of_a_secret_is_in_constant_time() -> None:
    """In the module that knows secrets, bytes are compared by `compare_digest` alone."""
    tree = ast.parse(Path(signatures.__file__).read_text())
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        if function.name in ("equals", "mac", "holds", "text"):
            compared = [node for node in ast.walk(function) if isinstance(node, ast.Compare)]
            assert all(_is_count(node) for node in compared), ast.unparse(function)
    used = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "_value"]
    owners = {name for name in ("__init__", "equals", "mac", "text") for node in used if _within(tree, name, node)}
    assert len(used) == 4
    assert owners == {"__init__", "equals", "mac", "text"}


def _is_count(node: ast.Compare) -> bool:
    """`… is not None`, or `sum(…) > 0`: no comparison of bytes."""
    operator, right = node.ops[0], node.comparators[0]
    return isinstance(operator, ast.IsNot | ast.Gt) and isinstance(right, ast.Constant)


def _within(tree: ast.Module, name: str, wanted: ast.AST) -> bool:
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name)
    return any(wanted is node for function in functions for node in ast.walk(function))


@pytest.mark.parametrize(
    ("method", "written", "message"),
    [
        (META, b"", "is empty"),
        (META, b" \n", "is empty"),
        (STANDARD, b"whsec_", "is empty"),
        (STANDARD, b"whsec_not base64!", "no secret of Standard Webhooks"),
        (STANDARD, b"plain", "no secret of Standard Webhooks"),
    ],
)
def test_a_key_that_is_none_is_refused(method: Method, written: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_key(method, written)


def test_a_key_in_a_file_may_end_with_a_newline() -> None:
    assert read_key(META, b"secret\n").equals(b"secret")


def test_every_key_is_tried_whichever_matches() -> None:
    tried: list[str] = []

    class Told(Key):
        def __init__(self, name: str, value: bytes) -> None:
            super().__init__(value)
            self.name = name

        def mac(self, algorithm: str, *parts: bytes) -> bytes:
            tried.append(self.name)
            return super().mac(algorithm, *parts)

    keys: Sequence[Key] = [Told("first", b"key"), Told("second", b"other")]
    check: Callable[[], bool] = lambda: Claim((bytes.fromhex(_HEX),)).holds(keys, BODY)  # noqa: E731
    assert check()
    assert tried == ["first", "second"]
