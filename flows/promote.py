"""Flow: register the challenger with its lineage, let the gate decide, and move the aliases."""

import getpass

from prefect.logging import get_run_logger

from flows.champion import decisions_at_first, made_since, publish_change
from flows.data_versions import data_versions
from flows.definitions import recorded_flow, retried_task
from flows.evaluate import comparison_of
from flows.limits import one_change_of_champion
from flows.names import promote_name
from flows.parameters import DryRun, Overrides, PromoteSettings, Recipe, RunName, Who, Why, all_overrides, settings_of
from flows.phases import evaluation_metrics
from flows.process import REPOSITORY
from flows.runs import run_folder, started
from sgpo.config import RunConfig, TrackingConfig
from sgpo.evaluation.comparison import Comparison
from sgpo.registry.description import write_description
from sgpo.registry.gate import decide
from sgpo.registry.models import register_model_folder, registered_version
from sgpo.registry.promotion import UNREGISTERED, ChampionChange, complete_change, set_challenger
from sgpo.registry.promotion import promote as promote_version
from sgpo.registry.provenance import attachments_of_run, lineage_of_run
from sgpo.registry.store import RegistryError
from sgpo.registry.unchanged import UNCHANGED_TAG, find_unchanged
from sgpo.report.version_description import describe_version

RETRAINING = "Retraining."
"""Why a retraining promotes. One that is resumed, in whichever flow run, promotes once: what others did since stays."""


@retried_task("register {run_id}", 4 * 3600)
def register_challenger(settings: RunConfig, run_id: str, parent: str, comparison: Comparison) -> str:
    """Register the trained model as a new version with all that is needed to make it again; returns the version."""
    folder = REPOSITORY / run_folder(settings, run_id)
    unchanged = find_unchanged(settings.tracking, folder / "model", parent)
    if unchanged is not None and settings.checks.refuse_unchanged:
        raise unchanged
    evaluation = {
        "challenger": comparison.overall.challenger,
        "champion": comparison.overall.champion,
        "gain": comparison.overall.difference.value,
    }
    lineage = lineage_of_run(folder, parent, evaluation, data_versions())
    tags = {**lineage.tags(), **({} if unchanged is None else {UNCHANGED_TAG: parent})}
    attachments = attachments_of_run(folder, {"comparison.json": comparison.model_dump_json(indent=2)})
    mlflow_run = folder / "mlflow_run_id"
    version = register_model_folder(
        settings.tracking, folder / "model", tags, run_id, evaluation_metrics(comparison),
        mlflow_run_id=mlflow_run.read_text(encoding="utf-8").strip() if mlflow_run.is_file() else None,
        attachments=attachments,
    )  # fmt: skip
    with one_change_of_champion(settings.tracking):  # it completes one that was begun
        set_challenger(settings.tracking, version)
    return version


@retried_task("look {run_id} up", 1200)
def find_challenger(tracking: TrackingConfig, run_id: str) -> str:
    """Return the version that the run has registered, or UNREGISTERED; nothing is changed."""
    return registered_version(tracking, run_id) or UNREGISTERED


@retried_task("decide on version {version}", 1200)
def decide_and_promote(
    settings: RunConfig,
    version: str,
    parent: str,
    comparison: Comparison,
    who: str,
    why: str,
    dry_run: bool,
    known: int,
) -> ChampionChange:
    """Carry out the gate's decision; it is refused when another champion has taken the measured one's place.

    A promotion that an earlier try has made, after the `known` decisions, is not made again: what others did since
    stays.
    """
    decision = decide(comparison, settings.gate)
    with one_change_of_champion(settings.tracking):
        if not dry_run:
            complete_change(settings.tracking)  # a try that was cut off may have promised it in the record and no more
            if made := _promotion_of(settings.tracking, version, known):
                return made
        change = promote_version(
            settings.tracking, version, decision, who=who, why=why, against=parent, dry_run=dry_run
        )
    if change.action != "unchanged" or dry_run:
        return change
    return _promotion_of(settings.tracking, version) or change


def _promotion_of(tracking: TrackingConfig, version: str, known: int = 0) -> ChampionChange | None:
    """Return the newest promotion of a version after the `known` decisions; None where there is none."""
    made = made_since(tracking, known, action="promote", version=version)
    return made[-1] if made else None


@retried_task("describe version {change.version}", 1200)
def describe_challenger(tracking: TrackingConfig, change: ChampionChange, comparison: Comparison, run_id: str) -> None:
    """Write decision and table as the version's description; a registry that is away costs the text alone."""
    try:
        write_description(tracking, change.version, describe_version(change, comparison, run_id))
    except RegistryError as error:
        get_run_logger().warning("version %s has no description: %s", change.version, error)


@recorded_flow(name="promote", flow_run_name=promote_name, timeout_seconds=6 * 3600)
def promote(
    run_id: RunName,
    recipe: Recipe = "configs/testbed.yaml",
    why: Why = "Measured against the champion.",
    dry_run: DryRun = False,
    settings: PromoteSettings = None,
    overrides: Overrides = (),
    who: Who = "",
) -> ChampionChange:
    """Register an evaluated run's model and, if it is really better than the champion it began from, promote it.

    A dry run tells what the gate decides and leaves the registry as it is: no version, no alias, no record.
    """
    config = settings_of(recipe, all_overrides(overrides, settings))
    parent = started(config, run_id).champion
    comparison = comparison_of(config, run_id)
    if dry_run:
        version = find_challenger(config.tracking, run_id)
    else:
        version = register_challenger(config, run_id, parent, comparison)
    known = 0 if why == RETRAINING or dry_run else decisions_at_first(config.tracking)
    change = decide_and_promote(config, version, parent, comparison, who or getpass.getuser(), why, dry_run, known)
    if not dry_run:
        describe_challenger(config.tracking, change, comparison, run_id)
    return publish_change(change, "The gate's decision")
