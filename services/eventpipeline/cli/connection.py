"""Talking to a running pipeline from the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

from eventpipeline.cli.output import CommandError
from eventpipeline.plan import GATEWAY_PORT, REPORTER_PORT

if TYPE_CHECKING:
    from eventpipeline.local.datadir import Run

DATA_DIR = Path(".eventpipeline")
TOKEN, TOKEN_FILE = "EVENTPIPELINE_TOKEN", "EVENTPIPELINE_TOKEN_FILE"
"""What holds the key of a reader, or the file with it: an argument would show in the list of processes."""


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


def proof() -> dict[str, str]:
    """The header that proves to a reporter who asks; none where there is no key. Raises CommandError."""
    token = os.environ.get(TOKEN, "")
    if not token and (file := os.environ.get(TOKEN_FILE)):
        try:
            token = Path(file).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{TOKEN_FILE}={file}: {error}") from None
    token = token.strip()
    if not (token.isascii() and token.isprintable()):
        raise CommandError(f"what {TOKEN} or {TOKEN_FILE} holds is no key: it has characters that no key has")
    return {"authorization": f"Bearer {token}"} if token else {}


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
        headers = {**request.pop("headers", {}), **proof()}
        response = httpx2.request(method, url, headers=headers, **request, timeout=60.0, trust_env=False)
    except httpx2.HTTPError as error:
        raise CommandError(
            f"no reporter answers at {url} ({type(error).__name__}); start a pipeline with `eventpipeline up`, "
            "or give its address with --url"
        ) from error
    if response.is_error:
        raise CommandError(_explained(response))
    return response


def _explained(response: httpx2.Response) -> str:
    if response.status_code == httpx2.codes.UNAUTHORIZED:
        return f"the reporter wants a key that it knows: put it into {TOKEN}, or its file's name into {TOKEN_FILE}"
    try:
        problem = response.json()
        faults = [f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in problem.get("errors", [])]
        return "; ".join(faults) or str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return f"the reporter answered {response.status_code}"
