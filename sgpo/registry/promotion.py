"""Changing the champion: by the gate's decision, by a person's word, and back.

Aliases: `champion` is what is served, `challenger` what is on trial, `previous` the champion before. Changes of the
champion are made one at a time (`open_registry`), and so that a kill at any point leaves one valid champion: what will
be done is first written to the registered model's `sgpo.pending` tag, then done, then recorded, then the tag is
removed; the next change completes a pending one before its own, and readers count it as done. Records are the
registered model's `sgpo.history.<number>` tags; the last one about a version is also that version's
`sgpo.last_decision` tag.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from sgpo.config import TrackingConfig
from sgpo.registry.gate import Decision
from sgpo.registry.models import find_version, version_exists
from sgpo.registry.records import (
    CHALLENGER,
    CHAMPION,
    HISTORY_TAG,
    LAST_DECISION_TAG,
    PENDING_TAG,
    PREVIOUS,
    Action,
    ChampionChange,
    Pending,
    aliases,
    fitted,
    history,
    read_record,
)
from sgpo.registry.store import RegistryError, open_registry

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = [
    "CHALLENGER", "CHAMPION", "PREVIOUS", "UNREGISTERED", "ChampionChange", "aliases", "complete_change", "history",
    "promote", "roll_back", "set_challenger", "set_champion",
]  # fmt: skip

UNREGISTERED = "not registered"
"""The version of a model that a dry run is about and that is in no registry yet."""


def set_challenger(tracking: TrackingConfig, version: str) -> None:
    """Put a version on trial; the champion is not. RegistryError when there is no such version."""
    with open_registry(tracking, write=True) as client:
        _complete_pending(client, tracking)
        find_version(client, tracking, version)
        # A repeated task of a run that was promoted meanwhile must not put the champion on trial.
        if read_record(client, tracking).aliases.get(CHAMPION) != version:
            client.set_registered_model_alias(tracking.registered_model, CHALLENGER, version)


def set_champion(tracking: TrackingConfig, version: str, who: str, why: str) -> ChampionChange:
    """Make a version the champion without a gate, as for the first one; the old champion becomes `previous`."""
    with open_registry(tracking, write=True) as client:
        _complete_pending(client, tracking)
        return _make_champion(client, tracking, "set_champion", version, who, why)


def promote(
    tracking: TrackingConfig,
    version: str,
    decision: Decision,
    who: str,
    why: str,
    against: str | None = None,
    dry_run: bool = False,
) -> ChampionChange:
    """Carry out the gate's decision about a version: it becomes the champion, or the refusal is recorded.

    `against` is the champion that the version was compared with: if another one has taken its place meanwhile, the
    promotion is refused, so that of two promotions at once one wins and the other has to be measured again. A version
    that is the champion already stays it, and nothing is recorded twice. A dry run prints what would be done, of a
    version or of a model that is `UNREGISTERED`. RegistryError when there is no such version, or no answer.
    """
    with open_registry(tracking, write=not dry_run) as client:
        if not dry_run:
            _complete_pending(client, tracking)
        champion = read_record(client, tracking).aliases.get(CHAMPION)
        reasons = decision.reasons
        allowed = decision.promote
        if against is not None and champion not in (against, version):
            allowed = False
            now = f"version {champion}" if champion else "none"
            reasons = (*reasons, f"It was measured against version {against}, but the champion is now {now}.")
        if allowed or champion == version:
            return _make_champion(client, tracking, "promote", version, who, why, reasons, dry_run)
        if not (dry_run and version == UNREGISTERED):
            find_version(client, tracking, version)
        refusal = _change("refuse", version, champion, champion, who, why, reasons, dry_run)
        if dry_run:
            print(refusal.describe())
        elif not _says_the_same(read_record(client, tracking).history[-1:], refusal):
            _record(client, tracking, refusal)
        return refusal


def roll_back(tracking: TrackingConfig, who: str, why: str) -> ChampionChange:
    """Make `previous` the champion again; the two change places, so that a second roll-back undoes the first.

    RegistryError when there is nothing to roll back to. A roll-back that was killed is completed, not repeated.
    """
    with open_registry(tracking, write=True) as client:
        completed = _complete_pending(client, tracking)
        if completed and completed.action == "roll_back":
            return completed
        now = read_record(client, tracking).aliases
        champion, previous = now.get(CHAMPION), now.get(PREVIOUS)
        if previous is None or previous == champion:
            raise RegistryError(f"{tracking.registered_model}: no previous champion to roll back to")
        change = _change("roll_back", previous, champion, previous, who, why)
        _carry_out(client, tracking, Pending(previous=champion, change=change))
        return change


def complete_change(tracking: TrackingConfig) -> None:
    """Complete a change that was begun and killed, for those who read the alias in MLflow itself."""
    with open_registry(tracking, write=True) as client:
        _complete_pending(client, tracking)


def _make_champion(
    client: MlflowClient,
    tracking: TrackingConfig,
    action: Literal["set_champion", "promote"],
    version: str,
    who: str,
    why: str,
    reasons: tuple[str, ...] = (),
    dry_run: bool = False,
) -> ChampionChange:
    if not (dry_run and version == UNREGISTERED):
        found = find_version(client, tracking, version)
        if found.status != "READY":
            raise RegistryError(f"{tracking.registered_model} version {version}: {found.status} (expected READY)")
    champion = read_record(client, tracking).aliases.get(CHAMPION)
    change = _change(
        "unchanged" if champion == version else action, version, champion, version, who, why, reasons, dry_run
    )
    if dry_run:
        print(change.describe())
    elif champion != version:
        _carry_out(client, tracking, Pending(previous=champion, change=change))
    return change


def _carry_out(client: MlflowClient, tracking: TrackingConfig, pending: Pending) -> None:
    client.set_registered_model_tag(tracking.registered_model, PENDING_TAG, pending.model_dump_json())
    _complete_pending(client, tracking)


def _complete_pending(client: MlflowClient, tracking: TrackingConfig) -> ChampionChange | None:
    """Do what is left of a change; every step may be repeated. `previous` first: the champion is valid throughout."""
    name, now = tracking.registered_model, read_record(client, tracking)
    if now.pending is None:
        return None
    change, previous = now.pending.change, now.pending.previous
    if not version_exists(client, tracking, change.version):  # deleted since: the registry must not be stuck with it
        client.delete_registered_model_tag(name, PENDING_TAG)
        return None
    if previous is not None and version_exists(client, tracking, previous):
        client.set_registered_model_alias(name, PREVIOUS, previous)
    client.set_registered_model_alias(name, CHAMPION, change.version)
    if now.stored_aliases.get(CHALLENGER) == change.version:
        client.delete_registered_model_alias(name, CHALLENGER)
    # To the millisecond: an equal decision of another day, with the alias moved by hand between, is another one.
    if now.stored_history[-1:] != (change,):
        _record(client, tracking, change)
    client.delete_registered_model_tag(name, PENDING_TAG)
    return change


def _record(client: MlflowClient, tracking: TrackingConfig, change: ChampionChange) -> None:
    name = tracking.registered_model
    numbers = [
        int(key.removeprefix(HISTORY_TAG))
        for key in client.get_registered_model(name).tags
        if key.startswith(HISTORY_TAG)
    ]
    client.set_model_version_tag(name, change.version, LAST_DECISION_TAG, change.model_dump_json())
    client.set_registered_model_tag(name, f"{HISTORY_TAG}{max(numbers, default=0) + 1:06d}", change.model_dump_json())


def _says_the_same(last: tuple[ChampionChange, ...], change: ChampionChange) -> bool:
    """Whether the newest record says the same, at whatever time: a repeated refusal is recorded once."""
    return any(record == change.model_copy(update={"when": record.when}) for record in last)


def _change(
    action: Action,
    version: str,
    before: str | None,
    after: str | None,
    who: str,
    why: str,
    reasons: tuple[str, ...] = (),
    dry_run: bool = False,
) -> ChampionChange:
    when = datetime.now(UTC).isoformat(timespec="milliseconds")
    change = ChampionChange(
        action=action,
        version=version,
        before=before,
        after=after,
        who=who,
        why=why,
        when=when,
        reasons=reasons,
        dry_run=dry_run,
    )
    return fitted(change)
