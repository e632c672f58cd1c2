"""Mending refused events."""

from __future__ import annotations

import json

import pytest

from eventpipeline.mend import MendError, Mending

EVENT = b'{"a":{"b":[1,2.50],"c":"x"},"d":null}'


@pytest.mark.parametrize(
    ("settings", "mended"),
    [
        (["a.c=male"], b'{"a":{"b":[1,2.50],"c":"male"},"d":null}'),
        (["a.c=7"], b'{"a":{"b":[1,2.50],"c":7},"d":null}'),
        (['a.c="7"'], b'{"a":{"b":[1,2.50],"c":"7"},"d":null}'),
        (["d=null", "a.b.1=12345678901234567890.10"], b'{"a":{"b":[1,12345678901234567890.10],"c":"x"},"d":null}'),
        (["e.f.g=a=b"], b'{"a":{"b":[1,2.50],"c":"x"},"d":null,"e":{"f":{"g":"a=b"}}}'),
        (["a=1", "a=2"], b'{"a":2,"d":null}'),
    ],
)
def test_members_are_set_and_the_rest_keeps_its_digits(settings: list[str], mended: bytes) -> None:
    assert Mending.of(settings)(EVENT) == mended


def test_nothing_asked_for_leaves_the_bytes_alone() -> None:
    assert Mending.of([])(b' { "a" : 1.0 } not even JSON') == b' { "a" : 1.0 } not even JSON'


@pytest.mark.parametrize(
    ("operations", "mended"),
    [
        ([{"op": "add", "path": "/e", "value": 1}], {"a": {"b": [1, 2.5], "c": "x"}, "d": None, "e": 1}),
        ([{"op": "add", "path": "/a/b/0", "value": 0}], {"a": {"b": [0, 1, 2.5], "c": "x"}, "d": None}),
        ([{"op": "add", "path": "/a/b/-", "value": 3}], {"a": {"b": [1, 2.5, 3], "c": "x"}, "d": None}),
        ([{"op": "replace", "path": "/a/c", "value": "y"}], {"a": {"b": [1, 2.5], "c": "y"}, "d": None}),
        ([{"op": "remove", "path": "/a"}], {"d": None}),
        ([{"op": "move", "from": "/a/c", "path": "/d"}], {"a": {"b": [1, 2.5]}, "d": "x"}),
        ([{"op": "copy", "from": "/a/b", "path": "/d"}], {"a": {"b": [1, 2.5], "c": "x"}, "d": [1, 2.5]}),
        ([{"op": "add", "path": "/x~1y~0", "value": 1}], {"a": {"b": [1, 2.5], "c": "x"}, "d": None, "x/y~": 1}),
        ([{"op": "replace", "path": "", "value": {}}], {}),
        ([{"op": "test", "path": "/a/b/0", "value": 1}, {"op": "remove", "path": "/a"}], {"d": None}),
    ],
)
def test_a_json_patch_is_applied(operations: list[dict[str, object]], mended: object) -> None:
    assert json.loads(Mending.of([], json.dumps(operations).encode())(EVENT)) == mended


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        ({"op": "remove", "path": "/z"}, "/z is not there"),
        ({"op": "replace", "path": "/a/b/2", "value": 1}, "2 is no element"),
        ({"op": "add", "path": "/a/b/01", "value": 1}, "01 is no element"),
        ({"op": "add", "path": "/a/c/x", "value": 1}, "c is no object"),
        ({"op": "test", "path": "/d", "value": 1}, "/d is not what the patch expects"),
        ({"op": "move", "from": "/a", "path": "/a/c"}, "cannot be moved into itself"),
    ],
)
def test_a_change_that_does_not_fit_says_why(operation: dict[str, object], message: str) -> None:
    with pytest.raises(MendError, match=message):
        Mending.of([], json.dumps([operation]).encode())(EVENT)


@pytest.mark.parametrize(
    ("settings", "patch", "message"),
    [
        (["a"], None, "--set a: write the place and the value"),
        (["a..b=1"], None, "write the place"),
        ([], b"{", "the patch is not JSON"),
        ([], b"{}", "an array of operations"),
        ([], b'[{"op":"frobnicate"}]', "operation 1 of the patch: op must be one of add"),
        ([], b'[{"op":"add","path":"/a"}]', "add needs value"),
        ([], b'[{"op":"remove","path":"a"}]', "no JSON Pointer"),
    ],
)
def test_what_is_no_mending_is_refused(settings: list[str], patch: bytes | None, message: str) -> None:
    with pytest.raises(MendError, match=message):
        Mending.of(settings, patch)


@pytest.mark.parametrize("event", [b"[1]", b'"text"', b"\xff", b"{"])
def test_only_an_object_can_be_mended(event: bytes) -> None:
    with pytest.raises(MendError, match="the event is"):
        Mending.of(["a=1"])(event)


def test_set_does_not_go_through_what_is_no_object() -> None:
    with pytest.raises(MendError, match="c is no object"):
        Mending.of(["a.c.x=1"])(EVENT)
