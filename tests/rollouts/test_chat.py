"""Prompts carry the question, and the strategy before it, in the tokenizer's own chat format."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from sgpo.config.chat import SYSTEM_PROMPT
from sgpo.rollouts.chat import GUIDED_TEMPLATE, ChatFormat

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte, so that nothing is lost in decoding."""
    special = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = {token: index for index, token in enumerate([*special, *alphabet])}
    backend = Tokenizer(models.BPE(tokens, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=special[0], additional_special_tokens=special[1:], chat_template=TEMPLATE
    )


def text(tokenizer: PreTrainedTokenizerFast, ids: list[int]) -> str:
    return "".join(tokenizer.convert_ids_to_tokens(ids)).replace("Ġ", " ").replace("Ċ", "\n")


def test_a_prompt_is_a_plain_list_of_ids_that_ends_with_the_assistants_turn(tokenizer: PreTrainedTokenizerFast) -> None:
    prompt = ChatFormat(tokenizer).autonomous("What is 2 + 2?")
    assert type(prompt) is list
    assert all(type(token) is int for token in prompt)
    assert text(tokenizer, prompt) == (f"<|system|>{SYSTEM_PROMPT}<|end|><|user|>What is 2 + 2?<|end|><|assistant|>")


def test_the_strategy_stands_before_the_question_in_the_users_turn(tokenizer: PreTrainedTokenizerFast) -> None:
    prompt = ChatFormat(tokenizer).guided("What is 2 + 2?", "Count up.")
    expected = f"<|system|>{SYSTEM_PROMPT}<|end|><|user|>Count up.\n\nWhat is 2 + 2?<|end|><|assistant|>"
    assert text(tokenizer, prompt) == expected
    assert GUIDED_TEMPLATE.format(strategy="Count up.", question="What is 2 + 2?") in expected


def test_braces_in_question_and_strategy_are_left_alone(tokenizer: PreTrainedTokenizerFast) -> None:
    prompt = ChatFormat(tokenizer).guided("Simplify \\frac{1}{2} {{x}}.", "Use {question} and {0}.")
    assert "Use {question} and {0}.\n\nSimplify \\frac{1}{2} {{x}}." in text(tokenizer, prompt)


def test_a_tokenizer_without_chat_template_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.chat_template = None
    with pytest.raises(ValueError, match=r"no chat template \(expected one in tokenizer_config\.json"):
        ChatFormat(tokenizer)
