"""The model registry: register a model folder, decide, promote, roll back; and where a version comes from.

`models` registers and fetches, `gate` decides, `promotion` moves aliases under a lock (`store`) and keeps `records`;
`lineage`, `provenance` and `ancestry` say what a version was made from. Tags and aliases are a contract with existing
versions. Imports mlflow only when it is used.
"""

from sgpo.registry.gate import Decision, decide
from sgpo.registry.lineage import Lineage, git_state
from sgpo.registry.models import ModelFolderError, download_version, register_model_folder, registered_version
from sgpo.registry.promotion import UNREGISTERED, promote, roll_back, set_challenger, set_champion
from sgpo.registry.records import ChampionChange, aliases, gaps, history
from sgpo.registry.store import RegistryError

__all__ = [
    "UNREGISTERED",
    "ChampionChange",
    "Decision",
    "Lineage",
    "ModelFolderError",
    "RegistryError",
    "aliases",
    "decide",
    "download_version",
    "gaps",
    "git_state",
    "history",
    "promote",
    "register_model_folder",
    "registered_version",
    "roll_back",
    "set_challenger",
    "set_champion",
]
