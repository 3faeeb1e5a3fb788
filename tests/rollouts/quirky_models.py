"""Two-layer model folders with a byte-level tokenizer, one for each quirk of published models."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
THINKING = CHATML.replace("assistant\n' }}", "assistant\n<think>\n' }}")
SWITCHED = CHATML.replace(
    "assistant\n' }}",
    "assistant\n' }}{% if enable_thinking is not defined or enable_thinking %}{{ '<think>\n' }}{% endif %}",
)
NO_SYSTEM = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' "
    "+ m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
DATED = "{{ bos_token + '<|im_start|>system\nToday Date: ' + strftime_now('%d %b %Y') + '<|im_end|>\n' }}" + CHATML
QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
GEMMA = ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>")
LLAMA = ("<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>")


def byte_tokenizer(
    special: Sequence[str], template: str, end: str | None, begin: str | None = None, adds_begin: bool = False
) -> PreTrainedTokenizerFast:
    """Return one token per byte behind the special ones, in their order."""
    tokens = {token: index for index, token in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    backend = Tokenizer(models.BPE(vocab=tokens, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    if adds_begin:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", special_tokens=[(begin, tokens[begin or ""])]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=end, bos_token=begin, pad_token=special[0],
        additional_special_tokens=[token for token in special if token not in (end, begin, special[0])],
        chat_template=template,
    )  # fmt: skip


def model_folder(folder: Path, tokenizer: PreTrainedTokenizerFast, **settings) -> Path:
    """Write a model of random weights with this tokenizer."""
    torch.manual_seed(0)
    shape = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
        "tie_word_embeddings": False, "pad_token_id": 0, "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
    }  # fmt: skip
    LlamaForCausalLM(LlamaConfig(**{**shape, **settings})).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def qwen_folder(folder: Path, **settings) -> Path:
    """Write a sound folder with Qwen's form of conversations."""
    return model_folder(folder, byte_tokenizer(QWEN, CHATML, "<|im_end|>"), **settings)
