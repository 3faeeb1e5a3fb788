"""Which checkpoints stay: the newest ones, and the best by what `state` says of them."""

import json
from collections.abc import Mapping
from pathlib import Path

SCORE = "score"
"""Key of `state`: the higher, the better is the checkpoint; avg@k of its validation, or else the mean reward."""
NO_SCORE = float("-inf")


def kept(scores: Mapping[str, float], keep: int) -> set[str]:
    """Names of the checkpoints that stay: the newest `keep`, and the one with the best score when any has one."""
    names = sorted(scores)
    return {*names[-keep:], *ranked(scores)[:1]}


def ranked(scores: Mapping[str, float]) -> list[str]:
    """Return the checkpoints that have a score, the best first, of equal ones the earliest."""
    return sorted((name for name in scores if scores[name] > NO_SCORE), key=lambda name: (-scores[name], name))


def score_of(checkpoint: Path) -> float:
    """Return the score that a checkpoint was saved with; minus infinity when it says none."""
    try:
        return float(json.loads((checkpoint / "state.json").read_text(encoding="utf-8")).get(SCORE, NO_SCORE))
    except (OSError, ValueError):
        return NO_SCORE
