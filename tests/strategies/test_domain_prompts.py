"""Each domain has its own wording, with a version of its own in the records."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from sgpo.config import DomainConfig
from sgpo.config.strategies import StrategyConfig
from sgpo.problems import Problem, Verdict
from sgpo.strategies.bank import StrategyFileError, load_strategies
from sgpo.strategies.extraction import extract_all
from sgpo.strategies.responses import respond_all
from sgpo.strategies.schema import CRITERIA
from sgpo.strategies.teacher.journal import RecordedTeacher
from sgpo.strategies.teacher.teacher import Completion
from sgpo.strategies.teacher.templates import (
    VERSIONS,
    extract_request,
    prompts_of_version,
    rank_request,
    respond_request,
)

PUZZLE = Problem(question="Who lies?", answer="Zoe is a knave", domain="exact")
PROGRAM = Problem(question="Write f(a).", answer="def f(a):\n    return a * a + 1", domain="code")
SUM = Problem(question="What is 20 + 22?", answer="42")


class Teacher:
    """Answers with the gold one, leaks it in one candidate of three, and notes what it was asked."""

    name, max_tokens = "test", 4096

    def __init__(self) -> None:
        self.prompts: list[str] = []

    async def complete(self, messages, *, seed, temperature) -> Completion:
        prompt = messages[-1].content
        self.prompts.append(prompt)
        problem = next(one for one in (PUZZLE, PROGRAM, SUM) if one.question in prompt)
        if prompt.startswith("Answer"):
            text = f"gold {problem.answer}"
        elif prompt.startswith("Write"):
            number = sum(one.startswith("Write") and problem.question in one for one in self.prompts)
            leak = problem.answer.splitlines()[-1].strip()
            told = f"It comes to this: {leak}." if number == 1 else f"Look at the case of kind number {'x' * number}."
            text = f"Problem type: A task\nStrategy: {told}\nSteps:\n1. Begin {'so ' * number}.\n2. Check."
        else:
            text = json.dumps([{"index": 1 + n, **dict.fromkeys(CRITERIA, 0.9)} for n in range(prompt.count("<cand"))])
        return Completion(text, 1, 1)


def verify(text: str, problem: Problem) -> Verdict:
    right = problem.answer in text
    return Verdict(right, text, "correct" if right else "wrong")


def make(tmp_path: Path, domains: dict[str, DomainConfig]) -> Teacher:
    teacher, problems, settings = Teacher(), [PUZZLE, PROGRAM, SUM], StrategyConfig(candidates=3)
    responses = tmp_path / "responses.parquet"

    async def both() -> None:
        async with RecordedTeacher(teacher, tmp_path / "journal.jsonl") as recorded:
            await respond_all(
                problems, recorded, verify, settings, responses=responses, refusals=tmp_path / "r.jsonl",
                domains=domains,
            )  # fmt: skip
            await extract_all(
                problems, recorded, settings, responses=responses, strategies=tmp_path / "strategies.parquet",
                refusals=tmp_path / "s.jsonl", domains=domains,
            )  # fmt: skip

    asyncio.run(both())
    return teacher


def test_each_domain_is_asked_in_its_wording_and_its_leaks_are_refused(tmp_path: Path) -> None:
    teacher = make(tmp_path, {})
    bank = load_strategies(tmp_path / "strategies.parquet", [PUZZLE, PROGRAM, SUM])
    assert {one.id: bank[one.id].prompt_version for one in (PUZZLE, PROGRAM, SUM)} == {
        PUZZLE.id: "logic-v1", PROGRAM.id: "code-v1", SUM.id: "v1",
    }  # fmt: skip
    leaks = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {(row["problem_id"], row["reason"]) for row in leaks} >= {
        (one.id, "states_answer") for one in (PUZZLE, PROGRAM, SUM)
    }
    said = {
        problem.id: "\n".join(prompt for prompt in teacher.prompts if problem.question in prompt)
        for problem in (PUZZLE, PROGRAM, SUM)
    }
    assert "<answer>" in said[PUZZLE.id]
    assert "```python" in said[PROGRAM.id]
    assert r"\boxed{}" in said[SUM.id]
    assert "```" not in said[PUZZLE.id] + said[SUM.id]


def test_a_recipe_may_ask_a_domain_in_another_wording(tmp_path: Path) -> None:
    make(tmp_path, {"exact": DomainConfig(prompts="mathematics")})
    assert load_strategies(tmp_path / "strategies.parquet", None)[PUZZLE.id].prompt_version == "v1"


def test_a_stored_strategy_is_checked_by_its_own_domain(tmp_path: Path) -> None:
    make(tmp_path, {})
    changed = [PUZZLE.model_copy(update={"answer": "begin so so"}), PROGRAM, SUM]
    with pytest.raises(StrategyFileError, match="states 'begin so so' of the answer"):
        load_strategies(tmp_path / "strategies.parquet", changed)


def test_all_wordings_name_the_parts_that_the_reader_looks_for() -> None:
    for prompts, version in VERSIONS.items():
        assert prompts_of_version(version) == prompts
        asked = extract_request(SUM, "so", 100, prompts)[0].content
        assert asked.startswith("Write one strategy")
        assert all(part in asked for part in ("Problem type: ...", "Strategy: ...", "Steps:", "at most 100"))
        ranked = rank_request(SUM, "so", [], prompts)[0].content
        assert all(f'"{criterion}": 0.0' in ranked for criterion in CRITERIA)
        assert respond_request(SUM, prompts)[0].content.startswith("Answer the problem below.")
    assert prompts_of_version("test") == "mathematics"
