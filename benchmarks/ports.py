"""Ports for a pipeline that is measured, beside whatever else listens on this machine."""

from __future__ import annotations

import random
import socket

from eventpipeline import resource
from eventpipeline.local import workloads
from eventpipeline.local.errors import PortsTaken
from eventpipeline.local.ports import refuse_taken, shifted
from eventpipeline.plan import Addresses, plan


def free_offset() -> int:
    """A port offset with which all ports of a pipeline are free now. Raises PortsTaken where none was found."""
    services = plan(resource.minimal(), Addresses(nats_url="nats://nowhere", database_url="postgresql://nowhere"))
    ports = workloads.server_ports(nats=True, postgres=True) | workloads.service_ports(services)
    # Below the range from which outgoing connections take their ports; at random, since others may run beside us.
    for offset in random.sample(range(17_000, 23_000), 50):
        try:
            refuse_taken(shifted(ports, offset))
        except PortsTaken:
            continue
        return offset
    raise PortsTaken("no ports are free for a pipeline between 20000 and 31300")


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
