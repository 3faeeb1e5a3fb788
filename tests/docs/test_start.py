"""docs/start.md: every file and function it names is there, and the walk is one that the code takes."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "start.md").read_text(encoding="utf-8")
WALK = PAGE.split("## From `train()`")[1].split("\n## ")[0]
NAMED = re.findall(r"`([\w./-]+\.py)`: `([\w.]+)`", PAGE)


def source_of(file: str, name: str) -> str:
    """Return the source of a function, class, method or constant; AssertionError when it is not there."""
    text = (REPOSITORY / file).read_text(encoding="utf-8")
    node: ast.AST = ast.parse(text)
    for part in name.split("."):
        found = [child for child in ast.iter_child_nodes(node) if part in names_of(child)]
        assert found, f"{file} has no {name}"
        node = found[0]
    return ast.get_source_segment(text, node) or ""


def names_of(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return [node.name] if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) else []


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED)))
def test_what_it_names_is_there(file, name):
    assert source_of(file, name)


def test_every_equation_has_a_row():
    table = PAGE.split("## Where each part")[1]
    for what in ("Eq. 1", "Eq. 3", "Eq. 4", "Eq. 5", "Eq. 6", "Eq. 7", "Algorithm 1"):
        assert what in table
    for row in re.findall(r"^\| (?!paper|-)(.+) \|$", table, flags=re.MULTILINE):
        assert re.search(r"\| section \d+ \| `", row), row


def test_the_walk_names_at_most_six_files():
    files = re.findall(r"`(sgpo/[\w/]+\.py)`", WALK)
    assert files[0] == "sgpo/training/loop.py"
    assert len(set(files)) <= 6
    assert {"**Eq. 1**", "**Eq. 5**"} <= set(re.findall(r"\*\*[^*]+\*\*", WALK))


@pytest.mark.parametrize(
    ("file", "caller", "callee"),
    [
        ("sgpo/training/loop.py", "Trainer.train", "gradient.minibatches("),
        ("sgpo/training/loop.py", "Trainer.train", "gradient.accumulate("),
        ("sgpo/training/step.py", "Gradient.minibatches", "_minibatch("),
        ("sgpo/training/step.py", "Gradient._minibatch", ".rows("),
        ("sgpo/training/step.py", "Gradient.accumulate", "_accumulate("),
        ("sgpo/training/step.py", "Gradient._accumulate", "_backward("),
        ("sgpo/training/step.py", "Gradient._backward", "_part("),
        ("sgpo/training/step.py", "Gradient._part", "self._token_loss("),
        ("sgpo/training/step.py", "Gradient._token_loss", "algorithm.token_loss("),
        ("sgpo/algorithms/sgpo.py", "SGPO.rows", "self.targets("),
        ("sgpo/algorithms/sgpo.py", "SGPO.targets", "self.alpha("),
        ("sgpo/algorithms/sgpo.py", "SGPO.token_loss", "clipped_kd_token_losses("),
        ("sgpo/algorithms/sgpo.py", "SGPO.token_loss", "super().token_loss("),
        ("sgpo/algorithms/grpo.py", "GRPO.token_loss", "grpo_token_losses("),
    ],
)
def test_each_step_of_the_walk_is_a_call(file, caller, callee):
    assert callee in source_of(file, caller)
