"""What the registry remembers: aliases, the record of decisions, and a change that is not completed.

All three belong to the registered model and come in one answer. A change that was begun and not completed, because its
process was killed, counts as done: the next writer completes it before anything else (`sgpo.registry.promotion`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from sgpo.config import TrackingConfig
from sgpo.registry.store import RegistryError, open_registry

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
HISTORY_TAG, PENDING_TAG, LAST_DECISION_TAG = "sgpo.history.", "sgpo.pending", "sgpo.last_decision"

MODEL_TAG_LENGTH = 5000
"""Characters that MLflow's tables keep of a registered model's tag (of a version's tag, any number)."""
LONGEST_WHO, LONGEST_WHY, LONGEST_REASON = 250, 2000, 1000
"""Characters of a record's texts as JSON: `who`, `why` and two reasons always fit in a tag."""

Action = Literal["set_champion", "promote", "refuse", "roll_back", "unchanged"]


class ChampionChange(BaseModel):
    """One decision: `before` and `after` are the champion's versions; they are equal when the champion stayed.

    `unchanged` is what a repeated request does, and a dry run only tells; neither is recorded.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: Action
    version: str
    before: str | None
    after: str | None
    who: str
    why: str
    when: str
    reasons: tuple[str, ...] = ()
    dry_run: bool = False

    def describe(self) -> str:
        """One line for a person."""
        stays = f"the champion stays {self.after or 'none'}"
        outcome = stays if self.before == self.after else f"champion {self.before or 'none'} -> {self.after}"
        dry = "dry run, nothing done: " if self.dry_run else ""
        return f"{dry}{self.action} version {self.version}: {outcome} ({' '.join([self.why, *self.reasons])})"


class Pending(BaseModel):
    """A change to be completed: where the two aliases go, and the record of it."""

    previous: str | None
    change: ChampionChange


def fitted(change: ChampionChange) -> ChampionChange:
    """Return the change with texts that fit in a registered model's tag, longer ones cut off with an ellipsis.

    Of too many reasons the first ones and the last are kept. RegistryError when `who` is too long: it is not cut off.
    """
    if len(_as_json(change.who)) > LONGEST_WHO:
        raise RegistryError(f"who: {len(change.who)} characters (expected at most {LONGEST_WHO}, as JSON)")
    reasons = tuple(cut_off(reason, LONGEST_REASON) for reason in change.reasons)
    change = change.model_copy(update={"why": cut_off(change.why, LONGEST_WHY), "reasons": reasons})
    kept = len(reasons) - 1
    while len(Pending(previous=change.before, change=change).model_dump_json()) > MODEL_TAG_LENGTH:
        kept -= 1
        fewer = (*reasons[:kept], f"… ({len(reasons) - 1 - kept} more)", reasons[-1])
        change = change.model_copy(update={"reasons": fewer})
    return change


def cut_off(text: str, longest: int) -> str:
    """Return the text, or as much of it as has `longest` characters as JSON with an ellipsis at its end."""
    if len(_as_json(text)) <= longest:
        return text
    text = text[: longest - 1]
    while len(_as_json(f"{text}…")) > longest:
        text = text[:-1]
    return f"{text}…"


def _as_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


@dataclass(frozen=True, slots=True)
class RegistryRecord:
    """One answer of the registry: alias -> version, the decisions oldest first, and what is to be completed."""

    stored_aliases: dict[str, str]
    stored_history: tuple[ChampionChange, ...]
    pending: Pending | None

    @property
    def aliases(self) -> dict[str, str]:
        """Return alias -> version, a pending change counted as done."""
        if self.pending is None:
            return self.stored_aliases
        version = self.pending.change.version
        now = {alias: at for alias, at in self.stored_aliases.items() if (alias, at) != (CHALLENGER, version)}
        if self.pending.previous is not None:
            now[PREVIOUS] = self.pending.previous
        return {**now, CHAMPION: version}

    @property
    def history(self) -> tuple[ChampionChange, ...]:
        """The decisions, oldest first, a pending change counted as done."""
        if self.pending is None or self.stored_history[-1:] == (self.pending.change,):
            return self.stored_history
        return (*self.stored_history, self.pending.change)


def read_record(client: MlflowClient, tracking: TrackingConfig) -> RegistryRecord:
    """Return what the registry remembers of the settings' registered model; empty when there is no such model yet."""
    from mlflow.exceptions import MlflowException

    try:
        model = client.get_registered_model(tracking.registered_model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return RegistryRecord({}, (), None)
    tags = model.tags
    records = (tags[key] for key in sorted(tags) if key.startswith(HISTORY_TAG))
    return RegistryRecord(
        {alias: str(version) for alias, version in model.aliases.items()},
        tuple(ChampionChange.model_validate_json(record) for record in records),
        Pending.model_validate_json(tags[PENDING_TAG]) if PENDING_TAG in tags else None,
    )


def aliases(tracking: TrackingConfig) -> dict[str, str]:
    """Return alias -> version of the registered model; empty when there is no such model yet."""
    with open_registry(tracking, write=False) as client:
        return read_record(client, tracking).aliases


def history(tracking: TrackingConfig) -> list[ChampionChange]:
    """Every recorded decision, oldest first."""
    with open_registry(tracking, write=False) as client:
        return list(read_record(client, tracking).history)


def gaps(decisions: list[ChampionChange], champion: str | None) -> list[str]:
    """Where the record does not lead from one decision to the next, or to the champion; one sentence each.

    It always does unless somebody has moved the alias `champion` in MLflow itself.
    """
    found: list[str] = []
    before: str | None = None
    for number, decision in enumerate(decisions, start=1):
        if decision.before != before:
            found.append(
                f"Decision {number} ({decision.action} of version {decision.version} by {decision.who}) began from "
                f"version {decision.before or 'none'}, but the record before it ends with {before or 'none'}."
            )
        before = decision.after
    if before != champion:
        found.append(
            f"The alias {CHAMPION} is on version {champion or 'none'}, but the record ends with {before or 'none'}: it "
            "was moved in MLflow itself, without who and why."
        )
    return found
