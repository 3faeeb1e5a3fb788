"""One suite for every engine: transformers here, vLLM in process and as servers with `make test-vllm`."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from testbed_models import greedy_by_forward, make_prompts, worst_logprob_error

from sgpo.config import SamplingConfig
from sgpo.problems import Problem
from sgpo.rollouts.engine import PromptTooLongError
from sgpo.rollouts.model_folder import load_model
from sgpo.rollouts.transformers_engine import TransformersEngine
from sgpo.training.agreement import EngineMismatchError, check_agreement, probes_of
from sgpo.training.policy import Policy
from sgpo.training.world import World

pytestmark = pytest.mark.slow

ALONE = World(0, 1, torch.device("cpu"))
SAMPLED = SamplingConfig(temperature=1.0, top_p=0.95, max_new_tokens=24)
PROBLEMS = [Problem(id=f"p{index}", question=f"{index} apples and 4 apples", answer="1") for index in range(3)]
STRATEGIES = {"p0": "First add the numbers."}


def greedy(tokens: int) -> SamplingConfig:
    return SamplingConfig(temperature=0.0, top_p=1.0, max_new_tokens=tokens)


def tokens_of(responses) -> list[tuple[int, ...]]:
    return [response.token_ids for response in responses]


@pytest.fixture(scope="module")
def model(old_folder: Path):
    return load_model(old_folder)[0]


@pytest.fixture(scope="module")
def whole(model) -> list[tuple[int, ...]]:
    """The most probable answers to 64 prompts, 16 tokens each."""
    return greedy_by_forward(model, make_prompts(64, model.config.vocab_size), 16)


@pytest.fixture
def endless(engine, monkeypatch):
    """The engine with padding as its end token, which is rarely sampled."""
    monkeypatch.setattr(engine, "end_ids", (0,))
    return engine


def test_greedy_tokens_of_64_prompts_are_the_most_probable_ones(endless, model, whole) -> None:
    prompts = make_prompts(64, model.config.vocab_size)
    responses = endless.generate(prompts, greedy(16), [0] * 64)
    assert tokens_of(responses) == whole


def test_a_fixed_seed_gives_the_same_samples_twice_and_another_one_others(engine, model) -> None:
    prompts = make_prompts(32, model.config.vocab_size)
    first, again = (engine.generate(prompts, SAMPLED, list(range(32))) for _ in range(2))
    assert tokens_of(first) == tokens_of(again)
    other = engine.generate(prompts, SAMPLED, list(range(100, 132)))
    assert sum(a != b for a, b in zip(tokens_of(first), tokens_of(other), strict=True)) > 28


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (1.0, 0.9), (0.6, 0.9), (1.7, 0.5), (0.0, 1.0)])
def test_logprobs_are_the_trainers_under_the_full_softmax_at_the_temperature(
    engine, model, temperature: float, top_p: float
) -> None:
    prompts = make_prompts(16, model.config.vocab_size)
    sampling = SamplingConfig(temperature=temperature, top_p=top_p, max_new_tokens=24)
    responses = engine.generate(prompts, sampling, list(range(16)))
    assert worst_logprob_error(model, prompts, responses, temperature or 1.0) < 1e-4


def test_more_prompt_tokens_than_are_read_at_once(engine, model) -> None:
    """vLLM on a CPU would die of a seeded request whose prompt is read in chunks."""
    draw = random.Random(5)
    prompts = [[draw.randrange(8, model.config.vocab_size) for _ in range(130)] for _ in range(64)]
    sampling = SamplingConfig(temperature=1.0, top_p=0.95, max_new_tokens=4)
    responses = engine.generate(prompts, sampling, list(range(64)))
    assert worst_logprob_error(model, prompts, responses, 1.0) < 1e-4


def test_top_p_is_obeyed(engine, model) -> None:
    prompts = make_prompts(64, model.config.vocab_size)
    sampling = SamplingConfig(temperature=1.0, top_p=0.3, max_new_tokens=1)
    for prompt, response in zip(prompts, engine.generate(prompts, sampling, list(range(64))), strict=True):
        with torch.no_grad():
            probabilities = model(input_ids=torch.tensor([prompt])).logits[0, -1].double().softmax(-1)
        more_probable = probabilities[probabilities > probabilities[response.token_ids[0]]].sum()
        assert more_probable < 0.3 + 1e-6


def test_a_response_ends_with_the_end_token_or_at_the_limit(engine, model, whole, monkeypatch) -> None:
    prompts = make_prompts(64, model.config.vocab_size)
    tokens = [token for row in whole for token in row]
    end = max(set(tokens), key=tokens.count)
    monkeypatch.setattr(engine, "end_ids", (end,))
    responses = engine.generate(prompts, greedy(16), [0] * 64)
    assert tokens_of(responses) == [row[: row.index(end) + 1] if end in row else row for row in whole]
    for response in responses:
        assert response.finish_reason == ("stop" if response.token_ids[-1] == end else "length")
        assert len(response.logprobs) == len(response.token_ids)
    assert {response.finish_reason for response in responses} == {"stop", "length"}


def test_what_cannot_be_sampled_is_refused_in_the_same_words(engine, model) -> None:
    with pytest.raises(ValueError, match=r"prompt 1 is empty \(expected at least one token\)"):
        engine.generate([[9], []], SAMPLED, [0, 1])
    with pytest.raises(PromptTooLongError, match=r"prompt 0 has 489 tokens and may be answered with 24 .*at most 512"):
        engine.generate([[9] * 489], SAMPLED, [0])
    with pytest.raises(ValueError, match="prompt 0 has a token outside the vocabulary"):
        engine.generate([[model.config.vocab_size]], SAMPLED, [0])
    with pytest.raises(ValueError, match="2 prompts but 1 seeds"):
        engine.generate([[9], [9]], SAMPLED, [0])
    assert engine.generate([], SAMPLED, []) == []
    assert len(engine.generate([[9] * 488], SAMPLED, [0])[0].token_ids) <= 24  # the longest that fits


def test_one_sample_of_a_prompt_is_the_same_alone_and_among_twelve(endless, model) -> None:
    prompt = make_prompts(1, model.config.vocab_size)[0]
    twelve = endless.generate([prompt] * 12, SAMPLED, list(range(12)))
    assert len(set(tokens_of(twelve))) == 12
    for seed in (0, 7):
        assert tokens_of(endless.generate([prompt], SAMPLED, [seed])) == [twelve[seed].token_ids]


def fresh_greedy(engine, folder: Path, prompts: list[list[int]], request, tmp_path: Path) -> list[tuple[int, ...]]:
    """What an engine of the same kind says that was started with the new weights; 24 tokens."""
    model, tokenizer = load_model(folder)
    if type(engine).__name__ == "VllmEngine":
        asked, answered = tmp_path / "prompts.json", tmp_path / "answers.json"
        asked.write_text(json.dumps(prompts), encoding="utf-8")
        script = Path(__file__).with_name("fresh_vllm.py")
        subprocess.run([sys.executable, script, folder, asked, "24", answered], check=True, timeout=280)
        return [tuple(tokens) for tokens in json.loads(answered.read_text(encoding="utf-8"))]
    if isinstance(engine, TransformersEngine):
        fresh = TransformersEngine(model, tokenizer)
    else:
        second = request.getfixturevalue("servers")[1]
        fresh = type(engine)([second.url], model.config, tokenizer, tmp_path / "unused")
    return tokens_of(fresh.generate(prompts, greedy(24), [0] * len(prompts)))


def test_new_weights_make_it_a_freshly_started_engine_and_the_rollouts_say_which(
    engine, old_folder: Path, new_folder: Path, request, tmp_path: Path
) -> None:
    old, new = load_model(old_folder)[0], load_model(new_folder)[0]
    prompts = make_prompts(32, old.config.vocab_size)
    expected = fresh_greedy(engine, new_folder, prompts, request, tmp_path)
    before = tokens_of(engine.generate(prompts, greedy(24), [0] * 32))
    try:
        engine.load_weights(new.named_parameters(), 7)  # without lm_head, which is tied
        responses = engine.generate(prompts, greedy(24), [0] * 32)
        assert tokens_of(responses) == expected
        assert sum(a != b for a, b in zip(before, expected, strict=True)) > 30
        assert {response.policy_step for response in responses} == {engine.policy_step} == {7}
        sampled = engine.generate(prompts, SAMPLED, list(range(32)))
        assert worst_logprob_error(new, prompts, sampled, 1.0) < 1e-4
    finally:
        engine.load_weights(old.state_dict().items(), 8)  # with it
    assert tokens_of(engine.generate(prompts, greedy(24), [0] * 32)) == before


def test_weights_that_are_not_the_models_are_refused_and_can_be_mended(engine, old_folder: Path) -> None:
    old = load_model(old_folder)[0]
    weights = dict(old.named_parameters())
    prompts = make_prompts(8, old.config.vocab_size)
    before = tokens_of(engine.generate(prompts, greedy(8), [0] * 8))
    with pytest.raises(ValueError, match=r"unknown weight 'model\.extra'"):
        engine.load_weights({**weights, "model.extra": torch.zeros(1)}.items())
    with pytest.raises(ValueError, match=r"missing weight 'model\.norm\.weight' \(1 were not given\)"):
        engine.load_weights((name, tensor) for name, tensor in weights.items() if name != "model.norm.weight")
    with pytest.raises(ValueError, match=r"'model\.norm\.weight' has shape \(3,\) \(expected \(64,\)\)"):
        engine.load_weights({**weights, "model.norm.weight": torch.zeros(3)}.items())
    engine.load_weights(weights.items())
    assert tokens_of(engine.generate(prompts, greedy(8), [0] * 8)) == before


def agree(engine, folder: Path, sampling: SamplingConfig = SAMPLED) -> float:
    model, tokenizer = load_model(folder)
    probes = probes_of(PROBLEMS, STRATEGIES)
    return check_agreement(engine, Policy(model), tokenizer, probes, sampling, 1e-3, ALONE, tokenizer.pad_token_id)


def test_an_engine_with_the_trainers_policy_is_accepted(engine, old_folder: Path) -> None:
    assert agree(engine, old_folder, SAMPLED.model_copy(update={"temperature": 0.7})) < 1e-4


def test_an_engine_with_one_weight_changed_is_refused_at_the_first_token_that_differs(engine, old_folder: Path) -> None:
    old = load_model(old_folder)[0]
    changed = {name: tensor.detach().clone() for name, tensor in old.named_parameters()}
    name = "model.layers.1.mlp.down_proj.weight"
    changed[name][3, 5] += 4.0
    try:
        engine.load_weights(changed.items())
        with pytest.raises(
            EngineMismatchError,
            match=r"the autonomous prompt of problem 'p0': token \d+ of the engine's response at temperature 0 is "
            r".* log-probability -\d.* by the engine and -\d.* by the trainer \(expected within 0\.001\).* weights",
        ):
            agree(engine, old_folder)
    finally:
        engine.load_weights(old.named_parameters())


def swap_two_numbers(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["4"], vocabulary["5"] = vocabulary["5"], vocabulary["4"]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")


def forget_the_system_turn(folder: Path) -> None:
    template = "{% for message in messages if message['role'] != 'system' %}{{ message['content'] }}{% endfor %}"
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


@pytest.mark.parametrize("tamper", [swap_two_numbers, forget_the_system_turn])
def test_an_engine_with_another_tokenizer_or_template_is_refused(
    engine, old_folder: Path, tmp_path: Path, tamper: Callable[[Path], None]
) -> None:
    kept, other = tmp_path / "kept", engine
    shutil.copytree(old_folder, kept)
    try:
        tamper(old_folder)  # vLLM's engines open the tokenizer in their model folder when they are asked
        if isinstance(engine, TransformersEngine):
            other = TransformersEngine(engine.model, load_model(old_folder)[1])
        wanted = (
            r"the autonomous prompt of problem 'p0': token \d+ is '.*' .* by the engine's tokenizer and .* trainer's"
        )
        with pytest.raises(EngineMismatchError, match=wanted):
            agree(other, kept)
    finally:
        shutil.copytree(kept, old_folder, dirs_exist_ok=True)
