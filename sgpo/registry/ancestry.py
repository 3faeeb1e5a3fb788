"""Where a model version comes from, as a person reads it: versions, data, code, parents, and how to make it again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from sgpo.config import TrackingConfig
from sgpo.registry.lineage import ATTACHMENTS_TAG, FILES_TAG, RUN_ID_TAG, Lineage, hashes_of
from sgpo.registry.models import find_version
from sgpo.registry.records import LAST_DECISION_TAG, ChampionChange, read_record
from sgpo.registry.store import RegistryError, open_registry

if TYPE_CHECKING:
    from mlflow import MlflowClient


class VersionRecord(BaseModel):
    """A model version as it was registered. `files` and `attachments` map a name to its sha256."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    registered_model: str
    version: str
    aliases: tuple[str, ...]
    registered: str
    run_id: str | None
    mlflow_run_id: str | None
    lineage: Lineage
    last_decision: ChampionChange | None
    files: dict[str, str]
    attachments: dict[str, str]


def ancestry(tracking: TrackingConfig, version_or_alias: str) -> list[VersionRecord]:
    """Return a version, its parent, and so on to the one that was not trained from another.

    A parent that has been deleted ends the list. RegistryError when there is no such version.
    """
    with open_registry(tracking, write=False) as client:
        records = [_read(client, tracking, version_or_alias)]
        while parent := records[-1].lineage.parent_version:
            if parent in {record.version for record in records}:
                break  # tags are anybody's to edit
            try:
                records.append(_read(client, tracking, parent))
            except RegistryError:
                break
    return records


def describe_ancestry(records: list[VersionRecord]) -> str:
    """Return what the first version was made of, as lines for a person; the others are its parents."""
    record, lineage = records[0], records[0].lineage
    parents = [_title(parent) for parent in records[1:]]
    if (lost := records[-1].lineage.parent_version) is not None:
        parents.append(f"version {lost}, which is no longer there")
    mlflow_run = f", MLflow run {record.mlflow_run_id}" if record.mlflow_run_id else ""
    environment = ", ".join(f"{name} {value}" for name, value in lineage.environment.items())
    rows = [
        ("run", f"{record.run_id or 'not known'}{mlflow_run}"),
        ("parents", " <- ".join(parents) or "none: not trained from another version"),
        ("code", _code(lineage)),
        *[("data", f"{path}  {md5}") for path, md5 in sorted(lineage.data_md5s.items())],
        ("strategies", lineage.strategies_digest or "not known"),
        ("configuration", lineage.config_digest or "not known"),
        ("environment", environment or "not known"),
        ("evaluation", ", ".join(f"{name} {value:.4g}" for name, value in lineage.evaluation.items()) or "not known"),
        ("decision", record.last_decision.describe() if record.last_decision else "none yet"),
        *[("file", f"{name}  sha256 {digest}") for name, digest in record.files.items()],
        ("kept with it", ", ".join(record.attachments) or "nothing"),
    ]
    lines, before = [f"{_title(record)}, registered {record.registered}"], ""
    for name, text in rows:
        lines.append(f"  {name if name != before else '':<15}{text}")
        before = name
    return "\n".join(lines)


def _title(record: VersionRecord) -> str:
    aliases = f" ({', '.join(record.aliases)})" if record.aliases else ""
    return f"{record.registered_model} version {record.version}{aliases}"


def _code(lineage: Lineage) -> str:
    if lineage.git_commit is None:
        return "not known"
    return f"commit {lineage.git_commit}{', with local changes' if lineage.git_dirty else ''}"


def _read(client: MlflowClient, tracking: TrackingConfig, version_or_alias: str) -> VersionRecord:
    found = find_version(client, tracking, version_or_alias)
    version, tags = str(found.version), found.tags
    aliases = read_record(client, tracking).aliases
    decision = tags.get(LAST_DECISION_TAG)
    return VersionRecord(
        registered_model=tracking.registered_model,
        version=version,
        aliases=tuple(sorted(alias for alias, at in aliases.items() if at == version)),
        registered=datetime.fromtimestamp((found.creation_timestamp or 0) / 1000, UTC).isoformat(timespec="seconds"),
        run_id=tags.get(RUN_ID_TAG),
        mlflow_run_id=found.run_id or None,
        lineage=Lineage.of_tags(tags),
        last_decision=ChampionChange.model_validate_json(decision) if decision else None,
        files=hashes_of(tags, FILES_TAG) or {},
        attachments=hashes_of(tags, ATTACHMENTS_TAG) or {},
    )
