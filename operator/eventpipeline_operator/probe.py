"""What the services say of themselves over HTTP. That one does not answer is no error: the cluster says why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx2

_SECONDS = 4.0
"""Longer than a service takes to find out that what it depends on does not answer."""


class Probe:
    def __init__(self) -> None:
        self._client = httpx2.AsyncClient(timeout=_SECONDS, trust_env=False)

    async def readiness(self, address: str, port: int) -> Mapping[str, str]:
        """The faults at /readyz of a pod, by dependency; empty where it does not answer."""
        host = f"[{address}]" if ":" in address else address
        checks = (await self._json(f"http://{host}:{port}/readyz")).get("checks", {})
        return {name: str(said) for name, said in checks.items() if said != "ok"}

    async def dead_letters(self, reporter_url: str) -> Mapping[str, int]:
        """Refused events by source, from the reporter's /status; empty where it does not answer."""
        sources = (await self._json(f"{reporter_url}/status")).get("sources", [])
        return {entry["source"]: int(entry["deadLetters"]) for entry in sources}

    async def _json(self, url: str) -> dict[str, Any]:
        try:
            found = (await self._client.get(url)).json()
        except (httpx2.HTTPError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    async def close(self) -> None:
        await self._client.aclose()
