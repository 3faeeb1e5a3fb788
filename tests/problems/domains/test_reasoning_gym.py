"""Problems of reasoning-gym's tasks: drawn by seed, disjoint between splits, judged by the task's own scorer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("reasoning_gym", reason="the extra `reasoning` is not installed")
import reasoning_gym

from sgpo.pipeline.imports import import_task
from sgpo.problems import Problem, Verifier, read_problems
from sgpo.problems.domains.reasoning_gym.source import draw_problems, text_key
from sgpo.problems.domains.reasoning_gym.tasks import task_names
from sgpo.problems.domains.registry import DomainError
from sgpo.problems.domains.stated import tagged

pytestmark = pytest.mark.slow

# Draws three problems of every task; writes how many tasks draw, and those that another process draws otherwise.
_OFFERED = """
import contextlib, json
from sgpo.problems.domains.reasoning_gym.repeatable import drawn_otherwise
from sgpo.problems.domains.reasoning_gym.source import draw_problems
from sgpo.problems.domains.reasoning_gym.tasks import task_names
from sgpo.problems.domains.registry import DomainError

problems = []
for task in task_names():
    with contextlib.suppress(DomainError):  # no answers (boxnet), or no task by itself (composite)
        problems += draw_problems(task, 3, 7, {}).problems
failed = set(drawn_otherwise(problems))
otherwise = {problem.source.partition(":")[2] for problem in problems if problem.id in failed}
print(json.dumps([len({problem.source for problem in problems}), sorted(otherwise)]))
"""


@pytest.fixture(scope="module")
def verifier():
    with Verifier(timeout_s=30.0, workers=1) as verifier:
        yield verifier


def entry_of(problem: Problem) -> tuple[object, dict]:
    """The library's own data set and entry, by what the problem says of itself."""
    drawn = json.loads(problem.details)
    data_set = reasoning_gym.create_dataset(drawn["task"], seed=drawn["seed"], size=drawn["size"], **drawn["options"])
    return data_set, data_set[drawn["index"]]


@pytest.mark.parametrize("task", ["leg_counting", "knights_knaves", "mini_sudoku", "countdown"])
def test_a_gold_passes_and_the_score_is_the_tasks_own(task: str, verifier: Verifier) -> None:
    problems = draw_problems(task, 12, 3, {}).problems
    golds = verifier.present_many(problems)
    pairs = [(text, problem) for problem in problems for text in (*golds, tagged("7"))]
    for (_text, problem), verdict in zip(pairs, verifier.score_many(pairs), strict=True):
        data_set, entry = entry_of(problem)
        expected = data_set.score_answer(verdict.extracted, entry)
        assert (verdict.score, verdict.correct) == (expected, expected == 1.0)
    assert all(verdict.correct for verdict in verifier.score_many(list(zip(golds, problems, strict=True))))


def test_a_part_of_a_right_answer_scores_but_does_not_pass(verifier: Verifier) -> None:
    problem = draw_problems("leg_counting", 1, 0, {}).problems[0]
    verdict = verifier.score(f"<answer>about {problem.answer} legs</answer>", problem)
    assert 0.0 < verdict.score < 1.0
    assert (verdict.correct, verdict.reason) == (False, "wrong")


def test_the_same_seed_draws_the_same_and_another_seed_others() -> None:
    first, again, other = (draw_problems("leg_counting", 40, seed, {}).problems for seed in (1, 1, 2))
    assert first == again
    assert len({text_key(one.question) for one in (*first, *other)}) == 80


def test_splits_share_no_question_even_where_a_task_has_few(tmp_path: Path) -> None:
    options = {"min_animals": 1, "max_animals": 1, "min_instances": 1, "max_instances": 2}
    said = {
        split: import_task("leg_counting", 20, seed, options, tmp_path, split)
        for seed, split in enumerate(("train", "held_out"))
    }
    train, held_out = (
        {text_key(one.question) for one in read_problems(tmp_path / "problems" / f"{split}.parquet")} for split in said
    )
    assert len(train) == len(held_out) == 20
    assert not train & held_out
    assert "in another split" in said["held_out"].report[0]


def test_every_task_that_is_offered_draws_the_same_in_a_process_that_hashes_text_otherwise(tmp_path: Path) -> None:
    """Those that do not are refused at import: nothing could judge what they draw."""
    # In a process whose hashes are given: of two that are chosen by chance a few questions come out the same.
    done = subprocess.run(
        [sys.executable, "-c", _OFFERED], env={**os.environ, "PYTHONHASHSEED": "3"}, capture_output=True, text=True,
        check=True, timeout=300,
    )  # fmt: skip
    offered, otherwise = json.loads(done.stdout.splitlines()[-1])
    assert offered > 90
    assert set(otherwise) == {"isomorphic_strings", "polynomial_multiplication", "ransom_note"}
    with pytest.raises(DomainError, match=r"ransom_note: \d of 5 problems are others in another process \(the task"):
        import_task("ransom_note", 5, 1, {}, tmp_path, "train")
    assert not (tmp_path / "problems").exists()


def test_levels_of_difficulty_become_tiers() -> None:
    problems = draw_problems("leg_counting", 9, 0, {}, levels=3).problems
    assert [one.difficulty for one in problems] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    most = [json.loads(one.details)["options"]["max_animals"] for one in problems]
    assert most == sorted(most)
    assert most[0] < most[-1]


@pytest.mark.parametrize(
    ("task", "options", "levels", "message"),
    [("knight_knaves", {}, 0, "reasoning-gym:knight_knaves: no such task ('knights_knaves' is nearest)"),
     ("leg_counting", {"max_animal": 3}, 0, "no option 'max_animal' (expected one of min_animals, max_animals, "),
     ("leg_counting", {"seed": 3}, 0, "reasoning-gym:leg_counting: 'seed' is --seed here"),
     ("leg_counting", {"min_animals": 9, "max_animals": 2}, 0, "min_animals=9, max_animals=2: max_animals must be >= "),
     ("leg_counting", {"min_animals": "x"}, 0, "reasoning-gym:leg_counting min_animals=x: "),
     ("leg_counting", {}, 99, "levels of difficulty (level "),
     ("coin_flip", {"min_trials": 3, "max_trials": 3}, 0, "different questions in ")],
)  # fmt: skip
def test_what_cannot_be_drawn_is_one_line_with_what_would_be_right(
    task: str, options: dict, levels: int, message: str
) -> None:
    with pytest.raises(DomainError) as raised:
        draw_problems(task, 300, 0, options, levels)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == 1


def test_a_problem_that_the_library_draws_otherwise_stops_the_judging(verifier: Verifier) -> None:
    problem = draw_problems("leg_counting", 1, 0, {}).problems[0]
    changed = problem.model_copy(update={"question": "How many legs?"})
    with pytest.raises(DomainError, match=r"draws another question \(its question was changed; expected 'details' as"):
        verifier.score("Answer: 4", changed)
    bare = Problem(question="How many legs?", answer="4", domain="reasoning-gym")
    with pytest.raises(DomainError, match=r"'task' is missing in its details"):
        verifier.score("Answer: 4", bare)


def test_all_names_are_of_the_registered_tasks() -> None:
    assert len(task_names()) > 90
    assert "syllogism" in task_names()


@pytest.mark.parametrize("task", ["countdown", "simple_integration", "n_queens"])
@pytest.mark.parametrize(
    "attack", ["__import__('pathlib').Path({0!r}).touch()", "Integer(__import__('pathlib').Path({0!r}).touch())",
               "(lambda: __import__('pathlib').Path({0!r}).touch())()", "exec(chr(49)) + 5!"],
)  # fmt: skip
def test_an_answer_is_never_run_as_a_program(task: str, attack: str, verifier: Verifier, tmp_path: Path) -> None:
    problem = draw_problems(task, 1, 3, {}).problems[0]
    verdict = verifier.score(tagged(attack.format(str(tmp_path / "ran"))), problem)
    assert not verdict.correct
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "task", ["countdown", "puzzle24", "simple_integration", "intermediate_integration",
             "n_queens", "spiral_matrix", "binary_matrix", "string_insertion", "number_sorting", "basic_arithmetic",
             "bitwise_arithmetic"],
)  # fmt: skip
def test_golds_of_tasks_that_evaluate_answers_pass(task: str, verifier: Verifier) -> None:
    problems = draw_problems(task, 8, 5, {}).problems
    pairs = list(zip(verifier.present_many(problems), problems, strict=True))
    assert all(verdict.correct for verdict in verifier.score_many(pairs))


def test_an_integral_is_not_its_own_answer(verifier: Verifier) -> None:
    problem = draw_problems("simple_integration", 1, 3, {}).problems[0]
    metadata = entry_of(problem)[1]["metadata"]
    assert not verifier.score(tagged(f"Integral({metadata['integrand']}, {metadata['variable']})"), problem).correct


def test_numbers_that_were_not_given_make_no_24(verifier: Verifier) -> None:
    problem = draw_problems("puzzle24", 1, 4, {}).problems[0]
    assert not verifier.score(tagged("6*4*1*1"), problem).correct
    target = draw_problems("countdown", 1, 4, {}).problems[0]
    _, entry = entry_of(target)
    numbers, wanted = entry["metadata"]["numbers"], str(entry["metadata"]["target"])
    hidden = f"{wanted[0]}_{wanted[1:]} + 0_0*({'+'.join(map(str, numbers))})"
    assert not verifier.score(tagged(hidden), target).correct
    ones = f"{'+'.join(['E/E'] * int(wanted))} + (E-E)*({'+'.join(map(str, numbers))})"
    assert not verifier.score(tagged(ones), target).correct
