"""NATS and Postgres of somebody else, with certificates on both sides: real servers, real services."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from eventpipeline.certificates import fault
from eventpipeline.settings import StreamSettings
from eventpipeline.store.address import address
from eventpipeline.store.pool import check, open_pool
from eventpipeline.stream import Stream
from eventpipeline_operator.streams import Streams
from gateways import running_gateway
from samples import event
from servers import free_offset, free_port, nats_server, wait_for
from services import Service, service
from tls_servers import Authority, TlsServers, files, tls_servers, written

SOURCES = ("facebook", "tiktok")
_POD_USER = 10001
_AS_POD_USER = (
    *("setpriv", f"--reuid={_POD_USER}", f"--regid={_POD_USER}", "--clear-groups"),
    # Only so that it can read an interpreter, and walk to a folder, that are root's.
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
)


class World(NamedTuple):
    ours: Authority
    theirs: Authority
    servers: TlsServers


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    ours, theirs = Authority("ours"), Authority("theirs")
    with tls_servers(tmp_path_factory.mktemp("tls"), ours.issue("server", "127.0.0.1"), ours) as servers:
        yield World(ours, theirs, servers)


async def nats_fault(url: str, folder: Path) -> str | None:
    """Why there is no connection; None once there is one.

    A server may have hung up before what it said was read: then a later try says why.
    """
    stream = Stream(StreamSettings(nats_url=url, nats_tls_dir=str(folder)), "test")
    stream.start()
    try:
        connected = asyncio.create_task(stream.connected())
        async with asyncio.timeout(20):
            while not connected.done():
                said = stream.connection_fault
                if said and not any(hung_up in said for hung_up in ("Broken pipe", "reset by peer")):
                    break
                await asyncio.sleep(0.02)
        connected.cancel()
        return stream.connection_fault
    finally:
        await stream.close()


async def postgres_fault(url: str, folder: Path) -> str | None:
    pool = open_pool(address(url, str(folder)), name="test", read_only=True, max_size=1)
    await pool.open(wait=False)
    try:
        async with asyncio.timeout(20):
            # A pool that has not tried yet knows no reason.
            while (found := await check(pool)) and "couldn't get a connection" in found:
                await asyncio.sleep(0.05)
        return found
    finally:
        await pool.close()


Contents = Callable[[Authority, Authority], dict[str, str]]
WRONG: dict[str, tuple[Contents, str, str, str]] = {
    "a CA that did not sign the server": (
        lambda ours, theirs: files(theirs, ours.issue("postgres")), "127.0.0.1",
        "no CA in ca.crt has signed the server's certificate", "no CA in ca.crt has signed it",
    ),
    "no certificate of the client": (
        lambda ours, theirs: files(ours), "127.0.0.1",
        "wants a certificate of the client", "wants a certificate of the client",
    ),
    "a client whom the server does not trust": (
        lambda ours, theirs: files(ours, theirs.issue("postgres")), "127.0.0.1",
        "trusts no CA that signed the client's certificate", "trusts no CA that signed the client's certificate",
    ),
    "a client whose certificate has expired": (
        lambda ours, theirs: files(ours, ours.issue("postgres", expired=True)), "127.0.0.1",
        "the client's certificate, tls.crt, has expired", "the client's certificate, tls.crt, has expired",
    ),
    "another host": (
        lambda ours, theirs: files(ours, ours.issue("postgres")), "localhost",
        "for another name than the one in the address", "for another name than the one in the address",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
async def test_what_is_wrong_is_refused_and_said(world: World, tmp_path: Path, case: str) -> None:
    contents, host, of_nats, of_postgres = WRONG[case]
    folder = written(tmp_path / "tls", contents(world.ours, world.theirs))
    assert of_nats in str(await nats_fault(world.servers.nats_url(host), folder))
    assert of_postgres in str(await postgres_fault(world.servers.database_url(host), folder))


@pytest.mark.parametrize("case", WRONG)
async def test_who_was_refused_connects_once_the_files_are_right(world: World, tmp_path: Path, case: str) -> None:
    folder = written(tmp_path / "tls", WRONG[case][0](world.ours, world.theirs))
    stream = Stream(StreamSettings(nats_url=world.servers.nats_url(), nats_tls_dir=str(folder)), "test")
    stream.start()
    try:
        async with asyncio.timeout(30):
            while case != "another host" and not stream.connection_fault:
                await asyncio.sleep(0.02)
            written(folder, files(world.ours, world.ours.issue("postgres")))
            await stream.connected()
    finally:
        await stream.close()


async def test_a_server_whose_certificate_has_expired_is_refused(tmp_path: Path) -> None:
    ours = Authority("ours")
    folder = written(tmp_path / "client", files(ours, ours.issue("postgres")))
    with tls_servers(tmp_path, ours.issue("server", "127.0.0.1", expired=True), ours) as servers:
        assert "the server's certificate has expired" in str(await nats_fault(servers.nats_url(), folder))
        assert "the server's certificate has expired" in str(await postgres_fault(servers.database_url(), folder))


async def test_a_client_of_another_name_is_refused_by_postgres(world: World, tmp_path: Path) -> None:
    folder = written(tmp_path / "tls", files(world.ours, world.ours.issue("somebody")))
    url = world.servers.database_url()
    assert "authentication failed" in str(await postgres_fault(url, folder))
    by_certificate_alone = url.replace("/eventpipeline", "/postgres")
    assert "for another user than the address" in str(await postgres_fault(by_certificate_alone, folder))


async def test_no_password_goes_to_a_server_without_tls(tmp_path: Path, world: World) -> None:
    folder = written(tmp_path / "tls", files(world.ours))
    heard: list[bytes] = []

    async def on_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # What somebody on the way would say: a server that knows no TLS.
        writer.write(b'INFO {"server_id":"x","version":"2.15.1","max_payload":1048576,"auth_required":true}\r\n')
        heard.append(await reader.read(4096))
        writer.close()

    port = free_port()
    async with await asyncio.start_server(on_client, "127.0.0.1", port):
        for scheme in ("tls", "nats"):
            found = await nats_fault(f"{scheme}://eventpipeline:sesame@127.0.0.1:{port}", folder)
            assert "secure connection" in str(found)
    assert heard
    assert not any(heard)


def test_files_that_are_no_certificates_are_said_before_anything_runs(world: World, tmp_path: Path) -> None:
    one, other = world.ours.issue("postgres"), world.ours.issue("postgres")
    assert fault(str(written(tmp_path / "a", files(world.ours, one)))) is None
    assert "ca.crt" in str(fault(str(written(tmp_path / "b", {"ca.crt": "nothing"}))))
    assert "ca.crt" in str(fault(str(written(tmp_path / "c", {}))))
    assert "tls.key" in str(fault(str(written(tmp_path / "d", files(world.ours, (one[0], other[1]))))))
    assert "tls.key" in str(fault(str(written(tmp_path / "e", {**files(world.ours, one), "tls.key": "nothing"}))))


def migrated(servers: TlsServers, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"], "DATABASE_URL": servers.database_url(), "DATABASE_TLS_DIR": str(folder),
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "eventpipeline", "migrate"], env=environment, capture_output=True, text=True
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="files of another user")
@pytest.mark.parametrize(("mode", "taken"), [(0o440, True), (0o444, False)])
def test_a_key_is_taken_as_the_kubelet_mounts_it(world: World, tmp_path: Path, mode: int, taken: bool) -> None:
    """Root's, and readable by the group of the pod's user, the chart's fsGroup. libpq refuses more."""
    folder = written(tmp_path / "tls", files(world.ours, world.ours.issue("postgres")))
    for file in folder.iterdir():
        os.chown(file, 0, _POD_USER)
        file.chmod(mode)
    program = "import os, psycopg; psycopg.connect(os.environ['ADDRESS']).execute('SELECT 1')"
    done = subprocess.run(
        [*_AS_POD_USER, sys.executable, "-c", program], capture_output=True, text=True,
        env={"PATH": os.environ["PATH"], "ADDRESS": address(world.servers.database_url(), str(folder))},
    )  # fmt: skip
    assert (done.returncode == 0) == taken, done.stderr
    assert taken or "tls.key" in done.stderr


def total(reporter: Service) -> int:
    return int(reporter.get("/reports/events").json()["total"])


def test_events_pass_and_certificates_change_while_they_do(tmp_path: Path) -> None:
    ours, next_ones = Authority("ours"), Authority("next")
    folder = written(tmp_path / "client", files(ours, ours.issue("postgres")))
    with tls_servers(tmp_path, ours.issue("server", "127.0.0.1"), ours) as servers:
        done = migrated(servers, folder)
        assert done.returncode == 0, done.stderr
        nats = {"nats_url": servers.nats_url(), "nats_tls_dir": folder}
        database = {"database_url": servers.database_url(), "database_tls_dir": folder}
        with (
            running_gateway(tmp_path, servers.nats_url(), nats_tls_dir=str(folder)) as gateway,
            service(tmp_path, "collector", source="facebook", **nats, **database) as collector,
            service(tmp_path, "reporter", sources="facebook,tiktok", **nats, **database) as reporter,
        ):
            assert gateway.post([event(event_id="first")]).status_code == 202
            wait_for(lambda: reporter.answers("/readyz"), what=lambda: reporter.output.read_text()[-3000:])
            wait_for(lambda: total(reporter) == 1, what=lambda: collector.output.read_text()[-3000:])

            written(folder, files(next_ones, next_ones.issue("postgres")))
            servers.change(next_ones.issue("server", "127.0.0.1"), next_ones)
            _cut_connections(servers)
            wait_for(
                lambda: gateway.post([event(event_id="second")]).status_code == 202,
                what=lambda: gateway.stream_trouble(),
            )
            wait_for(lambda: reporter.answers("/readyz"), what=lambda: reporter.output.read_text()[-3000:])
            wait_for(lambda: total(reporter) == 2, what=lambda: collector.output.read_text()[-3000:])
            said = [line["event"] for line in gateway.log_lines()]
            assert "disconnected from NATS" in said
            assert not [line for line in gateway.log_lines() if line["level"] == "error"]


_INFO = (
    b'INFO {"server_id":"x","version":"2.15.1","proto":1,"tls_required":true,"max_payload":1048576,"headers":true}\r\n'
)


def test_connections_that_end_before_the_handshake_are_no_fault_of_the_program(tmp_path: Path) -> None:
    ours = Authority("ours")
    folder = written(tmp_path / "client", files(ours, ours.issue("postgres")))
    cut = 0

    def cut_all(listening: socket.socket) -> None:
        nonlocal cut
        with contextlib.suppress(OSError):  # it is closed in the end
            while True:
                connection, _ = listening.accept()
                connection.sendall(_INFO)
                # Reset, as a connection of a process that was killed.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()
                cut += 1

    listening = socket.create_server(("127.0.0.1", 0))
    server = threading.Thread(target=cut_all, args=(listening,))
    server.start()
    url = f"nats://127.0.0.1:{listening.getsockname()[1]}"
    try:
        with running_gateway(tmp_path, url, ready=False, nats_tls_dir=str(folder)) as gateway:
            wait_for(lambda: cut >= 5, what=lambda: f"it connected {cut} times")
            assert "not connected" in gateway.stream_trouble()
            assert not [line for line in gateway.log_lines() if line["level"] == "error"]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        server.join()


def _cut_connections(servers: TlsServers) -> None:
    """Ends every connection to both servers, as a restart of them does."""
    done = subprocess.run(
        ["ss", "-K", "state", "established", "dst", "127.0.0.1", "dport", str(servers.nats_port)], capture_output=True
    )
    assert done.returncode == 0


def test_the_commands_and_a_pipeline_on_a_laptop(world: World, tmp_path: Path) -> None:
    folder = written(tmp_path / "tls", files(world.ours, world.ours.issue("postgres")))
    tls = {"caSecretRef": {"name": "ca"}, "clientSecretName": "client"}
    spec = {
        "stream": {"external": {"url": world.servers.nats_url(), "tls": tls}},
        "store": {"external": {"urlSecretRef": {"name": "database"}, "tls": tls}},
    }
    pipeline = {
        "apiVersion": "eventpipeline.dev/v1alpha1", "kind": "EventPipeline", "metadata": {"name": "far"}, "spec": spec,
    }  # fmt: skip
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(pipeline))
    command = (sys.executable, "-m", "eventpipeline")
    data = ("--data-dir", str(tmp_path / "data"))
    offset = free_offset()
    up = (*command, "up", "-f", str(tmp_path / "pipeline.yaml"), *data, "--port-offset", str(offset))
    up += ("--database-url", world.servers.database_url())
    refused = subprocess.run(up, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "--nats-tls-dir" in refused.stdout + refused.stderr
    log = tmp_path / "up.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [*up, "--nats-tls-dir", str(folder), "--database-tls-dir", str(folder)], stdout=out, stderr=out
        )
    try:

        def ready() -> bool:
            assert process.poll() is None, log.read_text()
            run = tmp_path / "data" / "run.json"
            return run.exists() and json.loads(run.read_text())["ready"]

        wait_for(ready, what=log.read_text, seconds=60)
        for arguments in (
            ("rollups", "check"), ("rollups", "rebuild"), ("replay", "--source", "facebook"), ("forget", "--list"),
            ("forget", "--source", "facebook", "--user", "nobody", "--by", "test", "--dry-run"),
        ):  # fmt: skip
            done = subprocess.run([*command, *arguments, *data], capture_output=True, text=True)
            assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        environment = {
            "PATH": os.environ["PATH"], "NATS_URL": world.servers.nats_url(), "NATS_TLS_DIR": str(folder),
            "DATABASE_URL": world.servers.database_url(), "DATABASE_TLS_DIR": str(folder),
        }  # fmt: skip
        by_hand = subprocess.run([*command, "forget", "--list"], env=environment, capture_output=True, text=True)
        assert by_hand.returncode == 0, by_hand.stderr
        written(tmp_path / "stranger", files(world.theirs))
        environment |= {"NATS_TLS_DIR": str(tmp_path / "stranger")}
        not_known = subprocess.run([*command, "forget", "--list"], env=environment, capture_output=True, text=True)
        assert "no CA in ca.crt has signed" in not_known.stderr.replace("\n", " ")
    finally:
        process.terminate()
        process.wait(60)


async def test_the_operator_has_its_own_files_and_follows_the_secret(world: World) -> None:
    streams = Streams()
    settings = StreamSettings(
        nats_url=world.servers.nats_url(), nats_tls_dir="/etc/eventpipeline/tls/nats", stream_prefix="operator_",
        stream_bytes=2**20, dead_bytes=2**20,
    )  # fmt: skip
    try:
        refused = await streams.look("u1", settings, SOURCES, files(world.theirs, world.ours.issue("operator")))
        assert "no CA in ca.crt has signed the server's certificate" in str(refused.fault)
        seen = await streams.look("u1", settings, SOURCES, files(world.ours, world.ours.issue("operator")))
        assert seen.fault is None
        assert len(seen.changed) == 6
    finally:
        await streams.close_all()


async def test_a_server_without_certificates_is_as_it_was(tmp_path: Path) -> None:
    with nats_server(tmp_path) as url:
        stream = Stream(StreamSettings(nats_url=url), "test")
        stream.start()
        try:
            async with asyncio.timeout(10):
                await stream.connected()
        finally:
            await stream.close()
