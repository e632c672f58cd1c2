"""The API's documentation at `/docs`: Swagger UI from our own files, so that it works where there is no internet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from eventpipeline.files import WholeFile, WholeFiles

ASSETS = Path(__file__).parent / "apidocs_assets"

# Swagger UI sets styles of its own and draws its icons from data URLs; "connect" is for trying requests out.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def docs_routes(openapi: dict[str, Any]) -> list[BaseRoute]:
    """`/openapi.json` with the document, `/docs` which shows it, and the files that `/docs` needs."""
    document = orjson.dumps(openapi)

    async def json(_request: Request) -> Response:
        return Response(document, media_type="application/json")

    async def page(_request: Request) -> Response:
        return WholeFile(ASSETS / "index.html", headers={"content-security-policy": _POLICY})

    return [
        Route("/openapi.json", json),
        Route("/docs", page),
        Mount("/docs/assets", _Assets(directory=ASSETS)),
    ]


class _Assets(WholeFiles):
    """Files that hold nothing of the pipeline: a browser may keep them, and asks whether they are still the same."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response
