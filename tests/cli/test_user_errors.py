"""Every error that is a message to a person is a UserError, wherever it is defined."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import sgpo
from sgpo.errors import UserError

FAULTS = {
    "MalformedAnswerError", "ReplicaLostError", "UnparsableError", "QuestionError", "FieldError",
}  # fmt: skip
"""Errors that another part of the product answers; no person sees them."""


def exceptions() -> dict[str, type[BaseException]]:
    """The exception classes that are defined under sgpo/, by name; private ones are the module's own business."""
    found: dict[str, type[BaseException]] = {}
    for module in pkgutil.walk_packages(sgpo.__path__, "sgpo."):
        if module.name.endswith(("__main__", "vllm.worker")):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if inspect.isclass(value) and issubclass(value, BaseException) and value.__module__.startswith("sgpo."):
                found[name] = value
    return found


def test_every_error_of_ours_is_a_message_or_answered_inside():
    errors = {name: error for name, error in exceptions().items() if not name.startswith("_")}
    assert len(errors) > 30
    assert {name for name, error in errors.items() if not issubclass(error, UserError)} == FAULTS


def test_an_error_has_the_exit_code_that_its_caller_acts_upon():
    codes = {error.__name__: error.exit_code for error in exceptions().values() if issubclass(error, UserError)}
    assert codes["ConfigError"] == codes["CheckpointError"] == 1
    assert codes["PreemptedError"] == codes["UnreachableError"] == 75


def test_the_commands_import_nothing_of_flows():
    folder = Path(sgpo.__file__).parent
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] not in ("flows", "prefect"), f"{path}: {name}"
                assert name.split(".")[0] != "dvc" or path.parent.name == "pipeline", f"{path}: {name}"
