"""The certificates of connections to NATS and Postgres: files in a folder, read anew for each connection.

ca.crt     the CAs that the server's certificate is verified against, its host name included
tls.crt    the certificate that proves who connects, and
tls.key    its key; both or neither
"""

from __future__ import annotations

import re
import ssl
from pathlib import Path

CA, CERTIFICATE, KEY = "ca.crt", "tls.crt", "tls.key"

_MEANINGS = (
    (r"certificate has expired", "the server's certificate has expired: whoever runs it has to renew it"),
    (r"not yet valid", "the server's certificate is not valid yet, or a clock is wrong"),
    (r"(unable to get .*issuer|self.signed) certificate", "no CA in ca.crt has signed the server's certificate"),
    (r"name mismatch|address mismatch|does not match host name|is not valid for", "the server's certificate is for "
     "another name than the one in the address"),
    (r"alert certificate expired", "the client's certificate, tls.crt, has expired: renew it"),
    (r"alert unknown ca", "the server trusts no CA that signed the client's certificate, tls.crt"),
    (r"alert (bad certificate|certificate required|certificate unknown)|certificate.required|valid client certificate",
     "the server wants a certificate of the client, tls.crt and tls.key, and did not take the one given, or none was"),
    (r"certificate authentication failed", "the client's certificate, tls.crt, is for another user than the address"),
    (r"certificate verify failed", "the server's certificate has expired, or no CA in ca.crt has signed it"),
)  # fmt: skip


def client_context(folder: str | None) -> ssl.SSLContext:
    """How to connect with what is in `folder` now; without one, as the system's CAs allow.

    Raises OSError, of which ssl.SSLError is one, where a file is missing or is not what it should be.
    """
    if folder is None:
        return ssl.create_default_context()
    context = ssl.create_default_context(cafile=str(Path(folder, CA)))
    if has_client(folder):
        context.load_cert_chain(Path(folder, CERTIFICATE), Path(folder, KEY))
    return context


def has_client(folder: str) -> bool:
    """Whether there is a certificate of the client."""
    return Path(folder, CERTIFICATE).exists()


def fault(folder: str) -> str | None:
    """What is wrong with the files in `folder`, or None."""
    try:
        ssl.create_default_context(cafile=str(Path(folder, CA)))
    except OSError:
        return f"{CA} holds no certificate in PEM"
    try:
        client_context(folder)
    except OSError:
        return f"{CERTIFICATE} and {KEY} hold no certificate in PEM and the key, without a password, that belongs to it"
    return None


def explained(error: str) -> str:
    """What TLS says, with what it means where that is known; any other error as it is."""
    meaning = next((meaning for pattern, meaning in _MEANINGS if re.search(pattern, error, re.IGNORECASE)), None)
    return f"{error} ({meaning})" if meaning else error
