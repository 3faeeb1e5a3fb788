"""From strong-model responses to strategies [docs/method.md section 2]: candidates, checks, one ranking."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from sgpo.config.domains import Domains, Prompts
from sgpo.config.strategies import StrategyConfig
from sgpo.errors import UserError
from sgpo.problems.domains.registry import prompts_of
from sgpo.problems.schema import Problem
from sgpo.problems.table import iterate_table, publish_table
from sgpo.progress import progress_bar
from sgpo.strategies.duplicates import near_duplicates
from sgpo.strategies.first_answers import FirstAnswers
from sgpo.strategies.leaks.by_domain import find_domain_leak
from sgpo.strategies.leaks.equivalents import Verify, find_equivalent, has_fragments
from sgpo.strategies.parsing import ParsedStrategy, parse_candidate, parse_ranking
from sgpo.strategies.refusals import Refusal, RefusedText, no_answer, not_answered, publish_refusals
from sgpo.strategies.responses import PROBLEMS_AT_ONCE
from sgpo.strategies.schema import CRITERIA, Strategy, StrongResponse
from sgpo.strategies.teacher.concurrency import in_order
from sgpo.strategies.teacher.journal import RecordedTeacher
from sgpo.strategies.teacher.teacher import Completion, RequestRefusedError, Teacher, request_seed
from sgpo.strategies.teacher.templates import VERSIONS, extract_request, rank_request

Check = Callable[[ParsedStrategy, Problem], Awaitable[Refusal | None]]


class ExtractionError(UserError):
    """Extraction that cannot give a strategy file; the message says what is wrong with which input."""


@dataclass(frozen=True, slots=True)
class Extraction:
    """What came of one problem: the strategy, or None with a refusal of stage "problem" that says why."""

    strategy: Strategy | None
    refusals: tuple[RefusedText, ...]


@dataclass(frozen=True, slots=True)
class ExtractionSummary:
    """What came of a run: responses read, strategies kept, texts refused by reason."""

    responses: int
    kept: int
    refused: dict[str, int]


async def extract_all(
    problems: Sequence[Problem],
    teacher: RecordedTeacher,
    settings: StrategyConfig,
    *,
    responses: Path,
    strategies: Path,
    refusals: Path,
    verify: Verify | None = None,
    unused: Sequence[RefusedText] = (),
    domains: Domains | None = None,
) -> ExtractionSummary:
    """Extract a strategy from every response; writes `strategies` (Parquet) and `refusals` (JSONL) in their order.

    With `verify`, a mathematical strategy's expressions are judged against the answer too (`find_equivalent`).
    `domains` says in which wording a domain is asked, and what is a leak there. `unused` is what the teacher has for no
    problem: it ends the refusals.

    What the teacher's journal holds is not requested again, so a killed run goes on where it was, and the files are the
    same bytes as an undisturbed run's. Both files appear at the end, each whole or not at all. A run whose first
    answers are all refused stops (`FirstAnswers`); its refusals are there. Raises ExtractionError,
    TeacherError, JournalError.
    """
    total = _check_ids(problems, responses)
    asked = {problem.id: problem for problem in problems}
    kept = 0
    first, stopped = FirstAnswers(settings.refused_at_start, settings.candidates, PROBLEMS_AT_ONCE), False

    with ThreadPoolExecutor(max_workers=1) as verification, publish_table(strategies, Strategy) as table:

        async def equivalent(candidate: ParsedStrategy, problem: Problem) -> Refusal | None:
            mathematics = prompts_of(problem.domain, domains) == "mathematics"
            if verify is None or not mathematics or not has_fragments(candidate):
                return None
            loop = asyncio.get_running_loop()  # a verifier answers one caller at a time
            return await loop.run_in_executor(verification, find_equivalent, candidate, problem, verify)

        async def work(response: StrongResponse) -> Extraction:
            problem = asked[response.problem_id]
            prompts = prompts_of(problem.domain, domains)
            return await extract_strategy(problem, response.text, teacher, settings, equivalent, prompts)

        with publish_refusals(refusals) as refused, progress_bar(total, "strategies", unit="problem") as bar:
            async with aclosing(in_order(iterate_table(responses, StrongResponse), work, first.at_once)) as outcomes:
                async for outcome in outcomes:
                    refused.extend(outcome.refusals)
                    if outcome.strategy is not None:
                        table.append(outcome.strategy)
                        kept += 1
                    used = teacher.spending.describe()
                    bar.set_postfix(kept=kept, requests=teacher.asked, used=used, refresh=False)
                    bar.update()
                    if stopped := first.all_refused(outcome.refusals, _any_candidate(outcome, settings)):
                        break
            refused.extend(unused)
        if stopped:
            raise ExtractionError(f"{refusals}: {first.describe()}")
        if not kept:
            most = ", ".join(f"{reason} {count}" for reason, count in refused.counts.most_common(3)) or "nothing"
            raise ExtractionError(f"{refusals}: no strategy from any of {total} responses (refused: {most})")
    return ExtractionSummary(total, kept, dict(refused.counts))


async def extract_strategy(
    problem: Problem, response: str, teacher: Teacher, settings: StrategyConfig, equivalent: Check | None = None,
    prompts: Prompts = "mathematics",
) -> Extraction:  # fmt: skip
    """Return the best of `settings.candidates` strategies for `problem` given a strong model's `response`.

    A candidate that cannot be read, is too long, leaks (`equivalent` is one more check for that) or nearly repeats an
    earlier one is refused before the ranking. The score is the mean of the four criteria; of equals the first is kept.
    An unreadable ranking is asked for again, `settings.tries` times in all.
    """
    candidates, refusals = await _write_candidates(problem, response, teacher, settings, equivalent, prompts)
    if not candidates:
        detail = f"all {settings.candidates} candidates were refused"
        return Extraction(None, (*refusals, Refusal("no_candidate", detail).of(problem.id, "problem")))
    ranking, unreadable = await _rank(problem, response, candidates, teacher, settings, prompts)
    refusals += unreadable
    if ranking is None:
        detail = f"none of {settings.tries} rankings could be read"
        return Extraction(None, (*refusals, Refusal("no_ranking", detail).of(problem.id, "problem")))
    totals = [sum(scores.values()) / len(CRITERIA) for scores in ranking]
    best = totals.index(max(totals))
    strategy = Strategy(
        problem_id=problem.id,
        problem_type=candidates[best].problem_type,
        approach=candidates[best].approach,
        steps=candidates[best].steps,
        score=totals[best],
        scores=ranking[best],
        teacher=teacher.name,
        prompt_version=VERSIONS[prompts],
        candidates_seen=settings.candidates,
    )
    return Extraction(strategy, tuple(refusals))


def check_candidate(
    completion: Completion, problem: Problem, settings: StrategyConfig, prompts: Prompts = "mathematics",
    response: str = "",
) -> ParsedStrategy | Refusal:  # fmt: skip
    """Return the strategy in a completion, or why it is none that may be used."""
    if (refusal := no_answer(completion)) is not None:
        return refusal
    candidate = parse_candidate(completion.text)
    if isinstance(candidate, Refusal):
        return candidate
    words = len(candidate.text().split())
    if words > settings.max_words:
        return Refusal("too_long", f"{words} words (expected at most {settings.max_words})")
    return find_domain_leak(candidate, problem, prompts, response) or candidate


def _any_candidate(outcome: Extraction, settings: StrategyConfig) -> bool:
    return sum(refusal.stage == "candidate" for refusal in outcome.refusals) < settings.candidates


async def _write_candidates(
    problem: Problem,
    response: str,
    teacher: Teacher,
    settings: StrategyConfig,
    equivalent: Check | None,
    prompts: Prompts,
) -> tuple[list[ParsedStrategy], list[RefusedText]]:
    messages = extract_request(problem, response, settings.max_words, prompts)

    async def write(index: int) -> Completion | Refusal:
        seed = request_seed(settings.seed, "extract", problem.id, index)
        try:
            return await teacher.complete(messages, seed=seed, temperature=settings.temperature)
        except RequestRefusedError as error:
            return not_answered(error)

    candidates: list[ParsedStrategy] = []
    refusals: list[RefusedText] = []
    answers = await asyncio.gather(*(write(index) for index in range(1, settings.candidates + 1)))
    for index, answer in enumerate(answers, start=1):
        checked = (
            answer if isinstance(answer, Refusal) else check_candidate(answer, problem, settings, prompts, response)
        )
        if not isinstance(checked, Refusal):
            leak = await equivalent(checked, problem) if equivalent is not None else None
            checked = leak or _not_repeated(checked, candidates)
        if isinstance(checked, Refusal):
            text = "" if isinstance(answer, Refusal) else answer.text
            refusals.append(checked.of(problem.id, "candidate", index, text))
        else:
            candidates.append(checked)
    return candidates, refusals


def _not_repeated(candidate: ParsedStrategy, earlier: list[ParsedStrategy]) -> ParsedStrategy | Refusal:
    repeated = near_duplicates([*earlier, candidate])[-1]
    if repeated is None:
        return candidate
    return Refusal("near_duplicate", f"says what '{earlier[repeated].approach[:60]}' says")


async def _rank(
    problem: Problem,
    response: str,
    candidates: list[ParsedStrategy],
    teacher: Teacher,
    settings: StrategyConfig,
    prompts: Prompts,
) -> tuple[list[dict[str, float]] | None, list[RefusedText]]:
    refusals: list[RefusedText] = []
    messages = rank_request(problem, response, candidates, prompts)
    for attempt in range(1, settings.tries + 1):
        seed = request_seed(settings.seed, "rank", problem.id, attempt)
        try:
            completion = await teacher.complete(messages, seed=seed, temperature=settings.temperature)
        except RequestRefusedError as error:
            refusals.append(not_answered(error).of(problem.id, "ranking", attempt))
            continue
        ranking = parse_ranking(completion.text, len(candidates))
        if not isinstance(ranking, Refusal):
            return ranking, refusals
        refusal = no_answer(completion) or ranking  # a ranking that was cut behind its last score can be read
        refusals.append(refusal.of(problem.id, "ranking", attempt, completion.text))
    return None, refusals


def _check_ids(problems: Sequence[Problem], responses: Path) -> int:
    """Return the number of responses, whose ids are checked before anything is requested."""
    repeated = [name for name, count in Counter(problem.id for problem in problems).items() if count > 1]
    if repeated:
        raise ExtractionError(f"problem id '{repeated[0]}' occurs more than once (expected one problem per id)")
    known = {problem.id for problem in problems}
    seen: set[str] = set()
    for row, response in enumerate(iterate_table(responses, StrongResponse), start=1):
        name = response.problem_id
        if name not in known:
            raise ExtractionError(f"{responses} row {row}: unknown problem '{name}' (expected one of the problems)")
        if name in seen:
            raise ExtractionError(f"{responses} row {row}: a second response to '{name}' (expected one)")
        seen.add(name)
    return len(seen)
