"""What is run by hand once in a while imports what is there: names move, and no other test would say so."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = sorted([*REPOSITORY.glob("benchmarks/**/*.py"), *REPOSITORY.glob("tools/*.py")])


def source_of(module: str, beside: Path) -> Path | None:
    """The file of a module of this repository, or of one beside the script; None for a library's."""
    for root in (REPOSITORY, beside):
        path = root.joinpath(*module.split("."))
        for file in (path / "__init__.py", path.with_suffix(".py")):
            if file.is_file():
                return file
    return None


@cache
def names_in(file: Path) -> set[str]:
    """What can be imported from a file of a module: its own names, and a folder's modules."""
    names = {path.stem for path in file.parent.iterdir()} if file.name == "__init__.py" else set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.Import(names=found) | ast.ImportFrom(names=found):
                names |= {alias.asname or alias.name for alias in found}
    return names


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.relative_to(REPOSITORY)))
def test_a_script_imports_names_that_are_there(script: Path) -> None:
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        file = source_of(node.module, script.parent)
        assert file is not None or node.module.split(".")[0] not in ("sgpo", "flows"), node.module
        if file is not None:
            missing = {alias.name for alias in node.names} - names_in(file)
            assert not missing, f"{node.module} has no {missing}"


def test_growth_and_its_clocks_do_without_torch() -> None:
    """Its figures are memory and seconds of small processes, which torch alone would outweigh."""
    said = "import sys, growth; print('torch' in sys.modules, sorted(growth.CLOCKS))"
    command = [sys.executable, "-c", said]
    done = subprocess.run(command, cwd=REPOSITORY / "benchmarks", capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False ['cpu', 'wall']"
