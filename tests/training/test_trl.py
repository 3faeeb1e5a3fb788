"""GRPO's loss and gradient are those of TRL's GRPOTrainer on the same batch, for every normalisation that both have."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from samples import gradient_for, make_samples
from test_step import flat_gradient, tiny_policy

from sgpo.config import SamplingConfig, TrainingConfig
from sgpo.rollouts.schema import ProblemSamples
from sgpo.training.policy import Policy

LONGEST, GROUP, TEMPERATURE = 17, 3, 0.8
NORMALIZATIONS = [("grpo", "sequence"), ("bnpo", "token"), ("dapo", "token"), ("dr_grpo", "constant")]


def trl_trainer(policy: Policy, tokenizer, folder: Path, loss_type: str, rows: int):
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    arguments = GRPOConfig(
        output_dir=str(folder), per_device_train_batch_size=rows, num_generations=GROUP, loss_type=loss_type,
        max_completion_length=LONGEST, epsilon=0.2, epsilon_high=0.28, beta=0.0, temperature=TEMPERATURE, report_to=[],
        use_cpu=True, bf16=False, gradient_checkpointing=False,
    )  # fmt: skip
    trainer = GRPOTrainer(
        policy.model, reward_funcs=lambda completions, **_: [0.0] * len(completions), args=arguments,
        train_dataset=Dataset.from_list([{"prompt": "never asked"}]), processing_class=tokenizer,
    )  # fmt: skip
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    return trainer


def trl_batch(samples: list[ProblemSamples], advantages: list[float], pad: int) -> dict[str, torch.Tensor]:
    """As TRL lays it out: prompts padded on the left, responses on the right."""
    prompts = [problem.autonomous_prompt for problem in samples for _ in problem.autonomous]
    responses = [rollout.token_ids for problem in samples for rollout in problem.autonomous]
    wide, long = max(map(len, prompts)), max(map(len, responses))
    lengths = torch.tensor([len(response) for response in responses])
    return {
        "prompt_ids": torch.tensor([[pad] * (wide - len(prompt)) + list(prompt) for prompt in prompts]),
        "prompt_mask": torch.tensor([[0] * (wide - len(prompt)) + [1] * len(prompt) for prompt in prompts]),
        "completion_ids": torch.tensor([[*response, *([pad] * (long - len(response)))] for response in responses]),
        "completion_mask": (torch.arange(long) < lengths[:, None]).long(),
        "advantages": torch.tensor(advantages, dtype=torch.float64),
        "num_items_in_batch": lengths.sum(),
    }


def old_logprobs(samples: list[ProblemSamples], drift: float) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [
        drift * torch.randn(len(rollout.token_ids), generator=generator, dtype=torch.float64)
        for problem in samples
        for rollout in problem.autonomous
    ]


@pytest.mark.parametrize("drift", [0.0, 0.4], ids=["ratio 1", "an older policy"])
@pytest.mark.parametrize(("loss_type", "normalization"), NORMALIZATIONS)
def test_loss_and_gradient_are_trls(tokenizer, tmp_path, loss_type, normalization, drift):
    policy = tiny_policy(tokenizer)
    samples = [replace(problem, guided=()) for problem in make_samples(6)]
    training = TrainingConfig(
        algorithm={"type": "grpo", "normalization": normalization},
        sampling=SamplingConfig(temperature=TEMPERATURE, max_new_tokens=LONGEST),
    )
    gradient = gradient_for(policy, training, tokenizer.pad_token_id)
    (minibatch,) = gradient.minibatches(samples, 0, len(samples))
    advantages = [row.advantage for row in minibatch.rows]
    if drift:
        gradient.remember_old_policy(minibatch)
    for index, offsets in enumerate(old_logprobs(samples, drift)):
        if index in minibatch.old_logprobs:
            minibatch.old_logprobs[index] = minibatch.old_logprobs[index] + offsets
    sums = gradient.accumulate(minibatch)
    ours = flat_gradient(policy)
    policy.zero_grad()

    trainer = trl_trainer(policy, tokenizer, tmp_path, loss_type, len(advantages))
    batch = trl_batch(samples, advantages, tokenizer.pad_token_id)
    if drift:
        old = torch.zeros(batch["completion_ids"].shape, dtype=torch.float64)
        for index, logprobs in minibatch.old_logprobs.items():
            old[index, : len(logprobs)] = logprobs
        batch["old_per_token_logps"] = old
    loss = trainer._compute_loss(policy.model, batch)
    loss.backward()
    assert sums["loss"] == pytest.approx(loss.item(), abs=1e-7)
    torch.testing.assert_close(ours, flat_gradient(policy), atol=1e-6, rtol=1e-5)
    assert ours.abs().max() > 1e-3
    if drift:
        assert sums["clipped"] > 0
