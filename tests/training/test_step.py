"""One step of Algorithm 1 against a plain implementation of Eqs. 1-7, and its invariances."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from samples import make_samples

from sgpo.config import ObjectiveConfig, TrainingConfig
from sgpo.rollouts.groups import ProblemSamples
from sgpo.training.base_model import BaseModelConfig, new_model
from sgpo.training.distributed import World
from sgpo.training.policy import Policy
from sgpo.training.step import SgpoGradient

ALONE = World(0, 1, torch.device("cpu"))


def tiny_policy(tokenizer, family: str = "qwen2") -> Policy:
    torch.manual_seed(1)
    model = new_model(BaseModelConfig(family=family, hidden_size=32, layers=2), tokenizer).double()
    with torch.no_grad():  # far enough from uniform that ratios, KL and targets differ
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return Policy(model)


def gradient_of(policy: Policy, samples, config: TrainingConfig, pad_id: int) -> tuple[dict, torch.Tensor]:
    policy.zero_grad()
    gradient = SgpoGradient(policy, config, ALONE, pad_id)
    scored, targets = gradient.prepare(samples, run_seed=0, step=0)
    sums = gradient.accumulate(samples, scored, targets, len(samples))
    parts = [p.grad.flatten() if p.grad is not None else torch.zeros(p.numel()).double() for p in policy.parameters()]
    return sums, torch.cat(parts)


def plain_loss(policy: Policy, samples: list[ProblemSamples], objective: ObjectiveConfig) -> torch.Tensor:
    """Eqs. 1-7 one token at a time, with nothing of sgpo.objectives."""

    def log_softmax(prompt, response) -> torch.Tensor:
        logits = policy.model(input_ids=torch.tensor([[*prompt, *response]])).logits[0]
        return torch.log_softmax(logits[len(prompt) - 1 : len(prompt) + len(response) - 1], dim=-1)

    def sampled(prompt, response) -> torch.Tensor:
        return log_softmax(prompt, response)[torch.arange(len(response)), torch.tensor(response)]

    total = torch.zeros((), dtype=torch.float64)
    for problem in samples:
        rewards = torch.tensor([r.reward for r in problem.autonomous], dtype=torch.float64)
        advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-6)
        for rollout, advantage in zip(problem.autonomous, advantages, strict=True):
            logprobs = sampled(problem.autonomous_prompt, rollout.token_ids)
            ratio = torch.exp(logprobs - logprobs.detach())
            clipped = ratio.clamp(1 - objective.clip_low, 1 + objective.clip_high)
            total = total - torch.minimum(ratio * advantage, clipped * advantage).mean() / len(problem.autonomous)
        p_auto = rewards.mean().item()
        p_guide = sum(r.reward for r in problem.guided) / len(problem.guided)
        correct = [r for r in problem.guided if r.reward == 1.0]
        if not correct:
            continue
        alpha = objective.alpha0 * (p_guide - p_auto + objective.gamma) / (p_auto + objective.gamma)
        alpha = min(max(alpha, 0.0), objective.alpha_max)
        target = max(correct, key=lambda r: sampled(problem.autonomous_prompt, r.token_ids).sum().item()).token_ids
        with torch.no_grad():
            guided = log_softmax(problem.guided_prompt, target)
        divergence = (guided.exp() * (guided - log_softmax(problem.autonomous_prompt, target))).sum(dim=-1)
        kept = divergence.detach() <= objective.delta
        total = total + alpha * (divergence * kept).sum() / len(target)
    return total / len(samples)


@pytest.mark.parametrize("delta", [0.3, 1.0, 50.0])
def test_loss_and_gradient_are_those_of_the_equations(tokenizer, family, delta):
    policy, samples = tiny_policy(tokenizer, family), make_samples(8)
    config = TrainingConfig(objective=ObjectiveConfig(delta=delta))
    sums, gradient = gradient_of(policy, samples, config, tokenizer.pad_token_id)
    policy.zero_grad()
    loss = plain_loss(policy, samples, config.objective)
    loss.backward()
    expected = torch.cat([p.grad.flatten() for p in policy.parameters()])
    assert sums["loss"] == pytest.approx(loss.item(), abs=1e-9)
    torch.testing.assert_close(gradient, expected, atol=1e-9, rtol=1e-7)
    assert gradient.abs().max() > 1e-4


@pytest.mark.parametrize("tokens", [1, 60, 200])
def test_the_split_into_microbatches_changes_nothing(tokenizer, tokens):
    policy, samples = tiny_policy(tokenizer), make_samples(7)
    whole = gradient_of(policy, samples, TrainingConfig(), tokenizer.pad_token_id)
    split = gradient_of(policy, samples, TrainingConfig(tokens_per_microbatch=tokens), tokenizer.pad_token_id)
    torch.testing.assert_close(split[1], whole[1], atol=1e-12, rtol=1e-9)
    assert split[0]["kl_mass"] == pytest.approx(whole[0]["kl_mass"])


def test_the_order_of_problems_changes_nothing(tokenizer):
    policy, samples = tiny_policy(tokenizer), make_samples(7)
    _, forward = gradient_of(policy, samples, TrainingConfig(), tokenizer.pad_token_id)
    _, backward = gradient_of(policy, samples[::-1], TrainingConfig(), tokenizer.pad_token_id)
    torch.testing.assert_close(forward, backward, atol=1e-12, rtol=1e-9)


def test_equal_rewards_and_no_correct_guided_rollout_give_no_gradient(tokenizer):
    policy = tiny_policy(tokenizer)
    idle = [s for s in make_samples(30) if len({r.reward for r in s.autonomous}) == 1 and s.pass_rate("guided") == 0]
    assert idle
    _, gradient = gradient_of(policy, idle, TrainingConfig(), tokenizer.pad_token_id)
    assert gradient.abs().max() == 0.0


def test_without_distillation_only_the_autonomous_group_counts(tokenizer):
    policy, samples = tiny_policy(tokenizer), make_samples(8)
    config = TrainingConfig(objective=ObjectiveConfig(distillation="none"))
    sums, gradient = gradient_of(policy, samples, config, tokenizer.pad_token_id)
    changed = [ProblemSamples(s.problem_id, s.autonomous_prompt, s.guided_prompt, s.autonomous, ()) for s in samples]
    _, alone = gradient_of(policy, changed, config, tokenizer.pad_token_id)
    assert torch.equal(gradient, alone)
    assert "kd_loss" not in sums


def test_two_gloo_processes_give_the_loss_and_the_update_of_one(tmp_path):
    script = Path(__file__).parent / "gloo_step.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    results = []
    for processes in (1, 2):
        output = tmp_path / f"{processes}.pt"
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [sys.executable, *launcher, str(script), str(output)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr[-2000:]
        results.append(torch.load(output, weights_only=True))
    one, two = results
    assert one["loss"] == pytest.approx(two["loss"], abs=1e-12)
    assert one["weights"].keys() == two["weights"].keys()
    for name, weight in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], weight, atol=1e-10, rtol=0.0)
    assert one["moved"] > 1e-5
