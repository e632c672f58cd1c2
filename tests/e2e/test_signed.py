"""Pipelines whose senders prove who they are, with keys in Secrets."""

from __future__ import annotations

import time
from typing import Any

import httpx2
from installing import installed
from pipelines import ROOT, Pipeline
from test_manifests import SIGNED

from cluster.access import Cluster, wait_for
from eventpipeline.authentication import Bearer, KeyRef, Meta, TikTok
from eventpipeline.signatures import Method, read_key, signed
from platforms import CONVERSIONS, LEADGEN, PUBLISHED, TIKTOK_EVENTS
from samples import event, text

REFERENCE = (KeyRef(name="any"),)
META, TIKTOK, BEARER = Meta(keys=REFERENCE), TikTok(keys=REFERENCE), Bearer(keys=REFERENCE)
SECRETS = {
    "meta-app": {"app-secret": "meta-secret", "verify-token": "verify-me"},
    "tiktok-app": {"client-secret": "tiktok-secret"},
    "conversions": {"token": "t0ken"},
}


def post(pipeline: Pipeline, source: str, body: bytes, method: Method, key: str) -> int:
    headers = {
        "content-type": "application/json",
        **signed(method, read_key(method, key.encode()), body, now=time.time(), identity="m-1"),
    }
    url = f"{pipeline.url('gateway')}/webhook/{source}"
    return httpx2.post(url, content=body, headers=headers, trust_env=False, timeout=30).status_code


def counts(pipeline: Pipeline) -> dict[str, int]:
    report: Any = httpx2.get(f"{pipeline.url('reporter')}/reports/events", trust_env=False, timeout=30).json()
    found: dict[str, int] = {}
    for item in report["items"]:
        found[item["source"]] = found.get(item["source"], 0) + item["count"]
    return found


def until_counted(pipeline: Pipeline, wanted: dict[str, int]) -> None:
    wait_for(lambda: counts(pipeline) == wanted, what=lambda: f"{wanted}; there are {counts(pipeline)}")


def secret(name: str, **content: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": content}


def test_keys_in_secrets_let_their_owners_in_and_nobody_else(operator: Cluster) -> None:
    with installed(operator, [ROOT / "manifests" / file for file in SIGNED], {}) as (senders, platforms):
        wait_for(
            lambda: senders.condition().get("reason") == "SecretMissing",
            what=lambda: f"SecretMissing; it is {senders.condition()}",
        )
        assert "meta-app" in senders.condition()["message"]
        for name, content in SECRETS.items():
            operator.apply(secret(name, **content), namespace=senders.namespace)
        print(f"Ready after {senders.until_ready():.1f} s and {platforms.until_ready():.1f} s")
        assert senders.condition("Open")["reason"] == "ReportsOpen"

        facebook, tiktok = text([event("facebook")]), text([event("tiktok")])
        assert post(senders, "facebook", facebook, META, "meta-secret") == 200
        assert post(senders, "tiktok", tiktok, TIKTOK, "tiktok-secret") == 200
        assert post(senders, "facebook", facebook, META, "other") == 401
        assert post(senders, "tiktok", tiktok, META, "meta-secret") == 401
        assert post(platforms, "meta-leads", LEADGEN.encode(), META, "meta-secret") == 200
        assert post(platforms, "tiktok-account", PUBLISHED.encode(), TIKTOK, "tiktok-secret") == 200
        assert post(platforms, "conversions", CONVERSIONS.encode(), BEARER, "t0ken") == 202
        assert post(platforms, "tiktok-events", TIKTOK_EVENTS.encode(), BEARER, "t0ken") == 202
        until_counted(senders, {"facebook": 1, "tiktok": 1})
        until_counted(platforms, {"meta-leads": 2, "tiktok-account": 1, "conversions": 2, "tiktok-events": 1})
