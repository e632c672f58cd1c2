"""Writes every generated file of the operator.

    python -m eventpipeline_operator.generate [--check]

`--check` writes nothing and exits with 1 where a file differs from what would be written.
"""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

from eventpipeline import users
from eventpipeline_operator import crd, values

ROOT = Path(__file__).resolve().parents[2]
_HEADER = "# Generated from services/eventpipeline/spec.py by `python -m eventpipeline_operator.generate`.\n"


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _crd() -> str:
    return _HEADER + yaml.dump(crd.crd(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _values_schema() -> str:
    return json.dumps(values.values_schema(), indent=1, ensure_ascii=False) + "\n"


def _nats_users(content: str) -> str:
    return (
        "# Generated from services/eventpipeline/users.py by `python -m eventpipeline_operator.generate`.\n" + content
    )


def generated() -> dict[Path, Callable[[], str]]:
    """Each generated file, relative to the root of the repository, and what makes its content."""
    name = f"{crd.PLURAL}.{crd.GROUP}.yaml"
    return {
        Path("crds") / name: _crd,
        Path("charts/eventpipeline-operator/templates/crds") / name: _crd,
        Path("charts/eventpipeline/values.schema.json"): _values_schema,
        Path("charts/eventpipeline/nats-users.conf"): lambda: _nats_users(users.rotating_users_file()),
        Path("compose/nats-users.conf"): lambda: _nats_users(users.users_file()),
    }


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    check = "--check" in (sys.argv[1:] if arguments is None else arguments)
    different = False
    for path, make in generated().items():
        wanted, target = make(), root / path
        present = target.read_text(encoding="utf-8") if target.exists() else ""
        if wanted == present:
            continue
        different = True
        if check:
            sys.stdout.writelines(
                difflib.unified_diff(present.splitlines(True), wanted.splitlines(True), str(path), f"{path}, generated")
            )
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(wanted, encoding="utf-8")
            print(f"wrote {path}")
    if different and check:
        print("run: python -m eventpipeline_operator.generate")
    return int(check and different)


if __name__ == "__main__":
    sys.exit(main())
