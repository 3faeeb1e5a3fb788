"""Trying a verifier before it may reward: gold answers pass, responses without an answer do not, twice the same."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sgpo.amounts import counted
from sgpo.problems.schema import Problem
from sgpo.problems.verifier import Verdict, Verifier

MEGABYTE = 1_000_000
_NAMED = 3


@dataclass(frozen=True, slots=True)
class StressReport:
    """What came of a domain: `failures` in words, none where the verifier may reward; seconds are of a gold answer."""

    domain: str
    problems: int
    responses: int
    failures: tuple[str, ...]
    median_seconds: float
    worst_seconds: float

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.failures

    def lines(self) -> list[str]:
        """Return the report for a person: one line, and one for each kind of failure."""
        seconds = f"{self.median_seconds * 1000:.1f} ms a verdict, {self.worst_seconds * 1000:.1f} ms the slowest"
        counts = f"{counted(self.problems, 'problem')}, {counted(self.responses, 'response')}"
        state = "passed" if self.passed else counted(len(self.failures), "failure")
        return [f"{self.domain}: {state}; {counts}; {seconds}", *(f"  {failure}" for failure in self.failures)]


def stress(problems: Sequence[Problem], verifier: Verifier, most: int = 20) -> list[StressReport]:
    """Try the open `verifier` on the first `most` problems of each domain; one report a domain, by name.

    A gold answer verifies against itself. An empty, a cut, a run-on (the answer, then hundreds of others), a 1 MB
    response and the question again do not pass; all of it twice with the same verdict. Raises DomainError where a
    verifier cannot be used at all.
    """
    domains: dict[str, list[Problem]] = {}
    for problem in problems:
        domains.setdefault(problem.domain, []).append(problem)
    return [_stress_domain(name, group[:most], verifier) for name, group in sorted(domains.items())]


def _stress_domain(domain: str, problems: Sequence[Problem], verifier: Verifier) -> StressReport:
    golds = verifier.present_many(problems)
    verifier.score(golds[0], problems[0])  # a fresh worker's start is no verdict's time
    attempts: list[tuple[str, str, Problem]] = []
    for place, (gold, problem) in enumerate(zip(golds, problems, strict=True)):
        attempts.append(("gold", gold, problem))
        attempts += [(name, text, problem) for name, text in _without_answer(gold, problem).items()]
        other = next((n for n, one in enumerate(problems) if n != place and one.answer != problem.answer), None)
        if other is not None and not verifier.score(golds[other], problem).correct:
            attempts.append(("run-on", "\n\n".join([gold, *[golds[other]] * 500]), problem))
    seconds: list[float] = []
    for gold, problem in zip(golds, problems, strict=True):
        started = time.perf_counter()
        verifier.score(gold, problem)
        seconds.append(time.perf_counter() - started)
    pairs = [(text, problem) for _, text, problem in attempts]
    first, second = verifier.score_many(pairs), verifier.score_many(pairs)
    found: dict[str, list[str]] = {}
    for (name, _, problem), verdict, again in zip(attempts, first, second, strict=True):
        if (what := _failure(name, verdict, again)) is not None:
            found.setdefault(what, []).append(problem.id)
    failures = tuple(f"{what}: {_listed(ids)}" for what, ids in found.items())
    return StressReport(domain, len(problems), len(attempts), failures, statistics.median(seconds), max(seconds))


def _without_answer(gold: str, problem: Problem) -> dict[str, str]:
    """Return responses that state no answer, by name."""
    question = problem.question
    return {
        "empty": "",
        "blank": " \n\t ",
        "cut in the middle": gold[: len(gold) // 2],
        "cut at the end": gold.rstrip()[:-1],
        "question again": question,
        "1 MB": (question + "\n") * (MEGABYTE // (len(question) + 1) + 1),
    }


def _failure(name: str, verdict: Verdict, again: Verdict) -> str | None:
    if verdict != again:
        return f"{name}: first '{verdict.reason}', then '{again.reason}' (expected the same twice)"
    if name == "gold":
        return None if verdict.correct else f"gold answer does not pass: '{verdict.reason}'"
    if verdict.correct:
        return f"{name} passes (expected none but the gold answer to pass)"
    if verdict.reason in ("timeout", "crashed"):
        return f"{name}: '{verdict.reason}' (expected a verdict)"
    return None


def _listed(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return f"problem {', '.join(ids[:_NAMED])}{more}"
