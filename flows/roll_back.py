"""Flow: the previous champion is the champion again."""

import getpass

from flows.champion import decisions_at_first, made_since, publish_change, put_back_recorded_champion, seen_first
from flows.definitions import recorded_flow, retried_task
from flows.hooks import BEGAN_FROM
from flows.limits import one_change_of_champion
from flows.names import roll_back_name
from flows.parameters import FromVersion, Overrides, Recipe, Who, Why, settings_of
from sgpo.config import TrackingConfig
from sgpo.registry.promotion import CHAMPION, ChampionChange, aliases, complete_change
from sgpo.registry.promotion import roll_back as roll_back_champion
from sgpo.registry.records import LONGEST_WHY, cut_off
from sgpo.registry.store import RegistryError


@retried_task("roll back from version {champion}", 1200)
def roll_back_from(tracking: TrackingConfig, champion: str, who: str, why: str, known: int) -> ChampionChange:
    """Roll back, if `champion` still is it and no try has, after or as the last of the `known` decisions.

    A second try, of this flow run or as a new one, finds its first one recorded and does not undo it; nor does it
    roll back again what somebody has set since.
    """
    since, kept = max(known - 1, 0), cut_off(why, LONGEST_WHY)
    with one_change_of_champion(tracking):
        complete_change(tracking)  # a first try that was killed has moved the alias in its record only
        if made := made_since(tracking, since, action="roll_back", before=champion, who=who, why=kept):
            return made[0]
        now = aliases(tracking).get(CHAMPION)
        if now == champion:
            return roll_back_champion(tracking, who, why)
    raise RegistryError(f"{tracking.registered_model}: the champion is {now} (expected {champion}, to roll back from)")


@recorded_flow(name="roll-back", flow_run_name=roll_back_name, timeout_seconds=3600)
def roll_back(
    why: Why,
    champion: FromVersion = "",
    recipe: Recipe = "configs/testbed.yaml",
    who: Who = "",
    overrides: Overrides = (),
) -> ChampionChange:
    """Make the previous champion the champion again; a second roll-back undoes the first, a retry of one does not."""
    tracking = settings_of(recipe, overrides).tracking
    put_back_recorded_champion(tracking)
    now = champion or seen_first(BEGAN_FROM, lambda: aliases(tracking).get(CHAMPION))
    if now is None:
        raise RegistryError(f"{tracking.registered_model}: no champion to roll back from")
    change = roll_back_from(tracking, now, who or getpass.getuser(), why, decisions_at_first(tracking))
    return publish_change(change, "The roll-back")
