"""The Tiltfile, evaluated by a Starlark interpreter in which Tilt's functions only note their arguments."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import starlark
import yaml

from eventpipeline.plan import GATEWAY_PORT, REPORTER_PORT
from eventpipeline_operator import helm, objects

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "eventpipeline-operator"
NOTED = (
    "version_settings", "docker_build", "k8s_yaml", "k8s_resource", "local_resource", "helm", "blob", "read_file",
    "fall_back_on", "sync", "run", "probe", "http_get_action",
)  # fmt: skip
Call = dict[str, Any]


@pytest.fixture(scope="module")
def calls() -> dict[str, list[Call]]:
    """The calls of each function, with `arguments` by place and the others by name; a call gives itself back."""
    found: dict[str, list[Call]] = defaultdict(list)
    module = starlark.Module()

    def recorder(name: str) -> Any:
        def record(*arguments: Any, **named: Any) -> Any:
            call = {"call": name, "arguments": list(arguments), **named}
            found[name].append(call)
            return (ROOT / arguments[0]).read_text() if name == "read_file" else call

        return record

    for name in NOTED:
        module.add_callable(name, recorder(name))
    dialect = starlark.Dialect.standard()
    dialect.enable_top_level_stmt = True
    program = starlark.parse("Tiltfile", (ROOT / "Tiltfile").read_text(), dialect)
    starlark.eval(module, program, starlark.Globals.standard())
    return found


def build(calls: dict[str, list[Call]]) -> Call:
    (found,) = calls["docker_build"]
    return found


def test_it_builds_the_image_of_the_charts_from_what_the_dockerfile_copies(calls: dict[str, list[Call]]) -> None:
    found = build(calls)
    image, context = found["arguments"]
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert image == values["image"]["repository"]
    assert (ROOT / context).resolve() == ROOT
    assert found["match_in_env_vars"]
    assert "IMAGE, value: {{" in (CHART / "templates" / "deployment.yaml").read_text()
    text = found["dockerfile_contents"]
    (named,) = re.findall(r"^FROM .* AS release$", text, re.MULTILINE)
    assert text.index(named) < text.index("\nFROM release\n"), "the last stage is the one of Tilt"
    copied = {
        name
        for line in re.findall(r"^COPY (?!--from)(?:--\S+ )*(.+)$", text, re.MULTILINE)
        for name in line.split()[:-1]
    }
    assert copied == set(found["only"])
    assert all((ROOT / name).exists() for name in copied)
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert allowed == copied


def test_changes_of_the_code_go_where_the_commands_read_it(calls: dict[str, list[Call]]) -> None:
    steps = build(calls)["live_update"]
    assert [step["call"] for step in steps] == ["fall_back_on", "sync", "sync", "sync", "run"]
    for name in steps[0]["arguments"][0]:
        assert (ROOT / name).is_file()
    targets = {}
    for step in steps[1:-1]:
        source, target = step["arguments"]
        assert (ROOT / source).is_dir()
        assert any(Path(source).is_relative_to(name) for name in build(calls)["only"])
        targets[source] = target
    assert targets == {
        "services/eventpipeline": "/tmp/live/eventpipeline",
        "operator/eventpipeline_operator": "/tmp/live/eventpipeline_operator",
        "charts": "/tmp/live/charts",
    }
    assert 'main(Path("/tmp/live"))' in (ROOT / "tilt" / "live.py").read_text()
    assert steps[-1]["arguments"] == ["touch /tmp/live/restart"]
    # Of the code below /tmp/live, the operator finds the chart there too.
    assert str(helm._PLACE).startswith("charts/")


def test_it_installs_the_operator_and_applies_the_smallest_pipeline(calls: dict[str, list[Call]]) -> None:
    namespace, chart, manifest = (call["arguments"][0] for call in calls["k8s_yaml"])
    assert yaml.safe_load(namespace["arguments"][0]) == {
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "eventpipeline-system"},
    }  # fmt: skip
    assert (ROOT / chart["arguments"][0] / "Chart.yaml").is_file()
    assert (ROOT / chart["arguments"][0]).resolve() == CHART
    assert (chart["name"], chart["namespace"]) == ("eventpipeline", "eventpipeline-system")
    pipeline = yaml.safe_load((ROOT / manifest).read_text())
    assert pipeline["kind"] == objects.PIPELINE.kind
    operator, resource = calls["k8s_resource"]
    assert operator["arguments"] == ["eventpipeline-operator"]
    assert resource["objects"] == [f"{pipeline['metadata']['name']}:{pipeline['kind'].lower()}"]
    (selector,) = operator["extra_pod_selectors"]
    assert selector["app.kubernetes.io/instance"] == pipeline["metadata"]["name"] == resource["new_name"]


def test_it_forwards_the_ports_of_gateway_and_reporter(calls: dict[str, list[Call]]) -> None:
    forwards = {call["arguments"][0]: call["serve_cmd"] for call in calls["local_resource"]}
    assert set(forwards) == {"gateway", "reporter"}
    for name, port in (("gateway", GATEWAY_PORT), ("reporter", REPORTER_PORT)):
        assert f"port-forward service/marketing-{name} {port}:{port};" in forwards[name]
    ports = [call["readiness_probe"]["http_get"]["arguments"] for call in calls["local_resource"]]
    assert ports == [[GATEWAY_PORT], [REPORTER_PORT]]


def test_no_function_is_called_that_tilt_would_have_to_fetch() -> None:
    assert "load(" not in (ROOT / "Tiltfile").read_text()
