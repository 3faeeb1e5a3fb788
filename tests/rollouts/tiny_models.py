"""Tiny random models of two families, and prompts of uneven length for them."""

from __future__ import annotations

import random

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

VOCABULARY, PAD, END, POSITIONS = 300, 0, 1, 256


def tiny_model(
    family: str, kv_heads: int = 2, tied: bool = True, dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """Random weights large enough that next-token distributions differ visibly from uniform."""
    torch.manual_seed(0)
    shape = {
        "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": kv_heads, "intermediate_size": 64, "max_position_embeddings": POSITIONS,
        "tie_word_embeddings": tied, "initializer_range": 0.4, "pad_token_id": PAD, "eos_token_id": END,
        "bos_token_id": None,
    }  # fmt: skip
    model = Qwen2ForCausalLM(Qwen2Config(**shape)) if family == "qwen2" else LlamaForCausalLM(LlamaConfig(**shape))
    return model.to(dtype).eval()  # type: ignore[arg-type]


def uneven_prompts(count: int, seed: int = 0, longest: int = 40) -> list[list[int]]:
    """Prompts of 1 to `longest` tokens, none of them special."""
    draw = random.Random(seed)
    return [[draw.randrange(2, VOCABULARY) for _ in range(draw.randint(1, longest))] for _ in range(count)]
