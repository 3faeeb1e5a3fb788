"""The strong model's responses: only those whose final answer the verifier accepts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from sgpo.problems.schema import Problem
from sgpo.strategies.journal import RecordedTeacher
from sgpo.strategies.refusals import Refusal, RefusedText
from sgpo.strategies.schema import StrongResponse
from sgpo.strategies.settings import StrategyConfig
from sgpo.strategies.teacher import Teacher, request_seed
from sgpo.strategies.templates import PROMPT_VERSION, respond_request

if TYPE_CHECKING:
    from sgpo.problems.verifier import Verdict

Verify = Callable[[str, Problem], "Verdict"]
OnProgress = Callable[[int, int], None]
"""Called with (problems done, problems in all)."""


def respond_all(
    problems: Sequence[Problem],
    teacher: Teacher,
    verify: Verify,
    settings: StrategyConfig,
    *,
    journal: Path,
    on_progress: OnProgress | None = None,
) -> tuple[list[StrongResponse], list[RefusedText]]:
    """One accepted response per problem, in the order of `problems`, and everything refused on the way.

    A response that comes with the problem is used when the verifier accepts it; otherwise the teacher has
    `settings.tries` tries. What `journal` already holds is not requested again. Raises TeacherError, JournalError.
    """
    responses: list[StrongResponse] = []
    refusals: list[RefusedText] = []
    with (
        RecordedTeacher(teacher, journal) as recorded,
        tqdm(total=len(problems), desc="responses", disable=None) as bar,
    ):
        for done, problem in enumerate(problems, start=1):
            response, refused = respond(problem, recorded, verify, settings)
            refusals += refused
            if response is not None:
                responses.append(response)
            bar.set_postfix(kept=len(responses), requests=recorded.asked, refresh=False)
            bar.update()
            if on_progress is not None:
                on_progress(done, len(problems))
    return responses, refusals


def respond(
    problem: Problem, teacher: Teacher, verify: Verify, settings: StrategyConfig
) -> tuple[StrongResponse | None, list[RefusedText]]:
    """The first response to `problem` that the verifier accepts, or None, and the refused ones."""
    refusals: list[RefusedText] = []

    if problem.response:
        verdict = verify(problem.response, problem)
        if verdict.correct:
            return _record(problem, problem.response, "given", 0), refusals
        refusals.append(_refusal(verdict).of(problem.id, "response", text=problem.response))
    for attempt in range(1, settings.tries + 1):
        seed = request_seed(settings.seed, "respond", problem.id, attempt)
        completion = teacher.complete(respond_request(problem), seed=seed, temperature=settings.temperature)
        if completion.finish_reason == "length":
            refusal = Refusal("truncated", "cut at the teacher's token limit")
        else:
            verdict = verify(completion.text, problem)
            if verdict.correct:
                return _record(problem, completion.text, teacher.name, attempt), refusals
            refusal = _refusal(verdict)
        refusals.append(refusal.of(problem.id, "response", attempt, completion.text))
    none = Refusal("no_response", f"none of {settings.tries} responses has the right answer")
    return None, [*refusals, none.of(problem.id, "problem")]


def with_responses(problems: Sequence[Problem], responses: Sequence[StrongResponse]) -> list[Problem]:
    """`problems` with the accepted responses filled in; the others without one."""
    texts = {response.problem_id: response.text for response in responses}
    return [problem.model_copy(update={"response": texts.get(problem.id)}) for problem in problems]


def _refusal(verdict: Verdict) -> Refusal:
    reason = "no_verdict" if verdict.reason in ("timeout", "crashed") else "wrong_answer"
    return Refusal(reason, f"{verdict.reason} (extracted {verdict.extracted!r})")


def _record(problem: Problem, text: str, teacher: str, attempt: int) -> StrongResponse:
    return StrongResponse(
        problem_id=problem.id, text=text, teacher=teacher, prompt_version=PROMPT_VERSION, attempt=attempt
    )
