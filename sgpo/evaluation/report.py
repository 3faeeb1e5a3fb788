"""Comparing two evaluations, and the tables that a person reads; no torch, so that flows may import it."""

import hashlib
from pathlib import Path

from sgpo.config import RunConfig
from sgpo.evaluation.comparison import Comparison, compare
from sgpo.evaluation.outcomes import read_outcomes
from sgpo.evaluation.scores import EvaluationError, Outcome, Scores


def compare_files(config: RunConfig, champion: Path, challenger: Path) -> Comparison:
    """Paired comparison of two files of outcomes; EvaluationError when one is missing or they do not match."""
    settings = config.evaluation
    return compare(_outcomes(champion), _outcomes(challenger), settings.confidence, settings.resamples, config.seed)


def folder_digest(folder: Path) -> str:
    """Hash of a model folder's weights, tokenizer and chat template: what its answers depend on."""
    digest = hashlib.sha256()
    files = [file for pattern in ("*.safetensors", "tokenizer*.json", "*.jinja") for file in folder.glob(pattern)]
    for file in sorted([*files, folder / "config.json"]):
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            while block := stream.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def describe_scores(scores: Scores) -> str:
    """avg@k and pass@k per tier, as the mean of the tiers and overall, in per cent, with intervals."""
    average, reach = f"avg@{scores.k}", f"pass@{scores.k}"
    lines = [f"{'':<14}{'problems':>9}{average:>9}  {scores.confidence:.0%} interval{reach:>10}"]
    for name, tier in scores.rows():
        low, value, high = (100 * bound for bound in (tier.avg_at_k.low, tier.avg_at_k.value, tier.avg_at_k.high))
        reached = 100 * tier.pass_at[scores.k].value
        lines.append(f"{name:<14}{tier.problems:>9}{value:>9.1f}  {low:>5.1f} to {high:>5.1f}{reached:>9.1f}")
    return "\n".join(lines)


def describe_comparison(comparison: Comparison) -> str:
    """Champion and challenger side by side, with the paired difference and its interval, in points."""
    lines = [
        f"{'':<14}{'problems':>9}{'champion':>10}{'challenger':>12}{'gain':>8}  {comparison.confidence:.0%} interval"
    ]
    for name, gain in comparison.rows():
        difference = gain.difference
        lines.append(
            f"{name:<14}{gain.problems:>9}{100 * gain.champion:>10.1f}{100 * gain.challenger:>12.1f}"
            f"{100 * difference.value:>+8.1f}  {100 * difference.low:>+5.1f} to {100 * difference.high:>+5.1f}"
        )
    return "\n".join(lines)


def _outcomes(path: Path) -> list[Outcome]:
    outcomes = read_outcomes(path)
    if outcomes is None:
        raise EvaluationError(f"{path}: no such file (expected outcomes written by `sgpo evaluate`)")
    return outcomes
