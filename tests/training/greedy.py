"""Greedy answers of a model folder by transformers alone, which every other way to answer has to repeat."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

PROMPTS = tuple(tuple(range(6 + shift, 12 + shift + shift % 5)) for shift in range(0, 120, 9))
"""Token ids that any of the tests' tokenizers has; of different lengths."""


@torch.no_grad()
def greedy_answers(
    folder: Path, prompts: Sequence[Sequence[int]] = PROMPTS, new_tokens: int = 12
) -> list[tuple[int, ...]]:
    """`new_tokens` greedy tokens after each prompt, by the model that `from_pretrained` opens, end token or not."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    answers = []
    for prompt in prompts:
        ids = list(prompt)
        for _ in range(new_tokens):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        answers.append(tuple(ids[len(prompt) :]))
    return answers


def until_end(answer: Sequence[int], end_id: int) -> tuple[int, ...]:
    """`answer` up to its end token, as engines give it."""
    return tuple(answer[: list(answer).index(end_id) + 1] if end_id in answer else answer)
