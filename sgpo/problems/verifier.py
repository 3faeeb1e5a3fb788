"""The reward: whether a response's final answer is the problem's [docs/method.md section 3].

Text and digits are settled here, in the caller; the rest goes one by one to worker processes that are killed when
their time is up, so that an answer that hangs costs one timeout and never the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from types import TracebackType
from typing import Literal, Self

from sgpo.config.domains import DomainConfig
from sgpo.problems.comparison import Expectation, UnparsableError, expect, meets
from sgpo.problems.domains.judges import DomainJudges
from sgpo.problems.domains.registry import DomainError
from sgpo.problems.domains.worker import Judged
from sgpo.problems.lenient import lenient_answer
from sgpo.problems.responses import final_answer
from sgpo.problems.schema import Problem
from sgpo.problems.workers import KillableWorkers, VerifierError

Reason = Literal["correct", "wrong", "no_answer", "unparsable", "timeout", "crashed"]

LONGEST_ANSWER = 2000
"""Characters; a longer box holds no answer to a problem (the longest gold of the four benchmarks has 240)."""
WORKER_MEMORY = 1 << 30
"""Bytes of data one worker may hold."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the response is right, what was taken as its answer, and why.

    `reason` is `correct`; `wrong`; `no_answer` (no closed box after thinking); `unparsable` (the box, or the gold,
    holds no mathematics); `timeout` (judging took too long: not known to be wrong); `crashed` (judging ran out of
    memory or died). A verifier of another domain may give a `score` from 0 to 1: its domain's threshold decides then.

    `lenient` is whether it is right in any usual form of a final answer, None where that was not asked for. `stated` is
    what was taken as its answer then, where there is no box; a box that is there is the answer.
    """

    correct: bool
    extracted: str | None
    reason: Reason
    score: float | None = None
    lenient: bool | None = None
    stated: str | None = None


class _NeedsMathematicsError(Exception):
    """Text alone does not settle it."""


class Verifier:
    """Scores responses; a context manager, because it owns worker processes.

    `timeout_s` bounds the judging of one answer, in seconds; `workers` is the number of processes. They are started
    at the first answer that needs one, by spawning, which is safe beside torch's threads; so a script that uses a
    Verifier must guard its main part by `if __name__ == "__main__":`, as always with multiprocessing.

    `Problem.domain` chooses what judges: mathematics is judged here, other domains by plug-ins, which `domains` adds
    or sets by name (`sgpo.problems.domains`). The domains of `problems` are looked for when it is opened: it raises
    DomainError, with the nearest name or what is missing, before anything is judged.
    """

    def __init__(
        self,
        timeout_s: float = 5.0,
        workers: int = 2,
        domains: Mapping[str, DomainConfig] | None = None,
        problems: Iterable[Problem] = (),
    ) -> None:
        if not timeout_s > 0:
            raise ValueError(f"timeout_s is {timeout_s} (expected seconds above 0)")
        if workers < 1:
            raise ValueError(f"workers is {workers} (expected at least 1)")
        self.timeout_s = timeout_s
        self.workers = workers
        self._entered = False
        self._pool = KillableWorkers(workers, _prepare_worker, (WORKER_MEMORY,))
        self._required = tuple(dict.fromkeys(problem.domain for problem in problems))
        self._domains = DomainJudges(domains or {}, timeout_s, workers)

    def __enter__(self) -> Self:
        try:
            self._domains.require(self._required)
        except DomainError:
            self._domains.stop()
            raise
        self._entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered = False
        self._pool.stop()
        self._domains.stop()

    def score(self, response_text: str, problem: Problem) -> Verdict:
        """Return the verdict on one response. Raises VerifierError, never because of the text."""
        return self.score_many([(response_text, problem)])[0]

    def score_many(self, pairs: Sequence[tuple[str, Problem]], lenient: bool = False) -> list[Verdict]:
        """One verdict per (response text, problem), in order; equal answers to a problem are judged once.

        With `lenient`, answers in other forms than a box are judged too, for `Verdict.lenient` alone. A plug-in has one
        form, so that its lenient verdict is its verdict.
        """
        self._check_open()
        others = [pair for pair in pairs if self._domains.judges(pair[1])]
        if not others:
            return self._score_mathematics(pairs, lenient)
        ours = [pair for pair in pairs if not self._domains.judges(pair[1])]
        mathematics = iter(self._score_mathematics(ours, lenient))
        judged = iter(self._domains.score_many(others))
        return [
            _of_domain(next(judged), lenient) if self._domains.judges(problem) else next(mathematics)
            for _, problem in pairs
        ]

    def present_many(self, problems: Sequence[Problem]) -> list[str]:
        """Return for each problem a response that gives its gold answer. Raises DomainError."""
        self._check_open()
        others = iter(self._domains.present_many([problem for problem in problems if self._domains.judges(problem)]))
        return [
            next(others) if self._domains.judges(problem) else f"\\boxed{{{problem.answer}}}" for problem in problems
        ]

    def _check_open(self) -> None:
        if not self._entered:
            raise VerifierError("the verifier is closed (expected `with Verifier() as verifier:`)")

    def _score_mathematics(self, pairs: Sequence[tuple[str, Problem]], lenient: bool) -> list[Verdict]:
        found: list[_Found] = []
        reasons: dict[tuple[Expectation, str], Reason | None] = {}
        for text, problem in pairs:
            boxed = final_answer(text)
            stated = lenient_answer(text, _expected(problem)) if lenient and boxed is None else None
            answer = stated if boxed is None else boxed
            key = None if answer is None else (_expected(problem), answer)
            found.append((boxed, stated, key))
            if key is not None and key not in reasons:
                reasons[key] = _settle_by_text(*key)
        open_keys = [key for key, reason in reasons.items() if reason is None]
        reasons.update(zip(open_keys, self._judge(open_keys), strict=True))
        return [_verdict(*one, None if one[2] is None else reasons[one[2]], lenient) for one in found]

    def _judge(self, items: list[tuple[Expectation, str]]) -> list[Reason]:
        """Reasons from the workers."""
        arguments = [(*item, 2 * self.timeout_s) for item in items]
        return self._pool.run(_judge_in_worker, arguments, [self.timeout_s] * len(items))


def _prepare_worker(memory_bytes: int) -> None:
    from sgpo.problems.judge import prepare  # sympy is loaded in workers only

    prepare(memory_bytes)


def _judge_in_worker(expected: Expectation, text: str, cpu_seconds: float) -> Reason:
    from sgpo.problems.judge import judge

    return judge(expected, text, cpu_seconds)


def _of_domain(judged: Judged, lenient: bool) -> Verdict:
    right = judged.correct
    return Verdict(right, judged.extracted, judged.reason, judged.score, right if lenient else None)


_Found = tuple[str | None, str | None, tuple[Expectation, str] | None]
"""What a response has in its box, what it states without one, and which of both is judged."""


def _verdict(
    boxed: str | None, stated: str | None, key: tuple[Expectation, str] | None, reason: Reason | None, lenient: bool
) -> Verdict:
    right = reason == "correct"
    if boxed is None:
        return Verdict(False, None, "no_answer", lenient=right if lenient else None, stated=stated)
    assert key is not None
    assert reason is not None
    return Verdict(right, boxed, reason, lenient=right if lenient else None)


_expect = lru_cache(maxsize=4096)(expect)


def _expected(problem: Problem) -> Expectation:
    return _expect(
        problem.answer, problem.question, multiple=problem.multiple, unit=problem.unit, tolerance=problem.tolerance
    )


def _settle_by_text(expected: Expectation, text: str) -> Reason | None:
    if len(text) > LONGEST_ANSWER:
        return "unparsable"
    try:
        return "correct" if meets(expected, text, _no_mathematics) else "wrong"
    except UnparsableError:
        return "unparsable"
    except _NeedsMathematicsError:
        return None


def _no_mathematics(gold: str, answer: str, tolerance: Fraction | None) -> bool:
    raise _NeedsMathematicsError
