"""dvc.yaml: a stage depends on the code that determines what it makes, and on no other."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
STAGES: dict[str, Any] = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))["stages"]

# Requests are carried by these, and recorded and paid for; what is asked and what is kept is the same without them.
CARRYING = {f"sgpo/strategies/{name}.py" for name in ("concurrency", "journal", "openai_teacher", "spending")}
VIEWING = ("comparison", "families", "listing", "report", "report_picture", "retrieval", "versions")

# Stage: where its work begins, the folders whose code determines the result, and what of these does not.
DETERMINED = {
    "world": (["sgpo/testbed/world.py"], ["sgpo/testbed"], set[str]()),
    "base_model": (["sgpo/testbed/base_model.py"], ["sgpo/testbed", "sgpo/strategies"], set[str]()),
    "responses": (
        ["sgpo/strategies/responses.py", "sgpo/testbed/strong_model.py"],
        ["sgpo/problems", "sgpo/strategies"],
        CARRYING
        | {f"sgpo/problems/{name}.py" for name in ("schema", "table")}
        | {"sgpo/testbed/strategies.py"}  # responses state no strategy
        | {f"sgpo/strategies/{name}.py" for name in ("json_answers", "layout", "parsing")},  # nor are they parsed
    ),
    "strategies": (
        ["sgpo/strategies/extraction.py", "sgpo/strategies/bank.py", "sgpo/testbed/strong_model.py"],
        ["sgpo/testbed", "sgpo/strategies"],
        CARRYING | {"sgpo/strategies/responses.py"},
    ),
}


def imported(path: Path) -> set[Path]:
    """The modules of ours that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("sgpo"):
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                module = REPOSITORY / f"{name.replace('.', '/')}.py"
                if module.is_file():
                    found.add(module)
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
    starts, folders, harmless = DETERMINED[stage]
    reached = closure(starts)
    assert harmless <= reached | CARRYING, "an exception that is none any more"
    needed = {module for module in reached if covered(module, folders)} - harmless
    assert sorted(module for module in needed if not covered(module, STAGES[stage]["deps"])) == []


@pytest.mark.parametrize("stage", DETERMINED)
def test_no_stage_of_the_strategies_runs_again_for_a_viewer(stage: str) -> None:
    for name in VIEWING:
        module = f"sgpo/strategies/{name}.py"
        assert (REPOSITORY / module).is_file()
        assert not covered(module, STAGES[stage]["deps"])


def test_the_base_model_is_not_built_again_for_the_teacher() -> None:
    for name in ("strong_model", "teacher_server"):
        assert not covered(f"sgpo/testbed/{name}.py", STAGES["base_model"]["deps"])
