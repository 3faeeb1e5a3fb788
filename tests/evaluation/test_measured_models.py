"""A tiny model that is measured: k and limits of each benchmark, answers kept, and what is not measured again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sgpo.config import RunConfig, load_config
from sgpo.config.testbed import WorldConfig
from sgpo.evaluation import EvaluationError, evaluate, reuse
from sgpo.evaluation.answers import KeptAnswer, answers_path, read_answers
from sgpo.evaluation.evaluate import evaluate_model
from sgpo.evaluation.outcomes import read_outcomes
from sgpo.problems import Problem, Verifier, write_problems
from sgpo.rollouts.groups import Sampler
from sgpo.testbed.world import build_split

pytestmark = pytest.mark.slow
SOURCES = ("amc23", "math500", "amc23", "math500", None)


@pytest.fixture
def problems(tmp_path: Path) -> list[Problem]:
    """Five held-out problems of two benchmarks and of none."""
    drawn = build_split(WorldConfig(train=1, tuning=1, held_out=len(SOURCES)), "held_out")
    made = [one.model_copy(update={"source": source}) for one, source in zip(drawn, SOURCES, strict=True)]
    write_problems(made, tmp_path / "data" / "splits" / "held_out.parquet")
    return made


def settings(folder: Path, *more: str) -> RunConfig:
    small = ["evaluation.k=2", "evaluation.sampling={max_new_tokens: 6, batch_size: 4, temperature: 1.0}"]
    return load_config(None, [f"data={folder / 'data'}", f"runs={folder / 'runs'}", *small, *more])


def answers_by_problem(output: Path) -> dict[str, list[KeptAnswer]]:
    found: dict[str, list[KeptAnswer]] = {}
    for answer in read_answers(output) or ():
        found.setdefault(answer.problem_id, []).append(answer)
    return found


def test_each_benchmark_has_its_k_and_limits_and_the_same_first_draws_as_alone(
    tmp_path: Path, problems: list[Problem], model_folder: Path
) -> None:
    plain, mixed = tmp_path / "plain.jsonl", tmp_path / "mixed.jsonl"
    evaluate_model(settings(tmp_path), model_folder, plain)
    own = "evaluation.benchmarks={amc23: {k: 5}, math500: {max_new_tokens: 3}, other: {k: 1, temperature: 0.0}}"
    scores = evaluate_model(settings(tmp_path, own), model_folder, mixed)
    alone, found = answers_by_problem(plain), answers_by_problem(mixed)
    assert list(found) == [problem.id for problem in problems]
    for problem in problems:
        ours, before = found[problem.id], alone[problem.id]
        assert len(ours) == {"amc23": 5, "math500": 2, None: 1}[problem.source]
        assert [answer.number for answer in ours] == list(range(len(ours)))
        shared = min(len(ours), len(before))
        assert [answer.seed for answer in ours[:shared]] == [answer.seed for answer in before[:shared]]
        if problem.source == "amc23":
            assert [answer.text for answer in ours[:2]] == [answer.text for answer in before]
        assert all(answer.tokens <= (3 if problem.source == "math500" else 6) for answer in ours)
    assert (scores.k, {name: tier.k for name, tier in scores.tiers.items()}) == (
        None, {"amc23": 5, "math500": 2, "other": 1},
    )  # fmt: skip


def test_a_mixed_evaluation_that_was_interrupted_goes_on_to_the_same_bytes(
    tmp_path: Path, problems: list[Problem], model_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    config = settings(tmp_path, "evaluation.benchmarks={amc23: {k: 3}}", "evaluation.sampling.batch_size=1")
    evaluate_model(config, model_folder, tmp_path / "whole.jsonl")
    asked: list[str] = []
    real = Sampler.sample

    def sample(self, chosen, *arguments):
        asked.extend(problem.id for problem in chosen)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return real(self, chosen, *arguments)

    monkeypatch.setattr(Sampler, "sample", sample)
    with pytest.raises(KeyboardInterrupt):
        evaluate_model(config, model_folder, tmp_path / "parts.jsonl")
    told = capsys.readouterr().err
    assert "tokens/s" in told
    assert "problems are kept, the same command resumes after them" in told
    evaluate_model(config, model_folder, tmp_path / "parts.jsonl")
    assert len(asked) == len(problems) + 1  # only what was under way is asked again
    assert (tmp_path / "parts.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert answers_path(tmp_path / "parts.jsonl").read_bytes() == answers_path(tmp_path / "whole.jsonl").read_bytes()
    assert not list(tmp_path.glob("*.partial"))


def test_the_answers_say_what_was_asked_what_was_answered_and_why_it_counts(
    tmp_path: Path, problems: list[Problem], model_folder: Path
) -> None:
    output = tmp_path / "o.jsonl"
    evaluate_model(settings(tmp_path), model_folder, output)
    outcomes, answers = read_outcomes(output), answers_by_problem(output)
    assert outcomes is not None
    with Verifier(timeout_s=30.0, workers=1) as verifier:
        for problem, outcome in zip(problems, outcomes, strict=True):
            kept = answers[problem.id]
            assert outcome.rewards == tuple(answer.reward for answer in kept)
            assert outcome.lenient == tuple(answer.lenient for answer in kept)
            for answer in kept:
                assert (answer.question, answer.gold) == (problem.question, problem.answer)
                verdict = verifier.score(answer.text, problem)
                assert answer.reason == verdict.reason
                assert answer.reward == float(verdict.correct and answer.finish_reason == "stop")


def test_outcomes_of_another_run_are_taken_where_all_is_the_same_and_the_log_says_so(
    tmp_path: Path, problems: list[Problem], model_folder: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    config, first = settings(tmp_path), tmp_path / "runs" / "week-1" / "evaluation" / "challenger.jsonl"
    scores = evaluate_model(config, model_folder, first)
    second = tmp_path / "runs" / "week-2" / "evaluation" / "champion.jsonl"
    monkeypatch.setattr(evaluate, "measure", lambda *_: pytest.fail("measured again"))
    capsys.readouterr()
    assert evaluate_model(config, model_folder, second) == scores
    assert f"taken from {first}" in capsys.readouterr().out
    assert (second.read_bytes(), read_answers(second)) == (first.read_bytes(), read_answers(first))
    third = tmp_path / "runs" / "week-3" / "evaluation" / "champion.jsonl"
    for other in ("seed=1", "evaluation.k=3", "evaluation.sampling.temperature=0.5", "evaluation.benchmarks.amc23.k=3"):
        with pytest.raises(pytest.fail.Exception):
            evaluate_model(settings(tmp_path, other), model_folder, third)
    assert evaluate_model(settings(tmp_path, "evaluation.resamples=200"), model_folder, third).k == 2
    monkeypatch.setattr(evaluate, "code_digest", lambda: "other code")
    with pytest.raises(pytest.fail.Exception):
        evaluate_model(config, model_folder, third.with_name("challenger.jsonl"))


def test_other_files_of_a_run_are_passed_over_in_looking_for_the_same_outcomes(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "evaluation"
    folder.mkdir(parents=True)
    for name, line in {
        "x": "no JSON",
        "better_worse": '{"change": "better"}',
        "y": "[1]",
        "old": '{"about": {}}',
    }.items():
        (folder / f"{name}.jsonl").write_text(f"{line}\n", encoding="utf-8")
        answers_path(folder / f"{name}.jsonl").touch()
    assert reuse.find_same(tmp_path, {"weights": "1"}) is None
    (folder / "without_answers.jsonl").write_text('{"about": {"weights": "1"}}\n', encoding="utf-8")
    assert reuse.find_same(tmp_path, {"weights": "1"}) is None
    (folder / "z.jsonl").write_text('{"about": {"weights": "1"}}\n', encoding="utf-8")
    answers_path(folder / "z.jsonl").touch()
    assert reuse.find_same(tmp_path, {"weights": "1"}) == folder / "z.jsonl"


def test_a_benchmark_that_no_problem_is_of_is_said_and_one_that_is_written_otherwise_refused(
    tmp_path: Path, problems: list[Problem], model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate_model(settings(tmp_path, "evaluation.benchmarks={aime24: {k: 3}}"), model_folder, tmp_path / "o.jsonl")
    assert "no problems of aime24" in capsys.readouterr().out
    with pytest.raises(EvaluationError, match=r"has 'AMC23' \(expected 'amc23', the problems' `source`\)"):
        evaluate_model(settings(tmp_path, "evaluation.benchmarks={AMC23: {k: 3}}"), model_folder, tmp_path / "p.jsonl")


def test_outcomes_are_measured_again_where_an_older_version_wrote_them(
    tmp_path: Path, problems: list[Problem], model_folder: Path
) -> None:
    output = tmp_path / "o.jsonl"
    rows = [{"problem_id": problem.id, "tier": "x", "rewards": [1.0, 1.0]} for problem in problems]
    output.write_text("".join(json.dumps(row) + "\n" for row in [{"about": {"weights": "x"}}, *rows]), encoding="utf-8")
    assert evaluate_model(settings(tmp_path), model_folder, output).overall.lenient is not None


def test_outcomes_are_measured_again_where_a_verifier_of_ones_own_was_changed(
    tmp_path: Path, problems: list[Problem], model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    plug_in = "from sgpo.problems import Verdict\ndef judge(response, problem, right=True):\n    return Verdict({})\n"
    module, output = tmp_path / "generous_units.py", tmp_path / "o.jsonl"
    asked = [problem.model_copy(update={"domain": "units"}) for problem in problems]
    write_problems(asked, tmp_path / "data" / "splits" / "held_out.parquet")
    own = "domains={units: {verifier: 'generous_units:judge'}}"
    module.write_text(plug_in.format('False, None, "wrong"'), encoding="utf-8")
    before = about(output, settings(tmp_path, own), model_folder)
    assert about(output, settings(tmp_path, own), model_folder) == before
    module.write_text(plug_in.format('True, "another", "correct"'), encoding="utf-8")
    after = about(output, settings(tmp_path, own), model_folder)
    assert after["domains"] != before["domains"]
    assert {answer.reason for answer in read_answers(output) or ()} == {"correct"}


def test_outcomes_are_measured_again_where_a_response_ends_at_another_token(
    tmp_path: Path, problems: list[Problem], model_folder: Path
) -> None:
    """As after mending a generation config that lacked the token that ends a turn."""
    model, output = shutil.copytree(model_folder, tmp_path / "model"), tmp_path / "o.jsonl"
    evaluate_model(settings(tmp_path), model, output)
    assert {answer.finish_reason for answer in read_answers(output) or ()} == {"length"}
    every = list(range(len(json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"])))
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": every}), encoding="utf-8")
    evaluate_model(settings(tmp_path), model, output)
    assert {(answer.finish_reason, answer.tokens) for answer in read_answers(output) or ()} == {("stop", 1)}


def about(output: Path, config: RunConfig, model_folder: Path) -> dict[str, str]:
    evaluate_model(config, model_folder, output)
    return json.loads(output.read_text(encoding="utf-8").splitlines()[0])["about"]
