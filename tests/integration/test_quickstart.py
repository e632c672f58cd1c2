"""docs/quickstart.md works as written: its curl calls are run, one after the other, against `eventpipeline up`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from servers import free_offset, wait_for

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """`eventpipeline up` in an empty folder; yields its port offset."""
    folder, offset = tmp_path_factory.mktemp("new-user"), free_offset()
    up = subprocess.Popen(
        [sys.executable, "-m", "eventpipeline", "up", "--port-offset", str(offset)],
        cwd=folder, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        for line in up.stdout:
            if "is ready" in line and "marketing" in line:
                break
        assert up.poll() is None, "up ended before it was ready"
        yield offset
    finally:
        up.terminate()
        up.communicate(timeout=60)


def blocks(language: str) -> list[str]:
    text = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    return [body for name, body in BLOCK.findall(text) if name == language]


def shell(command: str, offset: int) -> dict:
    """Runs a block of the page, with its ports moved; returns the JSON it printed."""
    moved = re.sub(r"127\.0\.0\.1:(\d+)", lambda match: f"127.0.0.1:{int(match[1]) + offset}", command)
    done = subprocess.run(["bash", "-c", moved], capture_output=True, text=True, check=True, timeout=30)
    return json.loads(done.stdout)


def test_the_curl_calls_of_the_quickstart(pipeline):
    first, second, events, revenue, demographics = blocks("sh")
    assert shell(first, pipeline)["accepted"] == 1
    answer = shell(second, pipeline)
    assert (answer["accepted"], answer["rejected"]) == (1, 1)
    assert [(error["eventId"], error["reason"]) for error in answer["errors"]] == [("tt-2", "invalid_value")]

    wait_for(lambda: shell(events, pipeline)["total"] == 2, what=lambda: "both events in the report", seconds=15)
    counts = {item["eventType"]: item["count"] for item in shell(events, pipeline)["items"]}
    assert counts == {"checkout.complete": 1, "video.view": 1}
    report = shell(revenue, pipeline)
    assert (report["total"], report["transactions"], report["averageOrderValue"]) == ("49.90", 1, "49.90")
    people = {item["source"]: item for item in shell(demographics, pipeline)["items"]}
    assert people["facebook"]["averageAge"] == 34
    assert people["facebook"]["cities"] == [{"value": "Lyon", "events": 1, "share": 1}]
    assert people["tiktok"]["averageFollowers"] == 1200


def test_the_resource_of_the_quickstart_is_valid(tmp_path):
    (text,) = blocks("yaml")
    file = tmp_path / "pipeline.yaml"
    file.write_text(text)
    done = subprocess.run([sys.executable, "-m", "eventpipeline", "validate", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("block", range(2))
def test_the_answers_of_the_quickstart_have_the_shape_of_real_ones(block):
    shown = blocks("json")[block].replace("[…]", "[]")
    assert set(json.loads(shown)) == {"accepted", "rejected", "errors", "correlationId"}
