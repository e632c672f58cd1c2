"""The CRD is made from spec.py, and says the same as it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from eventpipeline.spec import API_VERSION, KIND, EventPipeline
from eventpipeline_operator import crd, generate
from invalid_pipelines import INVALID, Invalid

ROOT = Path(__file__).resolve().parents[2]


def _fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, part in schema.get("properties", {}).items():
        here = f"{path}.{name}".lstrip(".")
        yield here, part
        yield from _fields(part, here)
        yield from _fields(part.get("items", {}), f"{here}[]")


FIELDS = {path: part for path, part in _fields(crd.schema()) if path not in ("apiVersion", "kind", "metadata")}


def test_generated_files_are_what_would_be_written() -> None:
    assert generate.main(["--check"]) == 0


def test_check_fails_on_a_difference_and_generating_mends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate.main(["--check"], tmp_path) == 1
    assert "python -m eventpipeline_operator.generate" in capsys.readouterr().out
    assert generate.main([], tmp_path) == 0
    assert generate.main(["--check"], tmp_path) == 0


def test_the_operator_chart_installs_the_same_bytes() -> None:
    name = "eventpipelines.eventpipeline.dev.yaml"
    chart = ROOT / "charts/eventpipeline-operator/templates/crds" / name
    assert chart.read_bytes() == (ROOT / "crds" / name).read_bytes()
    assert "{{" not in chart.read_text()


@pytest.mark.parametrize("path", FIELDS)
def test_every_field_is_described(path: str) -> None:
    assert len(FIELDS[path].get("description", "")) > 5


@pytest.mark.parametrize("path", FIELDS)
def test_the_schema_is_structural(path: str) -> None:
    part = FIELDS[path]
    assert part["type"] in ("object", "array", "string", "integer", "boolean")
    assert not {"$ref", "anyOf", "oneOf", "allOf", "additionalProperties", "title", "const"} & part.keys()
    assert part.get("default", ...) is not None


def test_strings_that_rules_take_apart_are_bounded() -> None:
    """Or the API server cannot bound what a rule costs, and refuses the CRD."""
    unbounded = [
        path
        for path, part in FIELDS.items()
        if path.startswith("spec") and part["type"] == "string" and "maxLength" not in part and "enum" not in part
    ]
    assert unbounded == []


def test_defaults_are_those_of_the_model() -> None:
    assert FIELDS["spec.gateway.autoscaling.maxReplicas"]["default"] == 10
    assert FIELDS["spec.reporter.autoscaling"]["default"] == {"maxReplicas": 3}
    assert "default" not in FIELDS["spec.sources"], "or what a later apply does not name would stay"
    assert FIELDS["spec.gateway.autoscaling.targetCPUUtilizationPercent"]["default"] == 70


def test_named_lists_are_maps() -> None:
    assert FIELDS["spec.sources"]["x-kubernetes-list-map-keys"] == ["name"]
    assert FIELDS["status.conditions"]["x-kubernetes-list-map-keys"] == ["type"]


def test_columns_and_names() -> None:
    made = crd.crd()
    version = made["spec"]["versions"][0]
    shown = [column["name"] for column in version["additionalPrinterColumns"] if not column.get("priority")]
    assert shown == ["Ready", "Gateway", "Lag", "Dead", "Age"]
    assert made["spec"]["names"]["shortNames"] == ["evp"]
    assert version["subresources"] == {"status": {}}


@pytest.mark.parametrize(
    "invalid",
    [invalid for invalid in INVALID if not invalid.only_cluster],
    ids=lambda invalid: f"{invalid.named}-{invalid.name[:6]}",
)
def test_what_the_api_server_refuses_the_model_refuses(invalid: Invalid) -> None:
    """So that `eventpipeline validate` says beforehand what the cluster will say."""
    document = {
        "apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": invalid.name, "namespace": "default"},
        "spec": invalid.spec,
    }  # fmt: skip
    with pytest.raises(ValidationError):
        EventPipeline.model_validate(document)


@pytest.mark.parametrize("path", sorted((ROOT / "manifests").glob("*.yaml")), ids=lambda path: path.name)
def test_manifests_are_valid(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text()):
        if document and document.get("kind") == KIND:
            EventPipeline.model_validate(document)
