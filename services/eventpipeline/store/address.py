"""Where Postgres is, and how a connection to it is secured."""

from __future__ import annotations

from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from eventpipeline.certificates import CA, CERTIFICATE, KEY, has_client


def address(database_url: str, tls_dir: str | None) -> str:
    """`database_url` with the certificates in `tls_dir`, which libpq reads anew for each connection.

    What the URL itself says of TLS does not count then. One that libpq does not understand is left as it is, to be
    refused where it is used.
    """
    if tls_dir is None:
        return database_url
    files = {"sslrootcert": CA} | ({"sslcert": CERTIFICATE, "sslkey": KEY} if has_client(tls_dir) else {})
    paths = {name: str(Path(tls_dir, file)) for name, file in files.items()}
    try:
        return make_conninfo(database_url, sslmode="verify-full", **paths)
    except psycopg.ProgrammingError:
        return database_url
