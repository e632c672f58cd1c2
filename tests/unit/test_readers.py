"""Keys of readers: made, kept as hashes, found again."""

from __future__ import annotations

import hashlib

import pytest

from eventpipeline.readers import KeyHashes, hashed, is_key, new_key, read_hashes


def test_a_new_key_is_found_by_the_line_that_is_kept_of_it() -> None:
    key, other = new_key(), new_key()
    assert key != other
    assert is_key(key)
    assert hashed(key) == f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"
    assert key not in hashed(key)
    found = read_hashes(hashed(key).encode())
    assert found.have(key)
    assert not found.have(other)


def test_all_lines_count_and_remarks_do_not() -> None:
    keys = [new_key() for _ in range(3)]
    lines = [f"  {hashed(keys[0])}  # Ada", "# nobody", "", hashed(keys[1])]
    found = read_hashes("\r\n".join(lines).encode())
    assert [found.have(key) for key in keys] == [True, True, False]


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("", "has 0 hashes"),
        ("# nothing\n\n", "has 0 hashes"),
        ("evp_" + "k" * 43, "line 1"),
        (f"{hashed('a' * 40)}\nsha256:zz", "line 2"),
        (hashed("a" * 40).upper(), "line 1"),
        (hashed("a" * 40)[:-1], "line 1"),
        (hashed("a" * 40) + "0", "line 1"),
        (hashed("a" * 40).replace("sha256", "sha512"), "line 1"),
        ("sha256:" + "é" * 64, "line 1"),
        ("\n".join([hashed("a" * 40)] * 1001), "has 1001 hashes"),
    ],
)
def test_what_is_no_list_of_hashes_is_refused_and_not_quoted(written: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        read_hashes(written.encode())
    assert "kkkk" not in str(error.value)


def test_a_key_in_place_of_its_hash_is_refused() -> None:
    with pytest.raises(ValueError, match="no hash of a key"):
        read_hashes(new_key().encode())


@pytest.mark.parametrize("token", ["", "short", "x" * 31, "x" * 513, "a.b" * 20, "é" * 40, "x" * 32 + "\n", " " * 40])
def test_what_is_no_key_is_not_looked_up(token: str) -> None:
    assert not is_key(token)


def test_hashes_do_not_show_themselves() -> None:
    assert repr(KeyHashes((b"digest",))) == "KeyHashes()"
