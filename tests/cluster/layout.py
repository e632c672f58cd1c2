"""Where everything of the node lies, and which addresses it has.

CACHE/cluster/
    lock                    held by the one command that changes something
    parts-DIGEST/           the binaries, built from exactly the modules that go/ pins
    buildah/                layers and images that buildah made
    images/NAME.tar         the images as archives; `up` loads them
    containerd/             containerd's store: what was loaded once stays loaded
    run/                    of the node that runs now; `down` removes it
        kubeconfig  pki/  config/  etcd/  kubelet/  volumes/
    logs/                   of the latest node, kept after `down`
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]

NODE = "node"
HOST_LINK = "evp-host"
NODE_LINK = "evp-node"
HOST_ADDRESS = "10.141.0.1"
NODE_ADDRESS = "10.141.0.2"
POD_RANGE = "10.142.0.0/24"
SERVICE_RANGE = "10.143.0.0/16"
API_SERVICE = "10.143.0.1"
DNS_SERVICE = "10.143.0.10"
CGROUP = "eventpipeline-node"


@dataclass(frozen=True)
class Layout:
    root: Path

    @classmethod
    def of_user(cls) -> Layout:
        """The layout in this user's cache folder."""
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return cls(Path(cache).absolute() / "eventpipeline" / "cluster")

    @cached_property
    def parts(self) -> Path:
        return self.root / f"parts-{_digest_of_pins()}"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def buildah(self) -> Path:
        return self.root / "buildah"

    @property
    def containerd(self) -> Path:
        return self.root / "containerd"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def kubeconfig(self) -> Path:
        return self.run / "kubeconfig"

    @property
    def ready(self) -> Path:
        """There once everything answered; what is in `run` without it is the rest of a start that failed."""
        return self.run / "ready"

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"


def _digest_of_pins() -> str:
    digest = hashlib.sha256()
    for file in sorted((HERE / "go").rglob("*")):
        if file.is_file():
            digest.update(f"{file.relative_to(HERE)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:12]
