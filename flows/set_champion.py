"""Flow: a version becomes the champion because a person says so, without the gate."""

import getpass

from flows.champion import decisions_at_first, made_since, publish_change, put_back_recorded_champion
from flows.definitions import recorded_flow, retried_task
from flows.limits import one_change_of_champion
from flows.parameters import ChosenVersion, Overrides, Recipe, Who, Why, settings_of
from sgpo.config import TrackingConfig
from sgpo.registry.promotion import ChampionChange, complete_change
from sgpo.registry.promotion import set_champion as set_champion_version
from sgpo.registry.records import LONGEST_WHY, cut_off


@retried_task("set version {version}", 1200)
def set_version(tracking: TrackingConfig, version: str, who: str, why: str, known: int) -> ChampionChange:
    """Set and record it, unless an earlier try has, after the `known` decisions: what others did since stays."""
    with one_change_of_champion(tracking):
        complete_change(tracking)  # a try that was cut off may have promised it in the record and no more
        kept = cut_off(why, LONGEST_WHY)
        if made := made_since(tracking, known, action="set_champion", version=version, who=who, why=kept):
            return made[0]
        return set_champion_version(tracking, version, who, why)


@recorded_flow(name="set-champion", flow_run_name="set version {version} as champion", timeout_seconds=3600)
def set_champion(
    version: ChosenVersion, why: Why, recipe: Recipe = "configs/testbed.yaml", who: Who = "", overrides: Overrides = ()
) -> ChampionChange:
    """Make a version the champion without the gate, and record who decided so and why."""
    tracking = settings_of(recipe, overrides).tracking
    put_back_recorded_champion(tracking)
    change = set_version(tracking, version, who or getpass.getuser(), why, decisions_at_first(tracking))
    return publish_change(change, "The decision")
