"""One step of Algorithm 1 against a plain implementation of Eqs. 1-7, and its invariances."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from plain_objective import plain_loss
from samples import ALONE, accumulate, gradient_for, make_samples

from sgpo.algorithms.registry import build
from sgpo.algorithms.rows import Row
from sgpo.config import SamplingConfig, ShardingConfig, TrainingConfig
from sgpo.config.testbed import BaseModelConfig
from sgpo.rollouts.engine import PromptTooLongError
from sgpo.rollouts.schema import ProblemSamples
from sgpo.testbed.base_model import new_model
from sgpo.training.policy import Policy
from sgpo.training.sharding import shard_policy
from sgpo.training.supervised import supervised_gradient


def tiny_policy(tokenizer, family: str = "qwen2") -> Policy:
    torch.manual_seed(1)
    model = new_model(BaseModelConfig(family=family, hidden_size=32, layers=2), tokenizer).double()
    with torch.no_grad():  # far enough from uniform that ratios, KL and targets differ
        for parameter in model.parameters():
            parameter.add_(0.25 * torch.randn_like(parameter))
    return Policy(model)


def gradient_of(
    policy: Policy, samples, config: TrainingConfig, pad_id: int, step: int = 0
) -> tuple[dict, torch.Tensor]:
    policy.zero_grad()
    sums = accumulate(gradient_for(policy, config, pad_id), samples, step)
    return sums, flat_gradient(policy)


def flat_gradient(policy: Policy) -> torch.Tensor:
    parts = [p.grad.flatten() if p.grad is not None else torch.zeros(p.numel()).double() for p in policy.parameters()]
    return torch.cat(parts)


PAPER = dict[str, object]()
ALTERNATIVES: dict[str, dict[str, object]] = {
    "the paper's": PAPER,
    "small delta": {"delta": 0.3},
    "no KL clipping": {"delta": None},
    "truncated KL": {"delta": 0.3, "clipping": "truncate"},
    "annealed delta": {"delta": 0.4, "delta_end": 0.02},
    "no GRPO": {"grpo": False},
    "GRPO alone": {"type": "grpo"},
    "reverse KL": {"distillation": "reverse_kl"},
    "direct SFT": {"distillation": "sft"},
    "mean log-probability": {"target": "mean"},
    "no target selection": {"target": "all"},
    "fixed weight": {"weight": "fixed", "alpha_max": 1.0},
    "group-advantage weight": {"weight": "group_advantage"},
    "no proximal constraints": {"target": "all", "delta": None, "weight": "fixed", "alpha_max": 1.0},
    "token mean": {"normalization": "token"},
    "constant length": {"normalization": "constant", "normalize_std": False},
    "importance sampling": {"importance_cap": 1.5},
    "entropy bonus": {"entropy_coefficient": 0.01},
    "guide trained": {"train_guide": True},
    "own rollouts": {"own_rollouts": True, "delta": 0.3},
    "contrast": {"contrast": True, "own_rollouts": True, "delta": 0.3},
    "LUFFY": {"type": "luffy"},
    "LUFFY, mean per response": {"type": "luffy", "normalization": "sequence", "entropy_coefficient": 0.0},
    "HPT": {"type": "hpt", "imitation_coefficient": 0.3},
    "HPT, higher gate": {"type": "hpt", "gate": 1, "normalization": "sequence", "normalize_std": True},
    "SFT": {"type": "sft"},
}  # fmt: skip


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_loss_and_gradient_are_those_of_the_equations(tokenizer, family, alternative):
    policy, samples = tiny_policy(tokenizer, family), make_samples(8)
    config = TrainingConfig(steps=10, algorithm=ALTERNATIVES[alternative])
    sums, gradient = gradient_of(policy, samples, config, tokenizer.pad_token_id, step=4)
    policy.zero_grad()
    loss = plain_loss(policy, samples, config, step=4)
    loss.backward()
    assert sums["loss"] == pytest.approx(loss.item(), abs=1e-9)
    # transformers' norms compute in float32 whatever the model's dtype; sgpo.objectives itself is tested to 1e-9.
    torch.testing.assert_close(gradient, flat_gradient(policy), atol=5e-8, rtol=1e-6)
    assert gradient.abs().max() > 1e-3


@pytest.mark.parametrize("cap", [None, 1.5])
def test_rollouts_drawn_a_step_ahead_are_corrected_by_the_ratio_or_by_importance_sampling(tokenizer, cap):
    policy, samples = tiny_policy(tokenizer), _recorded_near_the_policy(make_samples(8))
    settings = {"steps": 10, "algorithm": {"importance_cap": cap, "clip_low": 0.5, "clip_high": 0.6}}
    config = TrainingConfig(**settings, overlap=True)
    sums, gradient = gradient_of(policy, samples, config, tokenizer.pad_token_id)
    policy.zero_grad()
    loss = plain_loss(policy, samples, config)
    loss.backward()
    assert sums["loss"] == pytest.approx(loss.item(), abs=1e-6)  # recorded log-probabilities are float32
    torch.testing.assert_close(gradient, flat_gradient(policy), atol=1e-6, rtol=1e-5)
    _, on_policy = gradient_of(policy, samples, TrainingConfig(**settings), tokenizer.pad_token_id)
    assert torch.allclose(gradient, on_policy, atol=1e-6, rtol=0.0) == (cap is not None)
    assert (sums["clipped"] > 0) == (cap is None)


def _recorded_near_the_policy(samples: list[ProblemSamples]) -> list[ProblemSamples]:
    """Log-probabilities as a policy would have recorded them whose ratios are on both sides of 1."""
    near = lambda rollout: replace(  # noqa: E731
        rollout, logprobs=tuple(-7.0 + 0.5 * (token % 7) for token in rollout.token_ids)
    )
    return [replace(one, autonomous=tuple(map(near, one.autonomous))) for one in samples]


@pytest.mark.parametrize(
    "algorithm",
    [
        {"type": "grpo"},
        {"type": "grpo", "normalization": "token"},
        {"grpo": False, "own_rollouts": True, "delta": None},
    ],
)
def test_truncated_responses_can_be_left_out_of_the_loss_but_not_of_their_group(tokenizer, algorithm):
    samples = [
        replace(one, autonomous=(replace(one.autonomous[0], finish_reason="length"), *one.autonomous[1:]))
        for one in make_samples(8)
    ]
    policy = tiny_policy(tokenizer)
    masked = TrainingConfig(steps=10, algorithm={**algorithm, "mask_truncated": True})
    sums, gradient = gradient_of(policy, samples, masked, tokenizer.pad_token_id)
    policy.zero_grad()
    loss = plain_loss(policy, samples, masked)
    loss.backward()
    assert sums["loss"] == pytest.approx(loss.item(), abs=1e-9)
    torch.testing.assert_close(gradient, flat_gradient(policy), atol=5e-8, rtol=1e-6)
    _, whole = gradient_of(policy, samples, TrainingConfig(steps=10, algorithm=algorithm), tokenizer.pad_token_id)
    assert not torch.allclose(gradient, whole, atol=1e-4)


def test_supervised_fine_tuning_has_the_loss_of_the_warm_up_at_any_temperature_of_sampling(tokenizer):
    policy, samples, pad_id = tiny_policy(tokenizer), make_samples(8), tokenizer.pad_token_id
    config = TrainingConfig(algorithm={"type": "sft"}, sampling=SamplingConfig(temperature=0.6))
    sums, gradient = gradient_of(policy, samples, config, pad_id)
    policy.zero_grad()
    rows = [Row(one.autonomous_prompt, one.expert, place) for place, one in enumerate(samples)]
    assert sums["loss"] == pytest.approx(supervised_gradient(policy, rows, 400, ALONE, pad_id), abs=1e-9)
    torch.testing.assert_close(gradient, flat_gradient(policy), atol=5e-8, rtol=1e-6)


def test_every_alternative_is_another_gradient(tokenizer):
    policy, samples = tiny_policy(tokenizer), make_samples(16)
    seen: dict[str, torch.Tensor] = {}
    for name, settings in ALTERNATIVES.items():
        config = TrainingConfig(steps=10, algorithm=settings)
        _, gradient = gradient_of(policy, samples, config, tokenizer.pad_token_id, step=4)
        for other, known in seen.items():
            assert not torch.allclose(gradient, known, atol=1e-6, rtol=0.0), f"{name} is {other}"
        seen[name] = gradient


@pytest.mark.parametrize(
    "alternative", ["the paper's", "token mean", "constant length", "entropy bonus", "LUFFY", "HPT", "SFT"]
)
def test_the_split_into_microbatches_changes_nothing(tokenizer, alternative):
    """Of plain rows; where prompts are shared, `test_shared_prompts.py` compares each split with these."""
    policy, samples = tiny_policy(tokenizer), make_samples(7)
    settings = {"steps": 10, "algorithm": ALTERNATIVES[alternative], "shared_prompts": False}
    whole = gradient_of(policy, samples, TrainingConfig(**settings), tokenizer.pad_token_id)
    for tokens in (1, 60, 200):
        small = TrainingConfig(**settings, tokens_per_microbatch=tokens)
        split = gradient_of(policy, samples, small, tokenizer.pad_token_id)
        torch.testing.assert_close(split[1], whole[1], atol=1e-12, rtol=1e-9)
        for name in ("loss", "kl_mass", "entropy_sum", "expert_loss"):
            assert split[0].get(name, 0.0) == pytest.approx(whole[0].get(name, 0.0)), (tokens, name)


def test_activations_that_are_computed_again_switch_no_dropout_on(tokenizer):
    policy, samples, found, calls = tiny_policy(tokenizer).eval(), make_samples(7), [], [0, 0]
    attentions = [layer.self_attn for layer in policy.model.get_decoder().get_submodule("layers").children()]
    for attention in attentions:
        attention.attention_dropout = 0.5  # as a model's configuration may say
    for again in (False, True):
        shard_policy(policy, ALONE, ShardingConfig(activation_checkpointing=again))
        count = lambda *_, again=again: calls.__setitem__(again, calls[again] + 1)  # noqa: E731
        hook = attentions[0].register_forward_pre_hook(count)
        found.append(gradient_of(policy, samples, TrainingConfig(), tokenizer.pad_token_id)[1])
        hook.remove()
    assert calls[True] > calls[False]
    torch.testing.assert_close(found[1], found[0], atol=1e-12, rtol=1e-9)


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
    config = TrainingConfig(algorithm={"type": "grpo"})
    sums, gradient = gradient_of(policy, samples, config, tokenizer.pad_token_id)
    changed = [ProblemSamples(s.problem_id, s.autonomous_prompt, s.guided_prompt, s.autonomous, ()) for s in samples]
    _, alone = gradient_of(policy, changed, config, tokenizer.pad_token_id)
    assert torch.equal(gradient, alone)
    assert "kd_loss" not in sums


def test_a_context_that_does_not_fit_the_model_is_refused_and_never_cut(tokenizer):
    policy = tiny_policy(tokenizer)
    samples = [
        replace(problem, guided_prompt=(7,) * 510) if problem.pass_rate("guided") else problem
        for problem in make_samples(4)
    ]
    with pytest.raises(
        PromptTooLongError, match=r"a prompt of 510 and a response of \d+ tokens .* model's 512 positions"
    ):
        gradient_of(policy, samples, TrainingConfig(), tokenizer.pad_token_id)


def test_rewards_that_are_not_finite_are_refused(tokenizer):
    problem = make_samples(1)[0]
    broken = replace(problem, autonomous=(replace(problem.autonomous[0], reward=float("nan")), *problem.autonomous[1:]))
    with pytest.raises(ValueError, match="problem 'p0': a reward is nan"):
        gradient_of(tiny_policy(tokenizer), [broken], TrainingConfig(), tokenizer.pad_token_id)


def test_no_more_than_a_tenth_of_the_tokens_is_padding(tokenizer):
    sums, _ = gradient_of(tiny_policy(tokenizer), make_samples(24), TrainingConfig(), tokenizer.pad_token_id)
    assert 0.0 < sums["padding_tokens"] / sums["padded_tokens"] < 0.1


def test_forwards_are_spent_only_where_they_can_change_something(tokenizer, monkeypatch):
    policy, rows = tiny_policy(tokenizer), {"hidden": 0, "logprobs": 0, "losses": 0}
    real = Policy.forward

    def counted(self, batch, want, **settings):
        rows[want] += len(batch.rows)
        return real(self, batch, want, **settings)

    monkeypatch.setattr(Policy, "forward", counted)
    samples = make_samples(12)
    gradient_of(policy, samples, TrainingConfig(), tokenizer.pad_token_id)
    unequal = sum(len(s.autonomous) for s in samples if len({r.reward for r in s.autonomous}) > 1)
    reached = [sum(r.reward == 1.0 for r in s.guided) for s in samples if s.pass_rate("guided") > 0.0]
    weighed = [
        count
        for count, s in zip(reached, (s for s in samples if s.pass_rate("guided") > 0.0), strict=True)
        if build(TrainingConfig(), seed=0).alpha(s) > 0.0
    ]
    assert rows["hidden"] == len(weighed)  # the strategy's side: chosen targets alone
    assert rows["losses"] == unequal + len(weighed)
    assert rows["logprobs"] == sum(count for count in weighed if count > 1)  # a single candidate needs no score
