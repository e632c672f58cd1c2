"""What the harness says when it cannot go on."""

from __future__ import annotations


class ClusterError(Exception):
    """Printed as one line, without a traceback."""


class CannotRunError(ClusterError):
    """This machine lacks something; the message says what, and how to get it."""
