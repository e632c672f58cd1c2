"""The processes of a pipeline, as `eventpipeline up` runs them, several of each service, with a proxy at each joint.

The programs, their settings and the supervisor that starts them again are those of `eventpipeline.local`; only the
addresses differ: each service has proxies of its own to NATS and to Postgres, and the gateways stand behind one.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psutil

from eventpipeline.local import nats, postgres, workloads
from eventpipeline.local.program import Program
from eventpipeline.local.supervisor import OnEvent, Supervisor, ignore
from eventpipeline.plan import Addresses, Plan, Workload, plan
from eventpipeline.spec import EventPipeline, quantity_bytes
from faults.proxy import Proxy
from faults.volumes import Volume, in_own_namespace
from servers import free_port

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
NATS, POSTGRES = workloads.NATS, workloads.POSTGRES
_POSTGRES_VOLUME = 24 * 2**30


@dataclass(frozen=True)
class Shape:
    """How much of everything runs."""

    gateways: int = 2
    collectors: int = 2
    """Of each source."""
    nats_storage: str = "64Mi"
    volumes: bool = True
    """Whether the servers have file systems of their own."""
    entry: tuple[str, ...] = workloads.ENTRY
    """The command of the services; one with a planted bug, in tests of the oracle."""
    sync_interval: str = "always"
    """Of NATS; another one, in the test that shows what a power cut takes then."""


@dataclass
class Rig:
    folder: Path
    plan: Plan
    supervisor: Supervisor
    cluster: postgres.Postgres
    shape: Shape
    ports: dict[str, int] = field(default_factory=dict)
    proxies: dict[str, Proxy] = field(default_factory=dict)
    """By `who-whom`: `gateway-0-nats`, `facebook-collector-1-postgres`, `publisher-gateway`."""
    volumes: dict[str, Volume] = field(default_factory=dict)
    clocks: dict[str, Path] = field(default_factory=dict)
    """Of services whose clock can be set: the file that says by how much it is off."""

    @property
    def services(self) -> tuple[str, ...]:
        return tuple(name for name in self.ports if name not in (NATS, POSTGRES, workloads.NATS_MONITOR))

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(collector.name.removesuffix("-collector") for collector in self.plan.collectors)

    @property
    def gateway_url(self) -> str:
        return f"http://127.0.0.1:{self.proxies['publisher-gateway'].port}"

    @property
    def reporter_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['reporter-0']}"

    @property
    def database_url(self) -> str:
        return self.cluster.url(self.ports[POSTGRES])

    def of(self, kind: str) -> tuple[str, ...]:
        """The names of all programs of one kind: gateway, collector, reporter, nats, postgres."""
        return tuple(name for name in self.ports if kind in name and name != workloads.NATS_MONITOR)

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def process(self, name: str) -> psutil.Process | None:
        """The running process of a program."""
        pid = self.supervisor.pids().get(name)
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(pid) if pid else None
        return None

    def send(self, name: str, number: signal.Signals) -> None:
        """Sends a signal to a program and everything that it started."""
        process = self.process(name)
        if process is None:
            return
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(number)

    # --- starting ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        for name in (NATS, workloads.NATS_MONITOR, POSTGRES):
            self.ports[name] = free_port()
        await self.start_servers()
        task = workloads.owner_task(
            "migrate", self.plan, database_url=self.database_url, log=self.log("migrate"), entry=workloads.ENTRY
        )
        assert await self.supervisor.once(task) == 0, self.log("migrate").read_text()
        for workload in self.plan.workloads:
            for name in self._replicas(workload):
                self.ports[name] = free_port()
                for server in (NATS, POSTGRES) if hasattr(workload.settings, "database_url") else (NATS,):
                    await self._add_proxy(f"{name}-{server}", (server,))
        await self._add_proxy("publisher-gateway", self.of("gateway"))
        await self.start_services()

    async def _add_proxy(self, name: str, targets: tuple[str, ...]) -> None:
        self.proxies[name] = await Proxy(free_port(), lambda: [self.ports[target] for target in targets]).__aenter__()

    async def start_servers(self) -> None:
        self.supervisor.start(self._nats())
        if not self.cluster.data.exists():
            await asyncio.to_thread(self.cluster.initialise)
        server = self.cluster.server(port=self.ports[POSTGRES], log=self.log(POSTGRES))
        # The laptop's 8 GB of log would fill the small file system all by itself.
        self.supervisor.start(dataclasses.replace(server, argv=(*server.argv, "--max_wal_size=1GB")))
        await self.supervisor.ready(NATS, POSTGRES)

    def _nats(self) -> Program:
        assert self.plan.nats is not None
        server = nats.server(
            self.folder / "nats" / "store",
            port=self.ports[NATS],
            monitor_port=self.ports[workloads.NATS_MONITOR],
            max_file_bytes=self.plan.nats.max_file_bytes,
            log=self.log(NATS),
        )
        config = self.folder / "nats" / "store" / "nats.conf"
        text = config.read_text()
        assert "sync_interval: always" in text
        config.write_text(text.replace("sync_interval: always", f"sync_interval: {self.shape.sync_interval}"))
        return server

    async def start_services(self) -> None:
        names = []
        for workload in self.plan.workloads:
            for name in self._replicas(workload):
                self.supervisor.start(self._service(workload, name))
                names.append(name)
        await self.supervisor.ready(*names)

    def _replicas(self, workload: Workload) -> list[str]:
        many = {"gateway": self.shape.gateways, "reporter": 1}.get(workload.name, self.shape.collectors)
        return [f"{workload.name}-{number}" for number in range(many)]

    def _service(self, workload: Workload, name: str) -> Program:
        addresses = {"nats_url": f"nats://127.0.0.1:{self.proxies[f'{name}-{NATS}'].port}"}
        if proxy := self.proxies.get(f"{name}-{POSTGRES}"):
            addresses["database_url"] = self.cluster.url(proxy.port)
        settings = workload.settings.model_copy(update=addresses)
        program = workloads.service(
            dataclasses.replace(workload, settings=settings),
            port=self.ports[name], log=self.log(name), entry=self.shape.entry,
        )  # fmt: skip
        clock = self._clock(name) if name.endswith("-0") else {}
        return dataclasses.replace(program, name=name, env={**program.env, **clock})

    def _clock(self, name: str) -> dict[str, str]:
        if not FAKETIME.exists():
            return {}
        file = self.clocks[name] = self.folder / f"{name}.clock"
        file.write_text("+0\n")
        return {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_CACHE_DURATION": "1",
            # A clock that is set leaves the monotonic one alone.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def lose_power(self) -> None:
        """Every process is gone at once, and none comes back by itself."""
        victims = [one for name in self.supervisor.pids() if (one := self.process(name))]
        family = [child for one in victims for child in one.children(recursive=True)]
        self.supervisor.kill()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=5)

    async def stop(self) -> None:
        for kind in ("gateway", "collector", "reporter"):
            await self.supervisor.stop(*self.of(kind))
        await self.supervisor.stop(NATS)
        await self.supervisor.stop(POSTGRES)

    # --- looking -----------------------------------------------------------------------------------------------------

    async def is_ready(self, client: httpx2.AsyncClient) -> bool:
        """Whether every service answers that all it depends on is there."""
        return set(self.supervisor.pids()) >= {*self.services, NATS, POSTGRES} and all(
            await asyncio.gather(*(self._answers_ok(client, name) for name in self.services))
        )

    async def _answers_ok(self, client: httpx2.AsyncClient, name: str) -> bool:
        try:
            answer = await client.get(f"http://127.0.0.1:{self.ports[name]}/readyz", timeout=3.0)
        except httpx2.TransportError:
            return False
        return answer.status_code == 200 and all(check == "ok" for check in answer.json()["checks"].values())


@contextlib.asynccontextmanager
async def rig(folder: Path, shape: Shape, on_event: OnEvent = ignore) -> AsyncIterator[Rig]:
    """A running pipeline in `folder`; everything of it is gone at the end of the block."""
    pipeline = EventPipeline.model_validate(
        {
            "apiVersion": "eventpipeline.dev/v1alpha1",
            "kind": "EventPipeline",
            "metadata": {"name": "faults"},
            "spec": {"stream": {"nats": {"storage": shape.nats_storage}}},
        }
    )
    volumes = {}
    try:
        if shape.volumes and in_own_namespace():
            volumes[NATS] = Volume.make(folder / "nats", quantity_bytes(shape.nats_storage))
            volumes[POSTGRES] = Volume.make(folder / "postgres", _POSTGRES_VOLUME)
        (folder / "nats").mkdir(exist_ok=True)
        (folder / "postgres").mkdir(exist_ok=True)
        cluster = postgres.open_cluster(folder / "postgres" / "home")
        made = Rig(
            folder, plan(pipeline, Addresses("nats://127.0.0.1:1", "postgresql://127.0.0.1:1/x")),
            Supervisor(on_event, grace_seconds=15.0), cluster, shape, volumes=volumes,
        )  # fmt: skip
        try:
            await made.start()
            yield made
        finally:
            await made.stop()
            await asyncio.gather(*(proxy.__aexit__() for proxy in made.proxies.values()))
    finally:
        for volume in volumes.values():
            volume.unmount()
