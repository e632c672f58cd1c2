"""What a test does with a cluster: kubectl and helm, waiting for what shall become true, namespaces, ports.

Any cluster will do: the node of this harness, or the one that KUBECONFIG names.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cluster.errors import ClusterError
from cluster.images import Image
from cluster.layout import Layout
from cluster.node import Node

Object = dict[str, Any]
T = TypeVar("T")

_POLL_SECONDS = 0.2
_FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ->")


class CommandError(ClusterError):
    """kubectl or helm ended with an error; the message is what it said."""


@dataclass(frozen=True)
class Cluster:
    kubeconfig: Path
    node: Node | None
    """The node, where it is this harness's own."""
    tools: Path
    """A folder with kubectl and helm."""

    def kubectl(self, *arguments: str, namespace: str | None = None, stdin: str | None = None) -> str:
        """What `kubectl …` prints.

        Raises:
            CommandError: it failed.
        """
        scope = [f"--namespace={namespace}"] if namespace else []
        return self._run("kubectl", [*scope, *arguments], stdin)

    def helm(self, *arguments: str, namespace: str | None = None) -> str:
        """As kubectl, with helm."""
        scope = [f"--namespace={namespace}"] if namespace else []
        return self._run("helm", [*arguments, *scope], None)

    def get(self, what: str, *, namespace: str | None = None) -> Object | None:
        """The object `KIND/NAME`, or None where there is none."""
        found = self.kubectl("get", what, "--ignore-not-found", "--output=json", namespace=namespace)
        return json.loads(found) if found.strip() else None

    def get_all(self, kind: str, *, namespace: str | None = None, selector: str = "") -> list[Object]:
        found = self.kubectl("get", kind, f"--selector={selector}", "--output=json", namespace=namespace)
        items: list[Object] = json.loads(found)["items"]
        return items

    def apply(self, *objects: Object | Path, namespace: str | None = None) -> None:
        """Apply objects, or the files that hold them, server-side."""
        command = ("apply", "--server-side", "--force-conflicts", "--filename")
        for item in objects:
            if isinstance(item, Path):
                self.kubectl(*command, str(item), namespace=namespace)
            else:
                self.kubectl(*command, "-", namespace=namespace, stdin=json.dumps(item))

    def wait(self, what: str, condition: str, *, namespace: str | None = None, seconds: float = 60) -> None:
        """Wait until `what` has the condition: `condition=Ready`, `jsonpath={…}=value`, `delete`, `create`."""
        self.kubectl("wait", what, f"--for={condition}", f"--timeout={seconds:g}s", namespace=namespace)

    @contextmanager
    def namespace(self, prefix: str = "test", labels: Mapping[str, str] | None = None) -> Iterator[str]:
        """A namespace of the test's own; at the end its removal, with all that is in it, is under way."""
        name = f"{prefix}-{secrets.token_hex(3)}"
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels or {})}})
        try:
            # A pod that comes before its service account is refused.
            self.wait("serviceaccount/default", "create", namespace=name)
            yield name
        finally:
            self.kubectl("delete", "namespace", name, "--wait=false")

    @contextmanager
    def port_forward(self, target: str, port: int, *, namespace: str) -> Iterator[str]:
        """`localhost:PORT` of a free port that leads to the port of a pod or, through one of its pods, of a Service."""
        command = [*self._command("kubectl"), f"--namespace={namespace}", "port-forward", target, f":{port}"]
        with subprocess.Popen(
            command, env=self.environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as forward:
            try:
                assert forward.stdout
                assert forward.stderr
                line = forward.stdout.readline()
                found = _FORWARDING.match(line)
                if not found:
                    raise CommandError(f"port-forward {target}: {line}{forward.stderr.read()}")
                yield f"localhost:{found[1]}"
            finally:
                forward.kill()

    def load(self, image: Image) -> None:
        """Make the image known to the cluster, so that pods need no registry.

        Raises:
            ClusterError: it is not this harness's cluster, whose images are its owner's to provide.
        """
        if self.node is None:
            raise ClusterError(
                f"{image.name} cannot be loaded into the cluster of KUBECONFIG; push it where that pulls from"
            )
        self.node.load(image)

    def environ(self) -> dict[str, str]:
        """For any program that speaks to the cluster."""
        path = f"{self.tools}:{os.environ.get('PATH', '')}"
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PATH": path}

    def _run(self, program: str, arguments: list[str], stdin: str | None) -> str:
        command = [*self._command(program), *arguments]
        done = subprocess.run(command, env=self.environ(), input=stdin, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise CommandError(f"{program} {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def _command(self, program: str) -> list[str]:
        found = shutil.which(program, path=self.environ()["PATH"])
        if found is None:
            raise ClusterError(f"there is no {program}")
        return [found]


def wait_for(look: Callable[[], T], *, what: str | Callable[[], str], seconds: float = 60) -> T:
    """Look until there is something true, and return it.

    Raises:
        AssertionError: there was nothing in time; says `what` was waited for, and what looking last raised.
    """
    deadline = time.monotonic() + seconds
    while True:
        last: Exception | None = None
        try:
            found = look()
            if found:
                return found
        except (ClusterError, OSError, AssertionError, LookupError) as error:
            last = error
        if time.monotonic() > deadline:
            text = what if isinstance(what, str) else what()
            raise AssertionError(f"after {seconds:g} s there is still not: {text}") from last
        time.sleep(_POLL_SECONDS)


def named_by_user(layout: Layout) -> Path | None:
    """The KUBECONFIG that the user set, unless it is that of the harness's own node."""
    value = os.environ.get("KUBECONFIG")
    if not value or Path(value).absolute() == layout.kubeconfig:
        return None
    return Path(value)
