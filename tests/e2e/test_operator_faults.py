"""The operator is killed in the middle of its work, on a cluster: what it left half done is brought to its end.

`test_apiserver_kills.py` goes through every single write; here are the pods, the garbage collector and the kubelet too.
The tests run in order on one pipeline; each goes on from what the one before left.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator

import pytest
from operators import Operator, Owned
from pipelines import Pipeline

from cluster.access import Cluster, Object, wait_for
from eventpipeline_operator.objects import DEPLOYMENT, PIPELINE_LABEL, SECRET, Key

_MINIMAL = {"apiVersion": "eventpipeline.dev/v1alpha1", "kind": "EventPipeline", "metadata": {"name": "shaken"}}
_SEED = 4


@pytest.fixture(scope="module")
def pipeline(operator: Cluster) -> Iterator[Pipeline]:
    with operator.namespace("faults") as namespace:
        yield Pipeline(operator, namespace, "shaken")


@pytest.fixture
def killer(operator: Cluster) -> Iterator[Operator]:
    found = Operator(operator)
    found.until_ready()
    yield found
    found.until_ready()


async def kill_once(killer: Operator, moment: Callable[[], Awaitable[bool]], what: str) -> None:
    """Kills the operator as soon as `moment` has come."""
    try:
        async with asyncio.timeout(60):
            while not await moment():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"{what}: this moment never came") from None
    killer.kill()


async def secret(owned: Owned) -> dict[str, str] | None:
    found = await owned.api.get(Key(SECRET, owned.namespace, f"{owned.name}-auth"))
    return found["data"] if found else None


async def until_whole(pipeline: Pipeline, killer: Operator) -> None:
    """Ready, each object once and as it is rendered, each pod one of theirs, and nothing more to write."""
    pipeline.until_ready()
    assert await Owned.of(pipeline).faults() == []
    wait_for(lambda: replicas(pipeline) == pods(pipeline), what=lambda: f"{replicas(pipeline)}; {pods(pipeline)}")
    assert killer.look_again(pipeline) == {}, "an unchanged pass writes nothing"


def replicas(pipeline: Pipeline) -> int:
    workloads = pipeline.cluster.get_all("deployments,statefulsets", namespace=pipeline.namespace)
    return sum(item["status"]["replicas"] for item in workloads)


def pods(pipeline: Pipeline) -> int:
    """How many there are of services and servers, those of a job left out."""
    found = pipeline.cluster.get_all("pods", namespace=pipeline.namespace)
    return sum(pod["metadata"]["ownerReferences"][0]["kind"] != "Job" for pod in found)


async def test_a_first_install(pipeline: Pipeline, killer: Operator) -> None:
    owned = Owned.of(pipeline)
    pipeline.cluster.apply(_MINIMAL, namespace=pipeline.namespace)
    made: dict[str, str] | None = None
    for count in sorted(random.Random(_SEED).sample(range(1, 20), 3)):

        async def there(count: int = count) -> bool:
            return len(await owned.objects()) >= count

        await kill_once(killer, there, f"{count} objects")
        now = await secret(owned)
        assert made is None or now == made, "the passwords were made twice"
        made = now
    await until_whole(pipeline, killer)
    assert await secret(owned) == made


async def test_an_upgrade(pipeline: Pipeline, killer: Operator) -> None:
    owned, before = Owned.of(pipeline), await secret(Owned.of(pipeline))
    old = {key: item for key, item in (await owned.objects()).items() if key.kind == DEPLOYMENT}
    pipeline.patch(
        '{"spec":{"gateway":{"maxBodyBytes":1048576},"collector":{"resources":{"limits":{"memory":"600Mi"}}}}}'
    )

    async def begun() -> bool:
        now = await owned.objects()
        return any(now[key]["metadata"]["generation"] > item["metadata"]["generation"] for key, item in old.items())

    async def rolling() -> bool:
        return any(
            item["status"].get("unavailableReplicas")
            or item["status"].get("updatedReplicas", 0) < item["status"]["replicas"]
            for key, item in (await owned.objects()).items()
            if key.kind == DEPLOYMENT
        )

    await kill_once(killer, begun, "a changed Deployment")
    await kill_once(killer, rolling, "a rollout")
    await until_whole(pipeline, killer)
    assert await secret(owned) == before
    revisions = {
        key.name: revision(item) - revision(old[key]) for key, item in (await owned.objects()).items() if key in old
    }
    changed = ("shaken-gateway", "shaken-facebook-collector", "shaken-tiktok-collector")
    assert revisions == {name: int(name in changed) for name in revisions}, "each rolled once, and no other"


def revision(deployment: Object) -> int:
    """Counts the pod templates that it had."""
    return int(deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"])


async def test_every_owned_object_that_somebody_deletes_is_put_back(pipeline: Pipeline, killer: Operator) -> None:
    owned = Owned.of(pipeline)
    objects = await owned.objects()
    print(f"{len(objects)} objects: {', '.join(map(str, objects))}")
    for key, item in objects.items():
        await owned.api.delete(item)

        async def is_back(key: Key = key, uid: str = item["metadata"]["uid"]) -> bool:
            found = await owned.api.get(key)
            return found is not None and found["metadata"]["uid"] != uid

        async with asyncio.timeout(30):
            while not await is_back():
                await asyncio.sleep(0.05)
    await until_whole(pipeline, killer)
    said = " ".join(message for message in pipeline.events() if message.startswith("made "))
    assert [key for key in objects if str(key) not in said] == []


async def test_a_deletion(pipeline: Pipeline, killer: Operator) -> None:
    owned, before = Owned.of(pipeline), await secret(Owned.of(pipeline))
    count = len(await owned.objects())
    pipeline.cluster.kubectl("delete", pipeline.resource, "--wait=false", namespace=pipeline.namespace)

    async def going() -> bool:
        return len(await owned.objects()) < count

    await kill_once(killer, going, "the first objects go")
    await until_nothing(pipeline)
    killer.until_ready()
    assert await secret(owned) == before, "deletionPolicy is Retain"
    assert len(pipeline.cluster.get_all("persistentvolumeclaims", namespace=pipeline.namespace)) == 2


async def test_a_resource_that_is_deleted_while_it_is_made(pipeline: Pipeline, killer: Operator) -> None:
    """The operator dies half way, and when it comes back the resource is gone: nothing is made, nothing is left."""
    brief = Pipeline(pipeline.cluster, pipeline.namespace, "brief")
    owned = Owned.of(brief)
    resource = {**_MINIMAL, "metadata": {"name": brief.name}, "spec": {"deletionPolicy": "Delete"}}
    brief.cluster.apply(resource, namespace=brief.namespace)

    async def half() -> bool:
        return len(await owned.objects()) >= 10

    await kill_once(killer, half, "10 objects")
    brief.cluster.kubectl("delete", brief.resource, "--wait=true", "--timeout=20s", namespace=brief.namespace)
    killer.until_ready()
    await until_nothing(brief)
    label = f"{PIPELINE_LABEL}={brief.name}"
    wait_for(
        lambda: not brief.cluster.get_all("secrets,persistentvolumeclaims", namespace=brief.namespace, selector=label),
        what="no secret and no volume",
    )


async def until_nothing(pipeline: Pipeline) -> None:
    owned, label = Owned.of(pipeline), f"{PIPELINE_LABEL}={pipeline.name}"
    try:
        async with asyncio.timeout(120):
            while await owned.objects() or pipeline.cluster.get_all(
                "pods", namespace=pipeline.namespace, selector=label
            ):
                await asyncio.sleep(0.2)
    except TimeoutError:
        left = [str(key) for key in await owned.objects()]
        raise AssertionError(f"after the deletion there still are {left} and perhaps pods") from None
