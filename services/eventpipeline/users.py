"""Who may do what at a NATS that the pipeline has for itself: a user a service. Pure.

`users_file` makes what nats-server includes where passwords are those of its environment: on a laptop, in Compose. In a
cluster they are rotated while it runs: each user has two logins there, of which the services use one, and the passwords
are in a file, since a server that is told to read its configuration again still has the environment of its start.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

OWNER = "eventpipeline"
"""Of the operator, of commands, and of the services of earlier releases: may do everything with the streams."""

SYSTEM = "system"
"""Of the operator too, in the account of the server itself: has it read its configuration again, and nothing else."""

PASSWORDS_FILE = "nats-passwords.conf"
_SECOND = "_b"
_PASSWORD = re.compile(r'^(\w+)_PASSWORD: "([^"]*)"$', re.MULTILINE)

_INFO, _GET = "$JS.API.INFO", "$JS.API.STREAM.MSG.GET.*"
_STREAM_INFO, _CONSUMER_INFO = "$JS.API.STREAM.INFO.*", "$JS.API.CONSUMER.INFO.*.*"
_EVENTS = ("events.*", "dead")


@dataclass(frozen=True)
class User:
    """A user of NATS, who subscribes to nothing but the answers to what he asks."""

    name: str
    publishes: tuple[str, ...]

    @property
    def inbox(self) -> str:
        """What the subjects of his answers begin with: with a common beginning, each could read everybody's."""
        return f"_INBOX_{self.name}"


SERVICES = (
    # Stores events, and looks whether there is a stream for them. Whoever may make a stream of any name has it copy
    # another one to where he reads.
    User("gateway", (*_EVENTS, _INFO, _STREAM_INFO)),
    # Reads events, and trims what is stored. `forget`, run beside it, puts messages back without a person.
    User(
        "collector",
        (
            *_EVENTS,
            _INFO,
            _STREAM_INFO,
            "$JS.API.STREAM.CREATE.*",
            "$JS.API.STREAM.UPDATE.*",
            "$JS.API.STREAM.LIST",
            "$JS.API.STREAM.PURGE.*",
            _GET,
            "$JS.API.STREAM.MSG.DELETE.*",
            _CONSUMER_INFO,
            "$JS.API.CONSUMER.CREATE.>",
            "$JS.API.CONSUMER.DURABLE.CREATE.*.*",
            "$JS.API.CONSUMER.DELETE.*.*",
            "$JS.API.CONSUMER.MSG.NEXT.*.*",
            "$JS.ACK.>",
        ),
    ),
    # Says how far behind the collectors are; for the age of what waits it reads the time of a message.
    User("reporter", (_INFO, _STREAM_INFO, _CONSUMER_INFO, _GET)),
)
"""The services, whose commands and users have the same names."""


def inbox(service: str) -> str:
    """What the answers for a service of this name begin with."""
    return next(user.inbox for user in SERVICES if user.name == service)


def variable(user: str) -> str:
    """The variable of nats-server's environment that holds the user's password, in quotation marks."""
    return "QUOTED_PASSWORD" if user == OWNER else f"QUOTED_{user.upper()}_PASSWORD"


def logins(user: str) -> tuple[str, str]:
    """The two names of a user in a cluster."""
    return user, user + _SECOND


def system_login(owner_login: str) -> str:
    """The login of SYSTEM that has the password of this one of OWNER."""
    return owner_login.replace(OWNER, SYSTEM)


ALL_LOGINS = tuple(login for user in (OWNER, *(service.name for service in SERVICES)) for login in logins(user))


def users_file() -> str:
    """The users as a file that nats-server includes; it reads their passwords from its environment."""
    lines = ["authorization {", "  users: [", f"    {{user: {OWNER}, password: ${variable(OWNER)}}}"]
    for user in SERVICES:
        lines += [
            f"    {{user: {user.name}, password: ${variable(user.name)}, permissions: {{",
            *_permissions(user.publishes, user.inbox, "      "),
            "    }}",
        ]
    return "\n".join([*lines, "  ]", "}", ""])


def rotating_users_file() -> str:
    """The users with two logins each, as a file that nats-server includes, beside one of `passwords_file`."""
    may, users = [], [f"    {{user: {login}, password: ${_in_file(login)}}}" for login in logins(OWNER)]
    for user in SERVICES:
        name = f"{user.name.upper()}_MAY"
        may += [f"{name}: {{", *_permissions(user.publishes, user.inbox, "  "), "}"]
        users += [
            f"    {{user: {login}, password: ${_in_file(login)}, permissions: ${name}}}" for login in logins(user.name)
        ]
    system = [
        f"      {{user: {system_login(login)}, password: ${_in_file(login)}, permissions: $SYSTEM_MAY}}"
        for login in logins(OWNER)
    ]
    return "\n".join(
        (
            f'include "{PASSWORDS_FILE}"',
            *may,
            "SYSTEM_MAY: {",
            *_permissions(("$SYS.REQ.SERVER.PING.IDZ", "$SYS.REQ.SERVER.*.RELOAD"), f"_INBOX_{SYSTEM}", "  "),
            "}",
            *("authorization {", "  users: [", *users, "  ]", "}"),
            *("accounts {", "  $SYS: {", "    users: [", *system, "    ]", "  }", "}", ""),
        )
    )


def passwords_file(passwords: Mapping[str, str]) -> str:
    """The passwords of logins, as a file that the one of `rotating_users_file` includes."""
    return "".join(f'{_in_file(login)}: "{password}"\n' for login, password in passwords.items())


def read_passwords_file(text: str) -> dict[str, str]:
    """What `passwords_file` has written."""
    return {name.lower(): password for name, password in _PASSWORD.findall(text)}


def _in_file(login: str) -> str:
    return f"{login.upper()}_PASSWORD"


def _permissions(publishes: Iterable[str], inbox: str, indent: str) -> Iterable[str]:
    yield from _listed("publish", publishes, indent)
    yield from _listed("subscribe", (f"{inbox}.>",), indent)


def _listed(what: str, subjects: Iterable[str], indent: str) -> Iterable[str]:
    yield f"{indent}{what}: {{allow: ["
    yield from (f'{indent}  "{subject}"' for subject in subjects)
    yield f"{indent}]}}"
