"""The secrets of a pipeline: its own, made once and never overwritten, and those that the resource names."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field

from eventpipeline.spec import EventPipeline, SecretRef
from eventpipeline_operator.auth import NATS_PASSWORD, REQUIRED_KEYS, SecretHashes, hashes, new_auth
from eventpipeline_operator.cluster import Cluster
from eventpipeline_operator.errors import Refused, Unavailable
from eventpipeline_operator.objects import SECRET, Key, Object, is_owned, labels_of, owner_reference


@dataclass(frozen=True)
class Credentials:
    """What the services log in with. Never logged."""

    auth: Mapping[str, str] = field(repr=False)
    nats_url: str | None = field(default=None, repr=False)
    database_url: str | None = field(default=None, repr=False)

    @property
    def hashes(self) -> SecretHashes:
        return hashes(self.auth, nats_url=self.nats_url, database_url=self.database_url)

    def variables(self, pipeline: EventPipeline) -> dict[str, str]:
        """What stands for `$(NAME)` in the addresses of the plan, seen from outside the pipeline's namespace."""
        suffix = f".{pipeline.metadata.namespace}.svc"
        return {
            "$(PIPELINE)-nats": f"{pipeline.metadata.name}-nats{suffix}",
            "$(NATS_PASSWORD)": self.auth.get(NATS_PASSWORD, ""),
            "$(EXTERNAL_NATS_URL)": self.nats_url or "",
            "$$": "$",
        }


def secret_name(pipeline: EventPipeline) -> str:
    return f"{pipeline.metadata.name}-auth"


async def credentials(cluster: Cluster, pipeline: EventPipeline, *, write: bool) -> Credentials:
    """Reads the secrets of `pipeline`, and makes its own where it is missing and `write` is set.

    The own secret has an owner only under deletionPolicy Delete, so that the data of a pipeline that comes back can
    be read. Raises Refused where a secret that the resource names is not there.
    """
    key = Key(SECRET, pipeline.metadata.namespace or "", secret_name(pipeline))
    found = await cluster.get(key)
    if found is None and write:
        found = await cluster.create(_new(pipeline, key)) or await cluster.get(key)
        if found is None:
            raise Unavailable(f"{key} was deleted while it was made")
    auth = _content(found) if found else {}
    if found and (missing := [name for name in REQUIRED_KEYS if name not in auth]):
        raise Refused(f"{key} has no {', '.join(missing)}; put it back, or delete the Secret.", "SecretIncomplete")
    if found and write and is_owned(found, pipeline.metadata.uid) != (pipeline.spec.deletion_policy == "Delete"):
        await cluster.apply(_metadata(pipeline, key))
    nats, store = pipeline.spec.stream.external, pipeline.spec.store.external
    reference = nats.credentials_secret_ref if nats else None
    return Credentials(
        auth,
        nats_url=await _external(cluster, key.namespace, reference) if reference else None,
        database_url=await _external(cluster, key.namespace, store.url_secret_ref) if store else None,
    )


def _new(pipeline: EventPipeline, key: Key) -> Object:
    data = {name: base64.b64encode(value.encode()).decode() for name, value in new_auth().items()}
    return {**_metadata(pipeline, key), "type": "Opaque", "data": data}


def _metadata(pipeline: EventPipeline, key: Key) -> Object:
    owners = [owner_reference(pipeline)] if pipeline.spec.deletion_policy == "Delete" else []
    return {
        "apiVersion": SECRET.api_version,
        "kind": SECRET.kind,
        "metadata": {
            "name": key.name,
            "namespace": key.namespace,
            "labels": labels_of(pipeline.metadata.name),
            **({"ownerReferences": owners} if owners else {}),
        },
    }


async def _external(cluster: Cluster, namespace: str, reference: SecretRef) -> str:
    found = await cluster.get(Key(SECRET, namespace, reference.name))
    if found is None:
        raise Refused(f"there is no Secret {reference.name} in namespace {namespace}; create it.", "SecretMissing")
    value = _content(found).get(reference.key)
    if not value:
        raise Refused(f"Secret {reference.name} has no key {reference.key}; add it.", "SecretMissing")
    return value


def _content(secret: Object) -> dict[str, str]:
    data = secret.get("data", {})
    return {name: base64.b64decode(value).decode(errors="replace") for name, value in data.items()}
