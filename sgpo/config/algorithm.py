"""`training.algorithm`: the settings of one method, told apart by `type`; and the keys that old recipes have.

The settings of a method stand in the method's own file (sgpo/algorithms), which may be a module of one's own: it is
found by name when settings are read, and never imported from here.
"""

import difflib
from importlib import import_module
from typing import Any

from pydantic_core import PydanticCustomError

from sgpo.config.base import Settings

PREFIX = "training.algorithm"
DEFAULT = "sgpo"


class AlgorithmSettings(Settings):
    """The base of a method's settings."""

    type: str


def read_algorithm(tree: Any) -> AlgorithmSettings:
    """Return `training.algorithm` as the settings of the method that its `type` names, SGPO without one.

    Raises PydanticCustomError with one line for an unknown method and for another method's key.
    """
    if isinstance(tree, AlgorithmSettings):
        return tree
    if not isinstance(tree, dict):
        raise _refusal(f"'{PREFIX}' is {tree!r} (expected a mapping such as {{type: sgpo, delta: 1.0}})")
    registry = import_module("sgpo.algorithms.registry")
    name = tree.get("type", DEFAULT)
    try:
        settings: type[AlgorithmSettings] = registry.method(str(name)).settings_class
    except LookupError as error:
        raise _refusal(f"'{PREFIX}.type': {error.args[0]}") from None
    for key in tree:
        if key not in settings.model_fields:
            raise _refusal(_unknown_key(str(key), str(name), settings, registry))
    return settings.model_validate({**tree, "type": name})


def _unknown_key(key: str, name: str, settings: type[AlgorithmSettings], registry: Any) -> str:
    others = [other for other in registry.names() if key in registry.method(other).settings_class.model_fields]
    nearest = difflib.get_close_matches(key, settings.model_fields, n=1, cutoff=0.5)
    known = f"; '{PREFIX}.{nearest[0]}' is nearest" if nearest else f" ({', '.join(sorted(settings.model_fields))})"
    belongs = f", it belongs to type {' and '.join(others)}" if others else ""
    return f"unknown key '{PREFIX}.{key}' for type {name}{belongs} (expected a key of {name}{known})"


def _refusal(message: str) -> PydanticCustomError:
    return PydanticCustomError("whole_line", "{message}", {"message": message})


MOVED = {
    "training.autonomous_rollouts": f"'{PREFIX}.autonomous_rollouts'",
    "training.guided_rollouts": f"'{PREFIX}.guided_rollouts'",
    "training.mask_truncated": f"'{PREFIX}.mask_truncated'",
    "training.objective": f"'{PREFIX}'",
    "training.objective.expert": f"'{PREFIX}.type', luffy or hpt",
    "training.objective.expert_shaping": f"'{PREFIX}.shaping' of type luffy",
    "training.objective.expert_coefficient": f"'{PREFIX}.imitation_coefficient' of type hpt",
    "training.objective.expert_gate": f"'{PREFIX}.gate' of type hpt",
    "training.objective.distillation": f"'{PREFIX}.distillation' of type sgpo, and 'none' is type grpo",
}
"""Keys of recipes before methods had files of their own; other keys of training.objective have their old names."""


def moved_keys(tree: dict[str, Any]) -> list[str]:
    """Return a line for each key of the old form in a tree of settings: the key, and what it is now."""
    training = tree.get("training")
    if not isinstance(training, dict):
        return []
    old = [f"training.{key}" for key in training if f"training.{key}" in MOVED]
    objective = training.get("objective")
    if isinstance(objective, dict) and objective:
        old.remove("training.objective")
        old += [f"training.objective.{key}" for key in objective]
    return [f"'{key}' is now {MOVED.get(key, repr(key.replace('objective', 'algorithm', 1)))}" for key in old]
