"""The estimate adds up as the recipe says, and a dry run says what would be done and writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import betabinom
from typer.testing import CliRunner

from sgpo.checks import check
from sgpo.checks.calibration import Rates
from sgpo.checks.counts import warmup_rows
from sgpo.checks.estimate import Ahead, estimate_run
from sgpo.checks.gradient_tokens import PromptAndResponse, trained_tokens
from sgpo.checks.pass_rates import share_that_differs, share_with_a_right_one
from sgpo.checks.processes import strategies_seconds
from sgpo.checks.samples import Answer, Samples
from sgpo.checks.teacher_cost import responses_cost, strategies_cost
from sgpo.cli.main import app
from sgpo.config import RunConfig, dump_config
from sgpo.config.pipeline import PipelineParams
from sgpo.config.strategies import StrategyConfig, TeacherConfig
from sgpo.problems import Problem, read_problems, write_problems

Recipe = Callable[..., RunConfig]


def answer(context, outcome, tokens: int) -> Answer:
    return Answer("p", "What?", "1", context, "", outcome, None, None, tokens)


def test_the_estimate_adds_up_what_was_measured(recipe: Recipe) -> None:
    config = recipe(
        "training.steps=10", "training.problems_per_step=4", "training.algorithm.autonomous_rollouts=3",
        "training.algorithm.guided_rollouts=2", "training.sampling.batch_size=16", "evaluation.k=5",
        "evaluation.sampling.batch_size=1000", "training.sampling.max_new_tokens=30",
        "evaluation.sampling.max_new_tokens=30",
    )  # fmt: skip
    both = [answer("autonomous", "right", 10), answer("autonomous", "wrong", 30), answer("guided", "right", 20)]
    estimate = estimate_run(config, None, Rates(0.1, 0.01, 2.0), Samples(tuple(both), 1.0, 50, 20))
    # 20 responses in two batches, each to the longest of 30 tokens, of 20 tokens in the mean.
    assert estimate.sampling_seconds == pytest.approx(2 * 30 * 0.1 + 20 * 20 * 0.01)
    # By Laplace's rule 1/2 are right alone, and 2/3 guided. A prompt of 50 tokens once for three responses of 20 and
    # the target, which has a prompt of its own where the others teach nothing; a forward with a strategy of 20, and
    # 4/3 candidates scored.
    differ = 1 - sum(betabinom.pmf(right, 3, 0.75, 0.75) for right in (0, 3))
    reached = 1 - betabinom.pmf(0, 2, 1.0, 0.5)
    target = reached * (20 + (1 - differ) * 50 + 90 / 3)
    gradient = 2.0 * 4 * (differ * (50 + 3 * 20) + target + (50 + 4 / 3 * 20) / 3)
    assert estimate.step_seconds - estimate.sampling_seconds == pytest.approx(gradient)
    assert estimate.training_seconds == pytest.approx(10 * estimate.step_seconds)
    # 40 held-out problems, 5 responses, champion and challenger.
    assert estimate.evaluation_tokens == 2 * 40 * 5 * 20
    assert estimate.evaluation_seconds == pytest.approx(2 * (30 * 0.1 + 200 * 20 * 0.01))
    assert estimate.seconds == pytest.approx(estimate.training_seconds + estimate.evaluation_seconds)


def test_prompts_are_read_once_for_all_their_responses(recipe: Recipe) -> None:
    config = recipe("training.problems_per_step=4", "evaluation.k=5")
    samples = Samples((answer("autonomous", "right", 20),), 1.0, 50, 20)
    reading = Rates(0.0, 0.0, 0.0, prompt_token=0.1)
    estimate = estimate_run(config, PipelineParams(), reading, samples)
    assert estimate.sampling_seconds == pytest.approx(4 * (50 + 70) * 0.1)
    assert estimate.evaluation_seconds == pytest.approx(2 * 40 * 50 * 0.1)
    assert estimate.probe_seconds == pytest.approx(PipelineParams().probe.problems * (50 + 70) * 0.1)


def test_more_answers_have_a_longer_longest_one_up_to_the_limit() -> None:
    lengths = [20, 25, 30, 35, 40]
    samples = Samples(tuple(answer("autonomous", "right", tokens) for tokens in lengths), 1.0, 50, 20)
    logs = np.log(lengths)
    drawn = np.exp(np.random.default_rng(0).normal(logs.mean(), logs.std(), (4000, 192))).max(axis=1)
    assert samples.longest(192, 1000) == pytest.approx(float(np.median(drawn)), rel=0.05)
    assert samples.longest(4, 1000) == 40  # as long as was seen
    assert samples.longest(192, 50) == 50
    alike = Samples((answer("autonomous", "right", 20),), 1.0, 50, 20)
    assert alike.longest(192, 1000) == pytest.approx(20)


def test_validation_and_warm_up_are_counted(recipe: Recipe, data: Path) -> None:
    config = recipe(
        "training.steps=10", "training.validation.every=4", "training.validation.k=2", "training.validation.problems=3",
        "training.sampling.max_new_tokens=20", "evaluation.sampling.max_new_tokens=20",
    )  # fmt: skip
    write_problems(read_problems(data / "problems" / "held_out.parquet"), data / "problems" / "tuning.parquet")
    samples = Samples((answer("autonomous", "right", 20),), 1.0, 50, 20)
    estimate = estimate_run(config, None, Rates(0.1, 0.01, 2.0), samples, Ahead(warmup_rows=7))
    # After 4, 8 and 10 steps: 6 responses of 20 tokens.
    assert estimate.validation_seconds == pytest.approx(3 * (20 * 0.1 + 6 * 20 * 0.01))
    assert estimate.warmup_seconds == 7 * (50 + 20) * 2.0
    parts = estimate.training_seconds + estimate.evaluation_seconds
    assert estimate.seconds == pytest.approx(parts + estimate.validation_seconds + estimate.warmup_seconds)


def test_rows_of_a_warm_up_are_those_of_its_split_else_the_share_kept_for_it(
    recipe: Recipe, data: Path, model_folder: Path
) -> None:
    config, params = recipe("warmup.epochs=3"), PipelineParams.model_validate({"splits": {"warmup_fraction": 0.25}})
    (data / "splits" / "warmup.parquet").unlink(missing_ok=True)
    assert warmup_rows(config, model_folder, params, 40, {}) == 30
    assert warmup_rows(config, model_folder, None, 40, {}) == 0
    assert warmup_rows(recipe(), model_folder, params, 40, {}) == 0
    write_problems(read_problems(data / "problems" / "train.parquet")[:4], data / "splits" / "warmup.parquet")
    assert warmup_rows(config, model_folder, params, 40, {}) == 12


def test_a_retraining_s_processes_strategies_and_check_are_counted(recipe: Recipe) -> None:
    """Beside sampling and gradients, in starts: a machine that starts twice as slowly takes twice as long for them."""
    config, params = recipe(), PipelineParams()
    samples = Samples((answer("autonomous", "right", 20),), 1.0, 50, 20)
    fast, slow = (
        estimate_run(config, params, Rates(0.0, 0.0, 0.0, start, 1.5), samples, Ahead(5.0, strategies=100))
        for start in (2.0, 4.0)
    )
    # The check, the probe, training, champion and challenger; repro of three stages, their four commands but the
    # probe's, and a push.
    assert (fast.processes.with_model, fast.processes.small) == (5, 7)
    opened = 5 * 1.5
    assert slow.processes.seconds - opened == pytest.approx(2 * (fast.processes.seconds - opened))
    assert slow.strategies_seconds == pytest.approx(2 * fast.strategies_seconds)
    assert fast.strategies_seconds > 0
    assert fast.seconds == pytest.approx(fast.processes.seconds + fast.strategies_seconds + 5.0)
    there = estimate_run(config, params, Rates(0.0, 0.0, 0.0, 2.0, 1.5), samples, Ahead(5.0))
    assert (there.processes.small, there.strategies_seconds) == (5, 0.0)
    unchecked = recipe("checks.before_training=false")
    estimate = estimate_run(unchecked, params, Rates(0.0, 0.0, 0.0, 2.0, 1.5), samples, Ahead(5.0))
    assert (estimate.processes.with_model, estimate.checking_seconds) == (4, 0.0)
    endpoint = TeacherConfig(kind="openai", base_url="http://x/v1", budget_tokens=1)
    assert strategies_seconds(PipelineParams(teacher=endpoint), 100, 2.0) == 0.0


def test_a_few_wrong_answers_do_not_make_training_free(recipe: Recipe) -> None:
    """Before there are strategies none is sampled with one, and a weak model may be wrong eight times of eight."""
    wrong = Samples(tuple(answer("autonomous", "wrong", 10) for _ in range(8)), 1.0, 50, 20)
    estimate = estimate_run(recipe("training.problems_per_step=4"), None, Rates(0.1, 0.01, 2.0), wrong)
    differ = 1 - sum(betabinom.pmf(right, 8, 0.15, 1.35) for right in (0, 8))
    reached = 1 - betabinom.pmf(0, 4, 0.75, 0.75)
    target = reached * (10 + (1 - differ) * 50 + 80 / 3)
    gradient = 2.0 * 4 * (differ * (50 + 8 * 10) + target + (50 + 2 * 10) / 3)
    assert estimate.step_seconds - estimate.sampling_seconds == pytest.approx(gradient)


def test_tokens_of_a_gradient_with_prompts_shared_and_in_every_row() -> None:
    lengths = PromptAndResponse(50, 20, 10)
    assert trained_tokens(lengths, 8, 1.0, 0.0, 0.0, True) == 50 + 80
    assert trained_tokens(lengths, 8, 1.0, 0.0, 0.0, False) == 8 * 60
    assert trained_tokens(lengths, 8, 0.5, 1.0, 1.0, True) == 65 + 10 + 25 + 80 / 3
    assert trained_tokens(lengths, 8, 0.5, 1.0, 1.0, False) == 240 + 60 + 80 / 3
    assert trained_tokens(lengths, 0, 0.0, 1.0, 2.0, True) == 60 + (80 + 70) / 3
    assert share_that_differs(0.5, 0) == share_with_a_right_one(0.5, 0) == 0.0


def test_the_strong_model_s_tokens_and_price() -> None:
    config = TeacherConfig(
        kind="openai", base_url="http://x/v1", prompt_price=1.0, completion_price=10.0, budget_tokens=1
    )  # fmt: skip
    given = [Problem(question=f"How much is {n} and {n}?", answer="1", response="x" * 400) for n in range(10)]
    asked = [Problem(question=f"How much is {n} less 1?", answer="1") for n in range(5)]
    responses = responses_cost([*given, *asked])
    assert (responses.requests, responses.completion_tokens) == (5, 5 * 100)  # as long as those that are given
    assert responses.price(config) == pytest.approx((responses.prompt_tokens + 10 * 500) / 1e6)
    strategies = strategies_cost(PipelineParams(strategies=StrategyConfig(candidates=3)), [*given, *asked])
    assert strategies.requests == 15 * 4
    assert responses.price(TeacherConfig()) is None


def test_a_check_that_samples_has_an_estimate_in_table_and_json(recipe: Recipe, model_folder: Path) -> None:
    checked = check(recipe("training.sampling.max_new_tokens=8"), model_folder)
    assert checked.estimate is not None
    assert checked.estimate.seconds > 0
    lines = ["training", "evaluation", "processes, statistics, tracking", "whole retraining"]
    assert [finding.what for finding in checked.findings if finding.group == "estimate"] == lines
    assert checked.estimate.process_seconds > 0
    assert '"step_seconds"' in checked.as_json()


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_a_dry_run_says_how_much_and_writes_nothing(
    command: str, recipe: Recipe, model_folder: Path, tmp_path: Path, data: Path
) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(dump_config(recipe("training.sampling.max_new_tokens=8", "evaluation.k=3")), encoding="utf-8")
    held_out = str(data / "problems" / "held_out.parquet")
    place = {
        "train": ["--run", str(tmp_path / "run")],
        "evaluate": ["--output", str(tmp_path / "out.jsonl"), "--problems", held_out],
    }
    before = sorted(tmp_path.rglob("*"))
    options = ["--model", str(model_folder), "--config", str(file), "--dry-run", *place[command]]
    done = CliRunner().invoke(app, [command, *options])
    assert done.exit_code == 0, done.output
    said = {"train": "60 of 60 steps left, of 192 responses each", "evaluate": "40 problems x 3 responses"}
    assert said[command] in done.output
    assert "dry run: nothing was written" in done.output
    assert sorted(tmp_path.rglob("*")) == before
