"""Comparing two evaluations, and the tables that a person reads; no torch, so that flows may import it."""

import hashlib
from pathlib import Path

from sgpo.config import RunConfig
from sgpo.evaluation.comparison import Comparison, compare
from sgpo.evaluation.outcomes import required_outcomes
from sgpo.evaluation.scores import Scores
from sgpo.files import SECOND_COPIES, file_sha256


def compare_files(config: RunConfig, champion: Path, challenger: Path) -> Comparison:
    """Paired comparison of two files of outcomes; EvaluationError when one is missing or they do not match."""
    settings = config.evaluation
    return compare(
        required_outcomes(champion), required_outcomes(challenger), settings.confidence, settings.resamples, config.seed
    )


def folder_digest(folder: Path) -> str:
    """Hash of a model folder's weights, tokenizer and chat template: what its answers depend on.

    A second copy of the weights has no part in it: one machine's cache of the hub has it and another's does not.
    """
    digest = hashlib.sha256()
    files = [file for pattern in ("*.safetensors", "tokenizer*.json", "*.jinja") for file in folder.glob(pattern)]
    for file in sorted([*files, folder / "config.json"]):
        if file.match(SECOND_COPIES):
            continue
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            while block := stream.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def digest_of_ends(folder: Path) -> str:
    """Hash of the generation config, which has tokens that end a response; `none` where the folder has none.

    Apart from `folder_digest`: files that were written before it was looked at name a model by that one.
    """
    file = folder / "generation_config.json"
    return file_sha256(file) if file.is_file() else "none"


NO_LENIENT = "Lenient accuracy is not known: some outcomes were written by an older version."


def describe_scores(scores: Scores) -> str:
    """avg@k, strict and lenient, and pass@k per tier, as the mean of the tiers and overall, in per cent.

    The interval is that of the strict one. Where the tiers have several k, each row names its own, and pass@ goes with
    the smallest in rows over several.
    """
    rows = [(name if scores.k else f"{name}{_at(tier.k)}", tier) for name, tier in scores.rows()]
    width, at = max(14, *(len(name) + 1 for name, _ in rows)), f"@{scores.k or 'k'}"
    lines = [
        f"{'':<{width}}{'problems':>9}{f'avg{at}':>9}  {scores.confidence:.0%} interval{'lenient':>10}{f'pass{at}':>10}"
    ]
    for name, tier in rows:
        low, value, high = (100 * bound for bound in (tier.avg_at_k.low, tier.avg_at_k.value, tier.avg_at_k.high))
        lenient = "-" if tier.lenient is None else f"{100 * tier.lenient.value:.1f}"
        reached = 100 * tier.pass_at[tier.k or max(tier.pass_at)].value
        lines.append(
            f"{name:<{width}}{tier.problems:>9}{value:>9.1f}  {low:>5.1f} to {high:>5.1f}{lenient:>9}{reached:>10.1f}"
        )
    return "\n".join([*lines, *([] if scores.overall.lenient else [NO_LENIENT])])


def describe_comparison(comparison: Comparison) -> str:
    """Champion and challenger side by side, with the paired difference and its interval, in points.

    The last columns are the same by lenient accuracy, on which no decision depends.
    """
    rows = [(name if comparison.k else f"{name}{_at(gain.k)}", gain) for name, gain in comparison.rows()]
    width = max(14, *(len(name) + 1 for name, _ in rows))
    beside = f"{'lenient: champion':>21}{'challenger':>12}{'gain':>8}" if comparison.overall.lenient else ""
    lines = [
        f"{'':<{width}}{'problems':>9}{'champion':>10}{'challenger':>12}{'gain':>8}  "
        f"{comparison.confidence:.0%} interval{beside}"
    ]
    for name, gain in rows:
        difference, lenient = gain.difference, gain.lenient
        lines.append(
            f"{name:<{width}}{gain.problems:>9}{100 * gain.champion:>10.1f}{100 * gain.challenger:>12.1f}"
            f"{100 * difference.value:>+8.1f}  {100 * difference.low:>+5.1f} to {100 * difference.high:>+5.1f}"
            + ("" if lenient is None else f"{100 * lenient.champion:>20.1f}{100 * lenient.challenger:>12.1f}"
               f"{100 * lenient.difference.value:>+8.1f}")
        )  # fmt: skip
    return "\n".join([*lines, *([] if comparison.overall.lenient else [NO_LENIENT])])


def _at(k: int | None) -> str:
    return "" if k is None else f" @{k}"
