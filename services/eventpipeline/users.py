"""Who may do what at a NATS that the pipeline has for itself: a user a service. Pure.

`users_file` makes what nats-server includes; the charts and Compose have it as a file, made by `generate`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

OWNER = "eventpipeline"
"""Of the operator, of commands, and of the services of earlier releases: may do everything with the streams."""

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


def users_file() -> str:
    """The users as a file that nats-server includes; it reads their passwords from its environment."""
    lines = ["authorization {", "  users: [", f"    {{user: {OWNER}, password: ${variable(OWNER)}}}"]
    for user in SERVICES:
        lines += [
            f"    {{user: {user.name}, password: ${variable(user.name)}, permissions: {{",
            *_listed("publish", user.publishes),
            *_listed("subscribe", (f"{user.inbox}.>",)),
            "    }}",
        ]
    return "\n".join([*lines, "  ]", "}", ""])


def _listed(what: str, subjects: Iterable[str]) -> list[str]:
    return [f"      {what}: {{allow: [", *(f'        "{subject}"' for subject in subjects), "      ]}"]
