"""What a run prints."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from faults.breaking import Recovery
from faults.gates import passed
from faults.oracle import Found
from faults.run import Outcome


def printed(outcome: Outcome) -> str:
    """The run for people."""
    lines = (*_found(outcome), "", *table(outcome.recoveries), "", *_gates(outcome), *_memory(outcome))
    return "\n".join((*lines, *_failures(outcome)))


def document(outcome: Outcome, path: Path) -> None:
    """Writes the run into a page, between its two marks. Raises ValueError where these are not there."""
    shape, load = outcome.options.shape, outcome.options.load
    lines = (
        f"`make faults FAULTS_SEED={outcome.options.seed} FAULTS_SECONDS={outcome.options.seconds:g}`, printed on "
        f"{outcome.ledger.started_at:%Y-%m-%d} on {os.cpu_count()} cores, Python {platform.python_version()}: "
        f"{shape.gateways} gateways, {shape.collectors} collectors a source, {load.rate:g} requests a second of "
        f"{load.batch[0]:,} to {load.batch[1]:,} events, one in five sent twice; NATS on {shape.nats_storage}, each "
        f"server on a file system of its own; a fault lasts at most {outcome.options.longest:g} s.",
        "",
        *(f"    {line}" for line in (*_found(outcome), *_gates(outcome), *_memory(outcome))),
        "",
        *table(outcome.recoveries),
    )
    write(lines, path, "a run")


def write(lines: Iterable[str], path: Path, of: str) -> None:
    """Writes lines into a page, between the marks of `of`. Raises ValueError where these are not there."""
    text, begin, end = path.read_text(), f"<!-- what {of} wrote: begin -->\n", f"<!-- what {of} wrote: end -->"
    path.write_text(text[: text.index(begin) + len(begin)] + "\n".join(("", *lines, "")) + text[text.index(end) :])


def last_line(outcome: Outcome) -> str:
    """The run in one JSON object."""
    return as_json(outcome.judgement.found, outcome.recoveries, unexplained=len(outcome.resets))


def as_json(found: Found, recoveries: Sequence[Recovery], *, unexplained: int = 0) -> str:
    """What was found, in one JSON object; `unexplained` of them are added, and each recovery that is not complete."""
    unexplained += found.unexplained + sum(not recovery.complete for recovery in recoveries)
    return json.dumps({**found.as_json(), "unexplained": unexplained, "faults": count(recoveries)})


def count(recoveries: Iterable[Recovery]) -> int:
    """How many faults there were."""
    return sum(len(recovery.step.faults) for recovery in recoveries)


def table(recoveries: Iterable[Recovery]) -> list[str]:
    """Recovery by kind of fault as a table of Markdown; a step of several faults counts for each of them."""
    by_name: defaultdict[str, list[Recovery]] = defaultdict(list)
    for recovery in recoveries:
        for fault in recovery.step.faults:
            by_name[fault.name].append(recovery)
    lines = ["| fault | times | answering again, s | all stored, s | requests not taken |", "|---|---|---|---|---|"]
    for name, found in sorted(by_name.items()):
        alone = [recovery for recovery in found if len(recovery.step.faults) == 1]
        lines.append(
            f"| {name} | {len(found)} | {_spread(one.answering for one in found)} "
            f"| {_spread(one.drained for one in found)} | {_most(alone)} |"
        )
    return lines


def _spread(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):.1f}, worst {max(known):.1f}" if known else "never"


def _most(alone: list[Recovery]) -> str:
    """Of steps with this fault alone: in the others it is not known whose they are."""
    return str(max(recovery.failed for recovery in alone)) if alone else ""


def _found(outcome: Outcome) -> list[str]:
    return summary(outcome.judgement.found, outcome.recoveries, outcome.options.seed, outcome.seconds)


def summary(found: Found, recoveries: Iterable[Recovery], seed: int, seconds: float) -> list[str]:
    """The sums of a run, in three lines."""
    return [
        f"{count(recoveries)} faults in {seconds:.0f} s, seed {seed}",
        f"sent {found.sent:,}, answered 202 {found.accepted:,}, refused or unanswered {found.refused:,}, "
        f"rejected {found.rejected:,}",
        f"stored {found.stored:,}, lost {found.lost:,}, doubled {found.doubled:,}, invented {found.invented:,}",
    ]


def _gates(outcome: Outcome) -> list[str]:
    return [str(one) for one in passed(outcome.recoveries)]


def _memory(outcome: Outcome) -> list[str]:
    peaks: dict[str, int] = {}
    for name, size in outcome.memory.items():
        kind = "-".join(part for part in name.split("-") if not part.isdigit())
        peaks[kind] = max(peaks.get(kind, 0), size)
    return ["most memory, MB: " + ", ".join(f"{name} {size / 1e6:.0f}" for name, size in sorted(peaks.items()))]


def _failures(outcome: Outcome) -> list[str]:
    return [f"FAILED: {failure}" for failure in outcome.failures]
