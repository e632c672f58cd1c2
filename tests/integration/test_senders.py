"""`eventpipeline up` with keys of senders, and the publisher that signs."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from eventpipeline.authentication import KeyRef, Meta, StandardWebhooks
from eventpipeline.signatures import read_key, signed
from samples import event, text
from servers import free_offset, wait_for

MANIFEST = Path(__file__).resolve().parents[2] / "manifests" / "senders.yaml"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "eventpipeline", *map(str, arguments)]


@contextlib.contextmanager
def running(folder: Path, file: Path, environ: dict[str, str] | None = None) -> Iterator[int]:
    """`eventpipeline up` in `folder`, ready; gives its port offset."""
    offset = free_offset()
    up = subprocess.Popen(
        command("up", "-f", file, "--port-offset", offset),
        cwd=folder, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environ or {})},
    )  # fmt: skip
    try:
        assert up.stdout
        printed = []
        for line in up.stdout:
            printed.append(line)
            if "is ready" in line and "senders" in line:
                break
        assert up.poll() is None, "".join(printed)
        yield offset
    finally:
        up.terminate()
        up.communicate(timeout=60)


def test_a_key_that_is_missing_is_named_before_anything_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        command("up", "-f", MANIFEST, "--keys-dir", "here"), cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1
    said = " ".join(done.stderr.split())
    assert "the source facebook needs the key 'app-secret' of 'meta-app'" in said
    assert "EVENTPIPELINE_KEY_META_APP_APP_SECRET" in said
    assert not (tmp_path / ".eventpipeline" / "postgres").exists()


def test_keys_in_files_and_in_the_environment(tmp_path: Path) -> None:
    keys = tmp_path / ".eventpipeline" / "keys" / "meta-app"
    keys.mkdir(parents=True)
    (keys / "app-secret").write_text("s3cret\n")
    (keys / "verify-token").write_text("verify-me")
    with running(tmp_path, MANIFEST, {"EVENTPIPELINE_KEY_TIKTOK_APP_CLIENT_SECRET": "t0p"}) as offset:
        url = f"http://127.0.0.1:{3000 + offset}/webhook"
        body, how = text([event("facebook")]), Meta(keys=(KeyRef(name="meta-app"),))
        headers = {"content-type": "application/json"}
        proof = signed(how, read_key(how, b"s3cret"), body, now=time.time(), identity="")
        assert httpx2.post(f"{url}/facebook", content=body, headers=headers).status_code == 401
        assert httpx2.post(f"{url}/facebook", content=body, headers={**headers, **proof}).status_code == 200
        query = {"hub.mode": "subscribe", "hub.verify_token": "verify-me", "hub.challenge": "42"}
        assert httpx2.get(f"{url}/facebook", params=query).text == "42"
        assert httpx2.get(f"http://127.0.0.1:{3000 + offset}/readyz").json()["checks"]["keys"] == "ok"


@pytest.fixture
def one_key_for_both(tmp_path: Path) -> Path:
    document = yaml.safe_load(MANIFEST.read_text())
    method = {"standardWebhooks": {"keys": [{"name": "both"}]}}
    document["spec"]["sources"] = [{"name": name, "authentication": method} for name in ("facebook", "tiktok")]
    file = tmp_path / "both.yaml"
    file.write_text(yaml.safe_dump(document))
    (tmp_path / "key").write_text(SECRET)
    return file


def test_the_publisher_signs_and_all_is_exact(tmp_path: Path, one_key_for_both: Path) -> None:
    with running(tmp_path, one_key_for_both, {"EVENTPIPELINE_KEY_BOTH_KEY": SECRET}) as offset:

        def publish(*arguments: object) -> subprocess.CompletedProcess[str]:
            url, reporter = f"http://127.0.0.1:{3000 + offset}", f"http://127.0.0.1:{3003 + offset}"
            return subprocess.run(
                command("publish", url, "--seconds", 3, "--batch", "100-2000", "--duplicates", 0.5, "--reporter",
                        reporter, "--output", "json", *arguments),
                cwd=tmp_path, capture_output=True, text=True, timeout=90,
            )  # fmt: skip

        done = publish("--sign", "standardWebhooks", "--key-file", "key", "--verify")
        assert done.returncode == 0, done.stdout + done.stderr
        said = json.loads(done.stdout)
        assert said["totals"]["accepted"] > 300
        unsigned = publish()
        assert unsigned.returncode == 1
        totals = json.loads(unsigned.stdout)["totals"]
        assert (totals["accepted"], totals["refused_requests"]) == (0, totals["requests"])


def test_a_replay_over_http_brings_the_senders_key(tmp_path: Path, one_key_for_both: Path) -> None:
    how = StandardWebhooks(keys=(KeyRef(name="both"),))
    refused = event("facebook")
    refused["data"]["user"]["gender"] = "alien"
    body = text([refused])
    with running(tmp_path, one_key_for_both, {"EVENTPIPELINE_KEY_BOTH_KEY": SECRET}) as offset:
        gateway, reporter = f"http://127.0.0.1:{3000 + offset}", f"http://127.0.0.1:{3003 + offset}"
        proof = signed(how, read_key(how, SECRET.encode()), body, now=time.time(), identity="one")
        headers = {"content-type": "application/json", **proof}
        assert httpx2.post(f"{gateway}/webhook/events", content=body, headers=headers).status_code == 422

        def there(report: str) -> int:
            return len(httpx2.get(f"{reporter}{report}").json()["items"])

        def replayed(**proof: str) -> dict[str, Any]:
            asked = {"set": ["data.user.gender=male"], "drop": True, **proof}
            answer = httpx2.post(f"{reporter}/dead-letters/replay", json=asked, timeout=60)
            last: dict[str, Any] = json.loads(answer.text.splitlines()[-1])
            return last

        wait_for(lambda: there("/dead-letters") == 1, what=lambda: "the dead letter")
        for proof in ({}, {"sign": "standardWebhooks", "key": "whsec_b3RoZXIgb3RoZXIgb3RoZXI="}):
            told = replayed(**proof)
            assert (told["done"], told["accepted"]) == (False, 0)
            assert "the gateway answered 401" in told["error"]
            assert there("/dead-letters") == 1
        told = replayed(sign="standardWebhooks", key=SECRET)
        assert (told["done"], told["accepted"], told["error"]) == (True, 1, None)
        assert there("/dead-letters") == 0
        total = f"{reporter}/reports/events"
        wait_for(lambda: httpx2.get(total).json()["total"] == 1, what=lambda: httpx2.get(total).text)
    logs = [file.read_text(errors="replace") for file in (tmp_path / ".eventpipeline").rglob("*.log")]
    assert logs
    assert not [log for log in logs if SECRET in log or "b3RoZXIgb3RoZXIgb3RoZXI" in log]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--sign", "meta"), "--sign and --key-file are given together"),
        (("--sign", "meta", "--key-file", "nowhere"), "--key-file nowhere: No such file"),
        (("--sign", "standardWebhooks", "--key-file", "bad"), "is no secret of Standard Webhooks"),
    ],
)
def test_a_wrong_key_file_is_named(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    (tmp_path / "bad").write_text("not base64!")
    done = subprocess.run(command("publish", *arguments), cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert message in " ".join(done.stderr.split())
