"""What the cluster tells: changes of pipelines and of what they own become triggers. The only module that imports kopf.

Only `on.event` handlers: kopf then writes nothing into any object, no annotation and no finalizer, so that a resource
can be deleted while the operator is gone. What they do is to name the pipeline that has to be looked at.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import kopf

from eventpipeline_operator.crd import GROUP, PLURAL, VERSION
from eventpipeline_operator.objects import MANAGER, PIPELINE_LABEL, digest
from eventpipeline_operator.watching import Watching

OWNED: tuple[tuple[str, str, str], ...] = (
    ("", "v1", "pods"),
    ("", "v1", "services"),
    ("", "v1", "configmaps"),
    ("", "v1", "serviceaccounts"),
    ("", "v1", "persistentvolumeclaims"),
    ("apps", "v1", "deployments"),
    ("apps", "v1", "statefulsets"),
    ("batch", "v1", "cronjobs"),
    ("autoscaling", "v2", "horizontalpodautoscalers"),
    ("networking.k8s.io", "v1", "networkpolicies"),
    ("networking.k8s.io", "v1", "ingresses"),
    ("policy", "v1", "poddisruptionbudgets"),
)
"""What is watched of a pipeline, by the label; secrets are looked at by name in each pass."""
_STATUS_MATTERS = ("Pod", "Deployment", "StatefulSet", "PersistentVolumeClaim")
"""Of the others, an autoscaler above all, the status changes all the time and says nothing that a pass would use."""


Tell = Callable[..., None]
"""Calls a method of Watching, by its name, in the loop to which that belongs."""


def registry(tell: Tell) -> kopf.OperatorRegistry:
    """The handlers; what they hear they hand to `tell`."""
    found = kopf.OperatorRegistry()
    kopf.on.login(registry=found)(_login)
    kopf.on.event(GROUP, VERSION, PLURAL, registry=found, id="pipeline")(_pipeline_handler(tell))
    for group, version, plural in OWNED:
        handler = _owned_handler(tell)
        where = {"group": group, "version": version, "plural": plural}
        kopf.on.event(**where, registry=found, id=plural, labels={PIPELINE_LABEL: kopf.PRESENT})(handler)  # type: ignore[arg-type]
    return found


def _login(**arguments: Any) -> kopf.ConnectionInfo | None:
    return kopf.login_with_service_account(**arguments) or kopf.login_with_kubeconfig(**arguments)


def _pipeline_handler(tell: Tell) -> Callable[..., None]:
    def handle(body: Mapping[str, Any], type: str | None, **_: Any) -> None:  # noqa: A002 - kopf's name
        metadata = body["metadata"]
        tell(
            "pipeline", metadata["namespace"], metadata["name"], metadata["uid"], metadata.get("generation", 0),
            digest([metadata.get("labels"), metadata.get("annotations"), metadata.get("deletionTimestamp")]),
            gone=type == "DELETED",
        )  # fmt: skip

    return handle


def _owned_handler(tell: Tell) -> Callable[..., None]:
    def handle(body: Mapping[str, Any], type: str | None, **_: Any) -> None:  # noqa: A002 - kopf's name
        metadata = body["metadata"]
        tell(
            "owned", metadata["namespace"], metadata["labels"][PIPELINE_LABEL], metadata["uid"], _what_matters(body),
            gone=type == "DELETED",
        )  # fmt: skip

    return handle


def _what_matters(body: Mapping[str, Any]) -> str:
    metadata = body["metadata"]
    rest = {key: value for key, value in body.items() if key not in ("metadata", "status")}
    status = body.get("status") if body.get("kind") in _STATUS_MATTERS else None
    kept = {key: metadata.get(key) for key in ("labels", "annotations", "ownerReferences", "deletionTimestamp")}
    return digest([rest, status, kept])


def settings() -> kopf.OperatorSettings:
    found = kopf.OperatorSettings()
    # A watch that hears nothing is begun anew, before a silent network can leave it deaf.
    found.watching.server_timeout = 300
    found.watching.client_timeout = 330
    found.watching.connect_timeout = 10
    found.networking.request_timeout = 60
    for group, version, plural in OWNED:
        found.watching.label_selectors[group, version, plural] = PIPELINE_LABEL
    # Nothing is stored in objects; if ever, it is under our own name.
    found.persistence.finalizer = f"{GROUP}/finalizer"
    found.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    found.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP, key="last-handled")
    found.posting.enabled = False
    found.posting.reporting_component = MANAGER
    found.process.ultimate_exiting_timeout = None
    return found


async def watch(watching: Watching, namespaces: Sequence[str], stop: asyncio.Event) -> None:
    """Watches until `stop` is set.

    In a thread with a loop of its own: in the main one, kopf would take the process's signals to itself.
    """
    loop, flag = asyncio.get_running_loop(), threading.Event()

    def tell(name: str, *arguments: Any, **named: Any) -> None:
        loop.call_soon_threadsafe(functools.partial(getattr(watching, name), *arguments, **named))

    running = asyncio.create_task(
        asyncio.to_thread(
            kopf.run,
            registry=registry(tell),
            settings=settings(),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=tuple(namespaces),
            stop_flag=flag,
        )
    )
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        flag.set()
    await running
