"""The publisher: the real load, seeded, and the proof that a pipeline kept what it accepted.

generator ─▶ batch ─▶ publish ─▶ ledger ─┬▶ verify ─▶ verdict
corruption ──┘                 observe ──┘
"""

from eventpipeline.publisher.generator import Generator, pregenerate
from eventpipeline.publisher.ledger import Ledger
from eventpipeline.publisher.observe import Observation, ObserveError, Observer, judge
from eventpipeline.publisher.publish import Options, publish
from eventpipeline.publisher.verify import Verdict, verify

__all__ = [
    "Generator",
    "Ledger",
    "Observation",
    "ObserveError",
    "Observer",
    "Options",
    "Verdict",
    "judge",
    "pregenerate",
    "publish",
    "verify",
]
