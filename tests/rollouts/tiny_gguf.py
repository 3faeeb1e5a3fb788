"""A Llama of a few thousand random weights in one GGUF file, as llama.cpp's converter lays it out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import LlamaConfig, LlamaForCausalLM

TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TOKENS = [*SPECIAL, *sorted(ByteLevel.alphabet()), "Ġt"]
END = TOKENS.index("<|im_end|>")
HEADS, KEY_HEADS, WIDTH, LAYERS, POSITIONS = 4, 2, 32, 1, 4096


def tiny_llama() -> LlamaForCausalLM:
    """The model that the file holds."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(TOKENS), hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        num_key_value_heads=KEY_HEADS, intermediate_size=64, max_position_embeddings=POSITIONS,
        tie_word_embeddings=True, initializer_range=0.2, bos_token_id=1, eos_token_id=END, rms_norm_eps=1e-5,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def write_tiny_gguf(
    path: Path,
    architecture: str = "llama",
    tokenizer: bool = True,
    template: str | None = TEMPLATE,
    change: Callable[[dict[str, np.ndarray]], object] = lambda tensors: None,
) -> LlamaForCausalLM:
    """Write the file; returns the model that is in it, unless `change` changes its tensors."""
    model = tiny_llama()
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(POSITIONS)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(64)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(TOKENS))
    if tokenizer:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("default")
        writer.add_token_list(TOKENS)
        writer.add_token_types([3 if token in SPECIAL else 1 for token in TOKENS])
        writer.add_token_merges(["Ġ t"])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(END)
        writer.add_unk_token_id(0)
        if template is not None:
            writer.add_chat_template(template)
    state = {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}  # tied
    tensors = {_name(name): _laid_out(name, value.numpy()) for name, value in state.items()}
    change(tensors)
    for name, value in tensors.items():
        writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def _name(name: str) -> str:
    parts = {
        "model.embed_tokens": "token_embd", "model.norm": "output_norm", "model.layers": "blk",
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "post_attention_layernorm": "ffn_norm", "input_layernorm": "attn_norm",
    }  # fmt: skip
    for theirs, ours in parts.items():
        name = name.replace(theirs, ours)
    return name


def _laid_out(name: str, value: np.ndarray) -> np.ndarray:
    """Rows of queries and keys as llama.cpp rotates them: pairs side by side, not half a head apart."""
    heads = HEADS if "q_proj" in name else KEY_HEADS if "k_proj" in name else 0
    if not heads:
        return value
    rows, columns = value.shape
    return value.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
