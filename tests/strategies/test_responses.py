from pathlib import Path

from arithmetic_teacher import PROBLEMS, ArithmeticTeacher, verify

from sgpo.problems.schema import Problem
from sgpo.problems.verifier import Verdict
from sgpo.strategies.responses import respond_all, with_responses
from sgpo.strategies.settings import StrategyConfig
from sgpo.strategies.templates import PROMPT_VERSION


def test_only_responses_that_the_verifier_accepts_are_kept(tmp_path: Path) -> None:
    teacher = ArithmeticTeacher()
    responses, refusals = respond_all(PROBLEMS, teacher, verify, StrategyConfig(tries=4), journal=tmp_path / "j")
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
    responses, refusals = respond_all([problem], teacher, verify, StrategyConfig(tries=3), journal=tmp_path / "j")
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
    responses, refusals = respond_all([right, wrong], teacher, verify, StrategyConfig(tries=9), journal=tmp_path / "j")
    assert [(response.teacher, response.attempt > 0) for response in responses] == [
        ("given", False),
        (teacher.name, True),
    ]
    assert (refusals[0].problem_id, refusals[0].index, refusals[0].reason) == (wrong.id, None, "wrong_answer")
    filled = with_responses([right, wrong, PROBLEMS[2]], responses)
    assert [problem.response for problem in filled] == [responses[0].text, responses[1].text, None]


def test_a_verdict_that_never_came_is_not_called_a_wrong_answer(tmp_path: Path) -> None:
    def out_of_time(text: str, problem: Problem) -> Verdict:
        return Verdict(False, "41", "timeout")

    given = PROBLEMS[0].model_copy(update={"response": "It is \\boxed{41}."})
    _, refusals = respond_all(
        [given], ArithmeticTeacher(), out_of_time, StrategyConfig(tries=1), journal=tmp_path / "j"
    )
    assert refusals[0].reason == "no_verdict"


def test_a_second_run_asks_for_nothing_and_gives_the_same(tmp_path: Path) -> None:
    first = respond_all(PROBLEMS, ArithmeticTeacher(), verify, StrategyConfig(), journal=tmp_path / "j")
    teacher, seen = ArithmeticTeacher(), []
    second = respond_all(
        PROBLEMS, teacher, verify, StrategyConfig(), journal=tmp_path / "j", on_progress=lambda *at: seen.append(at)
    )
    assert second == first
    assert teacher.requests.total() == 0
    assert seen == [(done, len(PROBLEMS)) for done in range(1, len(PROBLEMS) + 1)]
