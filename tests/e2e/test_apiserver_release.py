"""The operator's release from install to uninstall, by helm on a real API server: what becomes of the definition."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver import api_server
from cluster.layout import PROJECT
from eventpipeline_operator.cluster import Cluster
from eventpipeline_operator.errors import Refused
from eventpipeline_operator.objects import PIPELINE, RENDERED_KINDS, SECRET, Key, Kind, Object
from operator_process import operator_process
from operator_rights import CHART, NAMESPACE

CRD = Key(Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition"), "", "eventpipelines.eventpipeline.dev")
MARKETING = Key(PIPELINE, "default", "marketing")


class Release:
    """helm, as people call it, against one API server."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self.cluster = Cluster.from_kubeconfig(kubeconfig)

    def helm(self, *arguments: str) -> str:
        """What helm prints. Raises AssertionError with what it says where it fails."""
        command = [os.environ["EVENTPIPELINE_HELM"], *arguments, "--namespace", NAMESPACE]
        environ = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    async def properties(self) -> Any:
        found = await self.cluster.get(CRD)
        assert found
        return found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]

    async def write(self, spec: Object) -> Object:
        """As kubectl create and replace do, which refuse unknown fields."""
        about = {"apiVersion": PIPELINE.api_version, "kind": PIPELINE.kind, "spec": spec}
        metadata = {"name": MARKETING.name, "namespace": MARKETING.namespace}
        method, path = "POST", await self.cluster._path(PIPELINE, MARKETING.namespace)
        if found := await self.cluster.get(MARKETING):
            metadata["resourceVersion"] = found["metadata"]["resourceVersion"]
            method, path = "PUT", f"{path}/{MARKETING.name}"
        return await self.cluster._call(method, path, {"fieldValidation": "Strict"}, {**about, "metadata": metadata})

    async def observed(self) -> bool:
        body = await self.cluster.get(MARKETING)
        return bool(body and body.get("status", {}).get("observedGeneration") == body["metadata"]["generation"])

    async def versions(self) -> dict[Key, str]:
        listings = [await self.cluster.list_all(kind, "default") for kind in (*RENDERED_KINDS, SECRET)]
        return {key: item["metadata"]["resourceVersion"] for listing in listings for key, item in listing.items()}


@pytest.fixture
async def release(tmp_path: Path) -> AsyncIterator[Release]:
    with api_server(tmp_path) as kubeconfig:
        yield Release(kubeconfig)


def former_chart(folder: Path) -> Path:
    """The chart of a release whose definition had one field more and one less."""
    chart = folder / "former"
    shutil.copytree(CHART, chart)
    path = chart / "templates" / "crds" / f"{CRD.name}.yaml"
    definition = yaml.safe_load(path.read_text())
    properties = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    properties["former"] = {"type": "string"}
    del properties["monitoring"]["properties"]["alerts"]
    path.write_text(yaml.safe_dump(definition))
    return chart


async def test_an_upgrade_brings_the_new_definition_and_touches_no_pipeline(release: Release, tmp_path: Path) -> None:
    release.helm("install", "eventpipeline", str(former_chart(tmp_path)), "--create-namespace")
    with operator_process(release.kubeconfig, tmp_path / "operator.log", RESYNC_SECONDS="1") as operator:
        await operator.until(lambda: _served(release, "former"), "the former definition")
        await release.write({"gateway": {"maxBodyBytes": 4096}})
        await operator.until(release.observed, "a status")
        before = await release.versions()
        assert len(before) > 20
        with pytest.raises(Refused, match="alerts"):
            await release.write({"monitoring": {"alerts": True}})
        await release.write({"former": "of its time", "gateway": {"maxBodyBytes": 4096}})
        await operator.until(lambda: _is_refused(release), "what it does not know is said")

        release.helm("upgrade", "eventpipeline", str(CHART))
        await operator.until(lambda: _served(release, "monitoring", "alerts"), "the new definition")
        generated = yaml.safe_load((PROJECT / "crds" / f"{CRD.name}.yaml").read_text())
        found = await release.cluster.get(CRD)
        assert found
        assert found["spec"]["versions"][0]["schema"] == generated["spec"]["versions"][0]["schema"]

        async def is_taken() -> bool:
            return not await _is_refused(release)

        await operator.until(is_taken, "a pass under the new definition")
        assert await release.versions() == before, "nothing of the pipeline was written"

        with pytest.raises(Refused, match="former"):
            await release.write({"former": "no longer known"})
        body = await release.write({"gateway": {"maxBodyBytes": 4096}, "monitoring": {"alerts": True}})
        assert body["spec"]["monitoring"]["alerts"] is True
        assert "former" not in body["spec"]
        await operator.until(release.observed, "a status of the new field")
        assert "Traceback" not in operator.log.read_text()


async def _is_refused(release: Release) -> bool:
    body = await release.cluster.get(MARKETING)
    conditions = (body or {}).get("status", {}).get("conditions", [])
    return any(entry["type"] == "Ready" and entry["reason"] == "InvalidSpec" for entry in conditions)


async def _served(release: Release, *field: str) -> bool:
    """Whether the API server knows the field of the spec, and takes pipelines."""
    properties = await release.properties()
    for name in field[:-1]:
        properties = properties[name]["properties"]
    return field[-1] in properties and await _takes(release)


async def _takes(release: Release) -> bool:
    found = await release.cluster.get(CRD)
    conditions = (found or {}).get("status", {}).get("conditions", [])
    return any(entry["type"] == "Established" and entry["status"] == "True" for entry in conditions)


async def test_uninstalling_leaves_the_definition_and_the_pipelines(release: Release, tmp_path: Path) -> None:
    release.helm("install", "eventpipeline", str(CHART), "--create-namespace")
    with operator_process(release.kubeconfig, tmp_path / "operator.log") as operator:
        await operator.until(lambda: _takes(release), "the definition")
        await release.write({})
        await operator.until(release.observed, "a status")
    before = await release.versions()
    release.helm("uninstall", "eventpipeline")
    assert await release.cluster.get(MARKETING)
    assert await release.versions() == before
    release.helm("install", "eventpipeline", str(CHART))
    assert await release.cluster.get(MARKETING), "a new release takes them up again"


async def test_a_definition_that_was_applied_by_hand_is_taken_over_when_told_to(release: Release) -> None:
    await release.cluster.apply(yaml.safe_load((PROJECT / "crds" / f"{CRD.name}.yaml").read_text()))
    with pytest.raises(AssertionError, match="invalid ownership metadata"):
        release.helm("install", "eventpipeline", str(CHART), "--create-namespace")
    release.helm("install", "eventpipeline", str(CHART), "--create-namespace", "--take-ownership")
