"""The testbed's base models: real architectures and a real tokenizer, pre-trained on the spot in a few minutes.

They execute a strategy that they are told, and are poor at choosing one: the premise of SGPO in small.
"""

import math
import random
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from sgpo.algorithms.rows import Row
from sgpo.config.chat import SYSTEM_PROMPT
from sgpo.config.testbed import BaseModelConfig, CorpusConfig
from sgpo.files import publish_folder
from sgpo.rollouts.chat import GUIDED_TEMPLATE, ChatFormat
from sgpo.rollouts.model_folder import pad_id
from sgpo.testbed.corpus import Example, draw_example
from sgpo.testbed.decisions import DECISIONS, FEWEST
from sgpo.testbed.tokenizer import build_tokenizer
from sgpo.testbed.traces import deciding_words
from sgpo.testbed.world import CAPACITIES, TIERS
from sgpo.training.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from sgpo.training.policy import Policy
from sgpo.training.supervised import supervised_gradient
from sgpo.training.world import World

VOCABULARY_EXAMPLES = 4000
TOKENS_PER_MICROBATCH = 1024
CHECKPOINT_EVERY = 250
NUMBER_PERIODS = (2, 3, 4, 5, 6, 7, 10, 12, 16, 25, 40, 60, 100, 200)


def build_base_model(config: BaseModelConfig, decisions: int, folder: Path, work: Path, world: World) -> None:
    """Pre-train and publish a model folder for a world of so many decisions.

    Resumes from the checkpoint in `work` when it was interrupted.
    """
    torch.manual_seed(config.seed)
    tokenizer = testbed_tokenizer()
    model = new_model(config, tokenizer)
    pretrain(model, tokenizer, config, decisions, work, world)
    if world.is_main:
        with publish_folder(folder) as aside:
            model.save_pretrained(aside)
            tokenizer.save_pretrained(aside)
    world.barrier()


def testbed_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer of all worlds: every word of questions, strategies, traces and prompts, and the numbers."""
    choose = random.Random("vocabulary")
    worlds = range(FEWEST, len(DECISIONS) + 1)
    examples = [
        draw_example(CorpusConfig(), choose, decisions=choose.choice(worlds)) for _ in range(VOCABULARY_EXAMPLES)
    ]
    texts = [SYSTEM_PROMPT]
    for example in examples:
        texts += [example.question, example.response]
        texts += (
            [GUIDED_TEMPLATE.format(strategy=example.strategy, question=example.question)] if example.strategy else []
        )
    return build_tokenizer(texts, numbers=max(CAPACITIES) + 1)


def new_model(config: BaseModelConfig, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """Fresh weights; number tokens start as waves of their value, which is what makes arithmetic quick to learn."""
    heads = config.hidden_size // 32
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": config.hidden_size,
        "intermediate_size": config.hidden_size * 8 // 3 // 16 * 16,
        "num_hidden_layers": config.layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
    }
    if config.family == "llama":
        model: PreTrainedModel = LlamaForCausalLM(LlamaConfig(**shape))
    else:
        model = Qwen2ForCausalLM(Qwen2Config(**shape))
    embeddings_VD = model.get_input_embeddings().get_parameter("weight")
    scale = math.sqrt(2.0) * model.config.initializer_range
    with torch.no_grad():
        for token, index in number_tokens(tokenizer).items():
            waves = [
                wave(2 * math.pi * int(token) / period) for period in NUMBER_PERIODS for wave in (math.cos, math.sin)
            ]
            embeddings_VD[index, : len(waves)] = torch.tensor(waves[: config.hidden_size]) * scale
    return model


def number_tokens(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """Tokens that are numbers, with their ids."""
    return {token: index for token, index in tokenizer.get_vocab().items() if token.isdigit()}


def deciding_tokens(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Ids of the words that carry out a decision, with the spaces and capitals in which they occur."""
    words = deciding_words()
    return [index for token, index in tokenizer.get_vocab().items() if token.strip().lower() in words]


def pretrain(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, config: BaseModelConfig, decisions: int, work: Path,
    world: World,
) -> None:  # fmt: skip
    """Train `model` in place on examples that are a function of (seed, step), checkpointing in `work`.

    Processes share each step's examples and hold the whole model: it is small, and Muon needs whole matrices.
    """
    policy = Policy(model).to(world.device)
    matrices, others = _optimizers(model, config)
    chat = ChatFormat(tokenizer)
    weights_V = torch.ones(len(tokenizer))
    weights_V[list(number_tokens(tokenizer).values())] = config.number_weight
    weights_V[deciding_tokens(tokenizer)] = config.decision_weight
    state = load_checkpoint(work, policy, (matrices, others)) or {"step": 0}
    progress = tqdm(range(state["step"], config.steps), initial=state["step"], total=config.steps,
                    desc=f"pre-training {config.family}", mininterval=5.0, disable=not world.is_main)  # fmt: skip
    for step in progress:
        examples = world.shard(_examples(config, decisions, step))
        rows = [_row(key, example, chat) for key, example in enumerate(examples)]
        loss = supervised_gradient(policy, rows, TOKENS_PER_MICROBATCH, world, pad_id(tokenizer), weights_V)
        world.sum_gradients(policy.parameters())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        rate = _rate(config, step)
        for optimizer, full_rate in ((matrices, config.matrix_learning_rate), (others, config.learning_rate)):
            for group in optimizer.param_groups:
                group["lr"] = full_rate * rate
            optimizer.step()
            optimizer.zero_grad()
        progress.set_postfix(loss=f"{loss:.3f}", refresh=False)
        if (step + 1) % CHECKPOINT_EVERY == 0 and step + 1 < config.steps:
            save_checkpoint(work, policy, (matrices, others), {"step": step + 1}, keep=1, world=world)


def _optimizers(model: PreTrainedModel, config: BaseModelConfig) -> tuple[torch.optim.Muon, torch.optim.AdamW]:
    """Muon for the layers' matrices, AdamW for embeddings, norms and biases."""
    layers = {parameter for name, parameter in model.named_parameters() if ".layers." in name}
    matrices = [parameter for parameter in model.parameters() if parameter in layers and parameter.ndim == 2]
    others = [parameter for parameter in model.parameters() if parameter not in layers or parameter.ndim != 2]
    return (
        torch.optim.Muon(matrices, lr=config.matrix_learning_rate, weight_decay=0.01, momentum=0.95),
        torch.optim.AdamW(others, lr=config.learning_rate, weight_decay=0.0, betas=(0.9, 0.98)),
    )


def _examples(config: BaseModelConfig, decisions: int, step: int) -> list[Example]:
    choose = random.Random(f"{config.seed}/{step}")
    corpus = config.skilled if step < config.skilled_share * config.steps else config.corpus
    short = step < config.short_share * config.steps
    return [
        draw_example(corpus, choose, choose.choice(TIERS) if short else max(TIERS), decisions)
        for _ in range(config.batch_size)
    ]


def _row(key: int, example: Example, chat: ChatFormat) -> Row:
    return Row(tuple(chat.build(example.question, example.strategy or None)), chat.response_ids(example.response), key)


def _rate(config: BaseModelConfig, step: int) -> float:
    """Share of the full learning rate: 50 steps of warm-up, constant, then linear decay to 2 %."""
    left = (config.steps - step) / (config.decay_share * config.steps)
    return min(1.0, (step + 1) / 50) * max(0.02, min(1.0, left))
