"""What can go wrong in a pass, and what follows from it.

OperatorError
├── InvalidResource     the resource cannot be understood; nothing is tried until it changes
├── Gone                the resource is gone or going; the pass ends
├── Refused             the API server, or the chart, refuses an object; shown, and tried again slowly
└── Unavailable         the API server does not answer, or asks to come again; tried again soon
    └── Conflict        somebody else wrote in between
"""

from __future__ import annotations


class OperatorError(Exception):
    """A pass did not come to its end. `reason` is a CamelCase word for the condition."""

    reason = "Failed"


class InvalidResource(OperatorError):  # noqa: N818 - the words of the drawing above
    reason = "InvalidSpec"


class Gone(OperatorError):  # noqa: N818
    reason = "Gone"


class Refused(OperatorError):  # noqa: N818
    reason = "Refused"

    def __init__(self, message: str, reason: str = "Refused") -> None:
        super().__init__(message)
        self.reason = reason


class Unavailable(OperatorError):  # noqa: N818
    reason = "APIServerUnavailable"


class Conflict(Unavailable):
    reason = "Conflict"
