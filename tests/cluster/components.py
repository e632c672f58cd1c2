"""The programs of the node: what each is started with."""

from __future__ import annotations

import shutil
from pathlib import Path
from string import Template

from cluster import host
from cluster.layout import CGROUP, DNS_SERVICE, HERE, NODE, NODE_ADDRESS, POD_RANGE, SERVICE_RANGE, Layout

PAUSE_IMAGE = "registry.k8s.io/pause:3.10.1"
_ETCD = "http://127.0.0.1:2379"


def render(layout: Layout, text: str) -> str:
    """The text of a configuration file or manifest, with the places and addresses of this node filled in."""
    return Template(text).safe_substitute(
        RUN=layout.run,
        CONTAINERD=layout.containerd,
        PAUSE_IMAGE=PAUSE_IMAGE,
        CNI_PLUGINS=host.plugin_folder(),
        RUNC=host.find("runc"),
        CGROUP=CGROUP,
        NODE=NODE,
        POD_RANGE=POD_RANGE,
        DNS_SERVICE=DNS_SERVICE,
    )


def write_configuration(layout: Layout) -> None:
    """config/ with everything filled in, in the folder of this run."""
    source, target = HERE / "config", layout.run / "config"
    shutil.copytree(source, target)
    for file in target.rglob("*"):
        if file.is_file():
            file.write_text(render(layout, file.read_text()))


def commands(layout: Layout) -> dict[str, list[str]]:
    """Name -> command line, in the order in which they start."""
    pki, run = layout.run / "pki", layout.run
    arguments = {
        "containerd": ["--config", f"{run}/config/containerd.toml"],
        "etcd": _etcd(run),
        "kube-apiserver": _apiserver(pki),
        "kube-controller-manager": _controller_manager(pki),
        "kube-scheduler": [*_client_of_api(pki, "kube-scheduler"), *_QUICK_CLIENT],
        "kubelet": [
            *(f"--config={run}/config/kubelet.yaml", f"--kubeconfig={pki}/kubelet.conf", f"--root-dir={run}/kubelet"),
            *(f"--cert-dir={pki}", f"--hostname-override={NODE}", f"--node-ip={NODE_ADDRESS}"),
        ],
        "kube-proxy": [f"--config={run}/config/kube-proxy.yaml"],
    }
    return {name: [str(layout.parts / name), *rest] for name, rest in arguments.items()}


def _etcd(run: Path) -> list[str]:
    peer = "http://127.0.0.1:2380"
    return [
        *(f"--name={NODE}", f"--data-dir={run}/etcd", "--log-level=warn"),
        *(f"--listen-client-urls={_ETCD}", f"--advertise-client-urls={_ETCD}"),
        *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster={NODE}={peer}"),
        "--unsafe-no-fsync",  # what it keeps does not outlive the node
    ]


def _apiserver(pki: Path) -> list[str]:
    return [
        *(f"--etcd-servers={_ETCD}", "--secure-port=6443", f"--advertise-address={NODE_ADDRESS}"),
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        *(f"--client-ca-file={pki}/ca.crt", "--authorization-mode=Node,RBAC"),
        *(f"--tls-cert-file={pki}/apiserver.crt", f"--tls-private-key-file={pki}/apiserver.key"),
        *(f"--kubelet-client-certificate={pki}/kubelet-client.crt", f"--kubelet-client-key={pki}/kubelet-client.key"),
        *(f"--kubelet-certificate-authority={pki}/ca.crt", "--kubelet-preferred-address-types=InternalIP"),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki}/service-accounts.pub",
        f"--service-account-signing-key-file={pki}/service-accounts.key",
        # How it speaks to metrics-server on behalf of whoever asked.
        *(f"--proxy-client-cert-file={pki}/front-proxy.crt", f"--proxy-client-key-file={pki}/front-proxy.key"),
        f"--requestheader-client-ca-file={pki}/front-proxy-ca.crt",
        "--requestheader-allowed-names=front-proxy-client",
        *("--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group"),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        *("--enable-admission-plugins=NodeRestriction", "--allow-privileged=true", "--profiling=false"),
    ]


def _controller_manager(pki: Path) -> list[str]:
    return [
        *_client_of_api(pki, "kube-controller-manager"),
        *_QUICK_CLIENT,
        *("--use-service-account-credentials=true", f"--root-ca-file={pki}/ca.crt"),
        f"--service-account-private-key-file={pki}/service-accounts.key",
        *(f"--cluster-signing-cert-file={pki}/ca.crt", f"--cluster-signing-key-file={pki}/ca.key"),
        *(f"--cluster-cidr={POD_RANGE}", f"--service-cluster-ip-range={SERVICE_RANGE}"),
        # An autoscaler decides in seconds here, so that tests see it go up and down.
        *("--horizontal-pod-autoscaler-sync-period=5s", "--horizontal-pod-autoscaler-downscale-stabilization=15s"),
        *(
            "--horizontal-pod-autoscaler-initial-readiness-delay=5s",
            "--horizontal-pod-autoscaler-cpu-initialization-period=10s",
        ),
    ]


# With the defaults the controllers wait for their own turn, five seconds for the first service account alone.
_QUICK_CLIENT = ["--kube-api-qps=300", "--kube-api-burst=600", "--leader-elect=false", "--profiling=false"]


def _client_of_api(pki: Path, name: str) -> list[str]:
    options = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
    return [*(f"--{option}={pki}/{name}.conf" for option in options), "--bind-address=127.0.0.1"]
