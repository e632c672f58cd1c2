"""compose.yaml with its variables filled in, as Compose does where each is written `${NAME:-default}`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "compose.yaml"
PRODUCTION = ROOT / "compose" / "production.env"
_VARIABLE = re.compile(r"\$\$|\$\{(?P<name>[A-Z_]+):-(?P<default>[^}]*)\}")


def filled(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The file with the variables of `environ`. Raises AssertionError for a variable without a default."""
    found: dict[str, Any] = _filled(yaml.safe_load(FILE.read_text()), environ or {})
    return found


def _filled(part: Any, environ: Mapping[str, str]) -> Any:
    if isinstance(part, dict):
        return {name: _filled(one, environ) for name, one in part.items()}
    if isinstance(part, list):
        return [_filled(one, environ) for one in part]
    return _VARIABLE.sub(lambda match: _value(match, environ), part) if isinstance(part, str) else part


def _value(match: re.Match[str], environ: Mapping[str, str]) -> str:
    if match[0] == "$$":
        return "$"
    return environ.get(match["name"]) or match["default"]


def services(environ: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = filled(environ)["services"]
    return found


def production() -> dict[str, str]:
    """The variables of production, each password set."""
    lines = (line for line in PRODUCTION.read_text().splitlines() if line and not line.startswith("#"))
    return {name: value or f"{name.lower()}-1" for name, _, value in (line.partition("=") for line in lines)}
