"""Commands that ask a reporter which wants a key: it comes from the environment or a file, never from an argument."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import yaml

from eventpipeline.readers import hashed, read_hashes
from reader_keys import OPERATE, READ, STRANGE, closed
from reporter_client import fill, reporter_process

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"


@pytest.fixture(scope="module")
def url(shared_postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A reporter that wants a key, over LETTERS."""
    folder = tmp_path_factory.mktemp("readers")
    with psycopg.connect(shared_postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE reader_commands")
    database = shared_postgres.rsplit("/", 1)[0] + "/reader_commands"
    fill(database, ())
    with reporter_process(database, folder / "log", **closed(folder)) as (_process, address):
        yield address
    assert READ not in (folder / "log").read_text()
    assert OPERATE not in (folder / "log").read_text()


def run(*arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "eventpipeline", *map(str, arguments)]
    return subprocess.run(command, env=os.environ | environ, capture_output=True, text=True, timeout=60)


def test_a_key_opens_what_its_role_may(url: str, tmp_path: Path) -> None:
    (file := tmp_path / "key").write_text(f"{READ}\n")
    listed = run("dead-letters", "list", "--url", url, "--output", "json", EVENTPIPELINE_TOKEN_FILE=str(file))
    first = json.loads(listed.stdout)["items"][0]["id"]
    assert run("report", "events", "--url", url, EVENTPIPELINE_TOKEN=READ).returncode == 0
    status = run("status", "--url", url, "--output", "json", EVENTPIPELINE_TOKEN=READ)
    assert json.loads(status.stdout)["open"] is False
    refused = run("dead-letters", "drop", first, "--url", url, EVENTPIPELINE_TOKEN=READ)
    assert refused.returncode == 1
    assert "this needs the role operate; 0 were dropped" in refused.stderr
    assert "1 dropped" in run("dead-letters", "drop", first, "--url", url, EVENTPIPELINE_TOKEN=OPERATE).stdout


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({}, "the reporter wants a key that it knows: put it into EVENTPIPELINE_TOKEN"),
        ({"EVENTPIPELINE_TOKEN": STRANGE}, "the reporter wants a key that it knows"),
        ({"EVENTPIPELINE_TOKEN_FILE": "/nowhere/at/all"}, "EVENTPIPELINE_TOKEN_FILE=/nowhere/at/all: "),
        ({"EVENTPIPELINE_TOKEN": "two\nlines"}, "characters that no key has"),
    ],
)
def test_without_a_key_that_is_known_the_way_to_one_is_told(url: str, environ: dict[str, str], says: str) -> None:
    done = run("report", "events", "--url", url, **environ)
    assert done.returncode == 1
    assert says in " ".join(done.stderr.split())
    assert STRANGE not in done.stderr


def test_a_new_key_comes_with_its_hash() -> None:
    made = json.loads(run("new-key", "--output", "json").stdout)
    assert made["hash"] == hashed(made["key"])
    assert read_hashes(made["hash"].encode()).have(made["key"])
    assert "hash  sha256:" in run("new-key").stdout


def test_what_anyone_may_do_is_a_warning() -> None:
    said = run("validate", MANIFESTS / "minimal.yaml").stdout
    assert "warning: marketing: Anyone who reaches the reporter can read reports" in said
    assert "warning: marketing: Anyone who reaches the gateway can send events of facebook, tiktok" in said
    found = json.loads(run("validate", MANIFESTS / "production.yaml", "--output", "json").stdout)
    assert [one["message"].split(" can ")[0] for one in found["warnings"]] == ["Anyone who reaches the gateway"]


def test_the_line_of_the_manifest_makes_the_hash() -> None:
    text = (MANIFESTS / "production.yaml").read_text()
    script = [line.strip().lstrip("# ") for line in text.splitlines() if "openssl rand" in line or "sha256sum" in line]
    done = subprocess.run(
        ["bash", "-c", "\n".join([*script, 'echo "$key"'])], capture_output=True, text=True, check=True
    )
    line, key = done.stdout.split()
    assert read_hashes(line.encode()).have(key)
    bearer = next(yaml.safe_load_all(text[text.index("apiVersion: eventpipeline") :]))["spec"]["reporter"][
        "authentication"
    ]["bearer"]
    for role, reference in bearer.items():
        assert f"--from-literal={reference['key']}=sha256:…" in text
        assert reference == {"name": "marketing-readers", "key": role}
