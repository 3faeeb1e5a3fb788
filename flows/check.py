"""The first part of a retraining: `sgpo check` on the champion, before anything is spent."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect.artifacts import create_table_artifact

from flows.champion import CHAMPION_FOLDER, fetch_champion
from flows.definitions import retried_task
from flows.limits import this_checkout
from flows.parameters import setting_arguments
from flows.process import REPOSITORY, CommandFailed, run_command, show, training_command
from flows.runs import run_folder
from sgpo.amounts import shown_time
from sgpo.config import ConfigError, RunConfig
from sgpo.registry.promotion import CHAMPION, aliases

FILE = "check.json"
DRY_RUN = Path(".sgpo/dry-run")


class CheckFailedError(ConfigError):
    """What is wrong before training, and the cures, in one line."""


@retried_task("check {run_id}", 2 * 3600, [5, 20])
def check_process(recipe: str, overrides: list[str], file: str, run_id: str) -> None:
    """Run `sgpo check` on data/champion; its findings are in `file`. Raises CommandFailed where something is wrong."""
    arguments = ["--model", str(CHAMPION_FOLDER), "--output", file, *setting_arguments(recipe, overrides)]
    run_command(training_command(1, "check", *arguments))


def check_first(config: RunConfig, recipe: str, overrides: list[str], run_id: str, champion: str) -> None:
    """Check what the retraining of version `champion` will need; once in a run, and not where the settings say so.

    Raises CheckFailedError with what is wrong and the cures.
    """
    file = run_folder(config, run_id) / FILE
    if not config.checks.before_training:
        show("  left out: checks.before_training is false")
        return
    if _read(file).get("verdict") == "ok":
        show("  checked already")
        return
    fetch_champion(config.tracking, champion)
    # What an earlier try found may be cured, and this one may not get so far.
    (REPOSITORY / file).unlink(missing_ok=True)
    try:
        check_process(recipe, overrides, str(file), run_id)
    except CommandFailed:
        if not _read(file):
            raise
    _publish(_read(file))


def tell_what_it_takes(config: RunConfig, recipe: str, overrides: list[str]) -> None:
    """Check the champion and publish findings and estimate, in no run's folder. Raises as `check_first` does."""
    champion = aliases(config.tracking).get(CHAMPION)
    if champion is None:
        raise CheckFailedError(f"{config.tracking.registered_model}: no champion (expected `sgpo registry champion`)")
    with this_checkout():
        fetch_champion(config.tracking, champion)
        file = DRY_RUN / FILE
        (REPOSITORY / file).unlink(missing_ok=True)
        try:
            check_process(recipe, overrides, str(file), "a dry run")
        except CommandFailed:
            if not _read(file):
                raise
        _publish(_read(file))


def _publish(found: dict[str, Any]) -> None:
    """Make the artifact `check` of findings; CheckFailedError where one is wrong."""
    create_table_artifact(found["findings"], key="check", description="What was looked at before training")
    if wrong := [finding for finding in found["findings"] if finding["verdict"] == "wrong"]:
        told = "; ".join(f"{one['group']}, {one['what']}: {one['found']} (expected {one['cure']})" for one in wrong)
        raise CheckFailedError(f"{told}; checks.before_training=false goes on all the same")


def estimate_tags(config: RunConfig, run_id: str) -> dict[str, str]:
    """Return what the tracker is told of the estimate, as tags; nothing where there is none."""
    estimate = _read(run_folder(config, run_id) / FILE).get("estimate") or {}
    names = {"seconds": "sgpo.estimate.seconds", "step_seconds": "sgpo.estimate.step_seconds"}
    return {tag: f"{estimate[name]:.1f}" for name, tag in names.items() if name in estimate}


def estimate_beside(config: RunConfig, run_id: str, seconds: Mapping[str, float]) -> str:
    """Return what the check has estimated beside what the phases took; "" where there is no estimate."""
    estimate = _read(run_folder(config, run_id) / FILE).get("estimate") or {}
    if "seconds" not in estimate:
        return ""
    took = sum(seconds.values())
    return f"estimated {shown_time(estimate['seconds'])}, took {shown_time(took)} since it was last started"


def _read(file: Any) -> dict[str, Any]:
    try:
        return json.loads((REPOSITORY / file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
