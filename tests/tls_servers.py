"""Certificates, and a nats-server and a Postgres that want one of whoever connects.

ours, theirs = Authority("ours"), Authority("theirs")
with tls_servers(folder, ours, trusted=ours) as servers: ...
"""

from __future__ import annotations

import ipaddress
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from eventpipeline.local import nats, postgres
from servers import free_port, running_program

NATS_PASSWORD = "of-somebody-else"


class Authority:
    """A CA, which signs what it is asked to."""

    def __init__(self, name: str) -> None:
        self._name, self._key = _name(name), ec.generate_private_key(ec.SECP256R1())
        basic = x509.BasicConstraints(ca=True, path_length=0)
        self.pem = _pem(_builder(self._name, self._name, self._key).add_extension(basic, critical=True), self._key)

    def issue(self, common_name: str, *hosts: str, expired: bool = False) -> tuple[str, str]:
        """A certificate and its key, in PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(common_name), self._name, key, expired=expired)
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_host, hosts))), critical=False)
        return _pem(builder, self._key), _key_pem(key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, expired: bool = False
) -> x509.CertificateBuilder:
    end = datetime.now(UTC) + timedelta(days=-1 if expired else 1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - timedelta(days=3))
        .not_valid_after(end)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(builder: x509.CertificateBuilder, signer: ec.EllipticCurvePrivateKey) -> str:
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def files(ca: Authority, client: tuple[str, str] | None = None) -> dict[str, str]:
    """What is in a folder, or a Secret, of certificates."""
    found = {"ca.crt": ca.pem}
    return found | {"tls.crt": client[0], "tls.key": client[1]} if client else found


def written(folder: Path, contents: dict[str, str]) -> Path:
    """`folder` with `contents` alone, which only this user can read."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, content in contents.items():
        with open(folder / name, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(content)
    return folder


@dataclass(frozen=True)
class TlsServers:
    """Where they are; both are for 127.0.0.1 and no other name."""

    nats_port: int
    postgres_port: int
    password: str
    log: Path
    folders: tuple[Path, Path]
    processes: tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]

    def nats_url(self, host: str = "127.0.0.1") -> str:
        return f"tls://eventpipeline:{NATS_PASSWORD}@{host}:{self.nats_port}"

    def database_url(self, host: str = "127.0.0.1") -> str:
        # What the URL says of TLS must not count.
        return f"postgresql://postgres:{self.password}@{host}:{self.postgres_port}/eventpipeline?sslmode=disable"

    def change(self, server: tuple[str, str], trusted: Authority) -> None:
        """Another certificate of the servers, and another CA for those of clients, from the next connection on."""
        for folder, process in zip(self.folders, self.processes, strict=True):
            _put(folder, server, trusted)
            process.send_signal(signal.SIGHUP)


@contextmanager
def tls_servers(folder: Path, server: tuple[str, str], trusted: Authority) -> Iterator[TlsServers]:
    """Servers with the certificate `server`, which take clients with one that `trusted` signed."""
    nats_port, postgres_port, log = free_port(), free_port(), folder / "nats.log"
    keep = nats.server(folder / "nats", port=nats_port, monitor_port=free_port(), max_file_bytes=4 * 2**30, log=log)
    _put(folder / "nats", server, trusted)
    with (folder / "nats" / "nats.conf").open("a") as config:
        crt, key, ca = (folder / "nats" / f"server.{name}" for name in ("crt", "key", "ca"))
        config.write(
            f'tls {{ cert_file: "{crt}", key_file: "{key}", ca_file: "{ca}", verify: true }}\n'
            f'authorization {{ user: eventpipeline, password: "{NATS_PASSWORD}" }}\n'
        )
    cluster = replace(postgres.open_cluster(folder / "postgres"), programs=_postgres_with_tls())
    cluster.initialise()
    _put(cluster.data, server, trusted)
    # The name in the certificate has to be the user.
    (cluster.data / "pg_hba.conf").write_text(
        "hostssl postgres all 127.0.0.1/32 cert\nhostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-full\n"
    )
    program = cluster.server(port=postgres_port, log=folder / "postgres.log")
    ssl = ("ssl=on", "ssl_cert_file=server.crt", "ssl_key_file=server.key", "ssl_ca_file=server.ca")
    program = replace(program, argv=(*program.argv, *(f"--{option}" for option in ssl)))
    with ExitStack() as stack:
        processes = stack.enter_context(running_program(keep)), stack.enter_context(running_program(program))
        folders = (folder / "nats", cluster.data)
        yield TlsServers(nats_port, postgres_port, cluster.password, log, folders, processes)


def _postgres_with_tls() -> Path:
    """The programs of a Postgres that was built with OpenSSL, which that of the wheel was not: the distribution's."""
    given = os.environ.get("EVENTPIPELINE_TLS_POSTGRES")
    found = [Path(given)] if given else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found or not (found[-1] / "initdb").exists():
        pytest.fail(
            "these tests need a Postgres with TLS, such as Debian's package postgresql; or name the folder of its "
            "programs in EVENTPIPELINE_TLS_POSTGRES"
        )
    return found[-1]


def _put(folder: Path, server: tuple[str, str], trusted: Authority) -> None:
    owner = folder.stat()
    for name, content in (("crt", server[0]), ("key", server[1]), ("ca", trusted.pem)):
        path = folder / f"server.{name}"
        path.write_text(content)
        path.chmod(0o600)
        os.chown(path, owner.st_uid, owner.st_gid)
