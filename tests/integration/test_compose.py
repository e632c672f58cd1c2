"""compose.yaml as far as it can be run without a container engine: loaded by Compose's own library, its servers'
configuration by the servers, its scripts by a shell."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nats
import orjson
import psycopg
import pytest

from compose_files import FILE, ROOT, production, services
from eventpipeline.local import binaries
from eventpipeline.local.nats import find_server
from eventpipeline.sources import built_in
from eventpipeline.store.append import Appender
from eventpipeline.store.schema import migrate
from servers import free_port, postgres_server, wait_for
from stored import facebook

LOADER = Path(__file__).parents[1] / "compose_loader"


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("go"):
        reason = "compose.yaml is loaded by Compose's own library, which needs Go to build"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    built = tmp_path_factory.mktemp("loader") / "compose-loader"
    done = subprocess.run(["go", "build", "-o", built, "."], cwd=LOADER, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return built


@pytest.mark.parametrize("profile", ["development", "production"])
def test_compose_understands_it_as_the_other_tests_do(profile: str, loader: Path, tmp_path: Path) -> None:
    environ = production() if profile == "production" else {}
    file = tmp_path / "env"
    file.write_text("\n".join(f"{name}={value}" for name, value in environ.items()))
    plain = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run([loader, FILE, file, profile], capture_output=True, text=True, env=plain)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    loaded: dict[str, dict[str, Any]] = json.loads(done.stdout)["services"]
    wanted = {name: one for name, one in services(environ).items() if profile in one["profiles"]}
    assert set(loaded) == set(wanted)
    for name, one in wanted.items():
        assert loaded[name].get("environment") == one.get("environment"), name
        assert loaded[name]["image"] == one["image"]
        assert loaded[name].get("healthcheck", {}).get("test") == one.get("healthcheck", {}).get("test")
        assert set(loaded[name].get("depends_on", {})) <= set(wanted) | {"production-passwords"}


def passwords(environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    given = services(environ)["production-passwords"]["environment"]
    return subprocess.run(["/bin/sh", ROOT / "compose" / "passwords.sh"], env=given, capture_output=True, text=True)


def test_production_refuses_passwords_that_are_not_set_or_not_fit() -> None:
    assert passwords(production()).returncode == 0
    missing = passwords(production() | {"POSTGRES_PASSWORD": ""})
    assert (missing.returncode, missing.stderr) == (1, "POSTGRES_PASSWORD is not set; see compose/production.env\n")
    unfit = passwords(production() | {"NATS_PASSWORD": "a/b"})
    assert (unfit.returncode, unfit.stderr) == (1, "NATS_PASSWORD may only have letters, digits and - . _ ~\n")


async def test_nats_takes_its_configuration(tmp_path: Path) -> None:
    port, monitor = free_port(), free_port()
    config = tmp_path / "nats-server.conf"
    config.write_text((ROOT / "compose" / "nats-server.conf").read_text().replace("/data", str(tmp_path / "data")))
    mounts = dict(reversed(line.removesuffix(":ro").split(":")) for line in services()["nats"]["volumes"])
    (tmp_path / "users.conf").write_text((ROOT / mounts["/etc/nats/users.conf"]).read_text())
    command = [
        find_server(),
        "--config",
        config,
        "--addr",
        "127.0.0.1",
        "--port",
        str(port),
        "--http_port",
        str(monitor),
    ]
    given = services({"NATS_PASSWORD": "1e5", "NATS_GATEWAY_PASSWORD": "2e5"})["nats"]["environment"]
    log = tmp_path / "nats.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=given, stdout=output, stderr=output)
    try:

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return bool(asked("/healthz?js-server-only=true")["status"] == "ok")
            except OSError:
                return False

        def asked(path: str) -> dict[str, Any]:
            with urllib.request.urlopen(f"http://127.0.0.1:{monitor}{path}", timeout=2) as answer:
                found: dict[str, Any] = json.load(answer)
                return found

        wait_for(answers, what=log.read_text)
        limits = asked("/jsz")["config"]
        assert limits["max_storage"] == 8589934592
        assert limits["sync_always"] is True
        for login in ("eventpipeline:1e5", "gateway:2e5", "collector:development", "reporter:development"):
            client = await nats.connect(f"nats://{login}@127.0.0.1:{port}")
            await client.close()
        with pytest.raises(nats.errors.Error, match=r"(?i)authorization"):
            await nats.connect(f"nats://eventpipeline:other@127.0.0.1:{port}", allow_reconnect=False)
    finally:
        process.terminate()
        process.wait(10)


async def test_the_services_may_write_rows_and_not_drop_tables(tmp_path: Path) -> None:
    with postgres_server(tmp_path) as superuser:
        with psycopg.connect(superuser, autocommit=True) as connection:
            connection.execute("CREATE ROLE eventpipeline_owner SUPERUSER LOGIN PASSWORD 'o'")
            # As it was in the volume of an earlier release.
            connection.execute("CREATE ROLE eventpipeline_service LOGIN PASSWORD 'former'")
        place = superuser.rpartition("@")[2]
        owner = f"postgresql://eventpipeline_owner:o@{place}"
        subprocess.run(
            [binaries.find() / "psql", "-v", "ON_ERROR_STOP=1", owner, "-f", ROOT / "compose" / "roles.sql"],
            env={"SERVICE_PASSWORD": "it's", "REPORTER_PASSWORD": "r"}, check=True, capture_output=True,
        )  # fmt: skip
        migrate(owner)
        service = f"postgresql://eventpipeline_service:it's@{place}"
        async with await psycopg.AsyncConnection.connect(service, autocommit=True) as connection:
            await connection.execute("SET timezone = 'UTC'")
            appended = await Appender(built_in("facebook")).append(connection, orjson.dumps([facebook(1)]))
            assert appended.new == 1
            for statement in (
                "DROP TABLE events",
                "CREATE TABLE mine (id int)",
                "CREATE TEMPORARY TABLE mine (id int)",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    await connection.execute(statement)
        with psycopg.connect(f"postgresql://eventpipeline_reporter:r@{place}", autocommit=True) as reading:
            assert reading.execute("SELECT count(*) FROM events").fetchone() == (1,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reading.execute("DELETE FROM events")


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False), (None, False)])
def test_a_service_is_healthy_when_it_is_ready(status: int | None, healthy: bool) -> None:
    """The line that stands in the health check of each service, against one that answers so, or not at all."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status or 500 if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    kind, line = services()["gateway"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    port = free_port()
    with ExitStack() as stack:
        if status:
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", port), Answer))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
        environ = {"PORT": str(port), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(["/bin/sh", "-c", line], env=environ, capture_output=True, timeout=20)
    assert (done.returncode == 0) == healthy


def test_maintenance_goes_on_until_it_is_told_to_stop(tmp_path: Path) -> None:
    stub = tmp_path / "eventpipeline"
    stub.write_text(f'#!{sys.executable}\nimport sys\nprint("ran", *sys.argv[1:], flush=True)\nsys.exit(1)\n')
    stub.chmod(0o755)
    found = services()["maintain"]
    with subprocess.Popen(
        [*found["entrypoint"], *found["command"]],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stdout.readline() == "ran maintain\n"
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(10) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):  # the sleep that the shell may leave, as in a container
                os.killpg(process.pid, signal.SIGKILL)
