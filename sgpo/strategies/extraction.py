"""From strong-model responses to strategies [SGPO section 2]: candidates, checks, one ranking, the best is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from sgpo.problems.schema import Problem
from sgpo.problems.table import write_table
from sgpo.strategies.journal import RecordedTeacher
from sgpo.strategies.leak import find_leak
from sgpo.strategies.parsing import ParsedStrategy, parse_candidate, parse_ranking
from sgpo.strategies.refusals import Refusal, RefusedText, write_refusals
from sgpo.strategies.responses import OnProgress
from sgpo.strategies.schema import CRITERIA, Strategy, StrongResponse
from sgpo.strategies.settings import StrategyConfig
from sgpo.strategies.teacher import Completion, Teacher, request_seed
from sgpo.strategies.templates import PROMPT_VERSION, extract_request, rank_request


class ExtractionError(RuntimeError):
    """Extraction that cannot give a strategy file; the message says what is wrong with which input."""


@dataclass(frozen=True, slots=True)
class Extraction:
    """What came of one problem: the strategy, or None with a refusal of stage "problem" that says why."""

    strategy: Strategy | None
    refusals: tuple[RefusedText, ...]


@dataclass(frozen=True, slots=True)
class ExtractionSummary:
    """What came of a run. `asked` requests went to the teacher, with these tokens; `reused` were in the journal."""

    problems: int
    kept: int
    refused: dict[str, int]
    asked: int
    reused: int
    prompt_tokens: int
    completion_tokens: int


def extract_all(
    problems: Sequence[Problem],
    responses: Sequence[StrongResponse],
    teacher: Teacher,
    settings: StrategyConfig,
    *,
    strategies: Path,
    refusals: Path,
    journal: Path,
    on_progress: OnProgress | None = None,
) -> ExtractionSummary:
    """Extract a strategy for every problem and write `strategies` (Parquet) and `refusals` (JSONL), in problem order.

    What `journal` already holds is not requested again, so a killed run goes on where it was, and the files are the
    same bytes as an undisturbed run's. Both files are written at the end, each whole or not at all. Raises
    ExtractionError, TeacherError, JournalError.
    """
    texts = _responses_by_problem(problems, responses)
    kept: list[Strategy] = []
    refused: list[RefusedText] = []
    with (
        RecordedTeacher(teacher, journal) as recorded,
        tqdm(total=len(problems), desc="strategies", disable=None) as bar,
    ):
        for done, problem in enumerate(problems, start=1):
            outcome = extract_strategy(problem, texts.get(problem.id), recorded, settings)
            refused += outcome.refusals
            if outcome.strategy is not None:
                kept.append(outcome.strategy)
            bar.set_postfix(kept=len(kept), refused=len(refused), requests=recorded.asked, refresh=False)
            bar.update()
            if on_progress is not None:
                on_progress(done, len(problems))
    write_refusals(refused, refusals)
    reasons = Counter(refusal.reason for refusal in refused)
    if not kept:
        most = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common(3)) or "no problems"
        raise ExtractionError(f"{refusals}: no strategy for any of {len(problems)} problems ({most})")
    write_table(kept, strategies)
    return ExtractionSummary(
        problems=len(problems),
        kept=len(kept),
        refused=dict(reasons),
        asked=recorded.asked,
        reused=recorded.reused,
        prompt_tokens=recorded.prompt_tokens,
        completion_tokens=recorded.completion_tokens,
    )


def extract_strategy(problem: Problem, response: str | None, teacher: Teacher, settings: StrategyConfig) -> Extraction:
    """The best of `settings.candidates` strategies for `problem` given a strong model's `response`.

    A candidate that cannot be read, is too long or leaks is refused before the ranking. The score is the mean of the
    four criteria; of equals the first is kept. An unreadable ranking is asked for again, `settings.tries` times in all.
    """
    if not response:
        return Extraction(
            None, (Refusal("no_response", "no accepted response to extract from").of(problem.id, "problem"),)
        )
    candidates, refusals = _write_candidates(problem, response, teacher, settings)
    if not candidates:
        detail = f"all {settings.candidates} candidates were refused"
        return Extraction(None, (*refusals, Refusal("no_candidate", detail).of(problem.id, "problem")))
    ranking, unreadable = _rank(problem, response, candidates, teacher, settings)
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
        prompt_version=PROMPT_VERSION,
        candidates_seen=settings.candidates,
    )
    return Extraction(strategy, tuple(refusals))


def check_candidate(completion: Completion, problem: Problem, settings: StrategyConfig) -> ParsedStrategy | Refusal:
    """The strategy in a completion, or why it is none that may be used."""
    if completion.finish_reason == "length":
        return Refusal("truncated", "cut at the teacher's token limit")
    candidate = parse_candidate(completion.text)
    if isinstance(candidate, Refusal):
        return candidate
    words = len(candidate.text().split())
    if words > settings.max_words:
        return Refusal("too_long", f"{words} words (expected at most {settings.max_words})")
    return find_leak(candidate, problem) or candidate


def _write_candidates(
    problem: Problem, response: str, teacher: Teacher, settings: StrategyConfig
) -> tuple[list[ParsedStrategy], list[RefusedText]]:
    candidates: list[ParsedStrategy] = []
    refusals: list[RefusedText] = []
    messages = extract_request(problem, response, settings.max_words)
    for index in range(1, settings.candidates + 1):
        seed = request_seed(settings.seed, "extract", problem.id, index)
        completion = teacher.complete(messages, seed=seed, temperature=settings.temperature)
        checked = check_candidate(completion, problem, settings)
        if isinstance(checked, Refusal):
            refusals.append(checked.of(problem.id, "candidate", index, completion.text))
        else:
            candidates.append(checked)
    return candidates, refusals


def _rank(
    problem: Problem, response: str, candidates: list[ParsedStrategy], teacher: Teacher, settings: StrategyConfig
) -> tuple[list[dict[str, float]] | None, list[RefusedText]]:
    refusals: list[RefusedText] = []
    messages = rank_request(problem, response, candidates)
    for attempt in range(1, settings.tries + 1):
        seed = request_seed(settings.seed, "rank", problem.id, attempt)
        completion = teacher.complete(messages, seed=seed, temperature=settings.temperature)
        ranking = parse_ranking(completion.text, len(candidates))
        if not isinstance(ranking, Refusal):
            return ranking, refusals
        refusals.append(ranking.of(problem.id, "ranking", attempt, completion.text))
    return None, refusals


def _responses_by_problem(problems: Sequence[Problem], responses: Sequence[StrongResponse]) -> dict[str, str]:
    repeated = [name for name, count in Counter(problem.id for problem in problems).items() if count > 1]
    if repeated:
        raise ExtractionError(f"problem id '{repeated[0]}' occurs more than once (expected one problem per id)")
    unknown = {response.problem_id for response in responses} - {problem.id for problem in problems}
    if unknown:
        raise ExtractionError(f"a response names the unknown problem '{min(unknown)}' (expected one of the problems)")
    return {response.problem_id: response.text for response in responses}
