"""The engine against transformers' own generate and forward, and what a rollout may and may not depend on."""

from __future__ import annotations

import pytest
import torch
from tiny_models import END, PAD, POSITIONS, VOCABULARY, tiny_model, uneven_prompts
from transformers import MistralConfig, MistralForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from sgpo.config import SamplingConfig
from sgpo.rollouts.engine import PromptTooLongError, RolloutEngine
from sgpo.rollouts.schema import Response
from sgpo.rollouts.transformers_engine import TransformersEngine

pytestmark = pytest.mark.slow

MODELS = [("qwen2", 4), ("qwen2", 2), ("llama", 4), ("llama", 1)]
SAMPLED = SamplingConfig(temperature=1.0, top_p=0.95, max_new_tokens=24, batch_size=256)


def greedy(max_new_tokens: int, batch_size: int = 256) -> SamplingConfig:
    return SamplingConfig(temperature=0.0, top_p=1.0, max_new_tokens=max_new_tokens, batch_size=batch_size)


def same(left: list[Response], right: list[Response]) -> bool:
    return [response.token_ids for response in left] == [response.token_ids for response in right]


def by_generate(model: PreTrainedModel, prompts: list[list[int]], new_tokens: int) -> list[tuple[int, ...]]:
    longest = max(map(len, prompts))
    ids = torch.tensor([[PAD] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    rows = model.generate(ids, attention_mask=mask, max_new_tokens=new_tokens, do_sample=False)[:, longest:]  # type: ignore
    return [tuple(row[: row.index(END) + 1] if END in row else row) for row in rows.tolist()]


def full_forward_logprobs(
    model: PreTrainedModel, prompts: list[list[int]], responses: list[Response], temperature: float
) -> list[torch.Tensor]:
    """Log-probabilities of the responses' tokens by one right-padded forward pass without cache."""
    rows = [prompt + list(response.token_ids) for prompt, response in zip(prompts, responses, strict=True)]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=mask).logits
    logprobs = (logits.double() / temperature).log_softmax(-1)
    return [
        logprobs[index, len(prompt) - 1 : len(row) - 1].gather(1, torch.tensor(row[len(prompt) :])[:, None]).squeeze(1)
        for index, (prompt, row) in enumerate(zip(prompts, rows, strict=True))
    ]


@pytest.mark.parametrize(("family", "kv_heads"), MODELS)
def test_greedy_responses_equal_those_of_generate_token_for_token(family: str, kv_heads: int) -> None:
    model, prompts = tiny_model(family, kv_heads), uneven_prompts(64)
    sampling = greedy(32, batch_size=24)
    responses = TransformersEngine(model, [END]).generate(prompts, sampling, list(range(64)))
    assert [response.token_ids for response in responses] == by_generate(model, prompts, 32)


def test_greedy_agrees_with_generate_when_many_responses_end_early() -> None:
    model, prompts = tiny_model("llama"), uneven_prompts(64)
    engine = TransformersEngine(model, [END])
    # The most frequent greedy token becomes the end token, so that rows leave the batch all along.
    free = engine.generate(prompts, greedy(32), list(range(64)))
    tokens = [token for response in free for token in response.token_ids]
    end = max(set(tokens), key=tokens.count)
    ended = TransformersEngine(model, [end, END]).generate(prompts, greedy(32), [0] * 64)
    whole = by_generate(model, prompts, 32)
    expected = [row[: row.index(end) + 1] if end in row else row for row in whole]
    assert [response.token_ids for response in ended] == expected
    assert len({len(response.token_ids) for response in ended}) > 5


@pytest.mark.parametrize(("family", "kv_heads"), MODELS)
@pytest.mark.parametrize("temperature", [0.6, 1.0])
def test_logprobs_equal_a_plain_forward_at_the_sampling_temperature(
    family: str, kv_heads: int, temperature: float
) -> None:
    model = tiny_model(family, kv_heads, dtype=torch.float64)
    prompts = [prompt for prompt in uneven_prompts(8) for _ in range(5)]
    sampling = SAMPLED.model_copy(update={"temperature": temperature})
    responses = TransformersEngine(model, [END]).generate(prompts, sampling, list(range(40)))
    expected = full_forward_logprobs(model, prompts, responses, temperature)
    for response, logprobs in zip(responses, expected, strict=True):
        torch.testing.assert_close(torch.tensor(response.logprobs).double(), logprobs, atol=1e-5, rtol=0)


def test_logprobs_in_float32_agree_with_the_trainers_forward() -> None:
    model, prompts = tiny_model("qwen2"), uneven_prompts(32)
    with torch.no_grad():
        # Logits of the size a trained model has: float32's rounding is relative to them.
        model.get_output_embeddings().weight.mul_(0.25)  # type: ignore[union-attr]
    responses = TransformersEngine(model, [END]).generate(prompts, SAMPLED, list(range(32)))
    for response, logprobs in zip(responses, full_forward_logprobs(model, prompts, responses, 1.0), strict=True):
        torch.testing.assert_close(torch.tensor(response.logprobs).double(), logprobs, atol=1e-5, rtol=0)


def test_greedy_logprobs_are_at_temperature_one() -> None:
    model, prompts = tiny_model("llama", dtype=torch.float64), uneven_prompts(6)
    responses = TransformersEngine(model, [END]).generate(prompts, greedy(8), [0] * 6)
    for response, logprobs in zip(responses, full_forward_logprobs(model, prompts, responses, 1.0), strict=True):
        torch.testing.assert_close(torch.tensor(response.logprobs).double(), logprobs, atol=1e-5, rtol=0)


def test_a_bfloat16_model_samples_and_its_logprobs_are_close_to_its_own_forward() -> None:
    model, prompts = tiny_model("qwen2", dtype=torch.bfloat16), uneven_prompts(16)
    responses = TransformersEngine(model, [END]).generate(prompts, SAMPLED, list(range(16)))
    expected = torch.cat(full_forward_logprobs(model, prompts, responses, 1.0))
    drawn = torch.tensor([value for response in responses for value in response.logprobs]).double()
    assert (drawn - expected).abs().mean() < 0.1


@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_a_rollout_is_the_same_alone_in_another_batch_and_in_another_order(family: str) -> None:
    # float64, so that no draw falls on the edge that rounding moves.
    engine = TransformersEngine(tiny_model(family, dtype=torch.float64), [END])
    prompts = [prompt for prompt in uneven_prompts(10) for _ in range(4)]
    seeds = [7_000_000_000_000_000_000 + index for index in range(40)]
    together = engine.generate(prompts, SAMPLED, seeds)
    alone = [engine.generate([prompt], SAMPLED, [seed])[0] for prompt, seed in zip(prompts, seeds, strict=True)]
    assert same(together, alone)
    assert same(engine.generate(prompts[::-1], SAMPLED, seeds[::-1])[::-1], together)
    assert same(engine.generate(prompts, SAMPLED.model_copy(update={"batch_size": 7}), seeds), together)
    assert same(engine.generate(prompts[5:20], SAMPLED, seeds[5:20]), together[5:20])
    assert len({response.token_ids for response in together[:4]}) == 4, "seeds make a difference"


def test_a_longer_limit_only_continues_the_response() -> None:
    engine = TransformersEngine(tiny_model("qwen2", dtype=torch.float64), [END])
    prompts, seeds = uneven_prompts(12), list(range(12))
    short = engine.generate(prompts, SAMPLED.model_copy(update={"max_new_tokens": 5}), seeds)
    long = engine.generate(prompts, SAMPLED, seeds)
    assert [response.token_ids for response in short] == [response.token_ids[:5] for response in long]


def test_the_end_token_is_included_once_and_truncation_is_named() -> None:
    model, prompts = tiny_model("llama"), uneven_prompts(200)
    ends = list(range(2, 12))
    responses = TransformersEngine(model, ends).generate(prompts, SAMPLED, list(range(200)))
    stopped = [response for response in responses if response.finish_reason == "stop"]
    cut = [response for response in responses if response.finish_reason == "length"]
    assert stopped
    assert cut
    assert all(response.token_ids[-1] in ends for response in stopped)
    assert all(len(response.token_ids) == SAMPLED.max_new_tokens for response in cut)
    assert all(token not in ends for response in stopped for token in response.token_ids[:-1])
    assert all(token not in ends for response in cut for token in response.token_ids)
    assert all(len(response.logprobs) == len(response.token_ids) for response in responses)


def test_an_end_token_at_the_very_limit_counts_as_stop() -> None:
    model, prompt = tiny_model("qwen2"), [5, 6, 7]
    first = TransformersEngine(model, [END]).generate([prompt], greedy(1), [0])[0].token_ids[0]
    assert TransformersEngine(model, first).generate([prompt], greedy(1), [0])[0].finish_reason == "stop"


@pytest.mark.parametrize("count", [0, 1, 12])
def test_any_number_of_rollouts_of_one_prompt(count: int) -> None:
    responses = TransformersEngine(tiny_model("qwen2"), [END]).generate(
        [[3, 4, 5]] * count, SAMPLED, list(range(count))
    )
    assert len(responses) == count
    assert all(response.token_ids for response in responses)


def test_prompts_are_refused_with_their_number_rather_than_cut() -> None:
    engine = TransformersEngine(tiny_model("qwen2"), [END])
    fits = [9] * (POSITIONS - SAMPLED.max_new_tokens)
    assert len(engine.generate([fits], SAMPLED, [0])) == 1
    with pytest.raises(PromptTooLongError, match=r"prompt 1 has 233 tokens .*expected at most 256"):
        engine.generate([fits, [*fits, 9]], SAMPLED, [0, 1])
    with pytest.raises(ValueError, match="prompt 1 is empty"):
        engine.generate([[3], []], SAMPLED, [0, 1])
    with pytest.raises(ValueError, match="2 prompts but 1 seeds"):
        engine.generate([[3], [4]], SAMPLED, [0])
    with pytest.raises(ValueError, match="prompt 0 has a token outside the vocabulary"):
        engine.generate([[VOCABULARY]], SAMPLED, [0])


def test_a_model_that_the_engine_would_sample_wrongly_is_refused() -> None:
    config = Qwen2Config(
        vocab_size=32, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        intermediate_size=16, use_sliding_window=True, sliding_window=4, max_window_layers=0,
    )  # fmt: skip
    with pytest.raises(ValueError, match="sliding-window"):
        TransformersEngine(Qwen2ForCausalLM(config), [END])
    with pytest.raises(ValueError, match="no end token"):
        TransformersEngine(tiny_model("qwen2"), [])


def test_a_window_of_all_layers_bounds_prompt_and_response() -> None:
    """Mistral's layers have no kinds: beyond the window its tokens would see what they were not trained to see."""
    config = MistralConfig(
        vocab_size=32, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        intermediate_size=16, sliding_window=8,
    )  # fmt: skip
    engine = TransformersEngine(MistralForCausalLM(config).eval(), [31])
    (response,) = engine.generate([[5, 6, 7]], SamplingConfig(temperature=0.0, max_new_tokens=5), [0])
    tokens = [5, 6, 7, *response.token_ids]
    expected = engine.model(torch.tensor([tokens])).logits[0, 2:-1].argmax(dim=-1).tolist()
    assert list(response.token_ids) == expected
    with pytest.raises(PromptTooLongError, match="at most 8 together"):
        engine.generate([[5, 6, 7]], SamplingConfig(temperature=0.0, max_new_tokens=6), [0])


@pytest.mark.parametrize("tied", [True, False])
def test_loaded_weights_are_the_ones_that_are_sampled_from(tied: bool) -> None:
    old, new = tiny_model("qwen2", tied=tied), tiny_model("qwen2", tied=tied)
    with torch.no_grad():
        for parameter in new.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    prompts, seeds = uneven_prompts(8), list(range(8))
    engine = TransformersEngine(old, [END])
    before = engine.generate(prompts, SAMPLED, seeds)
    expected = TransformersEngine(new, [END]).generate(prompts, SAMPLED, seeds)
    pointers = [parameter.data_ptr() for parameter in old.parameters()]
    engine.load_weights(new.named_parameters())
    assert same(engine.generate(prompts, SAMPLED, seeds), expected)
    assert not same(before, expected)
    assert [parameter.data_ptr() for parameter in old.parameters()] == pointers
    engine.load_weights(new.state_dict().items())
    assert same(engine.generate(prompts, SAMPLED, seeds), expected)


def test_weights_that_do_not_fit_are_named() -> None:
    engine = TransformersEngine(tiny_model("llama"), [END])
    weights = dict(engine.model.named_parameters())
    with pytest.raises(ValueError, match=r"unknown weight 'model\.extra'"):
        engine.load_weights({**weights, "model.extra": torch.zeros(1)}.items())
    with pytest.raises(ValueError, match=r"missing weight 'model\.norm\.weight' \(1 were not given\)"):
        engine.load_weights((name, tensor) for name, tensor in weights.items() if name != "model.norm.weight")
    with pytest.raises(ValueError, match=r"'model\.norm\.weight' has shape \(3,\) \(expected \(32,\)\)"):
        engine.load_weights({**weights, "model.norm.weight": torch.zeros(3)}.items())


def test_the_trainers_own_module_is_left_as_it_was() -> None:
    model = tiny_model("qwen2").train()
    attention = model.config._attn_implementation
    engine: RolloutEngine = TransformersEngine(model, [END])
    prompts, seeds = uneven_prompts(4), list(range(4))
    before = engine.generate(prompts, SAMPLED, seeds)
    assert all(module.training for module in model.modules())
    assert model.config._attn_implementation == attention
    # A step of the trainer shows at once, without load_weights, and its backward pass still works.
    model(input_ids=torch.tensor([[3, 4, 5]]), labels=torch.tensor([[3, 4, 5]])).loss.backward()
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    assert not same(engine.generate(prompts, SAMPLED, seeds), before)


def test_a_model_set_to_eager_attention_draws_the_same_rollouts() -> None:
    model, prompts = tiny_model("llama", dtype=torch.float64), uneven_prompts(12)
    engine = TransformersEngine(model, [END])
    expected = engine.generate(prompts, SAMPLED, list(range(12)))
    model.set_attn_implementation("eager")
    assert same(engine.generate(prompts, SAMPLED, list(range(12))), expected)


def test_progress_counts_positions_and_rows_that_go_on() -> None:
    seen: list[tuple[int, int]] = []
    engine = TransformersEngine(
        tiny_model("qwen2"), [END], progress=lambda position, live: seen.append((position, live))
    )
    responses = engine.generate(uneven_prompts(6), SAMPLED, list(range(6)))
    lengths = [len(response.token_ids) for response in responses if response.finish_reason == "stop"]
    assert [position for position, _ in seen] == list(range(1, max(len(r.token_ids) for r in responses) + 1))
    assert all(live == 6 - sum(length <= position for length in lengths) for position, live in seen)


def test_a_row_that_has_ended_is_not_computed_again_nor_is_a_prompt_whose_rows_have_all_ended() -> None:
    model, live, rows, prompts_kept = tiny_model("llama"), [], [], []
    ends = list(range(2, 40))
    engine = TransformersEngine(model, ends, progress=lambda _, still: live.append(still))

    def count(module: torch.nn.Module, args: tuple, settings: dict) -> None:
        if settings["input_ids"].shape[1] == 1:
            rows.append(len(settings["input_ids"]))
            prompts_kept.append((len(settings["shared_prompts"].real_UT), settings["shared_prompts"].prompt_B.unique()))

    model.get_decoder().register_forward_pre_hook(count, with_kwargs=True)  # type: ignore[union-attr]
    prompts = [[*prompt, 50] for prompt in uneven_prompts(16) for _ in range(3)]
    engine.generate(prompts, SAMPLED, list(range(48)))
    assert rows == [still for still in live if still > 0][: len(rows)]
    assert len(set(rows)) > 4
    assert prompts_kept[0][0] > prompts_kept[-1][0]
    assert all(kept == len(used) for kept, used in prompts_kept)
