"""A nats-server on this machine, for one pipeline."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from eventpipeline.local.errors import MissingServer
from eventpipeline.local.probe import answers_200, http_answer
from eventpipeline.local.program import Check, Program
from eventpipeline.users import OWNER, SERVICES, users_file, variable

_MEMORY = "512MiB"
"""A soft limit for Go's heap; without one a nats-server was seen to reach 960 MB."""
_ROOM_TO_START_ANEW = 16 * 2**20
_OPEN: Mapping[str, str] = {}


def find_server() -> Path:
    """The nats-server of the wheel in this environment, else the one on the PATH."""
    installed = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = str(installed) if installed.exists() else shutil.which("nats-server")
    if not found:
        raise MissingServer(
            "nats-server is not installed; pip install 'eventpipeline[local]', or use a running one with --nats-url"
        )
    return Path(found)


def configuration(store: Path, *, port: int, monitor_port: int, max_file_bytes: int, users: bool = False) -> str:
    """The configuration file of a server on loopback that has written what it acknowledges to disk.

    With `users`, there is one a service, and whoever has no password gets nothing.
    """
    return "\n".join(
        (
            "host: 127.0.0.1",
            f"port: {port}",
            f'http: "127.0.0.1:{monitor_port}"',
            "jetstream {",
            # NATS reads JSON strings, but not JSON's escapes of what is not ASCII.
            f"  store_dir: {json.dumps(str(store), ensure_ascii=False)}",
            f"  max_file: {max_file_bytes}",
            "  sync_interval: always",
            "}",
            users_file() if users else "",
        )
    )


def new_passwords() -> dict[str, str]:
    """A password for each user. They are made at each start, since whoever uses them is started with them."""
    return {user: secrets.token_hex(24) for user in (OWNER, *(service.name for service in SERVICES))}


def server(
    folder: Path, *, port: int, monitor_port: int, max_file_bytes: int, log: Path, passwords: Mapping[str, str] = _OPEN
) -> Program:
    """The program of a nats-server that keeps everything in `folder`; it is ready once its streams are recovered.

    `passwords`: of its users, by name; without them it is open to everyone on this machine.
    Its own limit is never lower than it was: a server whose streams may take more than it allows refuses every change
    of them, that to a lower limit too. What they may take is what the services then set.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    config = folder / "nats.conf"
    max_file_bytes = max(max_file_bytes, _limit_before(config))
    config.write_text(
        configuration(
            folder, port=port, monitor_port=monitor_port, max_file_bytes=max_file_bytes, users=bool(passwords)
        )
    )
    return Program(
        name="nats",
        argv=(str(find_server()), "--config", str(config)),
        log=log,
        env={"GOMEMLIMIT": _MEMORY, **{variable(user): f'"{value}"' for user, value in passwords.items()}},
        ready=answers_200(monitor_port, "/healthz"),
        # A server that met a full disk goes on without JetStream until it is started anew.
        live=answers_200(monitor_port, "/healthz?js-enabled-only=true"),
        stuck=_cannot_write(monitor_port, folder),
    )


def _limit_before(config: Path) -> int:
    found = re.search(r"^\s*max_file: (\d+)$", config.read_text(), re.MULTILINE) if config.exists() else None
    return int(found[1]) if found else 0


def _cannot_write(monitor_port: int, folder: Path) -> Check:
    """A stream that could not be written once, as on a full disk, takes nothing more until the server starts anew."""

    async def check(_pid: int) -> bool:
        answer = await http_answer(monitor_port, "/healthz")
        return b"write error" in answer and shutil.disk_usage(folder).free >= _ROOM_TO_START_ANEW

    return check
