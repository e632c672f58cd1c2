"""Writes every generated file of the project, and the generated parts of others; with --check, says which one differs
and fails.

python scripts/generate.py [--check]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import yaml
from pydantic_core import PydanticUndefined

import service_metrics
from eventpipeline.settings import (
    CollectorSettings,
    Environment,
    GatewaySettings,
    MaintainSettings,
    MigrateSettings,
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
        ("`eventpipeline migrate`", MigrateSettings, ()),
        ("`eventpipeline maintain`", MaintainSettings, ()),
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


def monitoring() -> str:
    """docs/monitoring.md, in which only the metrics and the alerts are generated."""
    text = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    return _replaced(_replaced(text, "metrics", service_metrics.table()), "alerts", _alerts())


def _alerts() -> str:
    groups = yaml.safe_load((ROOT / "charts" / "eventpipeline" / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    sections: dict[str, str] = {}
    for rule in (rule for group in groups for rule in group["rules"]):
        notes = rule["annotations"]
        sections.setdefault(
            rule["alert"],
            f"### {rule['alert']} ({rule['labels']['severity']})\n\n{notes['description']}\n\n{notes['runbook']}",
        )
    return "\n\n".join(sections.values())


def _replaced(text: str, name: str, part: str) -> str:
    """`text` with `part` between the two marks of `name`."""
    begin, end = f"<!-- {name}: generated -->\n", f"\n<!-- {name}: end -->"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"docs/monitoring.md has not the marks of {name}")
    return f"{before}{begin}\n{part}\n{end}{after}"


FILES: dict[str, Callable[[], str]] = {"docs/configuration.md": configuration, "docs/monitoring.md": monitoring}


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
