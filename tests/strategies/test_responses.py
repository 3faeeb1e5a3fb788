import asyncio
from pathlib import Path

from arithmetic_teacher import PROBLEMS, ArithmeticTeacher, verify

from sgpo.config.strategies import StrategyConfig
from sgpo.problems.schema import Problem
from sgpo.problems.table import read_table
from sgpo.problems.verifier import Verdict
from sgpo.strategies.refusals import RefusedText, read_refusals
from sgpo.strategies.responses import Verify, respond_all
from sgpo.strategies.schema import StrongResponse
from sgpo.strategies.teacher.journal import RecordedTeacher
from sgpo.strategies.teacher.teacher import RequestRefusedError
from sgpo.strategies.teacher.templates import PROMPT_VERSION


def run(
    folder: Path, problems: list[Problem], teacher: ArithmeticTeacher, settings: StrategyConfig, verify: Verify = verify
) -> tuple[list[StrongResponse], list[RefusedText]]:
    """What was kept and what was refused."""

    async def respond() -> None:
        async with RecordedTeacher(teacher, folder / "j") as recorded:
            summary = await respond_all(
                problems, recorded, verify, settings, responses=folder / "kept.parquet", refusals=folder / "r.jsonl"
            )
        assert summary.problems == len(problems)

    asyncio.run(respond())
    return read_table(folder / "kept.parquet", StrongResponse), list(read_refusals(folder / "r.jsonl"))


def test_only_responses_that_the_verifier_accepts_are_kept(tmp_path: Path) -> None:
    teacher = ArithmeticTeacher()
    responses, refusals = run(tmp_path, PROBLEMS, teacher, StrategyConfig(tries=4))
    problems = {problem.id: problem for problem in PROBLEMS}
    assert responses
    assert [r.problem_id for r in responses] == [p.id for p in PROBLEMS if p.id in {r.problem_id for r in responses}]
    assert all(verify(response.text, problems[response.problem_id]).correct for response in responses)
    assert {(response.teacher, response.prompt_version) for response in responses} == {(teacher.name, PROMPT_VERSION)}
    tried = [refusal for refusal in refusals if refusal.stage == "response"]
    assert tried
    assert all(refusal.detail and refusal.text for refusal in tried)
    assert len(tried) + len(responses) == teacher.requests.total()
    assert max(teacher.requests.values()) == 1


def test_a_problem_without_a_right_response_is_refused_after_all_tries(tmp_path: Path) -> None:
    teacher = ArithmeticTeacher()
    problem = PROBLEMS[0].model_copy(update={"answer": "1"})
    responses, refusals = run(tmp_path, [problem], teacher, StrategyConfig(tries=3))
    assert responses == []
    assert [(r.stage, r.index) for r in refusals] == [
        ("response", 1),
        ("response", 2),
        ("response", 3),
        ("problem", None),
    ]
    assert refusals[-1].reason == "no_response"
    assert teacher.requests.total() == 3


def test_a_response_that_comes_with_the_problem_is_used_only_when_right(tmp_path: Path) -> None:
    right = PROBLEMS[0].model_copy(update={"response": "It is \\boxed{41}."})
    wrong = PROBLEMS[1].model_copy(update={"response": "It is \\boxed{41}."})
    teacher = ArithmeticTeacher()
    responses, refusals = run(tmp_path, [right, wrong], teacher, StrategyConfig(tries=9))
    assert [(response.teacher, response.attempt > 0) for response in responses] == [
        ("given", False),
        (teacher.name, True),
    ]
    assert (refusals[0].problem_id, refusals[0].index, refusals[0].reason) == (wrong.id, None, "wrong_answer")
    assert responses[0].text == right.response


def test_a_verdict_that_never_came_is_not_called_a_wrong_answer(tmp_path: Path) -> None:
    def out_of_time(text: str, problem: Problem) -> Verdict:
        return Verdict(False, "41", "timeout")

    given = PROBLEMS[0].model_copy(update={"response": "It is \\boxed{41}."})
    _, refusals = run(tmp_path, [given], ArithmeticTeacher(), StrategyConfig(tries=1), out_of_time)
    assert refusals[0].reason == "no_verdict"


def test_a_second_run_asks_for_nothing_and_gives_the_same(tmp_path: Path) -> None:
    first = run(tmp_path, PROBLEMS, ArithmeticTeacher(), StrategyConfig())
    files = [(tmp_path / name).read_bytes() for name in ("kept.parquet", "r.jsonl")]
    teacher = ArithmeticTeacher()
    assert run(tmp_path, PROBLEMS, teacher, StrategyConfig()) == first
    assert [(tmp_path / name).read_bytes() for name in ("kept.parquet", "r.jsonl")] == files
    assert teacher.requests.total() == 0


def test_a_request_that_the_teacher_refuses_is_a_refused_try_and_the_next_one_is_made(tmp_path: Path) -> None:
    refused: list[int] = []

    def refuse(number: int) -> None:
        if not refused:
            refused.append(number)
            raise RequestRefusedError("the endpoint's content filter stopped the answer")

    teacher = ArithmeticTeacher(refuse)
    responses, refusals = run(tmp_path, PROBLEMS[:1], teacher, StrategyConfig(tries=9))
    assert (refusals[0].stage, refusals[0].index, refusals[0].reason) == ("response", 1, "teacher_refused")
    assert [response.attempt > 1 for response in responses] == [True]
