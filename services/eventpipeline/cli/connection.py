"""Talking to a running pipeline from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

from eventpipeline.cli.output import CommandError
from eventpipeline.plan import GATEWAY_PORT, REPORTER_PORT

if TYPE_CHECKING:
    from eventpipeline.local.datadir import Run

DATA_DIR = Path(".eventpipeline")


def reporter_url(url: str | None, data_dir: Path) -> str:
    """The reporter's address: `url`, or that of the pipeline that runs from `data_dir`, or the default one."""
    run = None if url else live_run(data_dir)
    return (url or (run.reporter_url if run else f"http://127.0.0.1:{REPORTER_PORT}")).rstrip("/")


def gateway_url(url: str | None, data_dir: Path) -> str:
    """The gateway's address, likewise."""
    run = None if url else live_run(data_dir)
    return (url or (run.gateway_url if run else f"http://127.0.0.1:{GATEWAY_PORT}")).rstrip("/")


def live_run(data_dir: Path) -> Run | None:
    """The pipeline that runs from `data_dir`, if one does. The image, which cannot run one, has no such folder."""
    if not data_dir.exists():
        return None
    from eventpipeline.local.datadir import DataDir

    return DataDir(data_dir).live_run()


def get(
    url: str, path: str, params: dict[str, Any] | None = None, *, accept: str = "application/json"
) -> httpx2.Response:
    """The reporter's answer. Raises CommandError where there is none, or one that is an error."""
    given = {name: value for name, value in (params or {}).items() if value is not None}
    return _asked("GET", f"{url}{path}", params=given, headers={"accept": accept})


def delete(url: str, path: str) -> None:
    """Has the reporter delete what is at `path`. Raises CommandError where it does not."""
    _asked("DELETE", f"{url}{path}")


def _asked(method: str, url: str, **request: Any) -> httpx2.Response:
    try:
        response = httpx2.request(method, url, **request, timeout=60.0, trust_env=False)
    except httpx2.HTTPError as error:
        raise CommandError(
            f"no reporter answers at {url} ({type(error).__name__}); start a pipeline with `eventpipeline up`, "
            "or give its address with --url"
        ) from error
    if response.is_error:
        raise CommandError(_explained(response))
    return response


def _explained(response: httpx2.Response) -> str:
    try:
        problem = response.json()
        faults = [f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in problem.get("errors", [])]
        return "; ".join(faults) or str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return f"the reporter answered {response.status_code}"
