"""What was decided and why, in words for the person who owns the model."""

from dataclasses import dataclass
from typing import Literal

from sgpo.evaluation.comparison import Comparison
from sgpo.registry.records import ChampionChange
from sgpo.report.run_record import RunRecord

Mood = Literal["good", "bad", "open"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision as a heading, sentences that explain it, and the gate's own reasons."""

    mood: Mood
    heading: str
    sentences: tuple[str, ...]
    reasons: tuple[str, ...]


def decision_in_words(record: RunRecord) -> Verdict:
    """Return the decision of a run; without one, what there is instead."""
    decision, comparison = record.decision, record.comparison
    measured = () if comparison is None else (_measured(comparison), _how_sure(comparison))
    if decision is None:
        if comparison is not None:
            return Verdict("open", "Measured, not decided", measured, ())
        steps, planned = len({row["step"] for row in record.rows}), record.setting("training.steps")
        of = f" of {planned}" if planned and planned != steps else ""
        return Verdict("open", "Trained, not evaluated", (f"{steps}{of} steps are logged.",), ())
    if decision.before != decision.after:
        before = f" (before: version {decision.before})" if decision.before else ""
        heading = f"Promoted: version {decision.after} is the new champion"
        return Verdict(
            "good", heading, (*measured, f"The registry's alias `champion` points to it now{before}."), decision.reasons
        )
    stays = f"The champion stays version {decision.after}." if decision.after else "There is no champion."
    if decision.action == "unchanged":
        return Verdict("open", "Nothing changed", (*measured, stays), decision.reasons)
    return Verdict("bad", f"Not promoted: version {decision.version}", (*measured, stays), decision.reasons)


WORDS = {
    "promote": "promoted", "refuse": "refused", "set_champion": "set as champion", "roll_back": "rolled back",
    "unchanged": "nothing changed",
}  # fmt: skip
"""What was decided, in a word or two, by the action of the record."""


def decision_in_a_sentence(change: ChampionChange, comparison: Comparison) -> str:
    """Return what was decided with the gain and its interval: "refused: +0.3 points, -1.9 to +2.4 (95 %) …"."""
    gain = comparison.overall.difference
    stays = f"the champion stays version {change.after}" if change.after else "there is no champion"
    outcome = stays if change.before == change.after else f"version {change.after} is the champion"
    return (
        f"{WORDS[change.action]}: {points(gain.value)} points, {points(gain.low)} to {points(gain.high)} "
        f"({comparison.confidence:.0%}); {outcome}"
    )


def points(value: float) -> str:
    """Return a difference of rates in points, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}")


def _measured(comparison: Comparison) -> str:
    gain = comparison.overall
    return (
        f"On {gain.problems} held-out problems, without strategies, {100 * gain.challenger:.1f} % of the challenger's "
        f"answers are right and {100 * gain.champion:.1f} % of the champion's: {points(gain.difference.value)} points. "
        f"The challenger is better on {gain.better} problems and worse on {gain.worse}."
    )


def _how_sure(comparison: Comparison) -> str:
    difference = comparison.overall.difference
    span = f"{points(difference.low)} to {points(difference.high)} points"
    sure = f"{comparison.confidence:.0%} interval"
    return f"On other problems of this kind, expect a gain of {span} ({sure}): {_said(comparison)}."


def _said(comparison: Comparison) -> str:
    """Return the interval's word and the permutation test's: of few problems the interval alone says too much."""
    difference = comparison.overall.difference
    if difference.low <= 0 <= difference.high:
        return "chance could explain it"
    if comparison.p_value > 1 - comparison.confidence:
        return f"yet chance could explain it: by a permutation test over the problems p = {comparison.p_value:.2f}"
    return "more than chance explains" if difference.low > 0 else "worse, by more than chance explains"
