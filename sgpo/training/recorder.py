"""Rollouts for a person to read: some problems of a step whole, of the others the best and worst of each group."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from sgpo.files import publish_file
from sgpo.rollouts.schema import ProblemSamples, Rollout

PROBLEMS_RECORDED = 4
"""Problems of a step, the first ones, of which all rollouts are kept."""
EXTREMES = 1
"""Rollouts at each end of a group that are kept of the other problems."""


def record_rollouts(folder: Path, samples: Sequence[ProblemSamples], step: int) -> None:
    """Write `folder`/step-N.jsonl: rollouts of this step, each with its question and gold.

    All of the first PROBLEMS_RECORDED problems; of the others the EXTREMES best and worst of each group, in the order
    in which they were drawn.
    """
    with publish_file(folder / f"step-{step:06d}.jsonl") as aside, aside.open("w", encoding="utf-8") as stream:
        for place, problem in enumerate(samples):
            kept = problem.kept()
            if place >= PROBLEMS_RECORDED:
                wanted = {*_extremes(problem.autonomous), *_extremes(problem.guided)}
                kept = [rollout for rollout in kept if (rollout.group, rollout.seed) in wanted]
            for rollout in kept:
                stream.write(json.dumps(asdict(rollout)) + "\n")


def _extremes(group: Sequence[Rollout]) -> list[tuple[str, int]]:
    """Return group and seed of the best and worst; of equal rewards one that ended, and a shorter one, is better."""
    ranked = sorted(
        group, key=lambda one: (-one.reward, -(one.lenient or 0.0), one.finish_reason == "length", len(one.token_ids))
    )
    return [(one.group, one.seed) for one in (*ranked[:EXTREMES], *ranked[-EXTREMES:])]
