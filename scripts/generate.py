"""Writes every generated file of the project; with --check, says which one differs and fails.

python scripts/generate.py [--check]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from pydantic_core import PydanticUndefined

from eventpipeline.settings import (
    CollectorSettings,
    Environment,
    GatewaySettings,
    MaintainSettings,
    ReporterSettings,
    Settings,
    StreamSettings,
)

ROOT = Path(__file__).resolve().parents[1]

_HEAD = """# Configuration

A pipeline is configured by its resource; what follows is what the services read from their environment, for those
who run one by hand. `eventpipeline up` and the operator write these variables from the resource.

This file is generated from `settings.py`: `make generate`.
"""


def configuration() -> str:
    """docs/configuration.md"""
    sections = [
        ("Every service", Settings, ()),
        ("Every service that speaks to NATS: gateway, collector, reporter", StreamSettings, (Settings,)),
        ("`eventpipeline gateway`", GatewaySettings, (StreamSettings,)),
        ("`eventpipeline collector`", CollectorSettings, (StreamSettings,)),
        ("`eventpipeline reporter`", ReporterSettings, (StreamSettings,)),
        ("`eventpipeline migrate` and `eventpipeline maintain`", MaintainSettings, ()),
    ]
    return "\n".join([_HEAD, *(_section(title, model, without) for title, model, without in sections)])


def _section(title: str, model: type[Environment], without: tuple[type[Environment], ...]) -> str:
    known = {name for base in without for name in base.model_fields}
    lines = [f"## {title}", "", "| variable | default | what it says |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        if name not in known:
            default = _default(field.default)
            lines.append(f"| `{name.upper()}` | {default} | {' '.join((field.description or '').split())} |")
    return "\n".join([*lines, ""])


def _default(default: object) -> str:
    if default is PydanticUndefined:
        return "required"
    return "none" if default in (None, "") else f"`{default}`"


FILES: dict[str, Callable[[], str]] = {"docs/configuration.md": configuration}


def main(check: bool) -> int:
    stale = []
    for name, make in FILES.items():
        path, text = ROOT / name, make()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not check:
                path.write_text(text, encoding="utf-8")
    for name in stale:
        print(f"{name}: {'differs; run make generate' if check else 'written'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
