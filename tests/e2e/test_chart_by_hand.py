"""charts/eventpipeline without an operator, installed as its own messages say."""

from __future__ import annotations

import re
import subprocess
import time

import httpx2
import pytest
from pipelines import ROOT, Pipeline

from cluster.access import Cluster, CommandError, wait_for
from samples import event, text

CHART = str(ROOT / "charts" / "eventpipeline")


def test_installed_by_hand_it_takes_events_and_reports_them(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(CommandError, match="existingSecret is required") as refused:
        cluster.helm("install", "shop", CHART, namespace=namespace)
    make_secret, flag = re.findall(
        r"(new\(\) .*kubectl -n \S+ create secret .*|--set auth\.existingSecret=\S+)", str(refused.value)
    )
    subprocess.run(["/bin/sh", "-c", make_secret], env=cluster.environ(), check=True, capture_output=True)

    started = time.monotonic()
    cluster.helm("install", "shop", CHART, *flag.split(), namespace=namespace)
    # The collectors too: they make the streams, and are ready once these are there.
    deployments = [
        f"deployment/shop-{name}" for name in ("gateway", "reporter", "facebook-collector", "tiktok-collector")
    ]
    cluster.kubectl("rollout", "status", *deployments, "--timeout=180s", namespace=namespace)
    print(f"helm install of the chart alone to ready: {time.monotonic() - started:.1f} s")

    shop = Pipeline(cluster, namespace, "shop")
    answer = httpx2.post(
        f"{shop.url('gateway')}/webhook/events", content=text(event()), trust_env=False, timeout=30,
        headers={"content-type": "application/json"},
    )  # fmt: skip
    assert answer.status_code == 202, answer.text
    report = f"{shop.url('reporter')}/reports/events"
    wait_for(
        lambda: httpx2.get(report, trust_env=False, timeout=30).json()["total"] == 1, what="the event in the report"
    )

    cluster.helm("uninstall", "shop", namespace=namespace)
    assert cluster.get_all("persistentvolumeclaims", namespace=namespace), "deletionPolicy is Retain"
