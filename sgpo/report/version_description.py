"""What a model owner reads on a version's page: the decision in a sentence, champion against challenger as a table."""

from sgpo.evaluation.comparison import Comparison
from sgpo.registry.records import ChampionChange
from sgpo.report.decision import decision_in_a_sentence, points


def describe_version(change: ChampionChange, comparison: Comparison, run_id: str) -> str:
    """Return the description of a version as Markdown: decision, table of the tiers, reasons, and its run."""
    rows = [
        f"| {_cell(name)} | {gain.problems} | {100 * gain.champion:.1f} | {100 * gain.challenger:.1f} "
        f"| {points(gain.difference.value)} ({points(gain.difference.low)} to {points(gain.difference.high)}) |"
        for name, gain in comparison.rows()
    ]
    return "\n".join([
        f"**{decision_in_a_sentence(change, comparison)}**", "",
        f"| held-out problems | number | version {change.before or '-'}, % | version {change.version}, % "
        f"| gain in points ({comparison.confidence:.0%} interval) |",
        "|---|---:|---:|---:|---|", *rows, "", *(f"- {reason}" for reason in change.reasons), "",
        f"Run `{run_id}`: {change.who}, {change.when}. {change.why}".strip(),
    ])  # fmt: skip


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
