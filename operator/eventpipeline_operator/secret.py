"""The secrets of a pipeline: its own, made once and changed only by a rotation, and those that the resource names."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from eventpipeline.authentication import KeyRef
from eventpipeline.certificates import CA, CERTIFICATE, KEY
from eventpipeline.readers import read_hashes
from eventpipeline.spec import CaRef, EventPipeline, ExternalTls, SecretRef
from eventpipeline_operator import certificates
from eventpipeline_operator.auth import (
    LATER_KEYS,
    NATS_PASSWORD,
    NATS_USER,
    REQUIRED_KEYS,
    USER,
    SecretHashes,
    completed,
    fault,
    hashes,
    new_auth,
)
from eventpipeline_operator.certificates import Files
from eventpipeline_operator.cluster import Cluster
from eventpipeline_operator.errors import Refused, Unavailable
from eventpipeline_operator.objects import PIPELINE, SECRET, Key, Object, is_owned, labels_of, owner_reference

ROTATE_DATABASE, ROTATED = "eventpipeline.dev/rotate-database-password", "eventpipeline.dev/database-password-rotated"
ROTATE_NATS, NATS_ROTATED = "eventpipeline.dev/rotate-nats-password", "eventpipeline.dev/nats-password-rotated"
"""Annotations: of the resource, what is asked for; of the Secret, for which value it was done last."""
NATS_ROTATING = "eventpipeline.dev/nats-password-rotating"
"""Of the Secret: for which value the servers of NATS are learning new passwords."""


@dataclass(frozen=True)
class Credentials:
    """What the services log in with. Never logged."""

    auth: Mapping[str, str] = field(repr=False)
    nats_url: str | None = field(default=None, repr=False)
    database_url: str | None = field(default=None, repr=False)
    nats_tls: Files = field(default_factory=dict, repr=False)
    """The certificates for an external NATS, as files; empty without."""
    store_tls: Files = field(default_factory=dict, repr=False)
    version: str | None = None
    """The resourceVersion of the pipeline's own Secret."""
    notes: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Its annotations, among which a kubectl that applied it has left all that was in it."""

    @property
    def hashes(self) -> SecretHashes:
        return hashes(
            self.auth, nats_url=self.nats_url, database_url=self.database_url,
            nats_tls=self.nats_tls, store_tls=self.store_tls,
        )  # fmt: skip

    def variables(self, pipeline: EventPipeline) -> dict[str, str]:
        """What stands for `$(NAME)` in the addresses of the plan, seen from outside the pipeline's namespace."""
        suffix = f".{pipeline.metadata.namespace}.svc"
        return {
            "$(PIPELINE)-nats": f"{pipeline.metadata.name}-nats{suffix}",
            "$(NATS_USER)": self.auth.get(NATS_USER, ""),
            "$(NATS_PASSWORD)": self.auth.get(NATS_PASSWORD, ""),
            "$(EXTERNAL_NATS_URL)": self.nats_url or "",
            "$$": "$",
        }


@dataclass(frozen=True)
class _Form:
    """What an address looks like. What is wrong with one is never quoted: it holds a password."""

    address: re.Pattern[str]
    example: str

    def fits(self, value: str) -> bool:
        return self.address.fullmatch(value) is not None


# One line; a percent sign only before two hexadecimal digits.
_REST = r"([^%\s]|%[0-9A-Fa-f]{2})+"
_NATS = _Form(re.compile(rf"(nats|tls)://{_REST}"), "nats://user:password@host:4222")
_POSTGRES = _Form(re.compile(rf"postgres(ql)?://{_REST}"), "postgresql://user:password@host:5432/database")
_UNTOUCHED = "What runs is left as it is."


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
        found = await cluster.merge(key, {"metadata": {"ownerReferences": _owners(pipeline, found)}})
    if found and write and any(key not in auth for key in LATER_KEYS):
        auth = completed(auth)
        version = {"resourceVersion": found["metadata"]["resourceVersion"]}
        found = await cluster.merge(key, {"metadata": version, "data": _encoded(auth)})
    if found and (wrong := fault(completed(auth))):
        raise Refused(f"{key}: {wrong}; put it back. {_UNTOUCHED}", "SecretInvalid")
    nats, store = pipeline.spec.stream.external, pipeline.spec.store.external
    reference = nats.credentials_secret_ref if nats else None
    metadata = found["metadata"] if found else {}
    readers = pipeline.spec.reporter.authentication.references
    for key_reference in pipeline.spec.key_references:
        value = await _external(cluster, key.namespace, key_reference)
        if key_reference in readers:
            _check_hashes(key_reference, value)
    return Credentials(
        auth,
        version=metadata.get("resourceVersion"),
        notes=metadata.get("annotations", {}),
        nats_url=await _external(cluster, key.namespace, reference, _NATS) if reference else None,
        database_url=await _external(cluster, key.namespace, store.url_secret_ref, _POSTGRES) if store else None,
        nats_tls=await _certificates(cluster, key.namespace, "stream", nats.tls) if nats and nats.tls else {},
        store_tls=await _certificates(cluster, key.namespace, "store", store.tls) if store and store.tls else {},
    )


async def written(
    cluster: Cluster,
    pipeline: EventPipeline,
    present: Credentials,
    auth: Mapping[str, str],
    notes: Mapping[str, str | None],
) -> Credentials:
    """Writes `auth` and `notes`, annotations, of which one that is None is taken away.

    Raises Conflict where somebody has changed the Secret since it was read.
    """
    key = Key(SECRET, pipeline.metadata.namespace or "", secret_name(pipeline))
    metadata = {"resourceVersion": present.version, "annotations": dict(notes)}
    after = (await cluster.merge(key, {"metadata": metadata, "data": _encoded(auth)}))["metadata"]
    return replace(present, auth=auth, version=after["resourceVersion"], notes=after.get("annotations", {}))


def login_role(present: Credentials) -> str:
    """As which role the services log in to Postgres."""
    return present.auth[USER]


def _new(pipeline: EventPipeline, key: Key) -> Object:
    asked = pipeline.metadata.annotations or {}
    # What is new needs no rotation.
    done = {ROTATED: asked.get(ROTATE_DATABASE), NATS_ROTATED: asked.get(ROTATE_NATS)}
    notes = {note: value for note, value in done.items() if value is not None}
    return {
        "apiVersion": SECRET.api_version,
        "kind": SECRET.kind,
        "metadata": {
            "name": key.name, "namespace": key.namespace, "labels": labels_of(pipeline.metadata.name),
            "annotations": notes,
        },
        "type": "Opaque",
        "data": _encoded(new_auth()),
    }  # fmt: skip


def _encoded(auth: Mapping[str, str]) -> dict[str, str]:
    return {name: base64.b64encode(value.encode()).decode() for name, value in auth.items()}


def _owners(pipeline: EventPipeline, found: Object) -> list[Object] | None:
    """The owners that the secret should have: those that others gave it, and the pipeline under Delete."""
    others = [owner for owner in found["metadata"].get("ownerReferences", []) if owner["kind"] != PIPELINE.kind]
    return [*others, *([owner_reference(pipeline)] if pipeline.spec.deletion_policy == "Delete" else [])] or None


async def _external(cluster: Cluster, namespace: str, reference: SecretRef | KeyRef, form: _Form | None = None) -> str:
    found = await cluster.get(Key(SECRET, namespace, reference.name))
    if found is None:
        raise Refused(
            f"there is no Secret {reference.name} in namespace {namespace}; create it, with the key {reference.key}. "
            f"{_UNTOUCHED}",
            "SecretMissing",
        )
    value = _content(found).get(reference.key)
    if not value:
        raise Refused(f"Secret {reference.name} has no key {reference.key}; add it. {_UNTOUCHED}", "SecretMissing")
    if form and not form.fits(value):
        raise Refused(
            f"Secret {reference.name}, key {reference.key}, does not hold an address such as {form.example}; correct "
            f"it. Characters of a password that mean something in a URL are percent-encoded. {_UNTOUCHED}",
            "SecretInvalid",
        )
    return value


async def _certificates(cluster: Cluster, namespace: str, part: str, tls: ExternalTls) -> Files:
    references = {CA: tls.ca_secret_ref}
    if tls.client_secret_name:
        references |= {file: CaRef(name=tls.client_secret_name, key=file) for file in (CERTIFICATE, KEY)}
    files = {file: await _external(cluster, namespace, reference) for file, reference in references.items()}
    if fault := certificates.fault(files):
        places = ", ".join(f"{file}: Secret {one.name}, key {one.key}" for file, one in references.items())
        raise Refused(f"spec.{part}.external.tls: {fault} ({places}); correct it. {_UNTOUCHED}", "SecretInvalid")
    return files


def _check_hashes(reference: KeyRef, value: str) -> None:
    try:
        read_hashes(value.encode())
    except ValueError as error:
        message = f"Secret {reference.name}, key {reference.key}, {error}. {_UNTOUCHED}"
        raise Refused(message, "SecretInvalid") from None


def _content(secret: Object) -> dict[str, str]:
    data = secret.get("data", {})
    return {name: base64.b64decode(value).decode(errors="replace") for name, value in data.items()}
