"""The command line: `eventpipeline`.

Every command lives in a module of its own that is imported only when it runs, so `--help` answers at once.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from eventpipeline import __version__

if TYPE_CHECKING:
    from cyclopts import App

_HELP = """Marketing events from a webhook to a report.

One YAML document, the EventPipeline resource, describes a whole pipeline: a gateway that takes events over HTTP,
NATS JetStream, collectors that store them in Postgres, and a reporter that answers reports.
"""

# In the order in which --help shows them: what a person types first stands first.
_COMMANDS = {
    "Pipeline": {
        "up": ("up:up", "Run a pipeline on this machine, NATS and Postgres included."),
        "demo": ("demo:demo", "Run a pipeline, send it the real load, and check that every event is counted once."),
        "validate": ("validate:validate", "Check an EventPipeline file; every mistake with its place and a hint."),
        "status": ("status:status", "Show how a running pipeline is: rates, lag, dead letters."),
        "new-key": ("new_key:new_key", "Make a key for a reader, and the hash of it that the pipeline keeps."),
    },
    "Events": {
        "publish": ("publish:publish", "Send the real load of the public publisher, seeded."),
        "report": ("report:app", "Ask for a report: events, revenue or demographics."),
        "replay": ("replay:replay", "Store again what the stream still has, after the database was lost or restored."),
        "forget": ("forget:forget", "Erase a person from the store, the stream and the dead letters; counts stay."),
        "dead-letters": ("dead_letters:app", "The events that were refused: list, show, export, replay, drop."),
    },
    "Services": {
        "gateway": ("services:gateway", "Take events over HTTP and put them on the stream."),
        "collector": ("services:collector", "Take the events of one source from the stream into Postgres."),
        "reporter": ("services:reporter", "Answer reports over HTTP."),
        "migrate": ("database:migrate", "Bring the database to this release's schema."),
        "rollups": ("rollups:app", "Compare what reports are made of with the events, or make it anew."),
        "maintain": ("database:maintain", "Make partitions ahead, and drop what is past the retention."),
    },
}


_SERVICES = ("gateway", "collector", "reporter")


def command_line(command: str | None) -> App:
    """The application that runs `command`."""
    from cyclopts import App, Group

    app = App(name="eventpipeline", version=__version__, help=_HELP, help_format="markdown")
    for order, (title, commands) in enumerate(_COMMANDS.items()):
        group = Group(title, sort_key=order)
        for position, (name, (place, summary)) in enumerate(commands.items()):
            # The summary stands in for the docstring of a module that is not imported, and must not replace it.
            line = None if name == command else summary
            app.command(f"eventpipeline.cli.{place}", name=name, help=line, group=group, sort_key=position)
    return app


def main() -> None:
    """The entry point. Exit codes: 0 done, 1 it did not work, 130 interrupted."""
    command = sys.argv[1] if len(sys.argv) > 1 else None
    try:
        if len(sys.argv) == 2 and command in _SERVICES:
            # They take no arguments, and a pipeline starts several: what reads arguments is 30 ms of each.
            code = getattr(import_module("eventpipeline.cli.services"), command)()
        else:
            code = command_line(command)()
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
