"""One retraining, whole: defaults, then a YAML file, then dotted overrides."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from sgpo.config.algorithm import DEFAULT, PREFIX, moved_keys
from sgpo.config.base import ConfigError, Settings, parse_settings, read_yaml
from sgpo.config.chat import ChatConfig
from sgpo.config.checks import ChecksConfig
from sgpo.config.domains import Domains
from sgpo.config.engine import EngineConfig
from sgpo.config.evaluation import EvaluationConfig, GateConfig
from sgpo.config.services import StorageConfig, TrackingConfig
from sgpo.config.training import ShardingConfig, TrainingConfig, WarmupConfig


def _is_empty(domains: Domains) -> bool:
    return not domains  # a recipe of mathematics is written, and hashed, as it was before there were domains


class RunConfig(Settings):
    """One retraining, whole."""

    seed: int = Field(default=0, ge=0, description="Seed of everything random")
    data: Path = Field(Path("data"), description="Folder with problems, strategies and splits")
    runs: Path = Field(Path("runs"), description="Folder of run directories")
    processes: int = Field(default=1, ge=1, le=4096, description="Training processes; more than one run under torchrun")
    chat: ChatConfig = ChatConfig()
    domains: Domains = Field(
        default={},
        exclude_if=_is_empty,
        description="Verifiers by the domain of problems, in addition to the built-in ones",
    )
    warmup: WarmupConfig = WarmupConfig()
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    sharding: ShardingConfig = ShardingConfig()
    engine: EngineConfig = EngineConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    gate: GateConfig = GateConfig()
    checks: ChecksConfig = ChecksConfig()
    tracking: TrackingConfig = TrackingConfig()
    storage: StorageConfig = StorageConfig()


def load_config(path: Path | str | None = None, overrides: Sequence[str] = ()) -> RunConfig:
    """Return the settings of one run: defaults, then the YAML file, then `a.b.c=value` overrides (values are YAML).

    An override of `training.algorithm.type` to another method leaves the file's settings of its own method behind:
    each method begins from its own defaults. Raises ConfigError, one line per problem, naming the file and the key.
    """
    where = str(path) if path else "defaults"
    tree = read_yaml(Path(path)) if path else {}
    if moved := moved_keys(tree):
        raise ConfigError(f"{where}: {'; '.join(moved)}")
    _forget_other_method(tree, overrides)
    for override in overrides:
        _apply_override(tree, override)
    if moved := moved_keys(tree):
        raise ConfigError(f"overrides: {'; '.join(moved)}")
    return parse_settings(RunConfig, tree, where)


def _forget_other_method(tree: dict[str, Any], overrides: Sequence[str]) -> None:
    training = tree.get("training")
    algorithm = training.get("algorithm") if isinstance(training, dict) else None
    chosen = [override for override in overrides if override.startswith(f"{PREFIX}.type=")]
    if isinstance(training, dict) and isinstance(algorithm, dict) and chosen:
        fresh: dict[str, Any] = {}
        _apply_override(fresh, chosen[-1])
        if fresh["training"]["algorithm"]["type"] != algorithm.get("type", DEFAULT):
            training["algorithm"] = {}


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"override '{override}': expected key=value, such as training.steps=100")
    *parents, last = key.split(".")
    for parent in parents:
        child = tree[parent] = {} if tree.get(parent) is None else tree[parent]
        if not isinstance(child, dict):
            raise ConfigError(f"override '{override}': '{parent}' is a value, not a group of settings")
        tree = child
    try:
        tree[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"override '{override}': '{text}' is not a YAML value") from None
