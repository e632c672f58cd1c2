"""Whatever arrives while the next link is slow, a service holds no more than it may."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path

import httpx2

from eventpipeline.local import nats
from eventpipeline.publisher.generator import pregenerate
from gateways import PATH, running_gateway
from servers import free_port, running_program, stopped

JSON = {"content-type": "application/json"}
MIB = 2**20
SECONDS = 25.0
SENDERS = 8


def test_a_gateway_stays_below_512_mib_while_nats_takes_nothing(tmp_path: Path) -> None:
    """The largest bodies of the public publisher, from eight senders at once, each as fast as it is answered."""
    bodies = [batch.body for batch in pregenerate(1, 2, 50_000)]
    port = free_port()
    program = nats.server(
        tmp_path / "nats", port=port, monitor_port=free_port(), max_file_bytes=2**30, log=tmp_path / "nats.log"
    )
    with (
        running_program(program) as server,
        running_gateway(tmp_path, f"nats://127.0.0.1:{port}", stream_bytes=400 * MIB, dead_bytes=64 * MIB) as gateway,
    ):
        answers: Counter[tuple[int, bool]] = Counter()
        until = time.monotonic() + SECONDS

        def send(number: int) -> None:
            with httpx2.Client(timeout=60.0, trust_env=False) as client:
                while time.monotonic() < until:
                    body = bodies[number % 2]
                    try:
                        answer = client.post(f"http://127.0.0.1:{gateway.port}{PATH}", content=body, headers=JSON)
                    except httpx2.TransportError:
                        continue
                    answers[answer.status_code, "retry-after" in answer.headers] += 1

        senders = [threading.Thread(target=send, args=(number,)) for number in range(SENDERS)]
        with stopped(server.pid):
            for sender in senders:
                sender.start()
            for sender in senders:
                sender.join()
        peak = gateway.peak_memory()
        print(f"peak {peak / MIB:.0f} MiB; answers {dict(answers)}")
        assert answers
        assert set(answers) == {(503, True)}
        assert peak < 512 * MIB
        # It goes on as if nothing had been.
        deadline = time.monotonic() + 20
        while gateway.post(bodies[0]).status_code != 202:
            assert time.monotonic() < deadline
