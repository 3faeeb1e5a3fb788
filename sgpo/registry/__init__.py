"""The model registry: register a model folder, decide, promote, roll back; where a version comes from."""

from sgpo.registry.ancestry import VersionRecord, ancestry, describe_ancestry
from sgpo.registry.gate import Decision, decide
from sgpo.registry.lineage import Lineage, git_state
from sgpo.registry.models import (
    ModelFolderError,
    download_version,
    read_attachments,
    register_model_folder,
    registered_version,
)
from sgpo.registry.promotion import UNREGISTERED, promote, roll_back, set_challenger, set_champion
from sgpo.registry.provenance import attachments_of_run, lineage_of_run, note_provenance
from sgpo.registry.records import ChampionChange, aliases, gaps, history
from sgpo.registry.store import RegistryError

__all__ = [
    "UNREGISTERED",
    "ChampionChange",
    "Decision",
    "Lineage",
    "ModelFolderError",
    "RegistryError",
    "VersionRecord",
    "aliases",
    "ancestry",
    "attachments_of_run",
    "decide",
    "describe_ancestry",
    "download_version",
    "gaps",
    "git_state",
    "history",
    "lineage_of_run",
    "note_provenance",
    "promote",
    "read_attachments",
    "register_model_folder",
    "registered_version",
    "roll_back",
    "set_challenger",
    "set_champion",
]
