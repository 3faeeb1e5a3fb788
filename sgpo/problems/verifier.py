"""The reward: whether a response's final answer is the problem's [docs/method.md section 3].

Text and digits are settled here, in the caller; the rest goes one by one to worker processes that are killed when
their time is up, so that an answer that hangs costs one timeout and never the run.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from sgpo.errors import UserError
from sgpo.problems.comparison import Expectation, UnparsableError, expect, meets
from sgpo.problems.responses import final_answer
from sgpo.problems.schema import Problem
from sgpo.problems.stated import stated_answer

if TYPE_CHECKING:
    from pebble import ProcessFuture, ProcessPool

Reason = Literal["correct", "wrong", "no_answer", "unparsable", "timeout", "crashed"]

LONGEST_ANSWER = 2000
"""Characters; a longer box holds no answer to a problem (the longest gold of the four benchmarks has 240)."""
WORKER_MEMORY = 1 << 30
"""Bytes of data one worker may hold."""
_WATCH_SECONDS = 1.0
_START_SECONDS = 60.0
"""What a fresh worker may take to import sympy on a busy machine."""


class VerifierError(UserError):
    """The verifier itself does not work; it says nothing about any answer."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the response is right, what was taken as its answer, and why.

    `reason` is `correct`; `wrong`; `no_answer` (no closed box after thinking); `unparsable` (the box, or the gold,
    holds no mathematics); `timeout` (judging took too long: not known to be wrong); `crashed` (judging ran out of
    memory or died).

    `lenient` is whether it is right in any usual form of a final answer, None where that was not asked for. `stated` is
    what was taken as its answer then, where there is no box; a box that is there is the answer.
    """

    correct: bool
    extracted: str | None
    reason: Reason
    lenient: bool | None = None
    stated: str | None = None


class _NeedsMathematicsError(Exception):
    """Text alone does not settle it."""


class Verifier:
    """Scores responses; a context manager, because it owns worker processes.

    `timeout_s` bounds the judging of one answer, in seconds; `workers` is the number of processes. They are started
    at the first answer that needs one, by spawning, which is safe beside torch's threads; so a script that uses a
    Verifier must guard its main part by `if __name__ == "__main__":`, as always with multiprocessing.
    """

    def __init__(self, timeout_s: float = 5.0, workers: int = 2) -> None:
        if not timeout_s > 0:
            raise ValueError(f"timeout_s is {timeout_s} (expected seconds above 0)")
        if workers < 1:
            raise ValueError(f"workers is {workers} (expected at least 1)")
        self.timeout_s = timeout_s
        self.workers = workers
        self._entered = False
        self._pool: ProcessPool | None = None

    def __enter__(self) -> Self:
        self._entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered = False
        self._stop()

    def score(self, response_text: str, problem: Problem) -> Verdict:
        """Return the verdict on one response. Raises VerifierError, never because of the text."""
        return self.score_many([(response_text, problem)])[0]

    def score_many(self, pairs: Sequence[tuple[str, Problem]], lenient: bool = False) -> list[Verdict]:
        """One verdict per (response text, problem), in order; equal answers to a problem are judged once.

        With `lenient`, answers in other forms than a box are judged too, for `Verdict.lenient` alone.
        """
        if not self._entered:
            raise VerifierError("the verifier is closed (expected `with Verifier() as verifier:`)")
        found: list[_Found] = []
        reasons: dict[tuple[Expectation, str], Reason | None] = {}
        for text, problem in pairs:
            boxed = final_answer(text)
            stated = stated_answer(text, _expected(problem)) if lenient and boxed is None else None
            answer = stated if boxed is None else boxed
            key = None if answer is None else (_expected(problem), answer)
            found.append((boxed, stated, key))
            if key is not None and key not in reasons:
                reasons[key] = _settle_by_text(*key)
        open_keys = [key for key, reason in reasons.items() if reason is None]
        reasons.update(zip(open_keys, self._judge(open_keys), strict=True))
        return [_verdict(*one, None if one[2] is None else reasons[one[2]], lenient) for one in found]

    def _judge(self, items: list[tuple[Expectation, str]]) -> list[Reason]:
        """Reasons from the workers. A pool that breaks is replaced, but not twice without a verdict in between."""
        judged: dict[int, Reason] = {}
        tries = 0
        while len(judged) < len(items):
            before = len(judged)
            try:
                self._judge_open(items, judged)
            except BrokenProcessPool as error:
                self._stop()
                tries = tries + 1 if len(judged) == before else 0
                if tries >= 2:
                    raise VerifierError(
                        "verifier workers do not start "
                        '(a script needs `if __name__ == "__main__":` around its main part)'
                    ) from error
        return [judged[index] for index in range(len(items))]

    def _judge_open(self, items: list[tuple[Expectation, str]], judged: dict[int, Reason]) -> None:
        """Judge what is not yet in `judged`. Raises BrokenProcessPool with the rest open."""
        pool = self._running_pool()
        futures: dict[int, ProcessFuture[Reason]] = {}
        for index in range(len(items)):
            if index not in judged:
                try:
                    arguments = (*items[index], 2 * self.timeout_s)
                    futures[index] = pool.schedule(_judge_in_worker, args=arguments, timeout=self.timeout_s)
                except RuntimeError as error:  # pebble's word for a pool that broke in the meantime
                    raise BrokenProcessPool(str(error)) from error
        deadline = time.monotonic() + _START_SECONDS + len(futures) * (self.timeout_s + _START_SECONDS) / self.workers
        while wait(futures.values(), timeout=_WATCH_SECONDS).not_done and pool.active:
            if time.monotonic() > deadline:
                self._stop()
                raise VerifierError("verifier workers give no verdicts")
        judged.update({index: _result(future) for index, future in futures.items() if _has_verdict(future)})
        if any(index not in judged for index in futures):
            raise BrokenProcessPool("the pool broke before all was judged")

    def _running_pool(self) -> ProcessPool:
        if self._pool is not None and not self._pool.active:
            self._stop()  # a worker was killed while it was idle
        if self._pool is None:
            from pebble import ProcessPool

            self._pool = ProcessPool(
                max_workers=self.workers,
                initializer=_prepare_worker,
                initargs=(WORKER_MEMORY,),
                context=multiprocessing.get_context("spawn"),
            )
        return self._pool

    def _stop(self) -> None:
        if self._pool is not None:
            self._pool.stop()
            self._pool.join()
            self._pool = None


def _prepare_worker(memory_bytes: int) -> None:
    from sgpo.problems.judge import prepare  # sympy is loaded in workers only

    prepare(memory_bytes)


def _judge_in_worker(expected: Expectation, text: str, cpu_seconds: float) -> Reason:
    from sgpo.problems.judge import judge

    return judge(expected, text, cpu_seconds)


def _has_verdict(future: ProcessFuture[Reason]) -> bool:
    return future.done() and not isinstance(future.exception(), BrokenProcessPool)


def _result(future: ProcessFuture[Reason]) -> Reason:
    from pebble import ProcessExpired

    try:
        return future.result()
    except TimeoutError:
        return "timeout"
    except ProcessExpired:
        return "crashed"


_Found = tuple[str | None, str | None, tuple[Expectation, str] | None]
"""What a response has in its box, what it states without one, and which of both is judged."""


def _verdict(
    boxed: str | None, stated: str | None, key: tuple[Expectation, str] | None, reason: Reason | None, lenient: bool
) -> Verdict:
    right = reason == "correct"
    if boxed is None:
        return Verdict(False, None, "no_answer", right if lenient else None, stated)
    assert key is not None
    assert reason is not None
    return Verdict(right, boxed, reason, right if lenient else None)


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
