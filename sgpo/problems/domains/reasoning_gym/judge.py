"""The verifier of reasoning-gym's tasks: the task's own score of the stated answer; 1.0 is correct, less is not."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from sgpo.problems.domains.reasoning_gym.plain_answers import is_made_of_the_numbers, may_be_scored
from sgpo.problems.domains.reasoning_gym.source import text_key
from sgpo.problems.domains.reasoning_gym.tasks import DOMAIN, installed_version, open_task
from sgpo.problems.domains.registry import DomainError
from sgpo.problems.domains.stated import stated_answer, tagged
from sgpo.problems.schema import Problem
from sgpo.problems.verifier import Verdict

EXPECTED = "'details' as `sgpo problems import reasoning-gym:TASK` writes them"


class ReasoningGymVerifier:
    """Draws a problem's entry again, by the seed and index that it was drawn with, and asks the task to score."""

    def __init__(self) -> None:
        """Import the package, which takes seconds. Raises DomainError where it is not installed."""
        installed_version_or_error()

    def __call__(self, response: str, problem: Problem) -> Verdict:
        """Return the verdict with the task's score. Raises DomainError where the entry is not the problem's."""
        data_set, entry = entry_of(problem)
        stated = stated_answer(response)
        if stated is None:
            return Verdict(False, None, "no_answer")
        if not may_be_scored(stated, problem.answer, data_set):
            return Verdict(False, stated, "unparsable")
        score = float(data_set.score_answer(stated, entry))
        if score == 1.0 and not is_made_of_the_numbers(stated, entry, json.loads(problem.details or "{}")["task"]):
            score = 0.0
        return Verdict(score == 1.0, stated, "correct" if score == 1.0 else "wrong", score)

    @staticmethod
    def present(problem: Problem) -> str:
        """Return the gold answer as a response."""
        return tagged(problem.answer)


def installed_version_or_error() -> str:
    """Return the version of the package; DomainError says how it comes."""
    from sgpo.problems.domains.reasoning_gym.tasks import task_names

    task_names()
    return installed_version()


def entry_of(problem: Problem) -> tuple[Any, dict[str, Any]]:
    """Return the data set and the entry that a problem was made of."""
    return _entry(problem.id, problem.question, problem.details)


@lru_cache(maxsize=4096)
def _entry(name: str, question: str, details: str | None) -> tuple[Any, dict[str, Any]]:
    try:
        drawn = json.loads(details or "{}")
        task, seed, size, index = drawn["task"], drawn["seed"], drawn["size"], drawn["index"]
        options, version = drawn["options"], drawn["version"]
    except KeyError as error:
        raise DomainError(f"problem '{name}': {error} is missing in its details (expected {EXPECTED})") from None
    data_set = _open(task, seed, size, json.dumps(options, sort_keys=True))
    entry = data_set[index]
    if text_key(entry["question"]) != text_key(question):
        here = installed_version()
        why = f"drawn by version {version}, here is {here}" if version != here else "its question was changed"
        raise DomainError(f"problem '{name}': {DOMAIN}:{task} draws another question ({why}; expected {EXPECTED})")
    return data_set, entry


@lru_cache(maxsize=128)
def _open(task: str, seed: int, size: int, options: str) -> Any:
    return open_task(task, seed, size, json.loads(options))
