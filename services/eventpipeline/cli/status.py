"""`eventpipeline status`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2

from eventpipeline.cli.connection import DATA_DIR, get, live_run, reporter_url
from eventpipeline.cli.output import CommandError, OutputFormat, fail, print_json, print_table

_NEARLY_FULL = 0.9
"""Of the byte limit. What is stored is trimmed above 70 %, so that this much waits for Postgres."""


def status(*, url: str | None = None, data_dir: Path = DATA_DIR, output: OutputFormat = "table") -> int:
    """Show how a running pipeline is: its services, what is stored, the lag, the dead letters.

    Exit code 0 where everything is ready, 1 where something is not, or nothing runs.

    Parameters
    ----------
    url
        The reporter's address; by default that of the pipeline in --data-dir, or http://127.0.0.1:3003.
    data_dir
        Where `eventpipeline up` keeps the pipeline.
    output
        `table` for people, `json` for scripts.
    """
    services = _services(data_dir)
    try:
        reporter = reporter_url(url, data_dir)
        pipeline, open_ = get(reporter, "/status").json(), get(reporter, "/session").json()["open"]
    except CommandError as error:
        if not services:
            return fail(str(error))
        pipeline, open_ = None, None
    ready = pipeline is not None and all(service["ready"] for service in services)
    if output == "json":
        print_json({"ready": ready, "services": services, "pipeline": pipeline, "open": open_})
    else:
        _print(services, pipeline)
        if open_:
            print("Open: anyone who reaches the reporter can read this, and drop dead letters.")
    return 0 if ready else 1


def _services(data_dir: Path) -> list[dict[str, Any]]:
    """The services of the pipeline that runs from `data_dir`, and what each says of itself."""
    run = live_run(data_dir)
    if run is None:
        return []
    servers = {"nats", "nats-monitor", "postgres"}
    return [{"name": name, "port": port, **_readiness(port)} for name, port in run.ports.items() if name not in servers]


def _readiness(port: int) -> dict[str, Any]:
    try:
        answer = httpx2.get(f"http://127.0.0.1:{port}/readyz", timeout=3.0, trust_env=False)
        checks = answer.json()["checks"]
    except (httpx2.HTTPError, ValueError, KeyError):
        return {"ready": False, "faults": ["does not answer"]}
    return {
        "ready": answer.is_success,
        "faults": [f"{name}: {state}" for name, state in checks.items() if state != "ok"],
    }


def _print(services: list[dict[str, Any]], pipeline: dict[str, Any] | None) -> None:
    if services:
        rows = [[s["name"], str(s["port"]), s["ready"], "; ".join(s["faults"])] for s in services]
        print_table("Services", ("name", "port", "ready", "trouble"), rows)
    if pipeline is None:
        print("The reporter does not answer, so nothing is known of the events.")
        return
    print_table(
        "Sources",
        ("source", "events", "transactions", "pending", "oldest s", "stream MiB", "of", "dead"),
        [
            [s["source"], s["events"], s["transactions"], s["pendingMessages"], s["oldestPendingSeconds"],
             _mebibytes(s["streamBytes"]), _mebibytes(s["streamByteLimit"]), s["deadLetters"]]
            for s in pipeline["sources"]
        ],
    )  # fmt: skip
    print_dead_letters(pipeline["deadLetters"])
    if pipeline["stream"] != "ok":
        print(f"NATS: {pipeline['stream']}")


def print_dead_letters(dead: dict[str, Any]) -> None:
    """Prints what the status of a pipeline says of them, as the member `deadLetters` of the reporter's answer."""
    if reasons := dead["byReason"]:
        print_table("Dead letters", ("reason", "events"), sorted(reasons.items(), key=lambda item: -item[1]))
        print("Each is kept until it is dropped.")
    used, limit = dead["streamBytes"], dead["streamByteLimit"]
    if used is not None and limit and used > _NEARLY_FULL * limit:
        print(
            f"The stream of dead letters is nearly full, {_mebibytes(used)} of {_mebibytes(limit)} MiB: "
            "what is refused once it is full is not kept."
        )


def _mebibytes(count: int | None) -> int | None:
    return None if count is None else round(count / 2**20)
