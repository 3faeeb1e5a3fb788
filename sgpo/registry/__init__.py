"""The model registry: register a model folder, decide, promote, roll back."""

from sgpo.registry.gate import Decision, decide
from sgpo.registry.lineage import Lineage, git_state
from sgpo.registry.models import ModelFolderError, download_version, register_model_folder
from sgpo.registry.promotion import ChampionChange, aliases, history, promote, roll_back, set_challenger, set_champion
from sgpo.registry.store import RegistryError

__all__ = [
    "ChampionChange",
    "Decision",
    "Lineage",
    "ModelFolderError",
    "RegistryError",
    "aliases",
    "decide",
    "download_version",
    "git_state",
    "history",
    "promote",
    "register_model_folder",
    "roll_back",
    "set_challenger",
    "set_champion",
]
