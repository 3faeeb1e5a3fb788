"""What came of a retraining: summary.json, and the page of text that ends `make demo`."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from sgpo.evaluation.comparison import Comparison
from sgpo.evaluation.report import describe_comparison
from sgpo.registry.promotion import ChampionChange


class Summary(BaseModel):
    """What came of one retraining; written as runs/<id>/summary.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_id: str
    registered_model: str
    challenger_version: str
    champion_before: str
    champion_after: str
    decision: ChampionChange
    comparison: Comparison
    training: dict[str, float]
    data_versions: dict[str, str]
    git_commit: str | None
    seconds: dict[str, float]


def commit_of(state: tuple[str, bool] | None) -> str | None:
    """Return what `Summary.git_commit` says of `sgpo.registry.lineage.git_state`."""
    return f"{state[0]}{' with local changes' if state[1] else ''}" if state else None


MEANS = (
    "reward/autonomous", "reward/guided", "distill/alpha_mean", "distill/kl_mean", "distill/tokens_masked_fraction",
    "distill/kl_mass_masked_fraction", "policy/entropy", "policy/sampler_mismatch_kl", "response/truncated_fraction",
)  # fmt: skip


def read_metrics(run_folder: Path) -> list[dict[str, Any]]:
    """Return the rows of metrics.jsonl, one per step."""
    text = (run_folder / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def training_means(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Mean over the steps of what a reader asks about first."""
    means = {}
    for name in MEANS:
        values = [row[name] for row in rows if name in row]
        if values:
            means[name] = sum(values) / len(values)
    return means


def describe(summary: Summary) -> str:
    """Return the summary as a page of text."""
    training = summary.training

    def percent(name: str) -> str:
        return f"{100 * training[name]:.1f} %" if name in training else "-"

    changed = summary.champion_after == summary.challenger_version
    lines = [
        f"Retraining {summary.run_id} of {summary.registered_model}",
        "",
        f"Held-out problems, no strategy in the prompt, {summary.comparison.name_of_average} in per cent:",
        describe_comparison(summary.comparison),
        "",
        f"{'PROMOTED' if changed else 'NOT PROMOTED'}: version {summary.challenger_version} is "
        f"{'the new champion' if changed else 'not the champion'} (before: version {summary.champion_before}).",
        *(f"  {reason}" for reason in summary.decision.reasons),
        "",
        "In training, mean over the steps:",
        f"  pass rate without strategy {percent('reward/autonomous')}, with strategy {percent('reward/guided')}, "
        f"alpha {training.get('distill/alpha_mean', 0.0):.2f}",
        f"  masked by delta: {percent('distill/tokens_masked_fraction')} of tokens, "
        f"{percent('distill/kl_mass_masked_fraction')} of the KL mass",
        "",
        f"Code {summary.git_commit or 'not under git'}; data:",
        *(f"  {path:<30} md5 {md5}" for path, md5 in sorted(summary.data_versions.items())),
        "",
        "Where the time went, seconds: "
        + ", ".join(f"{name} {seconds:.0f}" for name, seconds in summary.seconds.items()),
    ]
    return "\n".join(lines)
