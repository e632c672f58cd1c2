"""The node's containerd, spoken to with ctr."""

from __future__ import annotations

import subprocess
from pathlib import Path

from cluster.box import Box
from cluster.errors import ClusterError
from cluster.images import Image
from cluster.layout import Layout


class Containerd:
    def __init__(self, layout: Layout, box: Box) -> None:
        self._layout = layout
        self._box = box

    def answers(self) -> bool:
        return self._call("version").returncode == 0

    def load(self, image: Image) -> bool:
        """Import the image unless exactly this one is there; says whether it was imported."""
        stamp = self._layout.containerd / "loaded" / image.archive.name
        if stamp.exists() and stamp.read_text() == image.digest and image.name in self.names():
            return False
        self.load_archive(image.archive)
        stamp.parent.mkdir(exist_ok=True)
        stamp.write_text(image.digest)
        return True

    def load_archive(self, archive: Path) -> None:
        """Import a docker or OCI archive; pods with the pull policy `IfNotPresent` or `Never` then find it."""
        done = self._call("images", "import", "--local", str(archive))
        if done.returncode != 0:
            raise ClusterError(f"{archive} cannot be imported: {done.stderr.strip()}")

    def tag(self, name: str, other: str) -> None:
        """Make the image that is there as `name` known as `other` too."""
        done = self._call("images", "tag", "--force", name, other)
        if done.returncode != 0:
            raise ClusterError(f"{name} cannot be tagged {other}: {done.stderr.strip()}")

    def kill(self, container: str) -> None:
        """End the first process of a container, and so the container, with SIGKILL."""
        done = self._call("tasks", "kill", "--signal=SIGKILL", container)
        if done.returncode != 0:
            raise ClusterError(f"the container {container} cannot be killed: {done.stderr.strip()}")

    def names(self) -> set[str]:
        return set(self._call("images", "list", "--quiet").stdout.split())

    def _call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        ctr = [str(self._layout.parts / "ctr"), f"--address={self._layout.containerd_socket}", "--namespace=k8s.io"]
        return subprocess.run(self._box.command(*ctr, *arguments), capture_output=True, text=True, check=False)
