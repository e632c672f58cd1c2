"""The CustomResourceDefinition, made from the models of `spec.py`. Pure.

A structural schema (https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/)
knows no references, no null beside a type and no closed objects: models are written out where they stand, an optional
field is one that may be left out, and unknown fields are refused or dropped by the API server itself.
"""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from eventpipeline import sources
from eventpipeline.spec import API_VERSION, KIND, EventPipeline
from eventpipeline_operator.rules import RULES

GROUP, VERSION = API_VERSION.split("/")
PLURAL, SINGULAR, SHORT = "eventpipelines", "eventpipeline", "evp"

Schema = dict[str, Any]

_KEPT = (
    "type", "description", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems",
)  # fmt: skip
_MAP_KEYS = {"sources": "name", "conditions": "type", "averages": "name", "distributions": "name"}
"""Lists of named objects: the API server refuses a name that stands twice, and merges by it."""
_SETS = ("top", "bottom", "eventTypes")
"""Lists of words: the API server refuses a word that stands twice."""
_COLUMNS = (
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', "Whether every part works."),
    ("Gateway", "string", ".status.endpoints.gateway", "Where events are posted."),
    ("Lag", "integer", ".status.pending", "Messages that are not stored yet."),
    ("Dead", "integer", ".status.deadLetters", "Events that were refused."),
    ("Age", "date", ".metadata.creationTimestamp", "How long it has been there."),
    ("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason', "Why it is ready, or not."),
    ("Message", "string", '.status.conditions[?(@.type=="Ready")].message', "What to do about it."),
)
_WIDE = ("Reason", "Message")


def crd() -> dict[str, Any]:
    """The CustomResourceDefinition of EventPipeline."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{PLURAL}.{GROUP}",
            # Helm must not delete it, and every pipeline with it, when the operator's chart is uninstalled.
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND, "listKind": f"{KIND}List", "plural": PLURAL, "singular": SINGULAR,
                "shortNames": [SHORT], "categories": ["all", "eventpipeline"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "selectableFields": [{"jsonPath": ".spec.paused"}, {"jsonPath": ".spec.deletionPolicy"}],
                    "additionalPrinterColumns": [_column(*column) for column in _COLUMNS],
                    "schema": {"openAPIV3Schema": schema()},
                }
            ],
        },
    }  # fmt: skip


def _column(name: str, kind: str, path: str, description: str) -> dict[str, Any]:
    return {"name": name, "type": kind, "jsonPath": path, "description": description} | (
        {"priority": 1} if name in _WIDE else {}
    )


def schema() -> Schema:
    """The structural schema of the resource."""
    document = EventPipeline.model_json_schema(by_alias=True)
    found = _structural(document, EventPipeline, document.get("$defs", {}))
    found["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
    # The API server has a schema of its own for the metadata.
    found["properties"]["metadata"] = {"type": "object"}
    found["required"] = ["metadata"]
    return found


def _structural(node: Schema, model: Any, definitions: dict[str, Schema]) -> Schema:
    """`node` of pydantic's JSON Schema as a structural schema; `model` is the model it describes, if it is one."""
    node = _resolved(node, definitions)
    found: Schema = {key: node[key] for key in _KEPT if key in node}
    if "description" in found:
        found["description"] = " ".join(found["description"].split())
    if model is sources.Schema:
        # It holds itself, which a structural schema cannot say; `eventpipeline validate` and the operator check it.
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True} | {
            key: found[key] for key in ("description",) if key in found
        }
    if "const" in node:
        found["enum"] = [node["const"]]
    if node.get("type") == "integer":
        found["format"] = "int64"
    if "items" in node:
        found["items"] = _structural(node["items"], model, definitions)
    if node.get("properties"):  # the API server drops an empty one, and what it holds would differ from what is applied
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        found["properties"] = {
            name: _property(name, part, fields[name], definitions) for name, part in node["properties"].items()
        }
        if required := node.get("required"):
            found["required"] = sorted(required)
    if rules := RULES.get(model) if node.get("type") == "object" else None:
        found["x-kubernetes-validations"] = [rule.to_schema() for rule in rules]
    return found


def _property(name: str, node: Schema, field: FieldInfo, definitions: dict[str, Schema]) -> Schema:
    found = _structural(node, _model_of(field.annotation), definitions)
    # Items of a map that a default had filled in would stay beside those that somebody applies later.
    defaulted = "default" in node and name not in _MAP_KEYS
    if defaulted and (default := _without_nulls(node["default"])) is not None:
        found["default"] = default if found["type"] != "object" else _beyond_defaults(default, field.annotation)
    if found["type"] == "array":
        key = _MAP_KEYS.get(name)
        found["x-kubernetes-list-type"] = "map" if key else "set" if name in _SETS else "atomic"
        if key:
            found["x-kubernetes-list-map-keys"] = [key]
    return found


def _resolved(node: Schema, definitions: dict[str, Schema]) -> Schema:
    """`node` without `$ref` and without the alternative of null; what stands beside them has precedence."""
    beside = {key: value for key, value in node.items() if key not in ("$ref", "anyOf")}
    if "$ref" in node:
        return _resolved(definitions[node["$ref"].rpartition("/")[2]], definitions) | beside
    if "anyOf" in node:
        (only,) = (option for option in node["anyOf"] if option != {"type": "null"})
        return _resolved(only, definitions) | beside
    return node


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_of(part))), None)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(part) for key, part in value.items() if part is not None}
    return [_without_nulls(part) for part in value] if isinstance(value, list) else value


def _beyond_defaults(default: Schema, annotation: Any) -> Schema:
    """What of an object's default differs from the defaults of its own fields, which the API server fills in."""
    model = _model_of(annotation)
    own = _without_nulls(model.model_construct().model_dump(mode="json", by_alias=True)) if model else {}
    return {key: value for key, value in default.items() if value != own.get(key)}
