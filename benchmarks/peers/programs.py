"""The gateways that are compared, as programs of this machine; those of other stacks are built first."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from eventpipeline import resource
from eventpipeline.local import workloads
from eventpipeline.local.probe import answers_200
from eventpipeline.local.program import Program
from eventpipeline.plan import Addresses, plan

HERE = Path(__file__).resolve().parent
SUBJECTS = "peer."
"""Stands before the source in the subjects to which peers publish."""


class CannotBuild(Exception):  # noqa: N818 - reads as what happened
    """A peer cannot be built; the message says why."""


@dataclass(frozen=True)
class Place:
    """Where a gateway runs."""

    port: int
    nats_url: str
    log: Path


@dataclass(frozen=True)
class Peer:
    name: str
    what: str
    program: Callable[[Place], Program]
    acknowledges_before_disk: bool = False
    """Whether it runs on a nats-server as it comes, which acknowledges before it has written to disk."""
    ours: bool = False


def peers() -> list[Peer]:
    """All of them, built. Raises CannotBuild."""
    go, node = _built("go", _build_go) / "gateway", _built("node", _build_node) / "dist" / "main.js"

    def nest(platform: str, packed: str) -> Callable[[Place], Program]:
        return lambda place: _program(place, ("node", str(node), platform), PACKED=packed)

    return [
        Peer("eventpipeline", "this project's gateway", _ours, ours=True),
        Peer("go", "Go net/http, encoding/json, nats.go, packed as ours", lambda place: _program(place, (str(go),))),
        Peer(
            "go-sonic",
            "Go net/http, sonic, nats.go, packed as ours",
            lambda place: _program(place, (str(go),), JSON="sonic"),
        ),
        Peer("nest-fastify", "NestJS on Fastify, zod, nats.js, packed as ours", nest("fastify", "1")),
        Peer("nest-express", "NestJS on Express, zod, nats.js, packed as ours", nest("express", "1")),
        Peer(
            "nest-fastify-each",
            "NestJS on Fastify, zod, nats.js, a message an event",
            nest("fastify", "0"),
            acknowledges_before_disk=True,
        ),
        Peer(
            "nest-express-each",
            "NestJS on Express, zod, nats.js, a message an event",
            nest("express", "0"),
            acknowledges_before_disk=True,
        ),
    ]


def _ours(place: Place) -> Program:
    addresses = Addresses(nats_url=place.nats_url, database_url="postgresql://nowhere")
    gateway = plan(resource.minimal(), addresses).gateway
    return workloads.service(gateway, port=place.port, log=place.log)


def _program(place: Place, argv: tuple[str, ...], **environ: str) -> Program:
    return Program(
        name="gateway",
        argv=argv,
        log=place.log,
        env={
            "PORT": str(place.port),
            "NATS_URL": place.nats_url,
            "SUBJECT_PREFIX": SUBJECTS,
            "NODE_ENV": "production",
            **environ,
        },
        ready=answers_200(place.port, "/readyz"),
    )


def _built(name: str, build: Callable[[Path], None]) -> Path:
    """The folder of a peer that is built, in this user's cache; built anew when its source has changed."""
    source = HERE / name
    files = sorted(path for path in source.rglob("*") if path.is_file())
    digest = hashlib.sha256(b"".join(str(path.relative_to(source)).encode() + path.read_bytes() for path in files))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "eventpipeline" / "peers"
    built, unfinished = cache / f"{name}-{digest.hexdigest()[:12]}", cache / f"{name}.unfinished"
    if not built.exists():
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(source, unfinished)
        build(unfinished)
        unfinished.rename(built)
    return built


def _build_go(folder: Path) -> None:
    _run(("go", "build", "-mod=readonly", "-trimpath", "-o", "gateway", "."), folder)


def _build_node(folder: Path) -> None:
    # The packages that package.json names are pinned, those that they need are not: a lock would name a registry.
    _run(("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"), folder)
    _run(("npm", "run", "--silent", "build"), folder)


def _run(command: tuple[str, ...], folder: Path) -> None:
    if not shutil.which(command[0]):
        raise CannotBuild(f"{command[0]} is not installed; the peers need Go 1.26 and Node 20 with npm")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        raise CannotBuild(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
