"""The command line as a person meets it: help that answers at once, exit codes, messages, and the whole demo."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eventpipeline.local import postgres
from servers import free_offset, free_port, running_program, wait_for

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("up", "demo", "publish", "report", "status", "dead-letters", "validate", "gateway", "collector",
            "reporter", "migrate", "maintain", "new-key")  # fmt: skip


def run(*arguments: object, cwd: Path | None = None, env: dict[str, str] | None = None, seconds: float = 60):
    """The `eventpipeline` command, without a terminal."""
    plain = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "NATS_URL")}
    return subprocess.run(
        [sys.executable, "-m", "eventpipeline", *map(str, arguments)],
        cwd=cwd, env={**plain, "COLUMNS": "120", **(env or {})}, capture_output=True, text=True, timeout=seconds,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_help_names_every_command_and_what_it_is_for():
    done = run("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert f" {command} " in done.stdout


def test_help_imports_nothing_heavy():
    """It answers in well under half a second because of this; the time itself is only printed."""
    code = (
        "import sys; from eventpipeline.cli import command_line\n"
        "command_line(None)(['--help'], exit_on_error=False, print_error=False, result_action='return_value')\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1]
    for heavy in ("fastapi", "starlette", "nats", "psycopg", "pydantic", "uvicorn", "httpx2", "psutil", "yaml"):
        assert f"'{heavy}'" not in loaded
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        run("--help")
        seconds.append(time.perf_counter() - started)
    print(f"eventpipeline --help: {statistics.median(seconds):.3f} s, median of 5")


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_that_reads_like_documentation(command):
    done = run(command, "--help")
    assert done.returncode == 0
    assert f"Usage: eventpipeline {command}" in done.stdout
    assert len(done.stdout.split()) > 30


@pytest.mark.parametrize("command", ["gateway", "collector", "reporter", "migrate"])
def test_a_service_without_settings_names_each_that_is_missing(command):
    done = run(command)
    assert done.returncode == 1
    assert "DATABASE_URL" in done.stderr or "NATS_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_setting_is_named(tmp_path):
    done = run("gateway", env={"NATS_URL": "nats://127.0.0.1:1", "SOURCES": "facebook", "PORT": "many"})
    assert done.returncode == 1
    assert "PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_source_is_refused_by_name():
    done = run("gateway", env={"NATS_URL": "nats://127.0.0.1:1", "SOURCES": "facebook,myspace", "PORT": "0"})
    assert done.returncode == 1
    assert "myspace" in done.stderr
    assert "Traceback" not in done.stderr


def test_validate_as_a_script_uses_it(tmp_path):
    file = tmp_path / "pipeline.yaml"
    file.write_text(
        "apiVersion: eventpipeline.dev/v1alpha1\nkind: EventPipeline\nmetadata: {name: x}\nspec: {gatway: {}}\n"
    )
    done = run("validate", file, "--output", "json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["valid"] is False
    assert [(mistake["line"], mistake["place"]) for mistake in told["mistakes"]] == [(4, "spec.gatway")]
    good = run("validate", ROOT / "manifests" / "minimal.yaml", "--output", "json")
    assert (good.returncode, json.loads(good.stdout)["pipelines"]) == (0, ["marketing"])


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("replay",), "no pipeline runs from"),
        (("status",), "no reporter answers"),
        (("report", "events"), "no reporter answers"),
        (("dead-letters", "list"), "no reporter answers"),
        (("dead-letters", "replay"), "no reporter answers"),
        (("migrate",), "DATABASE_URL"),
    ],
)
def test_commands_of_a_pod_need_nothing_of_the_extra_local(tmp_path, command, message):
    """The image has no psutil; the documentation has people run these in a pod."""
    code = (
        f"import sys; sys.modules['psutil'] = None; sys.argv[1:] = {command!r}; import eventpipeline.cli as c; c.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [("status",), ("report", "events"), ("dead-letters", "list")])
def test_without_a_pipeline_a_command_says_how_to_start_one(tmp_path, command):
    done = run(*command, "--url", "http://127.0.0.1:9", cwd=tmp_path)
    assert done.returncode == 1
    assert "eventpipeline up" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--batch", "5-1"), "--batch"),
        (("--batch", "many"), "--batch"),
        (("--rate", "0"), "--wait"),
        (("ftp://x",), "ftp://x"),
    ],
)
def test_publish_refuses_what_it_cannot_do(arguments, named):
    done = run("publish", *arguments)
    assert done.returncode == 1
    assert named in done.stderr


def test_migrate_says_that_postgres_is_away():
    done = run("migrate", env={"DATABASE_URL": "postgresql://x@127.0.0.1:9/x"})
    assert done.returncode == 1
    assert "Postgres did not answer" in done.stderr
    assert "Traceback" not in done.stderr


def test_migrate_waits_for_a_database_that_comes_later_and_says_what_it_waits_for(tmp_path):
    cluster = postgres.open_cluster(tmp_path / "postgres")
    cluster.initialise()
    port, output = free_port(), tmp_path / "output"
    environ = {**os.environ, "DATABASE_URL": cluster.url(port)}
    with output.open("w") as file:
        migrate = subprocess.Popen(
            [sys.executable, "-m", "eventpipeline", "migrate", "--wait", "60"], env=environ, stdout=file, stderr=file
        )
    try:
        wait_for(lambda: "waiting for the database" in output.read_text(), what=output.read_text)
        with running_program(cluster.server(port=port, log=tmp_path / "postgres.log")):
            assert migrate.wait(30) == 0
    finally:
        migrate.kill()
        migrate.wait()
    assert output.read_text().count("waiting for the database") < 4, "said once, not once a second"
    assert "applied: 0001" in output.read_text()


def test_migrate_waits_no_longer_than_it_is_told():
    done = run("migrate", "--wait", "1.5", env={"DATABASE_URL": "postgresql://x@127.0.0.1:9/x"})
    assert done.returncode == 1
    assert "waiting for the database" in done.stderr


def test_the_demo_proves_itself_and_ends(tmp_path):
    done = run("demo", "--seconds", 4, "--exit", "--port-offset", free_offset(), cwd=tmp_path, seconds=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every one is counted exactly once" in done.stdout
    for title in ("Events from", "Revenue from", "Demographics of facebook", "Demographics of tiktok"):
        assert title in done.stdout
    assert done.stdout.rstrip().endswith("exit code 0")
