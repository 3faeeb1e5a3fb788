"""The quality report of a strategy bank, as the paper's table of quality bands, on one page and in one picture."""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sgpo.errors import UserError
from sgpo.strategies.bank import Band, QualityBands, band_of, quality_bands
from sgpo.strategies.refusals import RefusedText, Stage
from sgpo.strategies.schema import CRITERIA, Strategy
from sgpo.strategies.view.families import Family, family_by_problem

PAPER = QualityBands(high=0.394, medium=0.544, low=0.062)
"""The paper's shares, of 500 sampled strategies [docs/method.md section 2]."""
BANDS: tuple[Band, ...] = ("high", "medium", "low")
EXAMPLES = 3
LARGEST_FAMILIES = 10


class ReportError(UserError):
    """A bank that cannot be reported on."""


@dataclass(frozen=True, slots=True)
class RefusalCount:
    """How many texts of a stage were refused for a reason, and the first one's detail."""

    stage: Stage
    reason: str
    count: int
    example: str


@dataclass(frozen=True, slots=True)
class BankReport:
    """What a bank is like. Scores and shares are 0 to 1.

    `scores` has one score per strategy, sorted; `criteria` the means of the four; `examples` typical strategies of each
    band, of different families; `refusals` the most frequent first, `unserved` those of whole problems; `families` all
    of them, largest first.
    """

    source: str
    teachers: tuple[str, ...]
    scores: tuple[float, ...]
    bands: QualityBands
    criteria: dict[str, float]
    examples: dict[Band, tuple[Strategy, ...]]
    refusals: tuple[RefusalCount, ...]
    unserved: tuple[RefusalCount, ...]
    families: tuple[Family, ...]

    @property
    def reused(self) -> float:
        """Share of strategies whose family has more than one problem."""
        return sum(len(family.members) for family in self.families if len(family.members) > 1) / len(self.scores)


def summarise(
    strategies: Mapping[str, Strategy], families: Sequence[Family], refusals: Iterable[RefusedText], source: str
) -> BankReport:
    """Return the report of a bank and of what was refused on the way; `source` names the file and its version.

    Raises ReportError for an empty bank.
    """
    if not strategies:
        raise ReportError(f"{source}: no strategies to report on (expected at least one)")
    bank = sorted(strategies.values(), key=lambda strategy: strategy.problem_id)
    counted = _count(refusals)
    return BankReport(
        source=source,
        teachers=tuple(sorted({f"{strategy.teacher}, prompts {strategy.prompt_version}" for strategy in bank})),
        scores=tuple(sorted(strategy.score for strategy in bank)),
        bands=quality_bands(bank),
        criteria={name: statistics.fmean(strategy.scores[name] for strategy in bank) for name in CRITERIA},
        examples={band: _examples([item for item in bank if band_of(item.score) == band], families) for band in BANDS},
        refusals=tuple(count for count in counted if count.stage != "problem"),
        unserved=tuple(count for count in counted if count.stage == "problem"),
        families=tuple(families),
    )


def _count(refusals: Iterable[RefusedText]) -> list[RefusalCount]:
    counts: Counter[tuple[Stage, str]] = Counter()
    first: dict[tuple[Stage, str], str] = {}
    for refusal in refusals:
        key = refusal.stage, refusal.reason
        counts[key] += 1
        first.setdefault(key, refusal.detail)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [RefusalCount(stage, reason, count, first[stage, reason]) for (stage, reason), count in ordered]


def _examples(band: Sequence[Strategy], families: Sequence[Family]) -> tuple[Strategy, ...]:
    """Strategies with a score near the band's median, one per family."""
    if not band:
        return ()
    family = family_by_problem(families)
    middle = statistics.median(strategy.score for strategy in band)
    chosen: dict[str, Strategy] = {}
    for strategy in sorted(band, key=lambda strategy: (abs(strategy.score - middle), strategy.problem_id)):
        chosen.setdefault(family[strategy.problem_id].id, strategy)
    return tuple(chosen.values())[:EXAMPLES]
