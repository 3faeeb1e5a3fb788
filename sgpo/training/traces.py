"""Traces of guided trajectories: token by token, what the strategy changes and how much of it is distilled.

A traced step keeps a few of its problems, and measures those of the first traced step again with the weights of now, so
that one can watch a decision being learnt. Forwards of their own before the step's gradient, without one: no number
of training depends on them. Each step's traces are one file, `traces/step-N.jsonl`.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sgpo.algorithms.rows import TrainRow
from sgpo.config import TrainingConfig
from sgpo.files import publish_file
from sgpo.problems import Problem
from sgpo.problems.tiers import tiers_of
from sgpo.rollouts.groups import Sampler
from sgpo.rollouts.schema import ProblemSamples, Rollout
from sgpo.training.clock import Clock
from sgpo.training.pieces import Pieces
from sgpo.training.step import Gradient, Minibatch
from sgpo.vocabulary.shifts import Shifts

FOLDER, FORMAT = "traces", 1
CANDIDATE_TOKENS = 1024
"""Tokens of a trajectory, those with the largest shift, whose candidates are kept; bounds what 16K tokens take."""
RARE = 5e-4
"""Candidates less likely than this in both contexts are not kept."""
SHOWN = ("text", "reward", "finish_reason", "extracted", "reason", "lenient")
"""What is kept of each answer of a traced problem, as far as rollouts carry it."""


@dataclass(frozen=True, slots=True)
class _Trajectory:
    """A guided trajectory to trace, its prompts by name, and what its row says beside the numbers.

    `prompts` has "autonomous" and "guided", and "contrast" where the method subtracts a wrong strategy's shift.
    """

    prompts: dict[str, tuple[int, ...]]
    response: tuple[int, ...]
    about: dict[str, Any]


class Traces:
    """Records the traces of a run: the first process's, of its own problems; the others take part in forwards."""

    def __init__(
        self, training: TrainingConfig, gradient: Gradient, sampler: Sampler, problems: Sequence[Problem],
        run_folder: Path, start: int,
    ) -> None:  # fmt: skip
        """Resume at step `start`: what was traced of it and of later steps is dropped, and will be made again."""
        self._training, self._gradient, self._strategies = training, gradient, sampler.strategies
        self._problems, self._tiers = {problem.id: problem for problem in problems}, tiers_of(problems)
        self._pieces, self._folder = Pieces(sampler.chat.tokenizer), run_folder / FOLDER
        self._followed: list[_Trajectory] = []
        if gradient.world.is_main:
            for file in self._folder.glob("step-*.jsonl"):
                if int(file.stem.removeprefix("step-")) >= start:
                    file.unlink()
            self._followed = _followed_in(self._folder)

    def record(self, step: int, minibatches: Sequence[Minibatch], clock: Clock) -> None:
        """Write the traces of the step, if it is one of those; collective, before the step's gradient."""
        every = self._training.trace.every
        if every is None or (step % every and step + 1 != self._training.steps):
            return
        with clock.aside("time/trace"):
            main = self._gradient.world.is_main
            chosen = self._choose(step, minibatches) if main else []
            measured = [*chosen, *self._followed] if main else []
            shifts = self._gradient.shifts([_row(one, index) for index, one in enumerate(measured)], self._top)
            if not main:
                return
            rows = [self._numbers(one, step, shifts[index]) for index, one in enumerate(measured)]
            lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows]
            with publish_file(self._folder / f"step-{step:06d}.jsonl") as aside:
                aside.write_text("".join(lines), encoding="utf-8")
            self._followed = self._followed or [_following(one, step) for one in chosen]

    @property
    def _top(self) -> int:
        return self._training.trace.top

    def _choose(self, step: int, minibatches: Sequence[Minibatch]) -> list[_Trajectory]:
        """Return trajectories that are distilled, one of a problem that guidance hurts, and others where there is room.

        Of this process's problems, in the step's order.
        """
        found: list[tuple[ProblemSamples, TrainRow | None, Rollout]] = []
        for minibatch in minibatches:
            distilled = [row for row in minibatch.rows if row.kind == "distillation"]
            # With own_rollouts a problem's own ones are distilled as well; a trace is of a guided one.
            targets = {row.problem: row for row in distilled if _is_guided(row, minibatch.samples[row.problem])}
            for place, samples in enumerate(minibatch.samples):
                target = targets.get(place)
                rollout = _trajectory_of(samples, target)
                if rollout is not None and samples.problem_id in self._problems:
                    found.append((samples, target, rollout))
        hurt = [one for one in found if one[0].pass_rate("guided") < one[0].pass_rate("autonomous")][:1]
        ranked = sorted(found, key=lambda one: (one not in hurt, one[1] is None))
        return [self._trajectory(step, *one) for one in ranked[: self._training.trace.problems]]

    def _trajectory(self, step: int, samples: ProblemSamples, target: TrainRow | None, rollout: Rollout) -> _Trajectory:
        problem = self._problems[samples.problem_id]
        groups = {"autonomous": samples.autonomous, "guided": samples.guided}
        prompts = {"autonomous": samples.autonomous_prompt, "guided": samples.guided_prompt}
        if self._gradient.algorithm.contrasts and samples.contrast_prompt:
            prompts["contrast"] = samples.contrast_prompt
        about = {
            "kind": "sampled",
            "first_step": step,
            "problem_id": problem.id,
            "tier": self._tiers[problem.id],
            "question": problem.question,
            "answer": problem.answer,
            "domain": problem.domain,
            "strategy": self._strategies[problem.id],
            "alpha": 0.0 if target is None else target.alpha,
            "distilled": target is not None,
            "trajectory": samples.guided.index(rollout),
            "pass_rates": {name: samples.pass_rate(name) for name in groups},
            "rollouts": {name: [_described(one) for one in group] for name, group in groups.items()},
            "prompts": prompts,
        }
        return _Trajectory(prompts, rollout.token_ids, about)

    def _numbers(self, one: _Trajectory, step: int, shifts: Shifts) -> dict[str, Any]:
        """Return the row of a trajectory; numbers of tokens to four digits."""
        delta, kls = self._gradient.algorithm.delta_at(step), shifts.kl_N.tolist()
        largest = sorted(range(len(kls)), key=lambda place: -kls[place])[:CANDIDATE_TOKENS]
        candidates = self._candidates(shifts, set(largest))
        words = {str(token): self._pieces.of(token) for row in candidates for token, *_ in row}
        return {
            "format": FORMAT,
            "step": step,
            **one.about,
            "delta": delta,
            "temperature": self._gradient.temperature,
            "tokens": one.response,
            "pieces": self._pieces.of_all(one.response),
            "kl": _rounded(kls),
            "masked": [place for place, value in enumerate(kls) if delta is not None and value > delta],
            "logprobs": _rounded(shifts.logprobs_N.tolist()),
            "guided_logprobs": _rounded(shifts.guided_logprobs_N.tolist()),
            "candidates": candidates,
            "words": words,
        }

    def _candidates(self, shifts: Shifts, places: set[int]) -> list[list[tuple[int, float, float]]]:
        """Return (token id, probability without, with the strategy) of each token's candidates, the likeliest first."""
        columns = (shifts.ids_NK.tolist(), shifts.probs_NK.tolist(), shifts.guided_probs_NK.tolist())
        rows = []
        for place, (ids, without, guided) in enumerate(zip(*columns, strict=True)):
            known = {
                token: (token, round(left, 4), round(right, 4))
                for token, left, right in zip(ids, without, guided, strict=True)
                if max(left, right) >= RARE
            }
            rows.append(sorted(known.values(), key=lambda one: -max(one[1:])) if place in places else [])
        return rows


def _rounded(values: Sequence[float]) -> list[float | None]:
    """Return numbers to four digits; None for those that are not finite, which JSON has not."""
    return [round(value, 4) if math.isfinite(value) else None for value in values]


def _row(one: _Trajectory, index: int) -> TrainRow:
    alone, guide, contrast = (one.prompts.get(name) for name in ("autonomous", "guided", "contrast"))
    assert alone is not None
    return TrainRow(alone, one.response, index, "distillation", index, 1.0, guide=guide, contrast=contrast)


def _is_guided(row: TrainRow, samples: ProblemSamples) -> bool:
    return any(rollout.token_ids == row.response for rollout in samples.guided)


def _trajectory_of(samples: ProblemSamples, target: TrainRow | None) -> Rollout | None:
    """Return the guided rollout that is distilled, else the first right one, else the first one."""
    guided = [rollout for rollout in samples.guided if rollout.token_ids]
    if target is not None:
        return next((rollout for rollout in guided if rollout.token_ids == target.response), None)
    return next((rollout for rollout in guided if rollout.reward == 1.0), next(iter(guided), None))


def _described(rollout: Rollout) -> dict[str, Any]:
    known = asdict(rollout)
    return {name: known[name] for name in SHOWN if name in known} | {"tokens": len(rollout.token_ids)}


def _following(one: _Trajectory, step: int) -> _Trajectory:
    """Return a trajectory as it is measured again later: its texts are in the first step's file."""
    about = {"kind": "followed", "first_step": step, "problem_id": one.about["problem_id"]}
    return _Trajectory(one.prompts, one.response, about)


def _followed_in(folder: Path) -> list[_Trajectory]:
    """Return the trajectories that a resumed run follows: those of the first file that has any."""
    for file in sorted(folder.glob("step-*.jsonl")):
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        first = [row for row in rows if row["kind"] == "sampled"]
        if first:
            return [_following(_read(row), row["step"]) for row in first]
    return []


def _read(row: dict[str, Any]) -> _Trajectory:
    prompts = {name: tuple(prompt) for name, prompt in row["prompts"].items()}
    return _Trajectory(prompts, tuple(row["tokens"]), row)
