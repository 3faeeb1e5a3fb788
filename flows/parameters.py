"""What a person fills in when starting a run from the Prefect UI; everything else comes from the recipe."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Optional, TypeVar, get_type_hints

from pydantic import Field
from pydantic.fields import FieldInfo

from flows.form import Form, make_form
from flows.process import REPOSITORY
from sgpo.config import RunConfig, load_config
from sgpo.names import RUN_NAME

Recipe = Annotated[str, Field(description="Run recipe, a YAML file in configs/", pattern=r"^[\w./-]+\.ya?ml$")]
RunName = Annotated[str, Field(description="Name of the run directory", pattern=RUN_NAME)]
RunId = Annotated[
    str,
    Field(
        description="Name of the run directory; an unfinished run of this name resumes. Empty: a new name, by date",
        pattern=f"^$|{RUN_NAME}",
    ),
]
Overrides = Annotated[
    tuple[str, ...],
    Field(description="Any other settings that replace the recipe's, such as training.sampling.top_p=1.0"),
]
Why = Annotated[str, Field(description="Why, for the record", min_length=1)]
Version = Annotated[str, Field(description="Version of the registered model to probe. Empty: the champion")]
ChosenVersion = Annotated[str, Field(description="Number of the version to make champion", pattern=r"^\d+$")]
FromVersion = Annotated[
    str,
    Field(
        description="Version to roll back from; refused if it is no longer the champion. Empty: the champion",
        pattern=r"^\d*$",
    ),
]
Who = Annotated[str, Field(description="Who asks, for the record. Empty: the user that runs the worker")]
DryRunOfRetraining = Annotated[bool, Field(description="Check the champion and estimate the cost; train nothing")]
DryRun = Annotated[bool, Field(description="Report the gate's decision; change nothing")]

MOST_CHANGED = Field(description="The settings changed most often")
_RetrainForm = make_form("RetrainSettings", ("what", "how_long", "measured", "promoted"))
_TrainForm = make_form("TrainSettings", ("what", "how_long"))
_EvaluateForm = make_form("EvaluateSettings", ("measured",))
_PromoteForm = make_form("PromoteSettings", ("measured", "promoted"))
RetrainSettings = Annotated[Optional[_RetrainForm], MOST_CHANGED]  # noqa: UP045
TrainSettings = Annotated[Optional[_TrainForm], MOST_CHANGED]  # noqa: UP045
EvaluateSettings = Annotated[Optional[_EvaluateForm], MOST_CHANGED]  # noqa: UP045
PromoteSettings = Annotated[Optional[_PromoteForm], MOST_CHANGED]  # noqa: UP045

FlowT = TypeVar("FlowT", bound=Callable[..., Any])


def described(function: FlowT) -> FlowT:
    """Add the parameters' descriptions to the docstring, which is where Prefect's form takes them from."""
    lines = []
    for name, hint in get_type_hints(function, include_extras=True).items():
        for note in getattr(hint, "__metadata__", ()):
            if isinstance(note, FieldInfo) and note.description:
                lines.append(f"    {name}: {note.description}")
    if lines:
        function.__doc__ = f"{function.__doc__}\n\nArgs:\n" + "\n".join(lines)
    return function


def all_overrides(overrides: Sequence[str], settings: Form | None) -> list[str]:
    """Return what was filled in, as overrides; the form's fields come last."""
    return [*overrides, *(settings.overrides() if settings else [])]


def settings_of(recipe: str, overrides: Sequence[str]) -> RunConfig:
    """Return the run's settings; ConfigError names file and key."""
    return load_config(REPOSITORY / recipe, overrides)


def setting_arguments(recipe: str, overrides: Sequence[str]) -> list[str]:
    """Return the same settings as arguments of an `sgpo` command."""
    return ["--config", recipe, *overrides]
