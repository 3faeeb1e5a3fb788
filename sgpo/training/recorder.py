"""Rollout samples for a person to read: both groups of the first problems of a step."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from sgpo.files import publish_file
from sgpo.rollouts.schema import ProblemSamples

PROBLEMS_RECORDED = 4


def record_rollouts(folder: Path, samples: Sequence[ProblemSamples], step: int) -> None:
    """Write `folder`/step-N.jsonl with all rollouts of a few problems of this step, each with its question and gold."""
    with publish_file(folder / f"step-{step:06d}.jsonl") as aside, aside.open("w", encoding="utf-8") as stream:
        for problem in samples[:PROBLEMS_RECORDED]:
            for rollout in problem.kept():
                stream.write(json.dumps(asdict(rollout)) + "\n")
