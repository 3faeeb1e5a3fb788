"""What making a base model would take."""

from pathlib import Path

from sgpo.config.pipeline import PipelineParams
from sgpo.forecast import Forecast
from sgpo.testbed.bases import find_shipped
from sgpo.testbed.domain_base import BATCH, taught_problems
from sgpo.training.checkpoints.checkpoint import newest_checkpoint


def forecast_base(params: PipelineParams, data: Path, work: Path, *, build: bool = False) -> Forecast:
    """Return whether the testbed's base model is the package's, and otherwise how many steps are left to pre-train."""
    config = params.base_model
    folder = data / "base" / config.family
    shipped, why = (None, "--build") if build else find_shipped(config, params.world.decisions)
    if shipped is not None:
        return Forecast(str(folder), (f"{folder}: from the package ({why})",))
    newest = newest_checkpoint(work)
    left = config.steps - (0 if newest is None else int(newest.name.removeprefix("step-")))
    says = f"{folder}: pre-trained here ({why}), {left} of {config.steps} steps left, of {config.batch_size} examples"
    return Forecast(str(folder), (says,))


def forecast_domain_base(data: Path, output: Path, steps: int) -> Forecast:
    """Return how many steps a domain's base model is pre-trained, and on what. Raises ConfigError as the training."""
    problems = taught_problems(data)[0]
    says = f"{output}: pre-trained here, {steps} steps of {BATCH} examples, from {len(problems)} problems"
    return Forecast(str(output), (says,))
