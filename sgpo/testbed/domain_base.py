"""A tiny base model for a worked domain, made on the spot: it follows a strategy, and alone mostly guesses.

It reads the data folder's own problems, responses and strategies. With a strategy its examples are right; without one a
share of them is the response to another problem, so that what it knows hardly shows, as in the testbed's base models.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from sgpo.config import ChatConfig, ConfigError, TrainingConfig
from sgpo.config.testbed import BaseModelConfig
from sgpo.problems import Problem, read_problems
from sgpo.problems.table import read_table
from sgpo.rollouts.chat import GUIDED_TEMPLATE, ChatFormat
from sgpo.rollouts.export import export_model
from sgpo.rollouts.model_folder import pad_id
from sgpo.strategies.bank import load_strategies
from sgpo.strategies.schema import StrongResponse
from sgpo.testbed.base_model import new_model, number_tokens
from sgpo.testbed.tokenizer import build_tokenizer
from sgpo.training.batches import Row
from sgpo.training.optimisation import learning_rate, make_optimizer, optimizer_step
from sgpo.training.policy import Policy
from sgpo.training.supervised import supervised_gradient
from sgpo.training.world import World

NUMBERS = 500
BATCH = 16
GUIDED = 0.6
_TOKENS = 8192


def build_domain_base(data: Path, folder: Path, chat_settings: ChatConfig, steps: int, right: float, seed: int) -> None:
    """Write the model to `folder`; `right` is the share of unguided examples that are right.

    Raises ConfigError where there is no response or no strategy to learn from.
    """
    taught, responses, texts = taught_problems(data)
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(_vocabulary(data, responses, texts, chat_settings), NUMBERS)
    model = new_model(BaseModelConfig(seed=seed), tokenizer)
    chat, policy = ChatFormat(tokenizer, chat_settings), Policy(model)
    schedule = TrainingConfig(steps=steps, learning_rate=2e-3, warmup_steps=50, schedule="cosine")
    optimizer, alone = make_optimizer(policy, schedule), World(0, 1, torch.device("cpu"))
    weights_V = torch.ones(len(tokenizer))
    weights_V[list(number_tokens(tokenizer).values())] = BaseModelConfig().number_weight
    for step in (progress := tqdm(range(steps), desc="pre-training", mininterval=5.0)):
        rows = _rows(taught, responses, texts, chat, right, random.Random(f"{seed}/{step}"))
        loss = supervised_gradient(policy, rows, _TOKENS, alone, pad_id(tokenizer), weights_V)
        optimizer_step(policy, optimizer, learning_rate(schedule, step), schedule.max_grad_norm)
        progress.set_postfix(loss=f"{loss:.3f}", refresh=False)
    export_model(model, tokenizer, dict(model.state_dict()), folder, chat.end_ids)


def taught_problems(data: Path) -> tuple[list[Problem], dict[str, str], dict[str, str]]:
    """Return the problems that have response and strategy, and the texts of all responses and strategies by problem.

    Raises ConfigError where there are fewer than two such problems.
    """
    problems = read_problems(data / "problems" / "train.parquet")
    responses = {row.problem_id: row.text for row in read_table(data / "responses.parquet", StrongResponse)}
    strategies = load_strategies(data / "strategies.parquet", problems)
    taught = [problem for problem in problems if problem.id in responses and problem.id in strategies]
    if len(taught) < 2:
        raise ConfigError(f"{data}: {len(taught)} problems with response and strategy (expected at least 2)")
    return taught, responses, {name: strategy.text() for name, strategy in strategies.items()}


def _rows(
    problems: Sequence[Problem], responses: dict[str, str], strategies: dict[str, str], chat: ChatFormat, right: float,
    choose: random.Random,
) -> list[Row]:  # fmt: skip
    rows = []
    for key, problem in enumerate(choose.choices(problems, k=BATCH)):
        guided = choose.random() < GUIDED
        source = problem if guided or choose.random() < right else choose.choice(problems)
        prompt = chat.build(problem.question, strategies[problem.id] if guided else None)
        rows.append(Row(tuple(prompt), chat.response_ids(responses[source.id]), key))
    return rows


def _vocabulary(data: Path, responses: dict[str, str], strategies: dict[str, str], chat: ChatConfig) -> list[str]:
    texts = [chat.system_prompt, *responses.values()]
    for split in ("train", "tuning", "held_out"):
        if (path := data / "problems" / f"{split}.parquet").is_file():
            texts += [problem.question for problem in read_problems(path)]
    texts += [GUIDED_TEMPLATE.format(strategy=text, question="What?") for text in strategies.values()]
    return texts
