"""params.yaml: the settings of the data stages."""

from pathlib import Path

from pydantic import Field

from sgpo.config.base import ConfigError, Precision, Settings, parse_settings, read_yaml
from sgpo.config.chat import ChatConfig
from sgpo.config.domains import Domains
from sgpo.config.engine import EngineConfig
from sgpo.config.sampling import SamplingConfig
from sgpo.config.strategies import StrategyConfig, TeacherConfig
from sgpo.config.testbed import BaseModelConfig, WorldConfig


class ProbeConfig(Settings):
    """How the champion is probed with and without strategies, before training."""

    seed: int = Field(default=0, ge=0)
    problems: int = Field(
        default=120, ge=1, description="Training problems that are probed: the first ones after those of the warm-up"
    )
    autonomous_rollouts: int = Field(default=4, ge=1, description="Responses without strategy per problem")
    guided_rollouts: int = Field(default=4, ge=1, description="Responses with strategy per problem")
    sampling: SamplingConfig = SamplingConfig()
    engine: EngineConfig = EngineConfig()
    chat: ChatConfig = Field(default=ChatConfig(), description="Same as in the training recipe, so that prompts agree")
    precision: Precision = "float32"


class SplitConfig(Settings):
    """Which problems are trained on."""

    warmup_fraction: float = Field(
        default=0.0,
        ge=0.0,
        lt=1.0,
        description="Fraction kept for the SFT warm-up: the first problems, which are not probed",
    )
    drop_solved: bool = Field(default=False, description="Leave out problems always solved without a strategy")
    min_lift: float | None = Field(
        default=None,
        ge=-1.0,
        le=1.0,
        description="Leave out problems whose strategy lifts the champion's pass rate by less; all must be probed",
    )


class PipelineParams(Settings):
    """params.yaml: the settings of the data stages."""

    world: WorldConfig = WorldConfig()
    base_model: BaseModelConfig = BaseModelConfig()
    strategies: StrategyConfig = StrategyConfig()
    teacher: TeacherConfig = TeacherConfig()
    probe: ProbeConfig = ProbeConfig()
    splits: SplitConfig = SplitConfig()
    domains: Domains = Field(default={}, description="Same as in the training recipe, so that verifiers agree")


def load_params(path: Path) -> PipelineParams:
    """params.yaml as typed settings; ConfigError names file and key."""
    if not path.exists():
        raise ConfigError(f"{path}: no such file (expected the parameters of the data stages)")
    return parse_settings(PipelineParams, read_yaml(path), str(path))
