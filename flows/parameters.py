"""What a person fills in when starting a run from the Prefect UI; everything else comes from the recipe."""

import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, Optional, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo

from flows.process import REPOSITORY
from sgpo.algorithms import registry
from sgpo.config import AlgorithmSettings, RunConfig, load_config
from sgpo.config.algorithm import DEFAULT
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

FORM_SETTINGS = (
    # What is trained,
    "training.algorithm.type", "training.algorithm.autonomous_rollouts", "training.algorithm.guided_rollouts",
    "training.problems_per_step", "training.learning_rate", "engine.kind", "seed",
    # how long, how it is measured, and when it is promoted.
    "training.steps", "evaluation.k", "gate.margin", "gate.tolerance",
)  # fmt: skip
"""Settings that have a field of their own in the form, with bounds or choices and description of sgpo/config, in the
order in which a person decides."""


def _setting(dotted: str) -> FieldInfo:
    """Return the pydantic field of a setting; those of a method are SGPO's, whose `type` is a choice of all."""
    model: type[BaseModel] = RunConfig
    *groups, last = dotted.split(".")
    for group in groups:
        annotation = model.model_fields[group].annotation
        assert isinstance(annotation, type)
        model = registry.method(DEFAULT).settings_class if issubclass(annotation, AlgorithmSettings) else annotation
    if issubclass(model, AlgorithmSettings) and last == "type":
        choice: Any = Literal[registry.names()]  # pyright: ignore[reportInvalidTypeForm]
        return FieldInfo(annotation=choice, default=DEFAULT, description="The method; one other than the recipe's "
                         "begins from its own defaults")  # fmt: skip
    return model.model_fields[last]


def _form_field(dotted: str) -> tuple[Any, Any]:
    """Return an optional form field with type, bounds or choices, description and default-by-recipe of one setting."""
    info = _setting(dotted)
    bounded: Any = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
    signs = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    limits = [
        f"{sign} {getattr(note, key)}" for note in info.metadata for key, sign in signs.items() if hasattr(note, key)
    ]
    what = info.description or dotted.rsplit(".", 1)[-1].replace("_", " ").capitalize()
    bounds = f" ({', '.join(limits)})" if limits else ""
    description = f"{what}{bounds}. None: as in the recipe, else {info.default}"
    return Optional[bounded], Field(None, title=dotted, description=description)  # noqa: UP045


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    def overrides(self) -> list[str]:
        """Return the filled fields as `key=value`."""
        names = {dotted.replace(".", "_"): dotted for dotted in FORM_SETTINGS}
        return [f"{names[name]}={json.dumps(value)}" for name, value in self.model_dump(exclude_none=True).items()]


_FIELDS: dict[str, Any] = {dotted.replace(".", "_"): _form_field(dotted) for dotted in FORM_SETTINGS}
FormSettings = create_model("FormSettings", __base__=_Form, __doc__="The settings that are changed most.", **_FIELDS)
Settings = Annotated[Optional[FormSettings], Field(description="The settings changed most often")]  # noqa: UP045


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


def all_overrides(overrides: Sequence[str], settings: _Form | None) -> list[str]:
    """Return what was filled in, as overrides; the form's fields come last."""
    return [*overrides, *(settings.overrides() if settings else [])]


def settings_of(recipe: str, overrides: Sequence[str]) -> RunConfig:
    """Return the run's settings; ConfigError names file and key."""
    return load_config(REPOSITORY / recipe, overrides)


def setting_arguments(recipe: str, overrides: Sequence[str]) -> list[str]:
    """Return the same settings as arguments of an `sgpo` command."""
    return ["--config", recipe, *overrides]
