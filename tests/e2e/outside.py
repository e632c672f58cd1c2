"""NATS and Postgres that somebody else runs: plain pods in a namespace of their own, with passwords of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cluster.access import Cluster
from cluster.images import NATS, POSTGRES
from tls_servers import Authority, files

PASSWORD = "of-somebody-else"
_NATS_CONFIG = """
port: 4222
authorization {{
  users: [{{
    user: marketing, password: "{password}"
    # As in manifests/external.yaml, of whatever namespace.
    permissions: {{ publish: ["*.*", "*", "$JS.API.>", "$JS.ACK.>"], subscribe: ["_INBOX.>"] }}
  }}]
}}
{more}
"""
_TLS = (
    'tls { cert_file: "/etc/nats/tls.crt", key_file: "/etc/nats/tls.key", ca_file: "/etc/nats/ca.crt", verify: true }'
)
_JETSTREAM = 'jetstream { store_dir: "/data", max_file: 8G, sync_interval: always }'
# The statements that manifests/external.yaml tells an administrator; whoever connects needs the password.
_POSTGRES_START = f"""
set -eu
data=/var/lib/postgresql/data
echo administrator > /tmp/password
initdb -D $data -U postgres -A scram-sha-256 --pwfile=/tmp/password --no-locale -E UTF8 --no-instructions
echo 'host all all all scram-sha-256' >> $data/pg_hba.conf
postgres --single -D $data postgres <<SQL
CREATE ROLE marketing LOGIN PASSWORD '{PASSWORD}'
CREATE DATABASE marketing OWNER marketing
SQL
exec postgres -D $data -c listen_addresses='*' -c unix_socket_directories=/tmp
"""


@dataclass(frozen=True)
class Outside:
    """The servers in `namespace`; `authority` signed the certificates of the one with TLS, and of who may connect."""

    namespace: str
    authority: Authority

    @property
    def nats_url(self) -> str:
        return f"nats://marketing:{PASSWORD}@nats.{self.namespace}.svc:4222"

    @property
    def secured_url(self) -> str:
        return f"tls://marketing:{PASSWORD}@secured.{self.namespace}.svc:4222"

    @property
    def without_jetstream_url(self) -> str:
        return f"nats://marketing:{PASSWORD}@plain.{self.namespace}.svc:4222"

    def database_url(self, password: str = PASSWORD) -> str:
        return f"postgresql://marketing:{password}@postgres.{self.namespace}.svc:5432/marketing"


@contextmanager
def servers(cluster: Cluster) -> Iterator[Outside]:
    """The servers from when they answer: `plain` is a NATS without JetStream, `secured` one that wants certificates."""
    authority = Authority("outside")
    with cluster.namespace("outside") as namespace:
        certificates = files(authority, authority.issue("secured", f"secured.{namespace}.svc"))
        for name, more, beside in (
            ("nats", _JETSTREAM, {}), ("plain", "", {}), ("secured", f"{_JETSTREAM}\n{_TLS}", certificates),
        ):  # fmt: skip
            config = {"nats.conf": _NATS_CONFIG.format(password=PASSWORD, more=more), **beside}
            cluster.apply(_config(name, config), _nats(name), _service(name, 4222), namespace=namespace)
        cluster.apply(_postgres(), _service("postgres", 5432), namespace=namespace)
        for name in ("nats", "plain", "secured", "postgres"):
            cluster.wait(f"pod/{name}", "condition=Ready", namespace=namespace)
        yield Outside(namespace, authority)


def _config(name: str, data: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def _nats(name: str) -> dict[str, Any]:
    container = {
        "command": ["nats-server", "--config", "/etc/nats/nats.conf"],
        "volumeMounts": [{"name": "config", "mountPath": "/etc/nats"}, {"name": "data", "mountPath": "/data"}],
    }
    return _pod(name, NATS, 4222, container, [{"name": "config", "configMap": {"name": name}}])


def _postgres() -> dict[str, Any]:
    container = {
        "command": ["/bin/sh", "-c", _POSTGRES_START],
        "volumeMounts": [{"name": "data", "mountPath": "/var/lib/postgresql"}],
        "securityContext": {"runAsUser": 999, "runAsGroup": 999},
    }
    return _pod("postgres", POSTGRES, 5432, container, [])


def _pod(name: str, image: str, port: int, container: dict[str, Any], volumes: list[Any]) -> dict[str, Any]:
    probe = {"tcpSocket": {"port": port}, "periodSeconds": 1}
    settings = {"name": name, "image": image, "imagePullPolicy": "IfNotPresent", "readinessProbe": probe}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"fsGroup": 999},
            "containers": [settings | container],
            "volumes": [*volumes, {"name": "data", "emptyDir": {}}],
        },
    }


def _service(name: str, port: int) -> dict[str, Any]:
    spec = {"selector": {"app": name}, "ports": [{"port": port}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
