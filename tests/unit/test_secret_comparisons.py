"""In modules that handle secrets nothing is compared but with what stands in the code, or by `hmac.compare_digest`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVICES = Path(__file__).resolve().parents[2] / "services" / "eventpipeline"
MODULES = (
    "signatures.py",
    "readers.py",
    "keys.py",
    "gateway/door.py",
    "reporter/access.py",
    "reporter/session.py",
    "reporter/oidc.py",
    "reporter/replay.py",
    "resend.py",
)
HARMLESS = {
    # Whether a secret was given at all, and what is no secret.
    "(asked.sign is None) != (asked.key is None)", "selected != DeadLetterFilter()", "kept < letter.payload_bytes",
    "one.id not in still", "name not in self.known", "name in self.validators",
    # Lengths, counts and times.
    "len(text) != 2 * size", "len(found) != size", "len(found) != len(pairs)", "abs(now - int(written)) > tolerance",
    "len(written) > _MOST_SIGNATURES", "len(found) <= _MOST", "len(body) > most", "len(body) > _MOST_BYTES",
    "len(key) > _MOST_IN_COOKIE",
    "len(body) > _LARGE", "len(challenge) <= _MAX_CHALLENGE", "len(token) > _MOST_TOKEN",
    "self._now() - known[0] < _AGE", "self._now() - self._fetched > _FRESH_SECONDS",
    "self._now() - self._fetched <= _FRESH_SECONDS", "self._now() - self._tried < _LEAST_SECONDS",
    "ROLES.index(role) < ROLES.index(needed)",
    # Names of sources, paths, methods, headers, roles, and what is public in a token.
    "source not in self._sources", "name not in self._methods", "name in sources",
    "source not in (*self._sources, EVERY)",
    "self.label != EVERY", "visitor.label != EVERY", "visitor.label == EVERY", "path in OPEN_PATHS",
    "path.startswith(OPEN_FOLDERS)", "request.method not in _SAFE_METHODS", "request.method in _SAFE_METHODS",
    "COOKIE in request.cookies", "problem.status != HTTPStatus.UNAUTHORIZED",
    "kid not in self._keys", "kid in self._keys",
    "header['alg'] != key.algorithm_name", "header.get('alg') not in ALGORITHMS", "key.algorithm_name in ALGORITHMS",
    "found['issuer'] != self._oidc.issuer", "text.startswith(prefix)",
    "origin.partition('://')[2].lower() != request.headers.get('host', '').lower()",
}  # fmt: skip
_LOOKING = (
    "startswith",
    "endswith",
    "find",
    "rfind",
    "index",
    "rindex",
    "count",
    "__eq__",
    "__ne__",
    "__contains__",
    "eq",
    "ne",
)


def _is_written_here(node: ast.expr) -> bool:
    """A constant, or a collection of them: what stands in the code is no secret."""
    if isinstance(node, ast.Set | ast.Tuple | ast.List):
        return all(map(_is_written_here, node.elts))
    return isinstance(node, ast.Constant)


def comparisons(source: str) -> Iterator[str]:
    """Every comparison of two values that are both not written in `source`, as text."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = (node.left, *node.comparators)
            for left, operator, right in zip(sides, node.ops, sides[1:], strict=False):
                if not (_is_written_here(left) or _is_written_here(right)):
                    yield ast.unparse(ast.Compare(left, [operator], [right]))
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in _LOOKING and not all(map(_is_written_here, node.args)) and not _of_roles(node):
                yield ast.unparse(node)
        elif isinstance(node, ast.MatchValue) and not _is_written_here(node.value):
            yield ast.unparse(node)


def _of_roles(node: ast.Call) -> bool:
    return ast.unparse(node.func) == "ROLES.index"


@pytest.mark.parametrize("module", MODULES)
def test_every_comparison_is_harmless_or_in_constant_time(module: str) -> None:
    assert set(comparisons((SERVICES / module).read_text())) - HARMLESS == set()


def test_no_exception_is_kept_that_nothing_needs() -> None:
    found = {one for module in MODULES for one in comparisons((SERVICES / module).read_text())}
    assert found >= HARMLESS


def test_every_module_that_handles_secrets_is_looked_at() -> None:
    """Whoever compares digests, makes keys or reads them is in the list."""
    marks = ("compare_digest", "KeyRing(", ".equals(", "KeyHashes(", "get_unverified_header")
    for file in SERVICES.rglob("*.py"):
        name = str(file.relative_to(SERVICES))
        # Those two only put a KeyRing together.
        if name not in (*MODULES, "gateway/app.py", "reporter/app.py"):
            assert not [mark for mark in marks if mark in file.read_text()], name


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize(
    "planted",
    [
        "token == key", "key != given", "token in keys", "given not in made", "token.startswith(key)",
        "keys.index(token)",
        "operator.eq(key, token)", "key.__eq__(token)", "a.token is b.token", "key < token",
        "all((x == y for x, y in z))",
        "hashed(token) == digest", "[one for one in keys if one == token]", "'x' == key == token",
    ],
)  # fmt: skip
def test_a_planted_comparison_is_found(module: str, planted: str) -> None:
    source = f"{(SERVICES / module).read_text()}\n\ndef planted(token, key, given, made):\n    return {planted}\n"
    assert set(comparisons(source)) - HARMLESS
