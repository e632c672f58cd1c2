"""What this machine must have; Debian packages are installed where that is allowed."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

from cluster.errors import CannotRunError

_PLUGIN_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
_PLUGINS = ("bridge", "host-local", "loopback", "portmap")

# What must be found -> the Debian package that has it.
_PROGRAMS = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "ip": "iproute2",
    "iptables": "iptables",
    "runc": "runc",
    "openssl": "openssl",
    "zstd": "zstd",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
}


def find(program: str) -> str | None:
    """Its path; also where only root's PATH looks."""
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin")


def plugin_folder() -> Path | None:
    """The folder that holds the CNI plugins."""
    return next((folder for folder in _PLUGIN_FOLDERS if all((folder / name).exists() for name in _PLUGINS)), None)


def require() -> None:
    """Make sure that the node can run here; install what is missing. One at a time; a second one waits.

    Raises:
        CannotRunError: it cannot, and why.
    """
    reason = reason_against()
    if reason:
        raise CannotRunError(reason)
    # This file, since it is there. The workers of a test run come all at once, and `apt-get update` waits for nobody.
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if packages := missing_packages():
            _install(packages)


def reason_against() -> str | None:
    """Why the node cannot run here, in one line; None where it can. Changes nothing."""
    if sys.platform != "linux":
        return "a node of its own needs Linux; name a cluster with KUBECONFIG instead"
    if os.geteuid() != 0:
        return "a node of its own needs root (namespaces, mounts, cgroups); name a cluster with KUBECONFIG instead"
    if not any(Path("/sys/fs/cgroup").glob("*")):
        return "a node of its own needs cgroups under /sys/fs/cgroup; name a cluster with KUBECONFIG instead"
    packages = missing_packages()
    if packages and not shutil.which("apt-get"):
        return f"these are missing: {', '.join(packages)} (the names of Debian's packages); install them and try again"
    return None


def missing_packages() -> list[str]:
    missing = {package for program, package in _PROGRAMS.items() if find(program) is None}
    if plugin_folder() is None:
        missing.add("containernetworking-plugins")
    return sorted(missing)


def _install(packages: list[str]) -> None:
    print(f"installing {' '.join(packages)}", flush=True)
    apt = ["apt-get", "-o", "DPkg::Lock::Timeout=600", "-qq"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run([*apt, *command], env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise CannotRunError(f"apt-get {command[0]} failed: {done.stderr.strip()[-2000:]}")
