"""Testbed models that vLLM can run on a CPU (heads of size 32), in folders with their tokenizer, and what they ought to
say, by plain forward passes."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sgpo.config.testbed import BaseModelConfig
from sgpo.rollouts.schema import Response
from sgpo.testbed.base_model import new_model, testbed_tokenizer

needs_vllm = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None, reason="vLLM is not installed here; `make test-vllm` runs this"
)
FIRST_WORD = 8  # special tokens come before it


def make_model(
    seed: int, tokenizer: PreTrainedTokenizerBase, family: Literal["qwen2", "llama"] = "qwen2"
) -> PreTrainedModel:
    """Random weights, far enough from uniform that greedy tokens are clear."""
    torch.manual_seed(seed)
    model = new_model(BaseModelConfig(family=family, hidden_size=64, layers=2), tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.12 * torch.randn_like(parameter))
    return model.eval()


def write_model(seed: int, folder: Path) -> Path:
    """A Hugging Face folder of `make_model`."""
    tokenizer = testbed_tokenizer()
    make_model(seed, tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_prompts(count: int, vocabulary: int, seed: int = 0) -> list[list[int]]:
    """Prompts of 1 to 60 tokens; every third one begins with the same 40, as prompts of one template do."""
    draw = random.Random(seed)
    shared = [draw.randrange(FIRST_WORD, vocabulary) for _ in range(40)]
    prompts = [[draw.randrange(FIRST_WORD, vocabulary) for _ in range(draw.randint(1, 60))] for _ in range(count)]
    return [shared + prompt[:20] if index % 3 == 0 else prompt for index, prompt in enumerate(prompts)]


def greedy_by_forward(model: PreTrainedModel, prompts: Sequence[Sequence[int]], tokens: int) -> list[tuple[int, ...]]:
    """The most probable tokens one after the other, each by a forward pass over everything before it."""
    answers: list[tuple[int, ...]] = []
    for prompt in prompts:
        ids = list(prompt)
        for _ in range(tokens):
            with torch.no_grad():
                ids.append(int(model(input_ids=torch.tensor([ids]), logits_to_keep=1).logits[0, -1].argmax()))
        answers.append(tuple(ids[len(prompt) :]))
    return answers


def worst_logprob_error(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], responses: Sequence[Response], temperature: float
) -> float:
    """Largest difference to log softmax(logits / temperature) by one forward pass per response."""
    worst = 0.0
    for prompt, response in zip(prompts, responses, strict=True):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*prompt, *response.token_ids]])).logits[0, len(prompt) - 1 : -1]
        expected = (logits.double() / temperature).log_softmax(-1)
        own = expected.gather(1, torch.tensor(response.token_ids)[:, None]).squeeze(1)
        worst = max(worst, float((own - torch.tensor(response.logprobs, dtype=torch.float64)).abs().max()))
    return worst
