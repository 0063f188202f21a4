"""The order of the rooms: what may import what, kept by import-linter; the contracts stand in pyproject.toml."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "zkstore"
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py"))


def test_all_contracts_are_kept() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    # A process of its own: the linter configures logging and the import path of the one it runs in.
    lint = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", lint], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for contract in contracts:
        assert f"{contract['name']} KEPT" in done.stdout
    assert f"Contracts: {len(contracts)} kept, 0 broken." in done.stdout


def test_every_room_stands_in_a_rank() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    ranked = {name.strip().removeprefix("zkstore.") for layer in layers for name in layer.split(":")}
    rooms = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if not path.name.startswith(("_", "py.typed"))}
    # What is shipped for tests may know everything.
    assert rooms - {"testing"} <= ranked


@pytest.mark.parametrize("directory", sorted({str(Path(module).parent) for module in MODULES}))
def test_every_room_has_a_sign(directory: str) -> None:
    sign = ROOT / directory / "__init__.py"
    assert sign.exists(), f"{directory} has no __init__.py that says what belongs there"


@pytest.mark.parametrize("module", MODULES)
def test_every_module_opens_with_a_docstring(module: str) -> None:
    assert ast.get_docstring(ast.parse((ROOT / module).read_text()))
