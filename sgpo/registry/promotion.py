"""Which version is the champion, and the record of every decision about it.

Aliases: `champion` is what is served, `challenger` what is on trial, `previous` the champion before. Changes of the
champion are made one at a time (`open_registry`), and so that a kill at any point leaves one valid champion: what will
be done is first written to the registered model's `sgpo.pending` tag, then done, then recorded, then the tag is
removed; the next change completes a pending one before its own. Records are the registered model's
`sgpo.history.<number>` tags; the last one about a version is also that version's `sgpo.last_decision` tag.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from sgpo.config import TrackingConfig
from sgpo.registry.gate import Decision
from sgpo.registry.models import find_version
from sgpo.registry.store import RegistryError, open_registry

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
_HISTORY, _PENDING, _LAST = "sgpo.history.", "sgpo.pending", "sgpo.last_decision"


class ChampionChange(BaseModel):
    """One decision: `before` and `after` are the champion's versions; they are equal when the champion stayed.

    `unchanged` is what a repeated request does, and a dry run only tells; neither is recorded.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: Literal["set_champion", "promote", "refuse", "roll_back", "unchanged"]
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


class _Pending(BaseModel):
    """A change to be completed: where the two aliases go, and the record of it."""

    previous: str | None
    change: ChampionChange


def aliases(tracking: TrackingConfig) -> dict[str, str]:
    """alias -> version of the registered model; empty when there is no such model yet."""
    with open_registry(tracking, write=False) as client:
        return _aliases(client, tracking)


def history(tracking: TrackingConfig) -> list[ChampionChange]:
    """Every recorded decision, oldest first."""
    with open_registry(tracking, write=False) as client:
        tags = _model_tags(client, tracking)
    return [ChampionChange.model_validate_json(tags[key]) for key in sorted(tags) if key.startswith(_HISTORY)]


def set_challenger(tracking: TrackingConfig, version: str) -> None:
    """Put a version on trial. RegistryError when there is no such version."""
    with open_registry(tracking, write=True) as client:
        find_version(client, tracking, version)
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
    that is the champion already stays it, and nothing is recorded twice. A dry run prints what would be done.
    RegistryError when there is no such version, or MLflow does not answer.
    """
    with open_registry(tracking, write=not dry_run) as client:
        if not dry_run:
            _complete_pending(client, tracking)
        champion = _aliases(client, tracking).get(CHAMPION)
        reasons = decision.reasons
        allowed = decision.promote
        if against is not None and champion not in (against, version):
            allowed = False
            now = f"version {champion}" if champion else "none"
            reasons = (*reasons, f"It was measured against version {against}, but the champion is now {now}.")
        if allowed or champion == version:
            return _make_champion(client, tracking, "promote", version, who, why, reasons, dry_run)
        find_version(client, tracking, version)
        refusal = _change("refuse", version, champion, champion, who, why, reasons, dry_run)
        if dry_run:
            print(refusal.describe())
        elif not _is_last_record(client, tracking, refusal):
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
        now = _aliases(client, tracking)
        champion, previous = now.get(CHAMPION), now.get(PREVIOUS)
        if previous is None or previous == champion:
            raise RegistryError(f"{tracking.registered_model}: no previous champion to roll back to")
        change = _change("roll_back", previous, champion, previous, who, why)
        _carry_out(client, tracking, _Pending(previous=champion, change=change))
        return change


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
    found = find_version(client, tracking, version)
    if found.status != "READY":
        raise RegistryError(f"{tracking.registered_model} version {version}: {found.status} (expected READY)")
    champion = _aliases(client, tracking).get(CHAMPION)
    change = _change(
        "unchanged" if champion == version else action, version, champion, version, who, why, reasons, dry_run
    )
    if dry_run:
        print(change.describe())
    elif champion != version:
        _carry_out(client, tracking, _Pending(previous=champion, change=change))
    return change


def _carry_out(client: MlflowClient, tracking: TrackingConfig, pending: _Pending) -> None:
    client.set_registered_model_tag(tracking.registered_model, _PENDING, pending.model_dump_json())
    _complete_pending(client, tracking)


def _complete_pending(client: MlflowClient, tracking: TrackingConfig) -> ChampionChange | None:
    """Do what is left of a change; every step may be repeated. `previous` first: the champion is valid throughout."""
    name = tracking.registered_model
    text = _model_tags(client, tracking).get(_PENDING)
    if text is None:
        return None
    pending = _Pending.model_validate_json(text)
    change = pending.change
    if pending.previous is not None:
        client.set_registered_model_alias(name, PREVIOUS, pending.previous)
    client.set_registered_model_alias(name, CHAMPION, change.version)
    if _aliases(client, tracking).get(CHALLENGER) == change.version:
        client.delete_registered_model_alias(name, CHALLENGER)
    if not _is_last_record(client, tracking, change):
        _record(client, tracking, change)
    client.delete_registered_model_tag(name, _PENDING)
    return change


def _record(client: MlflowClient, tracking: TrackingConfig, change: ChampionChange) -> None:
    name = tracking.registered_model
    numbers = [int(key.removeprefix(_HISTORY)) for key in _model_tags(client, tracking) if key.startswith(_HISTORY)]
    client.set_model_version_tag(name, change.version, _LAST, change.model_dump_json())
    client.set_registered_model_tag(name, f"{_HISTORY}{max(numbers, default=0) + 1:06d}", change.model_dump_json())


def _is_last_record(client: MlflowClient, tracking: TrackingConfig, change: ChampionChange) -> bool:
    """Whether the newest record says the same, at whatever time: a repeated request is recorded once."""
    tags = _model_tags(client, tracking)
    newest = max((key for key in tags if key.startswith(_HISTORY)), default=None)
    if newest is None:
        return False
    last = ChampionChange.model_validate_json(tags[newest])
    return last == change.model_copy(update={"when": last.when})


def _change(
    action: Literal["set_champion", "promote", "refuse", "roll_back", "unchanged"],
    version: str,
    before: str | None,
    after: str | None,
    who: str,
    why: str,
    reasons: tuple[str, ...] = (),
    dry_run: bool = False,
) -> ChampionChange:
    when = datetime.now(UTC).isoformat(timespec="milliseconds")
    return ChampionChange(
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


def _aliases(client: MlflowClient, tracking: TrackingConfig) -> dict[str, str]:
    found = client.search_registered_models(f"name = '{tracking.registered_model}'")
    return {alias: str(version) for alias, version in found[0].aliases.items()} if found else {}


def _model_tags(client: MlflowClient, tracking: TrackingConfig) -> dict[str, str]:
    found = client.search_registered_models(f"name = '{tracking.registered_model}'")
    return dict(found[0].tags) if found else {}
