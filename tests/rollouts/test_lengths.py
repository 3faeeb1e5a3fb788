"""Problems that are too long for a model are found and named before anything is sampled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import MistralConfig

from sgpo.config import ChatConfig, EngineConfig, load_config
from sgpo.evaluation.evaluate import evaluate_model
from sgpo.problems import Problem
from sgpo.rollouts.chat import ChatFormat
from sgpo.rollouts.engine import PromptTooLongError
from sgpo.rollouts.lengths import positions_of, refuse_too_long, too_long
from sgpo.rollouts.model_folder import open_chat, open_tokenizer

SHORT = Problem(id="short", question="How many apples?", answer="7")
LONG = Problem(id="long", question="apples " * 600, answer="7")
NEW = 8


@pytest.fixture
def chat(old_folder: Path) -> ChatFormat:
    return open_chat(old_folder, open_tokenizer(old_folder), ChatConfig())


def test_the_longest_of_prompt_strategy_and_response_decides_to_the_token(chat: ChatFormat) -> None:
    strategy = "apples apples"
    for strategies, experts, needed in (
        ({}, {}, len(chat.autonomous(SHORT.question)) + NEW),
        ({"short": strategy}, {}, len(chat.guided(SHORT.question, strategy)) + NEW),
        ({}, {"short": range(50)}, len(chat.autonomous(SHORT.question)) + 50),
    ):
        assert too_long([SHORT], chat, strategies, NEW, needed, experts) == {}
        assert too_long([SHORT], chat, strategies, NEW, needed - 1, experts) == {"short": needed}


def test_positions_are_the_models_or_what_the_engine_makes_room_for(old_folder: Path) -> None:
    assert positions_of(old_folder, EngineConfig(max_model_len=100)) == 512
    assert positions_of(old_folder, EngineConfig(kind="vllm", max_model_len=100)) == 100


@pytest.mark.parametrize(("window", "positions"), [(100, 100), (4096, 512), (None, 512)])
def test_a_window_of_all_layers_is_what_the_transformers_engine_has_room_for(window, positions, tmp_path: Path) -> None:
    MistralConfig(sliding_window=window, max_position_embeddings=512).save_pretrained(tmp_path)
    assert positions_of(tmp_path, EngineConfig()) == positions
    assert positions_of(tmp_path, EngineConfig(kind="vllm")) == 512


def test_many_are_counted_and_the_first_named(old_folder: Path) -> None:
    problems = [SHORT, *(LONG.model_copy(update={"id": f"long {number}"}) for number in range(7))]
    with pytest.raises(PromptTooLongError) as refused:
        refuse_too_long(problems, old_folder, EngineConfig(), ChatConfig(), {}, NEW, "probe.sampling.max_new_tokens")
    message = str(refused.value)
    assert message.startswith(
        "7 of 8 problems, with a response, may need more than the model's 512 positions: 'long 0' "
    )
    assert message.endswith(" and 2 more (expected shorter ones, or probe.sampling.max_new_tokens below 8)")
    assert "long 5" not in message


def test_an_evaluation_is_refused_before_it_samples_the_problems_that_fit(old_folder: Path, tmp_path: Path) -> None:
    rows = [problem.model_dump(include={"id", "question", "answer"}) for problem in (SHORT, LONG)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = load_config(None, ["evaluation.sampling.max_new_tokens=8"])
    with pytest.raises(PromptTooLongError, match=r"1 of 2 problems, .*: 'long' 6"):
        evaluate_model(config, old_folder, tmp_path / "o.jsonl", tmp_path / "p.jsonl")
    assert {file.name for file in tmp_path.iterdir()} == {"p.jsonl"}
