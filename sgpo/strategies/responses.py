"""The strong model's responses: only those whose final answer the verifier accepts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sgpo.config.domains import Domains, Prompts
from sgpo.config.strategies import StrategyConfig
from sgpo.problems.domains.registry import prompts_of
from sgpo.problems.schema import Problem
from sgpo.problems.table import publish_table
from sgpo.progress import progress_bar
from sgpo.strategies.first_answers import FirstAnswers
from sgpo.strategies.refusals import Refusal, RefusedText, no_answer, not_answered, publish_refusals
from sgpo.strategies.schema import StrongResponse
from sgpo.strategies.teacher.concurrency import in_order
from sgpo.strategies.teacher.journal import RecordedTeacher
from sgpo.strategies.teacher.teacher import RequestRefusedError, Teacher, TeacherError, request_seed
from sgpo.strategies.teacher.templates import VERSIONS, respond_request

if TYPE_CHECKING:
    from sgpo.problems.verifier import Verdict

Verify = Callable[[str, Problem], "Verdict"]

PROBLEMS_AT_ONCE = 256
"""Problems that are held in memory; the requests under way at once are bounded by `TeacherConfig.concurrency`."""


@dataclass(frozen=True, slots=True)
class ResponseSummary:
    """What came of a run: problems with an accepted response, and refusals by reason."""

    problems: int
    kept: int
    refused: dict[str, int]


async def respond_all(
    problems: Sequence[Problem],
    teacher: RecordedTeacher,
    verify: Verify,
    settings: StrategyConfig,
    *,
    responses: Path,
    refusals: Path,
    domains: Domains | None = None,
) -> ResponseSummary:
    """One accepted response per problem into `responses` (Parquet), everything refused into `refusals` (JSONL).

    A response that comes with the problem is used when the verifier accepts it; otherwise the teacher has
    `settings.tries` tries. Both files are in the order of `problems`, and appear at the end, each whole or not at all.
    `domains` says in which wording a domain is asked. What the teacher's journal holds is not requested again. A run
    whose first answers are all refused stops (`FirstAnswers`); its refusals are there. Raises TeacherError,
    JournalError.
    """
    kept = 0
    first, stopped = FirstAnswers(settings.refused_at_start, settings.tries, PROBLEMS_AT_ONCE), False
    # A verifier answers one caller at a time.
    with ThreadPoolExecutor(max_workers=1) as verification, publish_table(responses, StrongResponse) as accepted:

        async def work(problem: Problem) -> tuple[StrongResponse | None, list[RefusedText]]:
            return await respond(problem, teacher, verify, settings, verification, domains)

        with publish_refusals(refusals) as refused, progress_bar(len(problems), "responses", unit="problem") as bar:
            async with aclosing(in_order(problems, work, first.at_once)) as outcomes:
                async for response, texts in outcomes:
                    refused.extend(texts)
                    if response is not None:
                        accepted.append(response)
                        kept += 1
                    used = teacher.spending.describe()
                    bar.set_postfix(kept=kept, requests=teacher.asked, used=used, refresh=False)
                    bar.update()
                    if stopped := first.all_refused(texts, response is not None and response.attempt > 0):
                        break
        if stopped:
            raise TeacherError(f"{refusals}: {first.describe()}")
    return ResponseSummary(len(problems), kept, dict(refused.counts))


async def respond(
    problem: Problem,
    teacher: Teacher,
    verify: Verify,
    settings: StrategyConfig,
    verification: Executor | None = None,
    domains: Domains | None = None,
) -> tuple[StrongResponse | None, list[RefusedText]]:
    """Return the first response to `problem` that the verifier accepts, or None, and the refused ones."""
    refusals: list[RefusedText] = []
    prompts = prompts_of(problem.domain, domains)
    messages = respond_request(problem, prompts)

    async def verdict_on(text: str) -> Verdict:
        return await asyncio.get_running_loop().run_in_executor(verification, verify, text, problem)

    if problem.response:
        verdict = await verdict_on(problem.response)
        if verdict.correct:
            return _record(problem, problem.response, "given", 0, prompts), refusals
        refusals.append(_refusal(verdict).of(problem.id, "response", text=problem.response))
    for attempt in range(1, settings.tries + 1):
        seed = request_seed(settings.seed, "respond", problem.id, attempt)
        try:
            completion = await teacher.complete(messages, seed=seed, temperature=settings.temperature)
        except RequestRefusedError as error:
            refusals.append(not_answered(error).of(problem.id, "response", attempt))
            continue
        refusal = no_answer(completion)
        if refusal is None:
            verdict = await verdict_on(completion.text)
            if verdict.correct:
                return _record(problem, completion.text, teacher.name, attempt, prompts), refusals
            refusal = _refusal(verdict)
        refusals.append(refusal.of(problem.id, "response", attempt, completion.text))
    none = Refusal("no_response", f"none of {settings.tries} responses has the right answer")
    return None, [*refusals, none.of(problem.id, "problem")]


def _refusal(verdict: Verdict) -> Refusal:
    reason = "no_verdict" if verdict.reason in ("timeout", "crashed") else "wrong_answer"
    return Refusal(reason, f"{verdict.reason} (extracted {verdict.extracted!r})")


def _record(problem: Problem, text: str, teacher: str, attempt: int, prompts: Prompts) -> StrongResponse:
    return StrongResponse(
        problem_id=problem.id, text=text, teacher=teacher, prompt_version=VERSIONS[prompts], attempt=attempt
    )
