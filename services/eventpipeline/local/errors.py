"""What can keep a pipeline from running on this machine.

LocalError
├── DataDirError    the data dir is in use, not ours to write, or of another version
├── PortsTaken      other programs listen where the pipeline would
├── MissingServer   nats-server or Postgres is not installed, or cannot be run here
├── Unresolvable    the resource names a server or secret of a cluster
└── StartFailed     a program ended, again and again, before it was ready

Each message tells a person what to do.
"""

from __future__ import annotations


class LocalError(Exception):
    pass


class DataDirError(LocalError):
    pass


class PortsTaken(LocalError):  # noqa: N818 - reads as what happened
    pass


class MissingServer(LocalError):  # noqa: N818
    pass


class Unresolvable(LocalError):  # noqa: N818
    pass


class StartFailed(LocalError):  # noqa: N818
    pass
