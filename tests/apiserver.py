"""A real kube-apiserver with its etcd, alone: no kubelet, no controllers. On loopback, in a folder of the test.

    with api_server(tmp_path) as kubeconfig: ...

The binaries are those of tests/cluster.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from cluster.layout import PROJECT, Layout
from eventpipeline_operator.cluster import Cluster
from eventpipeline_operator.errors import OperatorError
from eventpipeline_operator.objects import PIPELINE, Kind, Object
from servers import free_port, wait_for


@contextmanager
def api_server(folder: Path, *, audit: Path | None = None) -> Iterator[Path]:
    """A kube-apiserver in `folder`; yields a kubeconfig of an administrator.

    `audit` is a file to which it writes each request of a service account as a line of JSON, before it is answered.
    """
    bin_folder = Layout.of_user().parts
    etcd_port, peer_port, port = free_port(), free_port(), free_port()
    etcd = [
        bin_folder / "etcd", "--data-dir", folder / "etcd", "--unsafe-no-fsync", "--log-level", "error",
        f"--listen-client-urls=http://127.0.0.1:{etcd_port}", f"--advertise-client-urls=http://127.0.0.1:{etcd_port}",
        f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
    ]  # fmt: skip
    with ExitStack() as stack:
        stack.enter_context(_running(etcd, folder / "etcd.log"))
        server = [*_apiserver(bin_folder, folder, etcd_port, port), *_auditing(folder, audit)]
        process = stack.enter_context(_running(server, folder / "apiserver.log"))
        url = f"https://127.0.0.1:{port}"
        log = folder / "apiserver.log"
        wait_for(lambda: _is_ready(url, process), seconds=60, what=lambda: f"apiserver:\n{log.read_text()[-4000:]}")
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(_KUBECONFIG.format(url=url, folder=folder))
        yield kubeconfig


async def install_crd(cluster: Cluster) -> None:
    """The project's own CustomResourceDefinition."""
    (path,) = (PROJECT / "crds").glob("*.yaml")
    await install_definition(cluster, yaml.safe_load(path.read_text()), PIPELINE)


async def install_definition(cluster: Cluster, definition: Object, kind: Kind) -> None:
    """Any CustomResourceDefinition; returns when `kind` is served."""
    await cluster.apply(definition)
    for _ in range(200):
        try:
            await cluster.list_all(kind)
            if kind in cluster._plurals:
                return
        except OperatorError:
            pass
        await asyncio.sleep(0.1)
    raise AssertionError(f"{kind} was not served within 20 s")


async def install_monitoring(cluster: Cluster) -> None:
    """What the Prometheus operator defines."""
    for path in (PROJECT / "tests" / "prometheus_operator").glob("*.yaml"):
        definition: Object = yaml.safe_load(path.read_text())
        spec = definition["spec"]
        kind = Kind(f"{spec['group']}/{spec['versions'][0]['name']}", spec["names"]["kind"])
        await install_definition(cluster, definition, kind)


def _apiserver(bin_folder: Path, folder: Path, etcd_port: int, port: int) -> list[str | Path]:
    key = folder / "service-account.key"
    make_key = ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key]
    subprocess.run(make_key, check=True, capture_output=True)
    tokens = folder / "tokens.csv"
    tokens.write_text("test-token,admin,admin,system:masters\n")
    return [
        bin_folder / "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        "--bind-address=127.0.0.1", f"--secure-port={port}", f"--cert-dir={folder}/certificates",
        f"--token-auth-file={tokens}", "--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/16",
        f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
        "--service-account-issuer=https://kubernetes.default.svc", "--advertise-address=10.99.0.2",
        "--endpoint-reconciler-type=none", "--profiling=false",
        # Without controllers nobody makes the default account of a namespace.
        "--disable-admission-plugins=ServiceAccount",
    ]  # fmt: skip


def _auditing(folder: Path, log: Path | None) -> list[str]:
    if log is None:
        return []
    policy = folder / "audit-policy.yaml"
    rules = [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}, {"level": "None"}]
    content = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": rules}
    policy.write_text(yaml.safe_dump(content))
    return [f"--audit-policy-file={policy}", f"--audit-log-path={log}", "--audit-log-mode=blocking"]


_KUBECONFIG = """apiVersion: v1
kind: Config
clusters: [{{name: k, cluster: {{server: "{url}", certificate-authority: "{folder}/certificates/apiserver.crt"}}}}]
users: [{{name: u, user: {{token: test-token}}}}]
contexts: [{{name: k, context: {{cluster: k, user: u}}}}]
current-context: k
"""


@contextmanager
def _running(command: list[str | Path], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_ready(url: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "the API server ended"
    context = ssl._create_unverified_context()
    request = urllib.request.Request(f"{url}/readyz", headers={"Authorization": "Bearer test-token"})
    try:
        with urllib.request.urlopen(request, context=context, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
