"""The strategies of a run: how good they were found to be, and which families helped the model most and least."""

from dataclasses import dataclass, field
from pathlib import Path

from sgpo.errors import UserError
from sgpo.evaluation.intervals import Estimate, mean_estimate
from sgpo.files import file_md5, file_sha256
from sgpo.pipeline.probe import CONFIDENCE, RESAMPLES
from sgpo.pipeline.splits import ProbedProblem
from sgpo.problems.table import read_table
from sgpo.report.run_record import RunRecord
from sgpo.strategies.bank import QualityBands, load_strategies, quality_bands

SHOWN = 5


@dataclass(frozen=True, slots=True)
class FamilyLift:
    """What the strategies of a family were worth to the champion: pass rate with less pass rate without them."""

    approach: str
    problem_type: str
    problems: int
    autonomous: float
    guided: float
    lift: Estimate


@dataclass(slots=True)
class StrategyBank:
    """Strategies as the data folder has them: shares of the quality bands, and the families of probed problems.

    `family_of` maps problem ids to the approach of their strategy's family.
    """

    kept: int = 0
    bands: QualityBands | None = None
    families: list[FamilyLift] = field(default_factory=list)
    family_of: dict[str, str] = field(default_factory=dict)

    @property
    def best(self) -> list[FamilyLift]:
        """Return the families whose lift is surely large: by the lower end of its interval, the largest first."""
        ranked = sorted(self.families, key=lambda one: (-one.lift.low, -one.lift.value, one.approach))
        return ranked[: max(1, min(SHOWN, len(ranked) // 2))]

    @property
    def worst(self) -> list[FamilyLift]:
        """Return the families whose lift is surely small: by the upper end, the smallest first; none of the best."""
        ranked = sorted(self.families, key=lambda one: (one.lift.high, one.lift.value, one.approach))
        return [one for one in ranked if one not in self.best][:SHOWN]


def read_bank(record: RunRecord) -> StrategyBank:
    """Return the run's strategies and their lift; what is not there, or has changed since, becomes a note."""
    data, bank = Path(str(record.setting("data") or "data")), StrategyBank()
    file = data / "strategies.parquet"
    if not file.is_file():
        record.notes.append(f"No {file}: nothing is said of strategies.")
        return bank
    then = record.made_of.get("strategies.parquet")
    if then is not None and then != file_sha256(file):
        record.notes.append(f"{file} has changed since this run: strategies and families are not shown.")
        return bank
    try:
        strategies = load_strategies(file)
    except UserError as error:
        record.notes.append(f"{error}: nothing is said of strategies.")
        return bank
    if not strategies:
        return bank
    bank.kept, bank.bands = len(strategies), quality_bands(strategies.values())
    try:
        from sgpo.strategies.view.families import find_families

        families = find_families(strategies.values())
    except ImportError:  # the training environment is without scikit-learn
        record.notes.append("scikit-learn is not installed: families of strategies are not shown.")
        return bank
    bank.family_of = {member: family.approach for family in families for member in family.members}
    lifts = _probed(record, data / "probe.parquet")
    for family in families:
        rows = [lifts[member] for member in family.members if member in lifts]
        if rows:
            lift = mean_estimate([row.lift for row in rows], (-1.0, 1.0), CONFIDENCE, RESAMPLES, seed=0)
            autonomous, guided = (
                sum(getattr(row, who) for row in rows) / len(rows) for who in ("autonomous", "guided")
            )
            bank.families.append(FamilyLift(family.approach, family.problem_type, len(rows), autonomous, guided, lift))
    return bank


def _probed(record: RunRecord, file: Path) -> dict[str, ProbedProblem]:
    versions = record.summary.get("data_versions")
    then = versions.get("data/probe.parquet") if isinstance(versions, dict) else None
    if not file.is_file():
        record.notes.append(f"No {file}: the lift of strategies is not shown.")
        return {}
    if then is not None and then != file_md5(file):
        record.notes.append(f"{file} has changed since this run: the lift of strategies is not shown.")
        return {}
    try:
        return {row.problem_id: row for row in read_table(file, ProbedProblem)}
    except UserError as error:
        record.notes.append(f"{error}: the lift of strategies is not shown.")
        return {}
