"""What `eventpipeline status` says of dead letters."""

from __future__ import annotations

from typing import Any

import pytest

from eventpipeline.cli.status import print_dead_letters

MIB = 2**20


def said(capsys: pytest.CaptureFixture[str], reasons: dict[str, int], used: int | None, limit: int | None) -> str:
    dead: dict[str, Any] = {"byReason": reasons, "streamBytes": used, "streamByteLimit": limit}
    print_dead_letters(dead)
    return capsys.readouterr().out


def test_how_long_they_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, {"missing_field": 2, "invalid_json": 7}, 70 * MIB, 100 * MIB)
    assert out.index("invalid_json") < out.index("missing_field"), "the most frequent first"
    assert "Each is kept until it is dropped." in out
    assert "full" not in out


def test_where_there_are_none_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, {}, 0, 100 * MIB) == ""
    assert said(capsys, {}, None, None) == "", "NATS is away"


def test_that_their_stream_is_nearly_full(capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, {}, 95 * MIB, 100 * MIB)
    assert "nearly full, 95 of 100 MiB: what is refused once it is full is not kept" in out
