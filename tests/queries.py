"""The PromQL of the dashboards and of the alerts, with the variables of Grafana filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "eventpipeline"
DASHBOARDS = sorted((CHART / "dashboards").glob("*.json"))
BUILT_IN = {"$__range": "5m", "$__rate_interval": "1m"}
"""What Grafana fills in by itself: here, for a Prometheus that scrapes each second."""

_LABEL_VALUES = re.compile(r"label_values\((?P<selector>.+), (?P<label>\w+)\)")
_COMPARISON = re.compile(r"\s*(?:==|!=|>=|<=|>|<)\s*[0-9.]+")
_SELECTOR = re.compile(r"(?P<name>[A-Za-z_:][\w:]*)?\{(?P<matchers>[^{}]*)\}")
_NAMES = re.compile(r'__name__=~"([^"]+)"')


@dataclass(frozen=True)
class Query:
    """One expression of a panel or an alert. `where` names it in a failure."""

    where: str
    expression: str


@dataclass(frozen=True)
class Variable:
    """A variable of a dashboard whose values are those of a label."""

    name: str
    selector: str
    label: str


def dashboard(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def panel_queries() -> Iterator[Query]:
    """Every expression of every panel, as it stands in the file."""
    for path in DASHBOARDS:
        for panel in dashboard(path)["panels"]:
            for target in panel["targets"]:
                yield Query(f"{path.stem}, {panel['title']}, {target['legendFormat']}", target["expr"])


def variables(path: Path) -> list[Variable]:
    """In the order in which they depend on each other."""
    found = []
    for one in dashboard(path)["templating"]["list"]:
        if one["type"] == "query":
            match = _LABEL_VALUES.fullmatch(one["query"]["query"])
            assert match, f"{path.name}: {one['query']['query']} is not understood"
            found.append(Variable(one["name"], match["selector"], match["label"]))
    return found


def filled(expression: str, values: Mapping[str, str]) -> str:
    """`expression` with variables replaced. Raises AssertionError where one has no value."""
    for name, value in sorted({**BUILT_IN, **{f"${name}": value for name, value in values.items()}}.items()):
        expression = expression.replace(name, value)
    assert "$" not in expression, f"a variable has no value: {expression}"
    return expression


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((CHART / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alert_queries() -> Iterator[Query]:
    """What each alert compares: an alert that does not fire has no series itself."""
    for rule in alerts():
        for part in re.split(r"\b(?:and|unless|or)\b", rule["expr"]):
            compared = _COMPARISON.sub("", part).strip()
            if absent := re.fullmatch(r"absent\((.*)\)", compared):
                compared = absent[1]
            yield Query(f"{rule['alert']}, {part.strip()[:40]}", compared)


def selectors(expression: str) -> list[str]:
    """The selectors of series in `expression`, each a query of its own."""
    return [match[0] for match in _SELECTOR.finditer(expression)]


def names(selector: str) -> re.Pattern[str]:
    """The names of metrics that `selector` takes."""
    match = _SELECTOR.fullmatch(selector)
    assert match, selector
    if match["name"]:
        return re.compile(re.escape(match["name"]))
    pattern = _NAMES.search(match["matchers"])
    assert pattern, f"{selector} names no metric"
    return re.compile(pattern[1])
