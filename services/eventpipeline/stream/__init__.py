"""NATS JetStream: one stream a source, one durable consumer shared by its collectors, one stream of dead letters.

The only package that speaks to NATS. Streams keep their messages by limits with discard-new and no age: the server
never deletes an event that is not stored. What is stored is trimmed by `Stream.trim`.
"""

from eventpipeline.stream.config import ACK_WAIT_SECONDS, Change, Ensured
from eventpipeline.stream.errors import StreamError, StreamFull, StreamUnavailable
from eventpipeline.stream.pull import Message, Puller, acknowledge, give_back, keep_alive
from eventpipeline.stream.replace import Progress
from eventpipeline.stream.streams import DEAD, Lag, Stream, Tends

__all__ = [
    "ACK_WAIT_SECONDS",
    "DEAD",
    "Change",
    "Ensured",
    "Lag",
    "Message",
    "Progress",
    "Puller",
    "Stream",
    "StreamError",
    "StreamFull",
    "StreamUnavailable",
    "Tends",
    "acknowledge",
    "give_back",
    "keep_alive",
]
