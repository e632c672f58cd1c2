"""An OpenID Connect provider on loopback: a discovery document, keys, and tokens that it signs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE = "eventpipeline"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PRIVATE: dict[str, Any] = {
    "RS256": RSA_KEY,
    "PS256": RSA_KEY,
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def public(kid: str, algorithm: str = "RS256", **more: Any) -> dict[str, Any]:
    """A key of a JWKS."""
    kind = {"R": RSAAlgorithm, "P": RSAAlgorithm, "E": ECAlgorithm}[algorithm[0]]
    kind = OKPAlgorithm if algorithm == "EdDSA" else kind
    made: dict[str, Any] = kind.to_jwk(PRIVATE[algorithm].public_key(), as_dict=True)
    return {**made, "kid": kid, "alg": algorithm, "use": "sig", **more}


class Provider:
    """`keys` is what it publishes; `requests` are the paths that it was asked for; while `away` it answers 500."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.keys: list[dict[str, Any]] = [public("first")]
        self.requests: list[str] = []
        self.away = False
        self.discovery: dict[str, Any] = {"issuer": issuer, "jwks_uri": f"{issuer}/keys"}

    def token(self, algorithm: str = "RS256", kid: str | None = "first", key: Any = None, **claims: Any) -> str:
        """A token that is good unless `claims` make it bad; a claim that is None is left out."""
        now = int(time.time())
        whole = {"iss": self.issuer, "aud": AUDIENCE, "iat": now, "exp": now + 300, "roles": ["eventpipeline-read"]}
        given = {name: value for name, value in (whole | claims).items() if value is not None}
        return jwt.encode(given, key or PRIVATE[algorithm], algorithm, headers={"kid": kid} if kid else None)


@contextmanager
def provider() -> Iterator[Provider]:
    made: Provider

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.requests.append(self.path)
            documents = {"/.well-known/openid-configuration": made.discovery, "/keys": {"keys": made.keys}}
            body = json.dumps(documents.get(self.path)).encode()
            self.send_response(500 if made.away else 200 if self.path in documents else 404)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Provider(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
