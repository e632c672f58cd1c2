"""Has the servers of a managed NATS learn passwords while they run: a reload through the account of the server itself.

A reload cuts no connection whose login stays as it is. The kubelet renews the file of the passwords within about a
minute, and nothing says when, so that this is asked again until each server knows them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import nats
import nats.errors
from nats.aio.client import Client

from eventpipeline.users import SYSTEM
from eventpipeline_operator.errors import Unavailable

_SECONDS = 5.0
Passwords = Mapping[str, str]


async def teach(servers: Mapping[str, str], system: tuple[str, str], wanted: Passwords) -> str | None:
    """Has each of `servers`, host and port by name, read its configuration again; `system`: login and password for it.

    Says which do not know the logins `wanted` yet, or None.
    """
    answers = await asyncio.gather(*(_teach(name, place, system, wanted) for name, place in servers.items()))
    return "; ".join(answer for answer in answers if answer) or None


async def _teach(name: str, place: str, system: tuple[str, str], wanted: Passwords) -> str | None:
    try:
        async with asyncio.timeout(_SECONDS):
            if refused := await _reload(name, place, system):
                return f"{name} does not read its configuration again: {refused}"
            for login, password in wanted.items():
                await (await _connected(place, login, password)).close()
    except nats.errors.Error as error:
        # What a server says of a login names nobody's password.
        return f"{name} does not know them yet: {error}"
    except (OSError, TimeoutError):
        return f"{name} cannot be reached"
    return None


async def _reload(name: str, place: str, system: tuple[str, str]) -> str | None:
    """Raises nats.errors.Error, OSError, TimeoutError; returns what the server has against its configuration."""
    client = await _connected(place, *system, inbox_prefix=f"_INBOX_{SYSTEM}")
    try:
        # Every server of a cluster hears this; the one that is meant answers.
        asked = json.dumps({"server_name": name}).encode()
        identity = json.loads((await client.request("$SYS.REQ.SERVER.PING.IDZ", asked, timeout=_SECONDS)).data)
        answer = await client.request(f"$SYS.REQ.SERVER.{identity['id']}.RELOAD", b"", timeout=_SECONDS)
        refused = json.loads(answer.data).get("error")
    except (ValueError, KeyError) as error:
        raise Unavailable(f"NATS server {name} gave an answer that is none") from error
    finally:
        await client.close()
    return str(refused.get("description", refused)) if refused else None


async def _connected(place: str, login: str, password: str, inbox_prefix: str = "_INBOX") -> Client:
    async def quiet(_error: Exception) -> None:
        """Errors are raised; the client would print them too."""

    return await nats.connect(
        f"nats://{place}", user=login, password=password, inbox_prefix=inbox_prefix.encode(), error_cb=quiet,
        allow_reconnect=False, connect_timeout=2,
    )  # fmt: skip
