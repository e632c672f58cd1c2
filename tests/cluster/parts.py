"""The binaries of the node: from the cache, else from an archive, else built from the modules that go/ pins."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import CannotRunError, ClusterError
from cluster.layout import HERE, Layout

ARCHIVE = "EVENTPIPELINE_CLUSTER_BINARIES"
"""Names a tar.zst with these binaries, which saves the build."""

KUBERNETES = "v1.37.2"
HELM = "v4.3.1"
_CONTAINERD = "github.com/containerd/containerd/v2"
_COMPONENT_VERSION = "k8s.io/component-base/version"
_CLIENT_VERSION = "k8s.io/client-go/pkg/version"

KUBE_NAMES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
"""The binary `kube` under the names by which it is called."""


@dataclass(frozen=True)
class Part:
    name: str
    module: str
    """The folder under go/ that pins it."""
    package: str
    variables: tuple[str, ...] = ()
    tags: str = ""


PARTS = (
    Part(
        "kube",
        "kubernetes",
        "./kube",
        (
            f"{_COMPONENT_VERSION}.gitVersion={KUBERNETES}",
            f"{_COMPONENT_VERSION}.gitMajor=1",
            f"{_COMPONENT_VERSION}.gitMinor=37",
            f"{_COMPONENT_VERSION}.gitTreeState=clean",
            f"{_CLIENT_VERSION}.gitVersion={KUBERNETES}",
            f"{_CLIENT_VERSION}.gitMajor=1",
            f"{_CLIENT_VERSION}.gitMinor=37",
        ),
    ),
    Part(
        "containerd",
        "containerd",
        f"{_CONTAINERD}/cmd/containerd",
        (f"{_CONTAINERD}/version.Version=v2.4.2",),
        "no_btrfs no_zfs no_devmapper",
    ),
    Part("containerd-shim-runc-v2", "containerd", f"{_CONTAINERD}/cmd/containerd-shim-runc-v2"),
    Part("ctr", "containerd", f"{_CONTAINERD}/cmd/ctr", (f"{_CONTAINERD}/version.Version=v2.4.2",)),
    Part("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
    Part("helm", "helm", "helm.sh/helm/v4/cmd/helm", (f"helm.sh/helm/v4/internal/version.version={HELM}",)),
    Part("metrics-server", "metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server"),
    Part("coredns", "coredns", "github.com/coredns/coredns"),
    Part("local-path-provisioner", "local-path", "github.com/rancher/local-path-provisioner"),
    Part("pause", "pause", "."),
)


def ensure(layout: Layout) -> None:
    """Fill `layout.parts`. One at a time; a second one waits.

    Raises:
        CannotRunError: there is neither an archive nor a Go toolchain.
        ClusterError: the archive is damaged, or a build failed.
    """
    layout.parts.mkdir(parents=True, exist_ok=True)
    # Not the lock of the node, which is held by a node that is up.
    with (layout.parts / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        archive = os.environ.get(ARCHIVE)
        if archive and missing(layout):
            _unpack(Path(archive), layout.parts)
        for part in missing(layout):
            _build(part, layout.parts)
        for name in KUBE_NAMES:
            link = layout.parts / name
            if not link.exists():
                link.symlink_to("kube")


def missing(layout: Layout) -> list[Part]:
    return [part for part in PARTS if not (layout.parts / part.name).exists()]


def _unpack(archive: Path, folder: Path) -> None:
    if not archive.is_file():
        raise CannotRunError(f"{ARCHIVE} names {archive}, which is not there")
    expected = archive.with_name(archive.name + ".sha256")
    if expected.exists() and expected.read_text().split()[0] != _sha256(archive):
        raise ClusterError(f"{archive} does not have the checksum that {expected.name} states")
    unpacked = folder / "unpacking"
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir()
    command = ["tar", "--use-compress-program", "zstd -d --long=27", "-xf", str(archive), "-C", str(unpacked)]
    if subprocess.run(command, check=False).returncode != 0:
        raise ClusterError(f"{archive} cannot be unpacked")
    # A rename is the last step, so that what is there is whole, whenever somebody pulls the plug.
    for part in PARTS:
        if (unpacked / part.name).exists():
            (unpacked / part.name).replace(folder / part.name)
    shutil.rmtree(unpacked)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _build(part: Part, folder: Path) -> None:
    if shutil.which("go") is None:
        raise CannotRunError(
            f"{part.name} must be built, and there is no Go toolchain; install Go 1.26, "
            f"or name an archive of the binaries with {ARCHIVE}"
        )
    print(f"building {part.name} (all parts: about 22 minutes on two cores, the first time)", flush=True)
    started = time.monotonic()
    unfinished = folder / f"{part.name}.unfinished"
    linker = " ".join(["-s", "-w", *(f"-X {variable}" for variable in part.variables)])
    command = ["nice", "-n", "10", "go", "build", "-mod=readonly", "-buildvcs=false", "-trimpath"]
    command += ["-tags", part.tags, "-ldflags", linker, "-o", str(unfinished), part.package]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": ""}
    if subprocess.run(command, cwd=HERE / "go" / part.module, env=environment, check=False).returncode != 0:
        raise ClusterError(f"go build of {part.name} failed")
    unfinished.replace(folder / part.name)
    print(f"built {part.name} in {time.monotonic() - started:.0f} s", flush=True)
