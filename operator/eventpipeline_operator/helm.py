"""`helm template`: values -> objects. Helm only renders here; it never speaks to a cluster.

ChartError            the chart cannot be rendered with these values; the message is helm's
└── HelmMissing       there is no helm, or no chart, to render with
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import tempfile
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from eventpipeline_operator.values import Values

_PLACE = Path("charts") / "eventpipeline"


def _chart() -> Path:
    """The chart of this repository, or of the image, where it lies beside the virtual environment."""
    above = Path(__file__).resolve().parents
    return next((folder / _PLACE for folder in above if (folder / _PLACE / "Chart.yaml").is_file()), _PLACE)


CHART = _chart()
_TIMEOUT_SECONDS = 60.0
_KEPT = 2048
_rendered: OrderedDict[str, bytes] = OrderedDict()
"""Rendered objects as JSON by a hash of all they depend on: a pass over an unchanged resource starts no process.

Compressed, some 5 KB each. With more pipelines than are kept, every look at all of them would render all of them anew.
"""

Object = dict[str, Any]


class ChartError(Exception):
    """The chart cannot be rendered with these values."""


class HelmMissing(ChartError):  # noqa: N818 - it reads as what is wrong
    """There is no helm, or no chart, to render with."""


async def render(
    values: Values,
    *,
    name: str,
    namespace: str,
    kube_version: str,
    api_versions: Sequence[str] = (),
    helm: str | Path = "helm",
    chart_dir: Path = CHART,
) -> list[Object]:
    """The objects of the pipeline `name`, in helm's order. `kube_version` and `api_versions` come from discovery.

    Raises ChartError. The chart is taken not to change while the process runs.
    """
    document = json.dumps(values.for_helm(), sort_keys=True)
    argv = _command(name, namespace, kube_version, api_versions, helm, chart_dir)
    key = hashlib.sha256(json.dumps([argv, document]).encode()).hexdigest()
    if key in _rendered:
        _rendered.move_to_end(key)
    else:
        _rendered[key] = zlib.compress(json.dumps(_objects(await _run(argv, document))).encode())
        if len(_rendered) > _KEPT:
            _rendered.popitem(last=False)
    found: list[Object] = json.loads(zlib.decompress(_rendered[key]))
    return found


def _command(
    name: str, namespace: str, kube_version: str, api_versions: Sequence[str], helm: str | Path, chart_dir: Path
) -> list[str]:
    if not (chart_dir / "Chart.yaml").is_file():
        raise HelmMissing(f"there is no chart in {chart_dir}")
    argv = [str(helm), "template", name, str(chart_dir.resolve()), "--namespace", namespace, "--values", "-"]
    argv += ["--kube-version", kube_version]
    return argv + [f"--api-versions={version}" for version in sorted(set(api_versions))]


async def _run(argv: list[str], document: str) -> str:
    with tempfile.TemporaryDirectory(prefix="helm-") as folder:
        # Helm writes below its folders whatever it does; nothing of the user's own, plugins included, is to be read.
        own = {f"HELM_{kind}_HOME": f"{folder}/{kind}" for kind in ("CACHE", "CONFIG", "DATA")}
        environ = {"PATH": os.environ.get("PATH", ""), "HOME": folder, "TMPDIR": folder, "KUBECONFIG": "/dev/null"}
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                env=environ | own,
            )  # fmt: skip
        except OSError as error:
            raise HelmMissing(f"{argv[0]} cannot be run: {error.strerror or error}") from error
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                output, errors = await process.communicate(document.encode())
        except TimeoutError:
            raise ChartError(f"helm did not render within {_TIMEOUT_SECONDS:.0f} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if process.returncode != 0:
        message = errors.decode(errors="replace").strip().removeprefix("Error: ")
        raise ChartError(message or f"helm ended with {process.returncode}")
    return output.decode()


def _objects(text: str) -> list[Object]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [document for document in yaml.load_all(text, Loader=loader) if document]
