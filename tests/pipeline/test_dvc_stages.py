"""dvc.yaml: a stage depends on the code that determines what it makes, and on no other."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
STAGES: dict[str, Any] = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))["stages"]

# Stage: where its work begins, and the rooms whose code determines the result.
DETERMINED = {
    "world": (["sgpo/testbed/world.py"], ["sgpo/testbed"]),
    "base_model": (["sgpo/testbed/base_model.py"], ["sgpo/testbed"]),
    "responses": (
        ["sgpo/strategies/responses.py", "sgpo/testbed/strong_model.py"],
        ["sgpo/problems", "sgpo/strategies", "sgpo/testbed"],
    ),
    "strategies": (
        ["sgpo/strategies/extraction.py", "sgpo/strategies/bank.py", "sgpo/testbed/strong_model.py"],
        ["sgpo/strategies", "sgpo/testbed"],
    ),
    "probe": (["sgpo/evaluation/measure.py"], ["sgpo/evaluation", "sgpo/rollouts"]),
    "train": (
        ["sgpo/training/run.py", *(f"sgpo/algorithms/{name}.py" for name in ("sgpo", "luffy", "hpt", "sft"))],
        ["sgpo/algorithms", "sgpo/objectives", "sgpo/problems", "sgpo/rollouts", "sgpo/training", "sgpo/vocabulary"],
    ),
    "evaluate": (["sgpo/evaluation/evaluate.py"], ["sgpo/evaluation", "sgpo/problems", "sgpo/rollouts"]),
}


def imported(path: Path) -> set[Path]:
    """The modules of ours that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("sgpo"):
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                path = REPOSITORY / name.replace(".", "/")
                found |= {module for module in (path.with_suffix(".py"), path / "__init__.py") if module.is_file()}
    return found


def closure(starts: list[str]) -> set[str]:
    """The modules that are reached by imports from `starts`, themselves included, as paths in the repository."""
    seen: set[Path] = set()
    waiting = {REPOSITORY / start for start in starts}
    while waiting:
        module = waiting.pop()
        seen.add(module)
        waiting |= imported(module) - seen
    return {str(module.relative_to(REPOSITORY)) for module in seen}


def covered(module: str, dependencies: list[str]) -> bool:
    return any(module == dependency or module.startswith(f"{dependency}/") for dependency in dependencies)


@pytest.mark.parametrize("stage", STAGES)
def test_the_code_that_a_stage_depends_on_exists(stage: str) -> None:
    code = [dependency for dependency in STAGES[stage]["deps"] if not dependency.startswith(("data/", "runs/"))]
    assert code
    assert [dependency for dependency in code if not (REPOSITORY / dependency).exists()] == []


@pytest.mark.parametrize("stage", DETERMINED)
def test_a_stage_depends_on_every_module_that_determines_its_result(stage: str) -> None:
    starts, rooms = DETERMINED[stage]
    needed = {module for module in closure(starts) if covered(module, rooms)}
    assert {room for room in rooms if any(module.startswith(f"{room}/") for module in needed)} == set(rooms)
    assert sorted(module for module in needed if not covered(module, STAGES[stage]["deps"])) == []


def test_what_python_caches_beside_the_code_is_no_dependency() -> None:
    assert "__pycache__" in (REPOSITORY / ".dvcignore").read_text(encoding="utf-8").splitlines()
