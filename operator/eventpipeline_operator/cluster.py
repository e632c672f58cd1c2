"""The API server. The only module that imports the Kubernetes client.

Objects are plain dictionaries, read and written as JSON: with the client's models a list of pods costs ten times as
much. Every method runs the client's blocking call in a thread.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlencode

import orjson
import urllib3
from kubernetes import client, config

from eventpipeline_operator.errors import Conflict, Gone, OperatorError, Refused, Unavailable
from eventpipeline_operator.objects import EVENT, MANAGER, Key, Kind, Object, key_of

_TIMEOUT = urllib3.Timeout(connect=5.0, read=30.0)
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_JSON = "application/json"
_DISCOVERY_SECONDS = 300.0


@dataclass(frozen=True)
class Versions:
    """What helm has to know of the cluster."""

    kube_version: str
    api_versions: tuple[str, ...]


class Cluster:
    def __init__(self, api: client.ApiClient) -> None:
        self._api = api
        self._plurals: dict[Kind, str] = {}
        self._versions: tuple[float, Versions] | None = None

    @classmethod
    def connect(cls) -> Cluster:
        """As the pod's service account, or with the user's kubeconfig where this is no pod."""
        try:
            config.load_incluster_config()  # type: ignore[no-untyped-call]
        except config.ConfigException:
            config.load_kube_config()  # type: ignore[no-untyped-call]
        configuration = client.Configuration.get_default_copy()
        configuration.connection_pool_maxsize = 16
        return cls(client.ApiClient(configuration))

    @classmethod
    def from_kubeconfig(cls, path: Path) -> Cluster:
        return cls(config.new_client_from_config(config_file=str(path)))  # type: ignore[no-untyped-call]

    # --- objects -----------------------------------------------------------------------------------------------------

    async def get(self, key: Key) -> Object | None:
        """The object, or None where there is none."""
        try:
            return await self._call("GET", await self._path(key.kind, key.namespace, key.name))
        except Gone:
            return None

    async def list_all(
        self, kind: Kind, namespace: str = "", *, labels: Mapping[str, str] | None = None, fields: str = ""
    ) -> dict[Key, Object]:
        """The objects of one kind; none where the cluster does not know the kind."""
        query = {"labelSelector": ",".join(f"{name}={value}" for name, value in (labels or {}).items())}
        try:
            answer = await self._call("GET", await self._path(kind, namespace), query | {"fieldSelector": fields})
        except Gone:
            return {}
        items = [item | {"apiVersion": kind.api_version, "kind": kind.kind} for item in answer["items"]]
        return {key_of(item): item for item in items}

    async def apply(self, item: Object) -> Object:
        """Server-side apply; takes fields over from whoever else set them.

        Raises Refused, Conflict, Unavailable, and Gone where the namespace or the kind is no longer there.
        """
        key = key_of(item)
        query = {"fieldManager": MANAGER, "force": "true"}
        path = await self._path(key.kind, key.namespace, key.name)
        try:
            return await self._call("PATCH", path, query, item, _APPLY)
        except Gone:
            # The namespace is gone, or the kind: the next pass asks anew what the cluster serves.
            self._plurals.clear()
            self._versions = None
            raise

    async def create(self, item: Object) -> Object | None:
        """The object that was made, or None where one of this name was there."""
        key = key_of(item)
        try:
            return await self._call("POST", await self._path(key.kind, key.namespace), {"fieldManager": MANAGER}, item)
        except Conflict:
            return None

    async def merge(self, key: Key, change: Object) -> Object:
        query = {"fieldManager": MANAGER}
        return await self._call("PATCH", await self._path(key.kind, key.namespace, key.name), query, change, _MERGE)

    async def patch_status(self, key: Key, status: Object) -> Object:
        path = await self._path(key.kind, key.namespace, key.name)
        return await self._call("PATCH", f"{path}/status", {"fieldManager": MANAGER}, {"status": status}, _MERGE)

    async def delete(self, item: Object) -> None:
        """Deletes this very object, not one that has taken its name since; it may be gone already."""
        key = key_of(item)
        options = {"propagationPolicy": "Background", "preconditions": {"uid": item["metadata"]["uid"]}}
        try:
            await self._call("DELETE", await self._path(key.kind, key.namespace, key.name), {}, options)
        except (Gone, Conflict):
            return

    async def emit(self, about: Object, kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """Makes a Kubernetes Event; that it cannot be made stops nothing."""
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        key = key_of(about)
        event = {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.kind,
            "metadata": {"generateName": f"{key.name}.", "namespace": key.namespace},
            "involvedObject": {
                "apiVersion": key.kind.api_version, "kind": key.kind.kind, "name": key.name,
                "namespace": key.namespace, "uid": about["metadata"]["uid"],
            },
            "type": kind, "reason": reason, "message": message[:1024], "count": 1,
            "firstTimestamp": now, "lastTimestamp": now,
            "source": {"component": MANAGER}, "reportingComponent": MANAGER,
        }  # fmt: skip
        try:
            await self._call("POST", await self._path(EVENT, key.namespace), {}, event)
        except OperatorError:
            return

    # --- discovery ---------------------------------------------------------------------------------------------------

    async def versions(self) -> Versions:
        """The cluster's version and what it serves, in helm's words (`apps/v1`, `apps/v1/Deployment`)."""
        if self._versions and time.monotonic() - self._versions[0] < _DISCOVERY_SECONDS:
            return self._versions[1]
        version = await self._call("GET", "/version")
        groups = await self._call("GET", "/apis")
        served = ["v1"] + [entry["groupVersion"] for group in groups["groups"] for entry in group["versions"]]
        kinds: list[str] = []
        for group_version in served:
            kinds += [f"{group_version}/{kind}" for kind in await self._discover(group_version)]
        found = Versions(version["gitVersion"], tuple(sorted([*served, *kinds])))
        self._versions = (time.monotonic(), found)
        return found

    async def _discover(self, group_version: str) -> list[str]:
        root = f"/api/{group_version}" if "/" not in group_version else f"/apis/{group_version}"
        try:
            resources = (await self._call("GET", root))["resources"]
        except (Gone, Unavailable):  # an aggregated API that is down
            return []
        found = {entry["kind"]: entry["name"] for entry in resources if "/" not in entry["name"]}
        self._plurals |= {Kind(group_version, kind): plural for kind, plural in found.items()}
        return list(found)

    async def _path(self, kind: Kind, namespace: str, name: str = "") -> str:
        if kind not in self._plurals:
            await self._discover(kind.api_version)
        if kind not in self._plurals:
            raise Gone(f"the cluster knows no {kind.kind} of {kind.api_version}")
        root = "/api" if "/" not in kind.api_version else "/apis"
        place = f"/namespaces/{quote(namespace)}" if namespace else ""
        return f"{root}/{kind.api_version}{place}/{self._plurals[kind]}" + (f"/{quote(name)}" if name else "")

    # --- requests ----------------------------------------------------------------------------------------------------

    async def _call(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None, content: str = _JSON
    ) -> Object:
        return await asyncio.to_thread(self._request, method, path, query or {}, body, content)

    def _request(self, method: str, path: str, query: Mapping[str, str], body: Any, content: str) -> Object:
        headers = {"Accept": _JSON, "Content-Type": content}
        self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        parameters = urlencode({name: value for name, value in query.items() if value})
        url = f"{self._api.configuration.host}{path}" + (f"?{parameters}" if parameters else "")
        try:
            answer = self._api.rest_client.pool_manager.request(
                method, url, headers=headers, body=None if body is None else orjson.dumps(body), timeout=_TIMEOUT,
                retries=False,
            )  # fmt: skip
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unavailable(f"the API server does not answer: {error}") from error
        if answer.status >= 400:
            raise _error(answer.status, answer.data, f"{method} {path}")
        found: Object = orjson.loads(answer.data)
        return found


def _error(status: int, body: bytes, what: str) -> OperatorError:
    try:
        message = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        message = f"{what}: HTTP {status} {body[:200].decode(errors='replace')}"
    match status:
        case 404:
            return Gone(message)
        case 409:
            return Conflict(message)
        case 429 | 500 | 502 | 503 | 504:
            return Unavailable(message)
        case 401:
            return Unavailable(f"{message}: the API server does not know who this is")
    return Refused(message, _refusal(status, message))


def _refusal(status: int, message: str) -> str:
    if "exceeded quota" in message:
        return "QuotaExceeded"
    if "violates PodSecurity" in message:
        return "PodSecurityViolated"
    return "Forbidden" if status == 403 else "Refused"
