"""The house of DESIGN.md, section 1, as checks that fail."""

from __future__ import annotations

import subprocess
import sysconfig
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sysconfig.get_path("scripts"))


def test_the_layers_hold() -> None:
    done = subprocess.run([SCRIPTS / "lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_no_folder_stands_in_for_a_standard_module() -> None:
    """With `operator/__init__.py`, `python -m pytest` dies inside `collections`."""
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert not (ROOT / "tests" / "operator").exists()


def test_ruff_looks_for_modules_that_shadow_standard_ones() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert "A" in lint["select"]
    switched_off = [*lint["ignore"], *(code for codes in lint["per-file-ignores"].values() for code in codes)]
    assert not {"A", "A005"} & set(switched_off)
