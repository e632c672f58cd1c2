"""Rotation of passwords, asked for with annotations on the resource.

Whoever may edit a pipeline may do so, it can stand in a file under version control, and asking twice with one value
rotates once. The Secret says for which values it was rotated last. Deleting the Secret would be no rotation: the
passwords of what runs would be lost.

Everybody who logs in has two logins, of which one is in use. A rotation gives the other one a new password and has the
services use it, so that pods from before go on with the former until they are replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from eventpipeline.spec import EventPipeline
from eventpipeline_operator.auth import nats_logins, nats_renewed, nats_switched, rotated
from eventpipeline_operator.cluster import Cluster
from eventpipeline_operator.look import Looking
from eventpipeline_operator.objects import Key, Object
from eventpipeline_operator.observe import Objects, RotationWaits, WorkloadSeen, workloads_seen
from eventpipeline_operator.planned import may_rotate_database, may_rotate_nats
from eventpipeline_operator.secret import (
    NATS_ROTATED,
    NATS_ROTATING,
    ROTATE_DATABASE,
    ROTATE_NATS,
    ROTATED,
    Credentials,
    login_role,
    written,
)


@dataclass(frozen=True)
class Rotation:
    """The credentials from now on."""

    secrets: Credentials
    made: tuple[str, ...] = ()
    """What was done, for Events."""
    waits: RotationWaits | None = None
    """What was asked for and is not done."""


async def rotate_if_asked(
    cluster: Cluster, looking: Looking, pipeline: EventPipeline, secrets: Credentials, live: Mapping[Key, Object]
) -> Rotation:
    """Goes on with the rotations that the resource asks for. Raises Conflict where somebody else changed the Secret."""
    database = _asked(pipeline, ROTATE_DATABASE, secrets, ROTATED)
    nats = _asked(pipeline, ROTATE_NATS, secrets, NATS_ROTATED)
    if pipeline.spec.paused or (database is None and nats is None):
        return Rotation(secrets)
    pods = await looking.pods(pipeline)
    workloads = workloads_seen(pipeline.metadata.name, Objects(live, pods))
    # One after the other: each waits until what runs has what the one before has changed.
    if database is not None:
        return await _rotate_database(cluster, pipeline, secrets, workloads, database)
    assert nats is not None
    return await _rotate_nats(cluster, looking, pipeline, secrets, workloads, nats)


def _asked(pipeline: EventPipeline, annotation: str, secrets: Credentials, done: str) -> str | None:
    """The value for which a rotation is asked that has not been made yet."""
    asked = (pipeline.metadata.annotations or {}).get(annotation)
    return asked if secrets.version is not None and asked != secrets.notes.get(done) else None


async def _rotate_database(
    cluster: Cluster, pipeline: EventPipeline, secrets: Credentials, workloads: Mapping[str, WorkloadSeen], asked: str
) -> Rotation:
    if pipeline.spec.store.external or not may_rotate_database(workloads):
        return Rotation(secrets, waits=RotationWaits("database"))
    after = await written(cluster, pipeline, secrets, rotated(secrets.auth), {ROTATED: asked})
    made = (
        f"rotated the database's password: the services are started anew and log in as {login_role(after)}; "
        f"the former password of {login_role(secrets)} is valid until the next rotation"
    )
    return Rotation(after, (made,))


async def _rotate_nats(
    cluster: Cluster,
    looking: Looking,
    pipeline: EventPipeline,
    secrets: Credentials,
    workloads: Mapping[str, WorkloadSeen],
    asked: str,
) -> Rotation:
    """Has the servers learn new passwords, then the services use them: no connection is cut and no server restarted."""
    if pipeline.spec.stream.external:
        return Rotation(secrets, waits=RotationWaits("nats"))
    if secrets.notes.get(NATS_ROTATING) != asked:
        if not may_rotate_nats(workloads):
            return Rotation(secrets, waits=RotationWaits("nats"))
        secrets = await written(cluster, pipeline, secrets, nats_renewed(secrets.auth), {NATS_ROTATING: asked})
    if fault := await looking.teach_nats(pipeline, secrets):
        return Rotation(secrets, waits=RotationWaits("nats", learning=fault))
    notes = {NATS_ROTATED: asked, NATS_ROTATING: None}
    after = await written(cluster, pipeline, secrets, nats_switched(secrets.auth), notes)
    logins = ", ".join(nats_logins(after.auth)[0])
    made = (
        f"rotated the passwords of NATS: the servers have learnt them, and the services are started anew and log in as "
        f"{logins}; the former passwords are valid until the next rotation"
    )
    return Rotation(after, (made,))
