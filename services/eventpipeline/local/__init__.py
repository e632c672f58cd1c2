"""The plan as processes on this machine, nats-server and Postgres included."""

from eventpipeline.local.datadir import DataDir, Run
from eventpipeline.local.errors import LocalError
from eventpipeline.local.runner import Options, Running, running, up
from eventpipeline.local.supervisor import Event, OnEvent

__all__ = ["DataDir", "Event", "LocalError", "OnEvent", "Options", "Run", "Running", "running", "up"]
