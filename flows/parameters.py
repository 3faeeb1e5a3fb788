"""What a person fills in when starting a run from the Prefect UI; everything else comes from the recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from flows.process import REPOSITORY
from sgpo.config import RunConfig, load_config

Recipe = Annotated[str, Field(description="Run recipe, a YAML file in configs/")]
RunId = Annotated[
    str | None,
    Field(description="Name of the run directory; an unfinished run of this name goes on", pattern=r"^[\w.-]+$"),
]
Overrides = Annotated[list[str], Field(description="Settings over the recipe's, such as training.steps=100")]
Why = Annotated[str, Field(description="Why, for the record", min_length=1)]


def settings_of(recipe: str, overrides: list[str]) -> RunConfig:
    """The run's settings; ConfigError names file and key."""
    return load_config(REPOSITORY / recipe, overrides)


def setting_arguments(recipe: str, overrides: list[str]) -> list[str]:
    """The same settings as arguments of an `sgpo` command."""
    return ["--config", recipe, *overrides]


def run_folder(settings: RunConfig, run_id: str) -> Path:
    """The run directory, relative to the repository."""
    return settings.runs / run_id
