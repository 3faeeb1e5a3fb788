import asyncio
import json
import multiprocessing
import os
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from arithmetic_teacher import PROBLEMS, ArithmeticTeacher

from sgpo.config.strategies import StrategyConfig
from sgpo.problems.schema import Problem
from sgpo.problems.table import read_table, write_table
from sgpo.problems.verifier import Verdict
from sgpo.strategies.extraction import (
    Extraction,
    ExtractionError,
    ExtractionSummary,
    check_candidate,
    extract_all,
    extract_strategy,
)
from sgpo.strategies.leaks.leak import find_leak
from sgpo.strategies.refusals import Refusal, RefusedText
from sgpo.strategies.schema import Strategy, StrongResponse
from sgpo.strategies.teacher.journal import RecordedTeacher
from sgpo.strategies.teacher.teacher import Completion, TeacherError
from sgpo.strategies.teacher.templates import PROMPT_VERSION

SETTINGS = StrategyConfig(seed=5, max_words=100)
RESPONSES = [
    StrongResponse(
        problem_id=problem.id, text=f"\\boxed{{{problem.answer}}}", teacher="t", prompt_version="v1", attempt=1
    )
    for problem in PROBLEMS
]


def run(
    folder: Path,
    teacher: ArithmeticTeacher,
    settings: StrategyConfig = SETTINGS,
    problems: list[Problem] = PROBLEMS,
    responses: list[StrongResponse] = RESPONSES,
) -> tuple[ExtractionSummary, RecordedTeacher]:
    """An extraction in `folder`; its summary and the closed journal."""

    async def extract() -> tuple[ExtractionSummary, RecordedTeacher]:
        write_table(responses, folder / "responses.parquet", StrongResponse)
        async with RecordedTeacher(teacher, folder / "journal.jsonl") as recorded:
            summary = await extract_all(
                problems, recorded, settings, responses=folder / "responses.parquet",
                strategies=folder / "s.parquet", refusals=folder / "r.jsonl",
            )  # fmt: skip
        return summary, recorded

    return asyncio.run(extract())


def extract_one(teacher: ArithmeticTeacher, settings: StrategyConfig) -> Extraction:
    return asyncio.run(extract_strategy(PROBLEMS[0], "r", teacher, settings))


def written(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "s.parquet").read_bytes(), (folder / "r.jsonl").read_bytes()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ArithmeticTeacher, ExtractionSummary]:
    folder, teacher = tmp_path_factory.mktemp("undisturbed"), ArithmeticTeacher()
    return folder, teacher, run(folder, teacher)[0]


def test_every_candidate_is_ranked_or_refused_with_a_reason(undisturbed) -> None:
    folder, teacher, summary = undisturbed
    strategies = read_table(folder / "s.parquet", Strategy)
    refusals = [RefusedText.model_validate_json(line) for line in (folder / "r.jsonl").read_text().splitlines()]
    assert len(strategies) == summary.kept > len(PROBLEMS) // 2
    reasons = {refusal.reason for refusal in refusals if refusal.stage == "candidate"}
    assert reasons <= {
        "states_answer", "computes", "not_a_strategy", "too_long", "truncated", "missing_steps", "near_duplicate",
    }  # fmt: skip
    assert {"states_answer", "not_a_strategy", "too_long"} <= reasons
    assert all(refusal.text and refusal.detail for refusal in refusals if refusal.stage != "problem")
    assert max(teacher.requests.values()) == 1
    assert summary.responses == len(PROBLEMS)
    assert summary.refused == Counter(refusal.reason for refusal in refusals)
    written_candidates = sum(prompt.startswith("Write") for prompt, _ in teacher.requests)
    assert written_candidates == len(PROBLEMS) * SETTINGS.candidates
    assert {strategy.problem_id for strategy in strategies} | {
        refusal.problem_id for refusal in refusals if refusal.stage == "problem"
    } == {problem.id for problem in PROBLEMS}


def test_kept_strategies_carry_their_origin_and_leak_nothing(undisturbed) -> None:
    folder, _, _ = undisturbed
    problems = {problem.id: problem for problem in PROBLEMS}
    for strategy in read_table(folder / "s.parquet", Strategy):
        assert (strategy.teacher, strategy.prompt_version) == ("arithmetic-1", PROMPT_VERSION)
        assert strategy.candidates_seen == SETTINGS.candidates
        assert strategy.score == pytest.approx(sum(strategy.scores.values()) / 4)
        assert find_leak(strategy, problems[strategy.problem_id]) is None


class FixedTeacher(ArithmeticTeacher):
    """Three readable candidates that differ, and a ranking given by the test."""

    def __init__(self, *rankings: str) -> None:
        super().__init__()
        self.rankings = list(rankings)
        self.written = 0

    def _describe(self, prompt: str, seed: int) -> str:
        self.written += 1
        return f"Problem type: Sum\nStrategy: Way {'abc'[self.written - 1]}.\nSteps:\n1. Begin.\n2. End."

    def _rank(self, prompt: str, seed: int) -> str:
        return self.rankings.pop(0)

    async def complete(self, messages, *, seed: int, temperature: float) -> Completion:
        return replace(await super().complete(messages, seed=seed, temperature=temperature), finish_reason="stop")


def ranking(*rows: tuple[float, float, float, float]) -> str:
    names = ("problem_type", "strategy", "steps", "no_leak")
    return json.dumps([{"index": i, **dict(zip(names, row, strict=True))} for i, row in enumerate(rows, start=1)])


def best_of(*rows: tuple[float, float, float, float]) -> Strategy:
    outcome = extract_one(FixedTeacher(ranking(*rows)), StrategyConfig(candidates=3))
    assert outcome.strategy is not None
    return outcome.strategy


def test_a_candidate_that_repeats_an_earlier_one_is_refused_before_the_ranking() -> None:
    class Echo(FixedTeacher):
        def _describe(self, prompt: str, seed: int) -> str:
            return super()._describe(prompt, seed).replace("Way b.", "**Way a!**")

    outcome = extract_one(Echo(ranking((0.5, 0.5, 0.5, 0.5), (0.9, 0.9, 0.9, 0.9))), StrategyConfig(candidates=3))
    assert [(refusal.index, refusal.reason) for refusal in outcome.refusals] == [(2, "near_duplicate")]
    assert outcome.strategy is not None
    assert outcome.strategy.approach == "Way c."


def test_the_answer_in_another_form_is_found_by_the_verifier(tmp_path: Path) -> None:
    class Clever(FixedTeacher):
        def _describe(self, prompt: str, seed: int) -> str:
            return super()._describe(prompt, seed).replace("2. End.", "2. It comes to $m + n$.")

    asked: list[str] = []

    def verify(text: str, problem: Problem) -> Verdict:
        asked.append(text)
        return Verdict(problem.answer == "41", text, "correct")

    async def extract() -> None:
        write_table(RESPONSES[:1], tmp_path / "responses.parquet", StrongResponse)
        async with RecordedTeacher(Clever(), tmp_path / "journal.jsonl") as recorded:
            await extract_all(
                PROBLEMS, recorded, StrategyConfig(candidates=3), responses=tmp_path / "responses.parquet",
                strategies=tmp_path / "s.parquet", refusals=tmp_path / "r.jsonl", verify=verify,
            )  # fmt: skip

    with pytest.raises(ExtractionError, match="states_answer 3"):
        asyncio.run(extract())
    assert set(asked) == {"\\boxed{m + n}"}


def test_the_candidate_with_the_highest_mean_of_the_four_criteria_is_kept() -> None:
    best = best_of((1.0, 0.0, 0.0, 0.0), (0.5, 0.5, 0.5, 0.4), (0.9, 0.9, 0.0, 0.0))
    assert best.approach == "Way b."
    assert best.score == pytest.approx(0.475)
    assert best.scores == {"problem_type": 0.5, "strategy": 0.5, "steps": 0.5, "no_leak": 0.4}


def test_of_equally_ranked_candidates_the_first_is_kept() -> None:
    assert best_of((0.2, 0.2, 0.2, 0.2), (0.5, 0.5, 0.5, 0.5), (1.0, 1.0, 0.0, 0.0)).approach == "Way b."


def test_an_unreadable_ranking_is_asked_for_again() -> None:
    teacher = FixedTeacher("They are all fine.", ranking(*[(0.5, 0.5, 0.5, 0.5)] * 3))
    outcome = extract_one(teacher, StrategyConfig(candidates=3))
    assert outcome.strategy is not None
    assert [(refusal.stage, refusal.index, refusal.reason) for refusal in outcome.refusals] == [
        ("ranking", 1, "not_a_ranking")
    ]


def test_a_problem_whose_rankings_are_never_readable_is_refused() -> None:
    outcome = extract_one(FixedTeacher("?", "?"), StrategyConfig(candidates=3, tries=2))
    assert outcome.strategy is None
    assert [refusal.reason for refusal in outcome.refusals] == ["not_a_ranking", "not_a_ranking", "no_ranking"]


def test_a_candidate_cut_at_the_token_limit_is_refused_though_it_reads_well() -> None:
    text = "Problem type: Sum\nStrategy: Add.\nSteps:\n1. Begin.\n2. End."
    assert not isinstance(check_candidate(Completion(text, 1, 1), PROBLEMS[0], SETTINGS), Refusal)
    refusal = check_candidate(Completion(text, 1, 1, "length"), PROBLEMS[0], SETTINGS)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "truncated"


def _run_and_die_at_the_eighth_request(folder: Path) -> None:
    def die(number: int) -> None:
        if number == 8:
            os.kill(os.getpid(), signal.SIGKILL)

    run(folder, ArithmeticTeacher(die))


@pytest.mark.slow
def test_a_run_killed_many_times_writes_the_same_bytes_and_asks_for_nothing_twice(tmp_path: Path, undisturbed) -> None:
    folder, teacher, _ = undisturbed
    spawn = multiprocessing.get_context("spawn")  # a fork would inherit the threads and hooks of every test before
    lives = 0
    while True:
        child = spawn.Process(target=_run_and_die_at_the_eighth_request, args=(tmp_path,))
        child.start()
        child.join()
        lives += 1
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        assert not (tmp_path / "s.parquet").exists()
    assert lives == -(-(teacher.requests.total() + 1) // 7)  # seven new requests in each life, the eighth kills
    assert written(tmp_path) == written(folder)
    assert len((tmp_path / "journal.jsonl").read_text().splitlines()) == teacher.requests.total()


def test_a_finished_run_repeats_without_a_request_and_another_seed_asks_anew(tmp_path: Path) -> None:
    _, first = run(tmp_path, ArithmeticTeacher())
    bytes_before = written(tmp_path)
    idle, busy = ArithmeticTeacher(), ArithmeticTeacher()
    _, again = run(tmp_path, idle)
    assert (again.asked, again.reused) == (0, first.asked)
    assert idle.requests.total() == 0
    assert written(tmp_path) == bytes_before
    assert run(tmp_path, busy, SETTINGS.model_copy(update={"seed": 6}))[1].asked > 0


def test_a_new_response_is_described_anew_and_the_others_are_reused(tmp_path: Path) -> None:
    _, first = run(tmp_path, ArithmeticTeacher())
    changed = [RESPONSES[0].model_copy(update={"text": "Another way: \\boxed{41}"}), *RESPONSES[1:]]
    teacher = ArithmeticTeacher()
    run(tmp_path, teacher, responses=changed)
    assert 0 < teacher.requests.total() < first.asked / 2
    assert all("Another way" in prompt for prompt, _ in teacher.requests)


def test_a_teacher_that_fails_stops_the_run_and_leaves_no_file(tmp_path: Path) -> None:
    def fail(number: int) -> None:
        if number == 9:
            raise TeacherError("arithmetic-1: no answer within 60 s")

    with pytest.raises(TeacherError, match="no answer within 60 s"):
        run(tmp_path, ArithmeticTeacher(fail))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["journal.jsonl", "responses.parquet"]


def test_a_run_in_which_nothing_is_kept_is_an_error_that_says_why(tmp_path: Path) -> None:
    class Babbler(FixedTeacher):
        def _describe(self, prompt: str, seed: int) -> str:
            return "I would simply add the two numbers."

    message = r"r\.jsonl: no strategy from any of 8 responses \(refused: not_a_strategy 40, no_candidate 8\)"
    with pytest.raises(ExtractionError, match=message):  # one that goes on however it begins
        run(tmp_path, Babbler(), SETTINGS.model_copy(update={"refused_at_start": None}))
    assert not (tmp_path / "s.parquet").exists()
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 6 * len(PROBLEMS)


@pytest.mark.parametrize(
    ("problems", "responses", "message"),
    [
        ([PROBLEMS[0], PROBLEMS[0]], [], "'sum-23-18' occurs more than once"),
        (PROBLEMS[1:], RESPONSES, "row 1: unknown problem 'sum-23-18'"),
        (PROBLEMS, [*RESPONSES, RESPONSES[1]], "row 9: a second response to 'sum-31-27'"),
    ],
)
def test_problems_and_responses_that_do_not_fit_are_refused_before_any_request(
    tmp_path, problems, responses, message
) -> None:
    teacher = ArithmeticTeacher()
    with pytest.raises(ExtractionError, match=message):
        run(tmp_path, teacher, problems=problems, responses=responses)
    assert teacher.requests.total() == 0
