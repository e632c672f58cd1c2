"""The node: from nothing to a Kubernetes in which everything answers, and back."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cluster import box, components, host, parts, pki
from cluster.box import Box
from cluster.containerd import Containerd
from cluster.errors import ClusterError
from cluster.images import Builder, Image
from cluster.layout import HERE, NODE, Layout

_SERVERS = ("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
"""Started once the API answers: they would try again by themselves, but with pauses."""

_ADDONS = {
    "coredns": "kube-system",
    "metrics-server": "kube-system",
    "local-path-provisioner": "local-path-storage",
}


@dataclass
class Stopwatch:
    """Prints what was reached, and after how long."""

    started: float = field(default_factory=time.monotonic)

    def lap(self, reached: str) -> None:
        print(f"{time.monotonic() - self.started:7.1f} s  {reached}", flush=True)


class Node:
    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def is_up(self) -> bool:
        return self.layout.ready.exists() and box.find(self.layout) is not None

    def up(self) -> None:
        """Start it; returns when everything answers. Builds first what is missing; a node that is up is left alone."""
        with self._locked():
            if self.is_up():
                print("the node is up already", flush=True)
                return
            box.end(self.layout)  # of a start that did not end well
            try:
                self._start(Stopwatch())
            except BaseException:
                box.end(self.layout)
                raise

    def down(self, *, purge: bool = False) -> None:
        """End it. With `purge`, drop the images too; the binaries stay, being dear."""
        with self._locked():
            box.end(self.layout)
            if purge:
                for folder in (self.layout.containerd, self.layout.images, self.layout.buildah, self.layout.logs):
                    shutil.rmtree(folder, ignore_errors=True)

    def load(self, image: Image) -> bool:
        """See Containerd.load."""
        return self._containerd().load(image)

    def load_archive(self, archive: Path) -> None:
        self._containerd().load_archive(archive)

    def tag(self, name: str, other: str) -> None:
        """See Containerd.tag."""
        self._containerd().tag(name, other)

    def kill_container(self, container: str) -> None:
        """See Containerd.kill."""
        self._containerd().kill(container)

    def kill_part(self, name: str) -> None:
        """End a program of the node, such as the kubelet, with SIGKILL; its pods go on. `start_part` starts it anew."""
        for pid in self._box().processes_of(self.layout.parts / name):
            os.kill(pid, signal.SIGKILL)

    def start_part(self, name: str) -> None:
        self._start_component(self._box(), name)

    def kubectl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "KUBECONFIG": str(self.layout.kubeconfig)}
        command = [str(self.layout.parts / "kubectl"), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def _box(self) -> Box:
        found = box.find(self.layout)
        if found is None:
            raise ClusterError("the node is not up; start it with: python -m cluster up")
        return found

    def _containerd(self) -> Containerd:
        return Containerd(self.layout, self._box())

    def _start(self, watch: Stopwatch) -> None:
        host.require()
        parts.ensure(self.layout)
        addons = Builder(self.layout).addons()
        watch.lap("binaries and images there")
        self._make_folders()
        pki.make(self.layout.run / "pki")
        shutil.copy2(self.layout.run / "pki/admin.conf", self.layout.kubeconfig)
        components.write_configuration(self.layout)
        made = box.make(self.layout)
        watch.lap("box made, with its own processes, mounts and network")
        self._start_api(made, watch)
        self._apply_addons()
        containerd = Containerd(self.layout, made)
        self._wait(containerd.answers, "containerd", 30)
        loaded = [image.name for image in addons if containerd.load(image)]
        watch.lap(f"images loaded: {', '.join(loaded) or 'none were new'}")
        for name in _SERVERS:
            self._start_component(made, name)
        self._wait_until_ready(watch)
        self.layout.ready.touch()

    def _make_folders(self) -> None:
        shutil.rmtree(self.layout.logs, ignore_errors=True)
        for folder in (
            self.layout.logs,
            self.layout.containerd,
            *(self.layout.run / name for name in ("kubelet", "volumes")),
        ):
            folder.mkdir(parents=True, exist_ok=True)

    def _start_api(self, made: Box, watch: Stopwatch) -> None:
        for name in ("containerd", "etcd", "kube-apiserver"):
            self._start_component(made, name)
        self._wait(lambda: self.kubectl("get", "--raw=/readyz").returncode == 0, "kube-apiserver", 90)
        watch.lap("API ready")

    def _start_component(self, made: Box, name: str) -> None:
        made.start(components.commands(self.layout)[name], self.layout.logs / f"{name}.log")

    def _apply_addons(self) -> None:
        manifests = self.layout.run / "manifests"
        manifests.mkdir()
        for file in (HERE / "manifests").glob("*.yaml"):
            (manifests / file.name).write_text(components.render(self.layout, file.read_text()))
        self._must("apply", "--server-side", f"--filename={manifests}")

    def _wait_until_ready(self, watch: Stopwatch) -> None:
        self._wait(lambda: self.kubectl("get", "node", NODE).returncode == 0, "kubelet", 60)
        self._must("wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=60s")
        watch.lap("node Ready")
        for name, namespace in _ADDONS.items():
            self._must("rollout", "status", f"deployment/{name}", f"--namespace={namespace}", "--timeout=120s")
            watch.lap(f"{name} ready")
        self._wait(lambda: self.kubectl("top", "nodes").returncode == 0, "metrics-server", 60)
        watch.lap("kubectl top answers")

    def _must(self, *arguments: str) -> None:
        done = self.kubectl(*arguments)
        if done.returncode != 0:
            raise ClusterError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()} (logs: {self.layout.logs})")

    def _wait(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                log = self.layout.logs / f"{what}.log"
                tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
                raise ClusterError(f"{what} does not answer after {seconds:g} s; the end of {log}:\n{tail}")
            time.sleep(0.1)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One at a time; a second one waits. The lock goes with the process that holds it."""
        self.layout.root.mkdir(parents=True, exist_ok=True)
        with self.layout.lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
