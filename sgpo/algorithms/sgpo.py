"""Strategy-Guided Policy Optimization [SGPO Algorithm 1]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from sgpo import objectives
from sgpo.algorithms.base import Metrics, Score
from sgpo.algorithms.grpo import GRPO, GRPOSettings, rewards_differ
from sgpo.algorithms.rows import Tokens, TrainRow
from sgpo.algorithms.sft import cross_entropy
from sgpo.rollouts.schema import GroupSizes, ProblemSamples, Rollout
from sgpo.rollouts.seeds import derive_seed

if TYPE_CHECKING:
    import torch

    from sgpo.training.guides import Guide
    from sgpo.training.policy import Policy


class SGPOSettings(GRPOSettings):
    """Eqs. 1-7 with the paper's constants, and the ablations of its table."""

    type: str = "sgpo"
    autonomous_rollouts: int = Field(default=8, ge=1, le=256, description="Responses without strategy per problem, G1")
    guided_rollouts: int = Field(default=4, ge=1, le=256, description="Responses with strategy per problem, G2")
    grpo: bool = Field(default=True, description="Eq. 1 on the autonomous rollouts; false: distillation alone")
    distillation: Literal["forward_kl", "reverse_kl", "sft"] = Field(
        default="forward_kl", description="forward_kl is Eq. 3; sft is cross-entropy on the guided target"
    )
    target: Literal["sum", "mean", "random", "all"] = Field(
        default="sum",
        description="Choice of the reachable target, Eq. 4; all: the mean over all correct guided rollouts",
    )
    delta: float | None = Field(
        default=1.0, gt=0.0, description="KL above which a token is clipped, nats, Eq. 5; null: none"
    )
    delta_end: float | None = Field(default=None, gt=0.0, description="delta of the last step, reached linearly")
    clipping: Literal["mask", "truncate"] = Field(
        default="mask", description="Mask tokens above delta, or cap their loss"
    )
    weight: Literal["adaptive", "fixed", "group_advantage"] = Field(
        default="adaptive", description="alpha by Eq. 6, always alpha_max, or the target's advantage in its group"
    )
    alpha0: float = Field(default=0.5, ge=0.0, description="Scale of Eq. 6")
    gamma: float = Field(default=0.1, gt=0.0, description="Smoothing of Eq. 6")
    alpha_max: float = Field(default=0.8, ge=0.0, description="Cap of Eq. 6")
    guide: Literal["live", "frozen", "ema"] = Field(
        default="live",
        description="The guide's weights: the policy's, those training began from, or an average of what is trained",
    )
    guide_half_life: float = Field(default=20.0, gt=0.0, description="Half-life of the moving average (ema), in steps")
    train_guide: bool = Field(default=False, description="Eq. 1 on the guided rollouts too, in their own context")
    own_rollouts: bool = Field(default=False, description="Distil on the autonomous rollouts too")
    guided_below: float | None = Field(
        default=None, gt=0.0, le=1.0,
        description="Sample guided rollouts only below this autonomous pass rate, else more autonomous ones",
    )  # fmt: skip

    contrast: bool = Field(
        default=False, description="Subtract from the guide the shift caused by a strategy of another problem type"
    )

    @model_validator(mode="after")
    def _contrast_has_a_guide(self) -> Self:
        if self.contrast and self.distillation == "sft":
            raise ValueError("contrast is true with distillation sft (expected a KL: sft reads no strategy)")
        return self

    @model_validator(mode="after")
    def _own_rollouts_have_a_guide(self) -> Self:
        if self.own_rollouts and self.distillation == "sft":
            raise ValueError("own_rollouts is true with distillation sft (expected a KL: nothing imitates oneself)")
        return self

    @model_validator(mode="after")
    def _delta_has_a_start(self) -> Self:
        if self.delta_end is not None and self.delta is None:
            raise ValueError(f"delta_end is {self.delta_end} but delta is null (expected a delta to start from)")
        return self


class SGPO(GRPO[SGPOSettings]):
    """SGPO, step by step.

    1. Sample G1 responses to the problem q alone, and G2 with the strategy s in the prompt; verify both groups.
    2. L_GRPO of Eq. 1 on the autonomous group.
    3. o+ = argmax over the correct guided responses of sum_t log pi_theta(g_t | q, g_<t)                       [Eq. 4]
       alpha(q) = clip(alpha0 (p_guide - p_auto + gamma) / (p_auto + gamma), 0, alpha_max); 0 without an o+     [Eq. 6]
    4. d_t = KL(sg[pi_theta(. | q, s, o+_<t)] || pi_theta(. | q, o+_<t));
       L_KD = (1/|o+|) sum_t 1[d_t <= delta] d_t                                                            [Eqs. 3, 5]
    5. L(q) = L_GRPO + alpha(q) L_KD, mean over the problems of the mini-batch                                  [Eq. 7]

    Beside the paper, each off by default: a guide with weights of its own in step 4; Eq. 1 on the guided group in the
    context with the strategy, which keeps the guide right; L_KD on the o_i too, mean over the group, as on-policy
    distillation does [GKD, 2306.13649]; guidance only where the student fails without [Guide, 2506.13923]; a guide
    proportional to pi(. | q) pi(. | q, s) / pi(. | q, s'), s' of another problem type: what answers to any strategy at
    all cancels [RLCSD, 2606.11709].
    """

    settings_class = SGPOSettings
    needs: ClassVar = {"strategies": "what a strategy changes in the student is what SGPO distils"}

    @property
    def reverse_divergence(self) -> bool:
        """Return whether the ablation with the reverse KL is asked for."""
        return self.settings.distillation == "reverse_kl"

    @property
    def contrasts(self) -> bool:
        """Return whether the shift of a wrong strategy is subtracted."""
        return self.settings.contrast

    @property
    def largest_alpha(self) -> float:
        """Return alpha_max of Eq. 6."""
        return self.settings.alpha_max

    def delta_at(self, step: int) -> float | None:
        """Return the delta of Eq. 5 in `step`."""
        settings = self.settings
        return objectives.annealed_delta(settings.delta, settings.delta_end, step, self.training.steps)

    def guide(self, policy: Policy) -> Guide:
        """Return the paper's guide, the policy as it is now, or one that keeps weights of its own."""
        from sgpo.training.guides import AverageGuide, FrozenGuide

        if self.settings.guide == "frozen":
            return FrozenGuide(policy)
        if self.settings.guide == "ema":
            return AverageGuide(policy, self.settings.guide_half_life)
        return super().guide(policy)

    def groups(self) -> GroupSizes:
        """Return G1 autonomous and G2 guided responses, and where the guided ones are asked for."""
        settings = self.settings
        return GroupSizes(settings.autonomous_rollouts, settings.guided_rollouts, settings.guided_below)

    def rows(self, samples: Sequence[ProblemSamples], score: Score, step: int) -> list[TrainRow]:
        """Return the autonomous group [Eq. 1] and each problem's target with its weight [Eqs. 4, 6, 7]."""
        rows = super().rows(samples, score, step) if self.settings.grpo else []
        if self.settings.train_guide:
            for place, problem in enumerate(samples):
                self.add_rows(rows, place, problem.guided_prompt, problem.guided)
        targets = self.targets(samples, score, step)
        if self.settings.own_rollouts:
            alphas = {place: alpha for place, _, alpha, _ in targets}
            targets += [
                (place, rollout, alpha, 1.0 / len(samples[place].autonomous))
                for place, alpha in alphas.items()
                for rollout in samples[place].autonomous
                if not self.left_out(rollout)
            ]
        for place, rollout, alpha, weight in targets:
            problem = samples[place]
            guide = None if self.settings.distillation == "sft" else problem.guided_prompt
            row = TrainRow(
                problem.autonomous_prompt, rollout.token_ids, len(rows), "distillation", place, alpha * weight,
                alpha=alpha, guide=guide,
                contrast=problem.contrast_prompt or None if self.settings.contrast else None,
            )  # fmt: skip
            rows.append(row)
        return rows

    def is_informative(self, problem: ProblemSamples) -> bool:
        """Return whether there is a target, or a group that is trained on has rewards that differ."""
        settings = self.settings
        return (
            self.alpha(problem) > 0.0
            or (settings.grpo and super().is_informative(problem))
            or (settings.train_guide and rewards_differ(problem.guided))
        )

    def targets(
        self, samples: Sequence[ProblemSamples], score: Score, step: int
    ) -> list[tuple[int, Rollout, float, float]]:
        """Return (problem, o+, alpha, weight) of each problem with alpha > 0 [Eqs. 4, 6].

        The weight is 1 but for "all", where every correct guided rollout is a target and has 1/|C|. Only problems with
        something to choose are scored.
        """
        how = self.settings.target
        alphas = [self.alpha(problem) for problem in samples]
        candidates = {
            place: [rollout for rollout in problem.guided if rollout.reward == 1.0]
            for place, problem in enumerate(samples)
            if alphas[place] > 0.0
        }
        scored = [place for place, correct in candidates.items() if len(correct) > 1 and how in ("sum", "mean")]
        sums = iter(score([(samples[place], rollout) for place in scored for rollout in candidates[place]]))
        targets = []
        for place, correct in candidates.items():
            logprob_sums = [next(sums) if place in scored else 0.0 for _ in correct]
            lengths = [len(rollout.token_ids) for rollout in correct]
            seed = derive_seed(self.seed, step, samples[place].problem_id, "target", 0)
            weights = objectives.target_weights(logprob_sums, lengths, how, seed)
            targets += [(place, o, alphas[place], w) for o, w in zip(correct, weights, strict=True) if w > 0.0]
        return targets

    def alpha(self, problem: ProblemSamples) -> float:
        """Return the weight of a problem's distillation by Eq. 6 or an ablation; 0 without a correct guided rollout."""
        settings, guided = self.settings, problem.pass_rate("guided")
        if guided == 0.0:
            return 0.0
        if settings.weight == "fixed":
            return settings.alpha_max
        if settings.weight == "group_advantage":
            rewards = [rollout.reward for rollout in problem.autonomous]
            return objectives.group_advantage_weight(rewards, 1.0, settings.alpha_max)
        alone = problem.pass_rate("autonomous")
        return objectives.adaptive_weight(alone, guided, settings.alpha0, settings.gamma, settings.alpha_max)

    def token_loss(self, tokens: Tokens) -> tuple[torch.Tensor, Metrics]:
        """Return Eq. 5's term of each token of a target, Eq. 1's of each autonomous one."""
        settings = self.settings
        if tokens.kind != "distillation":
            return super().token_loss(tokens)
        if settings.distillation == "sft":
            return cross_entropy(tokens.logprobs_C, tokens.weights_C), {}
        delta = self.delta_at(tokens.step)
        loss_C, metrics = objectives.clipped_kd_token_losses(tokens.divergence_C, delta, settings.clipping)
        return loss_C * tokens.weights_C, metrics
