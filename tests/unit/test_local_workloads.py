from pathlib import Path
from typing import Any

import pytest

from eventpipeline.local.errors import Unresolvable
from eventpipeline.local.nats import configuration
from eventpipeline.local.workloads import capped, owner_task, resolved, service
from eventpipeline.plan import Addresses, plan
from eventpipeline.settings import CollectorSettings
from eventpipeline.spec import EventPipeline

ADDRESSES = Addresses(nats_url="nats://127.0.0.1:4222", database_url="postgresql://127.0.0.1/eventpipeline")
GIB = 2**30


def pipeline(**spec: Any) -> EventPipeline:
    return EventPipeline.model_validate(
        {"apiVersion": "eventpipeline.dev/v1alpha1", "kind": "EventPipeline", "metadata": {"name": "m"}, "spec": spec}
    )


def test_a_pipeline_with_its_own_servers_is_left_as_it_is() -> None:
    own = pipeline()

    assert resolved(own, nats_url=None, database_url=None) is own


def test_an_external_stream_without_a_secret_needs_nothing() -> None:
    external = pipeline(stream={"external": {"url": "nats://broker:4222"}})

    assert resolved(external, nats_url=None, database_url=None) is external


def test_an_external_stream_with_a_secret_needs_an_address() -> None:
    external = pipeline(
        stream={
            "external": {"url": "nats://broker:4222", "credentialsSecretRef": {"name": "creds"}},
            "retentionSeconds": 90,
        }
    )

    with pytest.raises(Unresolvable, match=r"spec\.stream\.external .*'creds'.*--nats-url"):
        resolved(external, nats_url=None, database_url=None)

    stream = resolved(external, nats_url="nats://me:secret@broker:4222", database_url=None).spec.stream
    assert stream.external is not None
    assert stream.external.url == "nats://me:secret@broker:4222"
    assert stream.retention_seconds == 90


def test_certificates_need_a_folder_and_a_folder_a_server(tmp_path: Path) -> None:
    tls = {"caSecretRef": {"name": "ca"}}
    stream = pipeline(stream={"external": {"url": "nats://broker:4222", "tls": tls}})
    with pytest.raises(Unresolvable, match=r"spec\.stream\.external\.tls .* ca\.crt here with --nats-tls-dir"):
        resolved(stream, nats_url="nats://other:4222", database_url=None)
    store = pipeline(store={"external": {"urlSecretRef": {"name": "db"}, "tls": tls | {"clientSecretName": "us"}}})
    with pytest.raises(Unresolvable, match=r"ca\.crt, tls\.crt and tls\.key here with --database-tls-dir"):
        resolved(store, nats_url=None, database_url="postgresql://db/x")
    with pytest.raises(Unresolvable, match=r"--nats-tls-dir is for a server that runs already"):
        resolved(pipeline(), nats_url=None, database_url=None, nats_tls_dir=tmp_path)
    with pytest.raises(Unresolvable, match=r"--database-tls-dir .*: ca\.crt holds no certificate"):
        resolved(pipeline(), nats_url=None, database_url="postgresql://db/x", database_tls_dir=tmp_path)


def test_an_external_store_needs_an_address() -> None:
    external = pipeline(store={"external": {"urlSecretRef": {"name": "db"}}})

    with pytest.raises(Unresolvable, match=r"spec\.store\.external .*'db'.*--database-url"):
        resolved(external, nats_url=None, database_url=None)

    assert resolved(external, nats_url=None, database_url="postgresql://db/x") is external


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(Unresolvable, match="--nats-url"):
        resolved(pipeline(), nats_url="http://broker", database_url=None)


def test_nats_takes_a_quarter_of_the_disk_at_most() -> None:
    small = capped(pipeline(stream={"nats": {"storage": "10Gi"}, "retentionSeconds": 90}), 8 * GIB)

    assert small.spec.stream.managed is not None
    assert small.spec.stream.managed.storage == "2048Mi"
    assert small.spec.stream.retention_seconds == 90


def test_a_pipeline_that_fits_is_left_as_it_is() -> None:
    fitting = pipeline(stream={"nats": {"storage": "2Gi"}})

    assert capped(fitting, 8 * GIB) is fitting


def test_a_service_runs_on_loopback_with_the_settings_of_the_plan() -> None:
    (collector, _) = plan(pipeline(), ADDRESSES).collectors

    program = service(collector, port=23001, log=Path("x.log"), entry=("python", "-m", "eventpipeline"))

    assert program.argv == ("python", "-m", "eventpipeline", "collector")
    settings = CollectorSettings.read(program.env)
    changed = {"host": "127.0.0.1", "port": 23001, "environment": "development", "drain_seconds": 0.0}
    assert settings == collector.settings.model_copy(update=changed)


@pytest.mark.parametrize(("days", "expected"), [(None, None), (30, "30")])
def test_the_owner_of_the_database_is_told_the_retention(days: int | None, expected: str | None) -> None:
    the_plan = plan(pipeline(store={"retentionDays": days}), ADDRESSES)

    program = owner_task("maintain", the_plan, database_url="postgresql://owner", log=Path("x.log"))

    assert program.env["DATABASE_URL"] == "postgresql://owner"
    assert program.env.get("RETENTION_DAYS") == expected


def test_nats_writes_what_it_acknowledges_and_listens_on_loopback_only() -> None:
    text = configuration(Path('/home/jürgen "j"/nats'), port=4222, monitor_port=8222, max_file_bytes=1000)

    assert "host: 127.0.0.1" in text
    assert 'http: "127.0.0.1:8222"' in text
    assert "sync_interval: always" in text
    assert "max_file: 1000" in text
    assert r'store_dir: "/home/jürgen \"j\"/nats"' in text
