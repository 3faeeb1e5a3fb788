"""Eqs. 1-7 and their alternatives one token at a time, in float64, with nothing of sgpo.objectives."""

from __future__ import annotations

from dataclasses import replace

import torch

from sgpo.config import TrainingConfig
from sgpo.rollouts.schema import ProblemSamples
from sgpo.training.policy import Policy


def plain_loss(
    policy: Policy, samples: list[ProblemSamples], config: TrainingConfig, step: int = 0, guide: Policy | None = None
) -> torch.Tensor:
    """The loss of one batch; "random" targets are left out, everything else of the configuration is there.

    `guide` is the model that reads the strategy, the policy itself without one.
    """
    plain = Plain(policy, config, step, guide)
    loss = torch.zeros((), dtype=torch.float64)
    for problem in samples:
        loss = loss + (plain.own(problem) + plain.distilled(problem)) / len(samples)
        if config.algorithm.type == "sgpo" and config.algorithm.train_guide:
            in_context = replace(problem, autonomous_prompt=problem.guided_prompt, autonomous=problem.guided)
            loss = loss + plain.own(in_context) / len(samples)
    if config.algorithm.type == "sft":
        return -plain.token_sum / plain.tokens
    if plain.objective.normalization == "token":
        loss = loss + plain.token_sum / plain.tokens
    if plain.objective.entropy_coefficient:
        loss = loss - plain.objective.entropy_coefficient * plain.entropy_sum / plain.tokens
    return loss


class Plain:
    """Sums over one batch."""

    def __init__(self, policy: Policy, config: TrainingConfig, step: int, guide: Policy | None = None) -> None:
        self.guide = guide or policy
        self.policy, self.config, self.objective, self.step = policy, config, config.algorithm, step
        self.token_sum = torch.zeros((), dtype=torch.float64)
        self.entropy_sum = torch.zeros((), dtype=torch.float64)
        self.tokens = 0

    def log_softmax(self, prompt, response, policy: Policy | None = None) -> torch.Tensor:
        logits = (policy or self.policy).model(input_ids=torch.tensor([[*prompt, *response]])).logits[0]
        logits = logits / self.config.sampling.temperature
        return torch.log_softmax(logits[len(prompt) - 1 : len(prompt) + len(response) - 1], dim=-1)

    def sampled(self, prompt, response) -> torch.Tensor:
        return self.log_softmax(prompt, response)[torch.arange(len(response)), torch.tensor(response)]

    def own(self, problem: ProblemSamples) -> torch.Tensor:
        objective, prompt = self.objective, problem.autonomous_prompt
        loss = torch.zeros((), dtype=torch.float64)
        rewards = [rollout.reward for rollout in problem.autonomous]
        if objective.type == "sft":
            self.token_sum, self.tokens = (
                self.token_sum + self.sampled(prompt, problem.expert).sum(),
                self.tokens + len(problem.expert),
            )
            return loss
        if objective.type == "hpt" and sum(rewards) <= objective.gate:
            return -objective.imitation_coefficient * self.sampled(prompt, problem.expert).mean()
        if objective.type == "sgpo" and not objective.grpo:
            return loss
        members = [(rollout.token_ids, rollout) for rollout in problem.autonomous]
        if objective.type == "luffy":
            members.append((problem.expert, None))
            rewards.append(problem.expert_reward)
        mean = sum(rewards) / len(rewards)
        std = (sum((reward - mean) ** 2 for reward in rewards) / (len(rewards) - 1)) ** 0.5
        for (response, rollout), reward in zip(members, rewards, strict=True):
            if rollout is not None and objective.mask_truncated and rollout.finish_reason == "length":
                continue
            advantage = (reward - mean) / (std + 1e-6) if objective.normalize_std else reward - mean
            logprobs = self.sampled(prompt, response)
            self.tokens += len(response)
            if rollout is None:
                terms = -advantage * logprobs.exp() / (logprobs.exp() + objective.shaping)
            else:
                behaviour = torch.tensor(rollout.logprobs, dtype=torch.float64)
                stale = self.config.overlap and objective.importance_cap is None
                terms = self.surrogate(logprobs, behaviour if stale else logprobs.detach(), advantage)
                if objective.importance_cap is not None:
                    terms = terms * (logprobs.detach() - behaviour).exp().clamp(max=objective.importance_cap)
                whole = self.log_softmax(prompt, response)
                self.entropy_sum = self.entropy_sum - (whole.exp() * whole).sum()
            if objective.normalization == "token":
                self.token_sum = self.token_sum + terms.sum()
            elif objective.normalization == "constant":
                loss = loss + terms.sum() / self.config.sampling.max_new_tokens / len(members)
            else:
                loss = loss + terms.mean() / len(members)
        return loss

    def surrogate(self, logprobs: torch.Tensor, old: torch.Tensor, advantage: float) -> torch.Tensor:
        ratio, low, high = (logprobs - old).exp(), self.objective.clip_low, self.objective.clip_high
        clipped = ratio.clamp(0.0 if low is None else 1.0 - low, None if high is None else 1.0 + high)
        return -torch.minimum(ratio * advantage, clipped * advantage)

    def distilled(self, problem: ProblemSamples) -> torch.Tensor:
        objective = self.objective
        correct = [rollout.token_ids for rollout in problem.guided if rollout.reward == 1.0]
        loss = torch.zeros((), dtype=torch.float64)
        if objective.type != "sgpo" or not correct:
            return loss
        reach = [self.sampled(problem.autonomous_prompt, response) for response in correct]
        if objective.target == "all":
            targets = correct
        else:
            scores = [value.sum().item() if objective.target == "sum" else value.mean().item() for value in reach]
            targets = [correct[scores.index(max(scores))]]
        for target in targets:
            loss = loss + self.distance(problem, target) / len(targets)
        if objective.own_rollouts:
            for rollout in problem.autonomous:
                if objective.mask_truncated and rollout.finish_reason == "length":
                    continue
                loss = loss + self.distance(problem, rollout.token_ids) / len(problem.autonomous)
        return self.alpha(problem, len(correct)) * loss

    def distance(self, problem: ProblemSamples, target) -> torch.Tensor:
        objective = self.objective
        if objective.distillation == "sft":
            return -self.sampled(problem.autonomous_prompt, target).mean()
        with torch.no_grad():
            guided = self.log_softmax(problem.guided_prompt, target, self.guide)
            if objective.contrast:
                alone = self.log_softmax(problem.autonomous_prompt, target, self.guide)
                wrong = self.log_softmax(problem.contrast_prompt, target, self.guide)
                weights = alone.exp() * guided.exp() / wrong.exp()
                guided = (weights / weights.sum(dim=-1, keepdim=True)).log()
        student = self.log_softmax(problem.autonomous_prompt, target)
        if objective.distillation == "reverse_kl":
            divergence = (student.exp() * (student - guided)).sum(dim=-1)
        else:
            divergence = (guided.exp() * (guided - student)).sum(dim=-1)
        delta = objective.delta
        if delta is not None and objective.delta_end is not None:
            delta = delta + (objective.delta_end - delta) * self.step / (self.config.steps - 1)
        total = torch.zeros((), dtype=torch.float64)
        for value in divergence:
            if delta is None or value.item() <= delta:
                total = total + value
            elif objective.clipping == "truncate":
                total = total + value * (delta / value.item())
        return total / len(target)

    def alpha(self, problem: ProblemSamples, correct: int) -> float:
        objective = self.objective
        rewards = [rollout.reward for rollout in problem.autonomous]
        p_auto, p_guide = sum(rewards) / len(rewards), correct / len(problem.guided)
        if objective.weight == "fixed":
            return objective.alpha_max
        if objective.weight == "group_advantage":
            whole = [*rewards, 1.0]
            mean = sum(whole) / len(whole)
            std = (sum((reward - mean) ** 2 for reward in whole) / (len(whole) - 1)) ** 0.5
            return min(max((1.0 - mean) / (std + 1e-6), 0.0), objective.alpha_max)
        alpha = objective.alpha0 * (p_guide - p_auto + objective.gamma) / (p_auto + objective.gamma)
        return min(max(alpha, 0.0), objective.alpha_max)
