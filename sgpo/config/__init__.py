"""Every setting, once: type, unit, default, bounds and a one-line description.

The command line (dotted overrides), the YAML files in `configs/` and the forms of the Prefect deployments are all made
from these models. An unknown key or a value out of range is an error that names it. `run` is one retraining, `pipeline`
the data stages (params.yaml), the other files are their sections. Imports no other folder of sgpo.
"""

from sgpo.config.algorithm import AlgorithmSettings
from sgpo.config.base import ConfigError, Precision, Settings, config_digest, dump_config, parse_settings
from sgpo.config.chat import ChatConfig
from sgpo.config.domains import DomainConfig
from sgpo.config.engine import EngineConfig
from sgpo.config.evaluation import BenchmarkConfig, EvaluationConfig, GateConfig
from sgpo.config.lora import LoraConfig
from sgpo.config.run import RunConfig, load_config
from sgpo.config.sampling import SamplingConfig
from sgpo.config.services import StorageConfig, TrackingConfig
from sgpo.config.training import ShardingConfig, TrainingConfig, WarmupConfig
from sgpo.config.validation import ValidationConfig

__all__ = [
    "AlgorithmSettings",
    "BenchmarkConfig",
    "ChatConfig",
    "ConfigError",
    "DomainConfig",
    "EngineConfig",
    "EvaluationConfig",
    "GateConfig",
    "LoraConfig",
    "Precision",
    "RunConfig",
    "SamplingConfig",
    "Settings",
    "ShardingConfig",
    "StorageConfig",
    "TrackingConfig",
    "TrainingConfig",
    "ValidationConfig",
    "WarmupConfig",
    "config_digest",
    "dump_config",
    "load_config",
    "parse_settings",
]
