"""`eventpipeline publish`."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx2
import msgspec

from eventpipeline import resend
from eventpipeline.cli.connection import DATA_DIR, proof, reporter_url
from eventpipeline.cli.output import CommandError, OutputFormat, console, fail, meanwhile, print_json, print_table
from eventpipeline.cli.progress import Progress
from eventpipeline.publisher import Ledger, Observer, Options, judge
from eventpipeline.publisher import publish as run_publisher
from eventpipeline.publisher.observe import Observation, ObserveError
from eventpipeline.publisher.verify import Verdict
from eventpipeline.resend import SignatureKind


def publish(
    url: str = "http://127.0.0.1:3000",
    /,
    *,
    seconds: float = 30.0,
    rate: float = 1.0,
    batch: str = "1000-50000",
    seed: int = 1,
    corrupt: float = 0.1,
    duplicates: float = 0.0,
    wait: bool = False,
    sign: SignatureKind | None = None,
    key_file: Path | None = None,
    verify: bool = False,
    ledger: Path | None = None,
    reporter: str | None = None,
    data_dir: Path = DATA_DIR,
    output: OutputFormat = "table",
) -> int:
    """Send the real load of the public publisher to a gateway, and write down what was answered for what.

    By default: every second one POST of 1,000 to 50,000 events, half of each source, one batch in ten with a
    corrupted event more; the next one goes out whether the last was answered or not, and nothing is sent again.

    Exit code 0 where every request was answered with 202 or 422, and the verification (if asked for) holds.

    Parameters
    ----------
    url
        The gateway's address.
    seconds
        For how long.
    rate
        Batches a second; 0 for as many as possible, with --wait.
    batch
        Events of a batch: a number, or the fewest and the most, such as 1000-50000.
    seed
        The same seed makes the same batches, but for the time in them.
    corrupt
        The share of batches that carry a corrupted event more.
    duplicates
        The share of batches that are sent again a little later, byte for byte.
    wait
        Wait for each answer before the next batch goes out. `--no-wait` is how the public publisher does it.
    sign
        Prove to the gateway who sends, as its sources demand it in spec.sources[].authentication. Both sources stand
        in one body, so both must have the same key. hmac is the one with the defaults of the resource.
    key_file
        The file with the key for --sign.
    verify
        Afterwards wait until all is stored, and compare the reports and dead letters with what was answered. Nobody
        else may send meanwhile.
    ledger
        Write the record of the run to this file, as JSON.
    reporter
        The reporter's address for --verify; by default that of the pipeline in --data-dir, or http://127.0.0.1:3003.
    data_dir
        Where `eventpipeline up` keeps the pipeline.
    output
        `table` for people, `json` for scripts.
    """
    try:
        options = Options(
            seconds=seconds, rate=rate or math.inf, batch=_sizes(batch), seed=seed, corrupt=corrupt,
            duplicates=duplicates, wait=wait, sign=signer(sign, key_file),
        )  # fmt: skip
        if not rate and not wait:
            raise CommandError("--rate 0 sends as fast as answers come, so it needs --wait")
        run, verdict = asyncio.run(_publish(url, options, reporter_url(reporter, data_dir) if verify else None))
    except (CommandError, ObserveError, ValueError) as error:
        return fail(str(error))
    if ledger:
        ledger.write_bytes(run.to_json())
    if output == "json":
        print_json(
            {
                "totals": msgspec.to_builtins(run.totals()),
                "verdict": msgspec.to_builtins(verdict) if verdict else None,
            }
        )
    else:
        print_totals(run)
        if verdict:
            print_verdict(verdict)
    totals = run.totals()
    answered = not (totals.refused_requests or totals.unanswered_requests or totals.failed_connections)
    return 0 if answered and (verdict is None or verdict.ok) else 1


def signer(kind: SignatureKind | None, key_file: Path | None) -> Callable[[bytes], Mapping[str, str]]:
    """What gives a body the headers that prove who sends it; none without a kind. Raises CommandError."""
    if kind is None and key_file is None:
        return Options.sign
    if kind is None or key_file is None:
        raise CommandError("--sign and --key-file are given together")
    try:
        return resend.signer(kind, key_file.read_bytes())
    except (OSError, ValueError) as error:
        raise CommandError(f"--key-file {key_file}: {getattr(error, 'strerror', None) or error}") from None


def _sizes(batch: str) -> tuple[int, int]:
    least, _, most = batch.replace("_", "").partition("-")
    try:
        sizes = int(least), int(most or least)
    except ValueError:
        raise CommandError(f"--batch {batch}: give a number, or the fewest and the most, such as 1000-50000") from None
    if not 1 <= sizes[0] <= sizes[1]:
        raise CommandError(f"--batch {batch}: the fewest must be at least 1 and not above the most")
    return sizes


async def _publish(url: str, options: Options, reporter: str | None) -> tuple[Ledger, Verdict | None]:
    if reporter is None:
        return await publish_with_progress(url, options), None
    async with httpx2.AsyncClient(base_url=reporter, headers=proof(), timeout=60.0, trust_env=False) as client:
        observer = Observer(client)
        before = await observer.observe()
        ledger = await publish_with_progress(url, options)
        return ledger, await verdict_on(ledger, observer, before)


async def publish_with_progress(url: str, options: Options) -> Ledger:
    """Publishes with a progress display; Ctrl-C ends it early and keeps the answers under way."""
    stop = asyncio.Event()
    with _stopped_by_signal(stop), Progress(options) as progress:
        return await run_publisher(url, options, progress.show, stop)


async def verdict_on(ledger: Ledger, observer: Observer, before: Observation) -> Verdict:
    """Waits until what `ledger` makes the reports owe is there, and compares."""
    with meanwhile.status("Waiting until everything is stored"):
        after = await observer.observe_stored(ledger, before)
    return judge(ledger, before, after)


@contextlib.contextmanager
def _stopped_by_signal(stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGINT, stop.set)
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def print_totals(ledger: Ledger) -> None:
    totals = ledger.totals()
    latency = totals.latency
    rows: list[list[object]] = [
        ["requests", totals.requests],
        ["events sent", totals.sent],
        ["accepted", totals.accepted],
        ["rejected as invalid", totals.rejected],
        ["refused", totals.refused],
        ["unanswered", totals.unanswered],
        ["answer p50 / p99 / max", f"{latency.p50:.3f} / {latency.p99:.3f} / {latency.max:.3f} s"],
    ]
    print_table("What was sent and answered", ("", ""), rows)
    if totals.failed_connections:
        console.print(f"{totals.failed_connections} requests found no connection to {ledger.url}", style="red")


def print_verdict(verdict: Verdict) -> None:
    """The verdict in one line, and its differences."""
    console.print(verdict.summary, style="bold green" if verdict.ok else "bold red")
    for difference in verdict.differences[:20]:
        console.print(f"  {difference}", style="red", markup=False)
    if len(verdict.differences) > 20:
        console.print(f"  … and {len(verdict.differences) - 20} more")
