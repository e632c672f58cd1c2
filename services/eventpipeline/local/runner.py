"""Runs the plan of a pipeline as processes on this machine, nats-server and Postgres included.

    async with running(pipeline, Options(Path(".eventpipeline"))) as run:
        ...  # everything is ready, and run.gateway_url takes events

Starts the servers, then the schema, then the services; stops in the order of the data.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import secrets
import shutil
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from eventpipeline.local import nats, postgres, workloads
from eventpipeline.local.datadir import Child, DataDir, Run, rotate, tail
from eventpipeline.local.drain import drain, say_what_is_left
from eventpipeline.local.errors import LocalError, StartFailed, Unresolvable
from eventpipeline.local.ports import HOST, refuse_taken, shifted
from eventpipeline.local.program import Program
from eventpipeline.local.supervisor import Event, OnEvent, Supervisor, ignore
from eventpipeline.plan import GATEWAY_PORT, Addresses, Plan, Workload, plan
from eventpipeline.settings import GatewaySettings
from eventpipeline.spec import EventPipeline
from eventpipeline.store import StoreError
from eventpipeline.store.address import address
from eventpipeline.store.grants import COLLECTOR, REPORTER, make_logins
from eventpipeline.store.partitions import maintain
from eventpipeline.store.schema import migrate
from eventpipeline.stream import DEAD, Stream, StreamUnavailable
from eventpipeline.users import OWNER

_SAME_SECONDS = 0.5
"""A wrapper such as `timeout` or `make` passes on a Ctrl-C that the terminal has sent already: still the first one."""
_MAINTAIN_SECONDS = 3600.0
_LEFTOVER_SECONDS = 15.0
_STREAMS_SECONDS = 30.0


@dataclass(frozen=True)
class Options:
    """How a pipeline is run here: what the resource does not say."""

    data_dir: Path
    port_offset: int = 0
    nats_url: str | None = None
    """Servers that run already, instead of ones of our own."""
    database_url: str | None = None
    nats_tls_dir: Path | None = None
    """Folders with the certificates for those servers."""
    database_tls_dir: Path | None = None
    keys_dir: Path | None = None
    """Where the keys of senders and readers are, as files NAME/KEY; without it, the folder keys in the data dir."""
    as_root: postgres.RootStrategy | None = None
    entry: tuple[str, ...] = workloads.ENTRY


async def _for_ever(_run: Running) -> None:
    await asyncio.Event().wait()


async def up(
    pipeline: EventPipeline,
    options: Options,
    on_event: OnEvent = ignore,
    work: Callable[[Running], Awaitable[object]] = _for_ever,
) -> None:
    """Run the pipeline while `work` goes on, at most until SIGINT, SIGTERM or SIGHUP; a second one ends all at once.

    Raises LocalError where it cannot be run.
    """
    me = asyncio.current_task()
    assert me is not None
    supervisor = Supervisor(on_event)
    asked: float | None = None

    def stop() -> None:
        nonlocal asked
        if asked is None:
            asked = time.monotonic()
            me.cancel()
        elif time.monotonic() - asked > _SAME_SECONDS:
            supervisor.kill()

    with _on_signals(stop):
        try:
            async with _running(pipeline, options, supervisor, on_event) as run:
                await work(run)
        except asyncio.CancelledError:
            if asked is None:
                raise
            me.uncancel()


@contextlib.contextmanager
def _on_signals(stop: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    numbers = [signal.SIGINT, signal.SIGTERM]
    # Under nohup it is ignored, and stays so.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@contextlib.asynccontextmanager
async def running(pipeline: EventPipeline, options: Options, on_event: OnEvent = ignore) -> AsyncIterator[Running]:
    """The pipeline, ready; stopped at the end of the block. Raises LocalError where it cannot be run."""
    async with _running(pipeline, options, Supervisor(on_event), on_event) as run:
        yield run


@contextlib.asynccontextmanager
async def _running(
    pipeline: EventPipeline, options: Options, supervisor: Supervisor, on_event: OnEvent
) -> AsyncIterator[Running]:
    pipeline = workloads.resolved(
        pipeline, nats_url=options.nats_url, database_url=options.database_url,
        nats_tls_dir=options.nats_tls_dir, database_tls_dir=options.database_tls_dir,
    )  # fmt: skip
    data = DataDir(options.data_dir)
    if fault := workloads.missing_keys(pipeline, _keys(options, data), os.environ):
        raise Unresolvable(fault)
    with data.locked():
        await _end_leftovers(data, on_event)
        run = _prepare(_fitting(pipeline, data, on_event), options, data, supervisor)
        refuse_taken(run.info.ports)
        supervisor.on_start = run.record
        try:
            await run.start()
            beside = [asyncio.create_task(work) for work in (run.maintain(on_event), run.drain(on_event))]
            try:
                yield run
            finally:
                for task in beside:
                    task.cancel()
                await asyncio.gather(*beside, return_exceptions=True)
        finally:
            await run.stop()
            data.clear_run()


def _keys(options: Options, data: DataDir) -> Path:
    return (options.keys_dir or data.root / "keys").absolute()


def _fitting(pipeline: EventPipeline, data: DataDir, on_event: OnEvent) -> EventPipeline:
    fitting = workloads.capped(pipeline, shutil.disk_usage(data.root).free + data.nats_bytes())
    if fitting is not pipeline and fitting.spec.stream.managed and pipeline.spec.stream.managed:
        wanted, given = pipeline.spec.stream.managed.storage, fitting.spec.stream.managed.storage
        on_event(Event("note", "nats", detail=f"takes {given} instead of {wanted}, a quarter of the free disk"))
    return fitting


def _prepare(pipeline: EventPipeline, options: Options, data: DataDir, supervisor: Supervisor) -> Running:
    """Everything that can be known before anything runs."""
    external = pipeline.spec.stream.external
    cluster = None if options.database_url else postgres.open_cluster(data.postgres, as_root=options.as_root)
    servers = shifted(workloads.server_ports(nats=external is None, postgres=cluster is not None), options.port_offset)
    passwords = {} if external else nats.new_passwords()
    urls = {user: f"nats://{user}:{value}@{HOST}:{servers[workloads.NATS]}" for user, value in passwords.items()}
    nats_url = external.url if external else urls.pop(OWNER)
    database_url = cluster.url(servers[workloads.POSTGRES]) if cluster else options.database_url
    assert database_url is not None
    addresses = Addresses(
        nats_url, database_url, urls,
        nats_tls_dir=_absolute(options.nats_tls_dir), database_tls_dir=_absolute(options.database_tls_dir),
        gateway_url=f"http://{HOST}:{GATEWAY_PORT + options.port_offset}",
    )  # fmt: skip
    logins: dict[str, str] = {}
    if cluster:
        logins = {role: secrets.token_hex(24) for role in (COLLECTOR, REPORTER)}
        stores = {role: cluster.url(servers[workloads.POSTGRES], role, password) for role, password in logins.items()}
        addresses = replace(addresses, database_url=stores[COLLECTOR], reporter_database_url=stores[REPORTER])
    the_plan = plan(pipeline, addresses)
    ports = servers | shifted(workloads.service_ports(the_plan), options.port_offset)
    info = Run(
        pipeline=the_plan.name,
        pid=os.getpid(),
        created=psutil.Process().create_time(),
        ready=False,
        ports=ports,
        gateway_url=f"http://{HOST}:{ports[the_plan.gateway.name]}",
        reporter_url=f"http://{HOST}:{ports[the_plan.reporter.name]}",
        nats_url=nats_url,
        database_url=database_url,
        nats_tls_dir=addresses.nats_tls_dir,
        database_tls_dir=addresses.database_tls_dir,
    )
    collector_of = functools.partial(workloads.collector_of, pipeline, addresses=addresses)
    key_variables = workloads.keys_in(pipeline.spec.key_references, os.environ)
    return Running(the_plan, collector_of, info, options, data, cluster, supervisor, key_variables, passwords, logins)


def _absolute(folder: Path | None) -> str | None:
    return str(folder.absolute()) if folder else None


class Running:
    """A pipeline on this machine."""

    def __init__(
        self, the_plan: Plan, collector_of: Callable[[str], Workload], info: Run, options: Options, data: DataDir,
        cluster: postgres.Postgres | None, supervisor: Supervisor, key_variables: Mapping[str, str],
        nats_passwords: Mapping[str, str], store_logins: Mapping[str, str],
    ) -> None:  # fmt: skip
        self.plan = the_plan
        self._collector_of = collector_of
        self._draining: set[str] = set()
        """The collectors of sources that are no longer in the resource."""
        self._port_offset = options.port_offset
        self.info = info
        self.gateway_url = info.gateway_url
        self.reporter_url = info.reporter_url
        self.nats_url = info.nats_url
        self.database_url = info.database_url
        self._entry = options.entry
        self._data = data
        self._cluster = cluster
        self._supervisor = supervisor
        self._keys, self._key_variables = _keys(options, data), key_variables
        self._nats_passwords, self._store_logins = nats_passwords, store_logins

    def pids(self) -> dict[str, int]:
        """The pid of each program that runs at this moment, by name."""
        return self._supervisor.pids()

    def record(self) -> None:
        """Write down what runs, for other commands and for the next start after a crash."""
        children = [child for name, pid in self.pids().items() if (child := Child.of(name, pid))]
        self.info = self.info.model_copy(update={"children": tuple(children)})
        with contextlib.suppress(OSError):  # a full disk is no reason to start or stop anything
            self._data.write_run(self.info)

    async def start(self) -> None:
        await self._start_servers()
        if self.plan.nats:
            await self._make_streams()
        services = self.plan.workloads
        for workload in services:
            self._start_service(workload, self.info.ports[workload.name])
        # While they start: a service that finds no schema, or an old one, waits for it.
        await self._migrate()
        await self._supervisor.ready(*(workload.name for workload in services))
        self.info = self.info.model_copy(update={"ready": True})
        self.record()

    async def stop(self) -> None:
        """In the order of the data: who takes events first, who keeps them last."""
        await self._supervisor.stop(self.plan.gateway.name)
        await self._supervisor.stop(*(collector.name for collector in self.plan.collectors), *self._draining)
        await self._supervisor.stop(self.plan.reporter.name)
        await self._supervisor.stop(workloads.NATS)
        await self._supervisor.stop(workloads.POSTGRES)

    async def _migrate(self) -> None:
        """In this process: another Python would take a sixth of a second of both cores to begin."""
        database = address(self.database_url, self.info.database_tls_dir)

        def work() -> None:
            migrate(database)
            maintain(database, datetime.now(UTC).date(), None)

        try:
            await _to_the_end(work)
        except StoreError as error:
            raise StartFailed(f"the database cannot be brought to the schema of this release: {error}") from error

    async def maintain(self, on_event: OnEvent) -> None:
        """Partitions ahead and retention, once an hour; what fails is tried again an hour later."""
        while True:
            await asyncio.sleep(_MAINTAIN_SECONDS)
            try:
                await self._run_maintain()
            except StartFailed as error:
                on_event(Event("note", "maintain", detail=str(error)))

    def _sources(self) -> tuple[str, ...]:
        settings = self.plan.gateway.settings
        assert isinstance(settings, GatewaySettings)
        return settings.sources

    async def drain(self, on_event: OnEvent) -> None:
        """Stores what is left of sources that are no longer in the resource."""
        sources = self._sources()
        stream = Stream(self.plan.stream, "up")
        stream.start()
        try:
            if self.plan.nats:
                await drain(stream, sources, self._collect, self._stop_collecting, on_event)
            else:
                await say_what_is_left(stream, sources, on_event)
        except LocalError as error:
            on_event(Event("note", "up", detail=f"a source that is no longer in the file cannot be stored: {error}"))
        finally:
            await stream.close()

    async def _collect(self, source: str) -> None:
        workload = self._collector_of(source)
        ports = shifted({workload.name: workload.settings.port}, self._port_offset)
        refuse_taken(ports)
        self._draining.add(workload.name)
        self._start_service(workload, ports[workload.name])
        await self._supervisor.ready(workload.name)

    async def _stop_collecting(self, source: str) -> None:
        name = self._collector_of(source).name
        await self._supervisor.stop(name)
        self._draining.discard(name)

    async def _make_streams(self) -> None:
        """Before a gateway, which may not, needs them."""
        stream = Stream(self.plan.stream, "up")
        stream.start()
        try:
            async with asyncio.timeout(_STREAMS_SECONDS):
                await stream.connected()
                for source in (*self._sources(), DEAD):
                    await stream.ensure(source)
        except (StreamUnavailable, TimeoutError) as error:
            raise StartFailed(f"the streams cannot be made: {error}") from error
        finally:
            await stream.close()

    async def _start_servers(self) -> None:
        ports, started = self.info.ports, []
        if self.plan.nats:
            self._start(
                nats.server(
                    self._data.nats,
                    port=ports[workloads.NATS],
                    monitor_port=ports[workloads.NATS_MONITOR],
                    max_file_bytes=self.plan.nats.max_file_bytes,
                    log=self._data.log(workloads.NATS),
                    passwords=self._nats_passwords,
                )
            )
            started.append(workloads.NATS)
        if self._cluster:
            await _to_the_end(self._cluster.initialise)
            self._start(self._cluster.server(port=ports[workloads.POSTGRES], log=self._data.log(workloads.POSTGRES)))
            started.append(workloads.POSTGRES)
        await self._supervisor.ready(*started)
        if self._cluster:
            try:
                await _to_the_end(lambda: make_logins(self.database_url, self._store_logins))
            except StoreError as error:
                raise StartFailed(f"the roles of the services cannot be made: {error}") from error

    def _start(self, program: Program) -> None:
        rotate(program.log)
        self._supervisor.start(program)

    def _start_service(self, workload: Workload, port: int) -> None:
        program = workloads.service(
            workload, port=port, log=self._data.log(workload.name), entry=self._entry, keys=self._keys,
            environ=self._key_variables,
        )  # fmt: skip
        self._start(program)

    async def _run_maintain(self) -> None:
        """As a process, which a slow drop of old days may keep busy for as long as it takes."""
        log = self._data.log("maintain")
        rotate(log)
        task = workloads.owner_task(
            "maintain", self.plan, database_url=self.database_url, log=log, entry=self._entry,
            database_tls_dir=self.info.database_tls_dir,
        )  # fmt: skip
        code = await self._supervisor.once(task)
        if code != 0:
            raise StartFailed(f"maintain failed with exit code {code}; the end of {log}:\n{tail(log)}")


async def _to_the_end(work: Callable[[], None]) -> None:
    """Run it in a thread; a cancelled caller still waits for it, because it writes to what only the lock protects."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def _end_leftovers(data: DataDir, on_event: OnEvent) -> None:
    """Wait for programs of a run that was killed. They are leaving by themselves; one that does not is killed."""
    run = data.read_run()
    children = run.children if run else ()
    deadline = time.monotonic() + _LEFTOVER_SECONDS
    told = False
    while left := [process for child in children if (process := child.find())]:
        if not told:
            pids = ", ".join(str(process.pid) for process in left)
            on_event(Event("note", data.root.name, detail=f"programs of an earlier run are still leaving (pid {pids})"))
            told = True
        if time.monotonic() > deadline:
            for process in left:
                process.kill()
        await asyncio.sleep(0.05)
    data.clear_run()
