"""Certificates of one run of the node, made with openssl, and the kubeconfigs that use them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from cluster.layout import API_SERVICE, NODE, NODE_ADDRESS

_DAYS = "365"
_API_NAMES = (
    f"IP:{NODE_ADDRESS},IP:{API_SERVICE},IP:127.0.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,"
    "DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
)


@dataclass(frozen=True)
class Certificate:
    name: str
    subject: str
    authority: str = "ca"
    names: str = ""
    """Alternative names; a server's certificate has some, a client's has none."""


_CERTIFICATES = (
    Certificate("apiserver", "/CN=kube-apiserver", names=_API_NAMES),
    Certificate("kubelet-server", f"/O=system:nodes/CN=system:node:{NODE}", names=f"IP:{NODE_ADDRESS},DNS:{NODE}"),
    Certificate("kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client"),
    Certificate("front-proxy", "/CN=front-proxy-client", authority="front-proxy-ca"),
    Certificate("admin", "/O=system:masters/CN=admin"),
    Certificate("kube-controller-manager", "/CN=system:kube-controller-manager"),
    Certificate("kube-scheduler", "/CN=system:kube-scheduler"),
    Certificate("kube-proxy", "/CN=system:kube-proxy"),
    Certificate("kubelet", f"/O=system:nodes/CN=system:node:{NODE}"),
)


def make(folder: Path) -> None:
    """All keys, certificates and kubeconfigs (`NAME.conf`) in `folder`."""
    folder.mkdir(parents=True, mode=0o700)
    for authority in ("ca", "front-proxy-ca"):
        _make_authority(folder, authority)
    for certificate in _CERTIFICATES:
        _make_certificate(folder, certificate)
        if not certificate.names:
            _write_kubeconfig(folder, certificate.name)
    _key(folder / "service-accounts.key")
    _openssl("pkey", "-in", folder / "service-accounts.key", "-pubout", "-out", folder / "service-accounts.pub")


def _make_authority(folder: Path, name: str) -> None:
    key = _key(folder / f"{name}.key")
    options = [
        "-addext",
        "basicConstraints=critical,CA:TRUE",
        "-addext",
        "keyUsage=critical,digitalSignature,keyCertSign",
    ]
    _openssl(
        "req",
        "-x509",
        "-new",
        "-key",
        key,
        "-subj",
        f"/CN={name}",
        "-days",
        _DAYS,
        *options,
        "-out",
        folder / f"{name}.crt",
    )


def _make_certificate(folder: Path, certificate: Certificate) -> None:
    key = _key(folder / f"{certificate.name}.key")
    usage = "serverAuth" if certificate.names else "clientAuth"
    options = ["-addext", "basicConstraints=CA:FALSE", "-addext", f"extendedKeyUsage={usage}"]
    if certificate.names:
        options += ["-addext", f"subjectAltName={certificate.names}"]
    request = folder / f"{certificate.name}.csr"
    _openssl("req", "-new", "-key", key, "-subj", certificate.subject, *options, "-out", request)
    authority = folder / certificate.authority
    signer = ["-CA", f"{authority}.crt", "-CAkey", f"{authority}.key", "-CAcreateserial", "-days", _DAYS]
    _openssl(
        "x509",
        "-req",
        "-in",
        request,
        *signer,
        "-copy_extensions",
        "copyall",
        "-out",
        folder / f"{certificate.name}.crt",
    )
    request.unlink()


def _key(file: Path) -> Path:
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", file)
    return file


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def _write_kubeconfig(folder: Path, name: str) -> None:
    file = folder / f"{name}.conf"
    file.touch(mode=0o600)
    file.write_text(
        f"""apiVersion: v1
kind: Config
clusters:
- name: eventpipeline
  cluster: {{server: "https://{NODE_ADDRESS}:6443", certificate-authority: {folder}/ca.crt}}
users:
- name: {name}
  user: {{client-certificate: {folder}/{name}.crt, client-key: {folder}/{name}.key}}
contexts:
- name: eventpipeline
  context: {{cluster: eventpipeline, user: {name}}}
current-context: eventpipeline
"""
    )
