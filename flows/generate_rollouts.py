"""Flow: the champion sampled with and without strategies, and the training splits made from it."""

from __future__ import annotations

import json

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.champion import fetch_champion
from flows.data_versions import Md5s, reproduce
from flows.parameters import Overrides, Recipe, Version, described, settings_of
from flows.process import REPOSITORY, show
from sgpo.registry.promotion import CHAMPION


@flow(name="generate-rollouts", flow_run_name="probe the champion")
@described
def generate_rollouts(
    recipe: Recipe = "configs/testbed.yaml", version: Version = "", overrides: Overrides = ()
) -> Md5s:
    """Probe the champion: pass rate without and with strategy, problem by problem; returns the splits' version."""
    fetch_champion(settings_of(recipe, overrides).tracking, version or CHAMPION)
    reproduce("probe")
    means = json.loads((REPOSITORY / "data" / "probe.json").read_text(encoding="utf-8"))
    show(f"  champion passes {means['autonomous']:.1%} without strategies and {means['guided']:.1%} with them")
    create_table_artifact(
        [{"measure": name, "value": value} for name, value in means.items()],
        key="probe",
        description="The champion's mean pass rate on training problems without and with strategies",
    )
    return reproduce("splits")
