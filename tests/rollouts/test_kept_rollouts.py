"""Rollouts that are kept for people to read: what was asked, what was answered, and why it counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sgpo.config import SamplingConfig
from sgpo.problems import Problem, Verifier
from sgpo.problems.table import read_table, write_table
from sgpo.rollouts.groups import Sampler
from sgpo.rollouts.schema import FinishReason, GroupSizes, KeptRollout, ProblemSamples, Response, Rollout
from sgpo.testbed import base_model
from sgpo.training.recorder import record_rollouts

pytestmark = pytest.mark.slow
SEVEN = Problem(question="The bus has room for 180 riders.", answer="7")


class Scripted:
    """An engine that says its lines, whatever it is asked."""

    policy_step = None

    def __init__(self, lines: list[tuple[tuple[int, ...], str]]) -> None:
        self.lines = lines

    def generate(self, prompts, sampling, seeds) -> list[Response]:
        return [Response(ids, (-1.0,) * len(ids), finish) for ids, finish in self.lines[: len(prompts)]]  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def lines() -> list[tuple[tuple[int, ...], str]]:
    """A box, an answer in words, the same but cut, and another number in words."""
    tokenizer = base_model.testbed_tokenizer()
    known = tokenizer.get_vocab()
    box, close, answer, is_ = known[" \\boxed{"], known["}"], known[" answer"], known[" is "]
    seven, end = known["7"], tokenizer.eos_token_id
    return [
        ((box, seven, close, end), "stop"), ((answer, is_, seven, end), "stop"), ((answer, is_, seven), "length"),
        ((answer, is_, known["8"], end), "stop"),
    ]  # fmt: skip


def drawn(lines, lenient: bool) -> ProblemSamples:
    with Verifier(timeout_s=30.0, workers=1) as verifier:
        sampler = Sampler(Scripted(lines), base_model.testbed_tokenizer(), verifier, {}, 0, lenient=lenient)  # pyright: ignore[reportArgumentType]
        (samples,), _ = sampler.sample([SEVEN], GroupSizes(len(lines), 0), SamplingConfig(), 3)
    return samples


def test_a_rollout_knows_its_verdict_and_a_cut_one_is_wrong_leniently_too(lines) -> None:
    found = drawn(lines, lenient=True).autonomous
    assert [(one.reward, one.lenient, one.reason, one.extracted) for one in found] == [
        (1.0, 1.0, "correct", "7"), (0.0, 1.0, "no_answer", "7"), (0.0, 0.0, "no_answer", "7"),
        (0.0, 0.0, "no_answer", "8"),
    ]  # fmt: skip


def test_training_judges_boxes_alone(lines) -> None:
    found = drawn(lines, lenient=False).autonomous
    assert [one.reward for one in found] == [1.0, 0.0, 0.0, 0.0]
    assert [(one.lenient, one.extracted) for one in found[1:]] == [(None, None)] * 3


def test_recorded_rollouts_have_question_gold_and_reason(lines, tmp_path: Path) -> None:
    record_rollouts(tmp_path, [drawn(lines, lenient=False)], 3)
    rows = [json.loads(line) for line in (tmp_path / "step-000003.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == len(lines)
    for row in rows:
        assert (row["question"], row["gold"]) == (SEVEN.question, "7")
    assert [(row["reason"], row["finish_reason"]) for row in rows[:3]] == [
        ("correct", "stop"), ("no_answer", "stop"), ("no_answer", "length"),
    ]  # fmt: skip


def test_of_problems_beyond_the_first_the_best_and_the_worst_of_each_group_are_recorded(tmp_path: Path) -> None:
    def drawn_rollout(group, seed: int, reward: float, finish: FinishReason = "stop", tokens: int = 5) -> Rollout:
        return Rollout("p", group, (1,) * tokens, (-1.0,) * tokens, "t", finish, reward, seed, 0)

    first = (
        drawn_rollout("autonomous", 1, 0.0), drawn_rollout("autonomous", 2, 0.0, "length", 9),
        drawn_rollout("autonomous", 3, 1.0, tokens=7), drawn_rollout("autonomous", 4, 1.0, tokens=6),
    )  # fmt: skip
    second = (drawn_rollout("guided", 2, 0.0), drawn_rollout("guided", 5, 0.0, tokens=4))
    problems = [ProblemSamples(f"p{n}", (1,), (2,), first, second, question=f"q{n}", domain="exact") for n in range(6)]
    record_rollouts(tmp_path, problems, 0)
    rows = [json.loads(line) for line in (tmp_path / "step-000000.jsonl").read_text(encoding="utf-8").splitlines()]
    seeds = {n: [(row["group"], row["seed"]) for row in rows if row["question"] == f"q{n}"] for n in range(6)}
    assert [len(seeds[n]) for n in range(6)] == [6, 6, 6, 6, 4, 4]
    assert seeds[4] == seeds[5] == [("autonomous", 2), ("autonomous", 4), ("guided", 2), ("guided", 5)]
    assert {row["domain"] for row in rows} == {"exact"}


def test_rollouts_of_an_older_version_are_read_without_what_it_did_not_keep(tmp_path: Path) -> None:
    kept = KeptRollout("p", "guided", (1,), (-0.5,), "t", "stop", 1.0, 7, 3, "7", "correct", 1.0, "q", "7")
    write_table([kept], tmp_path / "new.parquet")
    assert read_table(tmp_path / "new.parquet", KeptRollout) == [kept]
    import pyarrow.parquet as pq

    older = pq.read_table(tmp_path / "new.parquet").select(
        ["problem_id", "group", "token_ids", "logprobs", "text", "finish_reason", "reward", "seed", "policy_step"]
    )
    pq.write_table(older, tmp_path / "old.parquet")
    (read,) = read_table(tmp_path / "old.parquet", KeptRollout)
    assert (read.text, read.reason, read.lenient, read.question) == ("t", "", None, "")
    assert read_table(tmp_path / "old.parquet", Rollout)[0].extracted is None
