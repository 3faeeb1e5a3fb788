"""Whole worlds through the real extraction: in words that students know, with the strategies that were measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from sgpo.config.pipeline import PipelineParams
from sgpo.config.testbed import WorldConfig
from sgpo.pipeline import stages
from sgpo.problems import read_problems
from sgpo.problems.table import read_table
from sgpo.rollouts.model_folder import load_model
from sgpo.strategies.bank import load_strategies
from sgpo.strategies.schema import StrongResponse
from sgpo.study.digests import digest_of
from sgpo.study.results import Results
from sgpo.testbed.bases import SHIPPED

pytestmark = [pytest.mark.slow, pytest.mark.long]
REPOSITORY = Path(__file__).resolve().parents[2]
FOLDERS = sorted(path.parent for path in SHIPPED.glob("*/base.json"))


@pytest.fixture(scope="module", params=[3, 6], ids="{} decisions".format)
def decisions(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(scope="module")
def world(decisions: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    params = PipelineParams(world=WorldConfig(decisions=decisions))
    data = tmp_path_factory.mktemp("data")
    stages.build_world(params, data)
    stages.respond(params, data, data / "work")
    stages.extract(params, data, data / "work")
    return data


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_no_problem_strategy_or_response_has_a_word_that_a_student_does_not_know(world: Path, folder: Path) -> None:
    tokenizer = load_model(folder)[1]
    responses = read_table(world / "responses.parquet", StrongResponse)
    assert len(responses) == 600
    texts = [response.text for response in responses]
    # A vague strategy is one of the strong model's faults, and what a student cannot read of it says nothing.
    strategies = load_strategies(world / "strategies.parquet").values()
    texts += [strategy.text() for strategy in strategies if strategy.problem_type != "Word problem"]
    assert len(texts) > 0.95 * (len(responses) + len(strategies))
    for split in ("train", "tuning", "held_out"):
        texts += [problem.question for problem in read_problems(world / "problems" / f"{split}.parquet")]
    assert tokenizer.unk_token_id is not None
    for text, token_ids in zip(texts, tokenizer(texts, add_special_tokens=False)["input_ids"], strict=True):
        assert tokenizer.unk_token_id not in token_ids, text


def test_the_strategies_are_those_of_the_study_s_lines(world: Path, decisions: int) -> None:
    lines = Results(REPOSITORY / "docs" / "measured" / "study.jsonl").rows
    measured = {line.made_of["strategies.parquet"] for line in lines if line.world == f"d{decisions}"}
    assert measured == {digest_of(world / "strategies.parquet")}
