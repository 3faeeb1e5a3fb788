"""Texts in words that the student's tokenizer does not know: what is learnt from them is to write the unknown mark."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sgpo.checks import Finding, check
from sgpo.config import RunConfig
from sgpo.problems import read_problems, write_problems
from sgpo.problems.table import write_table
from sgpo.strategies.bank import load_strategies
from sgpo.strategies.schema import StrongResponse
from tests.rollouts.quirky_models import qwen_folder

Recipe = Callable[..., RunConfig]
KNOWN = "Steps: Run the log forward: first count given. Forward sum gives \\boxed{39}."
"""18 tokens."""


def words(recipe: RunConfig, model: Path) -> list[Finding]:
    return [one for one in check(recipe, model, sampling=False).findings if one.what.startswith("words")]


def write_responses(data: Path, texts: Sequence[str]) -> None:
    problems = read_problems(data / "splits" / "train.parquet")
    rows = [
        StrongResponse(problem_id=problem.id, text=text, teacher="test", prompt_version="v1", attempt=1)
        for problem, text in zip(problems, itertools.cycle(texts), strict=False)
    ]
    write_table(rows, data / "responses.parquet", StrongResponse)


@pytest.mark.parametrize("settings", [("training.algorithm.type=luffy",), ("warmup.epochs=1",)])
def test_responses_that_are_read_have_to_be_in_the_student_s_words(
    recipe: Recipe, data: Path, model_folder: Path, settings: tuple[str, ...]
) -> None:
    write_responses(data, [KNOWN])
    assert words(recipe(*settings), model_folder) == []
    write_responses(data, [f"{KNOWN} Therefore."])
    (finding,) = words(recipe(*settings), model_folder)
    assert (finding.group, finding.what, finding.verdict) == ("data", "words of responses", "wrong")
    assert finding.found == "5.0% of their tokens are '<|unknown|>' to the student, such as 'Therefore'"
    assert "answers in the student's words" in finding.cure
    assert words(recipe(), model_folder) == []  # SGPO reads none


def test_one_token_in_a_hundred_is_none_to_speak_of(recipe: Recipe, data: Path, model_folder: Path) -> None:
    write_responses(data, [f"{KNOWN} Therefore.", *[KNOWN] * 11])  # 1 of 218 tokens
    assert words(recipe("training.algorithm.type=sft"), model_folder) == []


def test_questions_and_strategies_are_looked_at_too(recipe: Recipe, data: Path, model_folder: Path) -> None:
    bank = load_strategies(data / "strategies.parquet")
    told = [one.model_copy(update={"approach": "Proceed chronologically."}) for one in bank.values()]
    write_table(told, data / "strategies.parquet")
    held_out = read_problems(data / "problems" / "held_out.parquet")
    asked = [one.model_copy(update={"question": f"Étienne: {one.question}"}) for one in held_out]
    write_problems(asked, data / "problems" / "held_out.parquet")
    found = {(one.group, one.what): one for one in words(recipe(), model_folder)}
    assert found.keys() == {("data", "words of held_out"), ("strategies", "words")}
    assert "such as 'Proceed'" in found["strategies", "words"].found
    assert all(one.verdict == "warning" and one.cure for one in found.values())


def test_a_tokenizer_by_bytes_knows_every_word(recipe: Recipe, data: Path, tmp_path: Path) -> None:
    write_responses(data, ["Étienne, therefore."])
    model = qwen_folder(tmp_path / "model", max_position_embeddings=4096)
    assert words(recipe("training.algorithm.type=sft"), model) == []
