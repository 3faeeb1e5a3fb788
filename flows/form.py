"""The fields of a run's form for the settings that are changed most, in the order of a person's questions.

What is trained, how long, how it is measured, when it is promoted: a card for each question in Prefect's form, with the
fields' bounds, choices and words from sgpo/config. A field that is left empty is not sent: the recipe's value stays.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Optional

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo

from sgpo.algorithms import registry
from sgpo.config import AlgorithmSettings, RunConfig
from sgpo.config.algorithm import DEFAULT

QUESTIONS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "what": (
        "1. What is trained", "The method, and how each problem is sampled",
        (
            "training.algorithm.type", "training.algorithm.autonomous_rollouts", "training.algorithm.guided_rollouts",
            "engine.kind",
        ),
    ),
    "how_long": (
        "2. How long", "Steps, their size, and how far each one goes",
        ("training.steps", "training.problems_per_step", "training.learning_rate", "seed"),
    ),
    "measured": (
        "3. How it is measured", "Champion and challenger answer every held-out problem", ("evaluation.k",)
    ),
    "promoted": (
        "4. When it is promoted", "What the gain must show before the challenger takes the champion's place",
        ("gate.margin", "gate.tolerance"),
    ),
}  # fmt: skip
"""Title and description of each card, and its settings."""

SIGNS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
WORDS = {
    "training.algorithm.type": "The method; one other than the recipe's begins from its own defaults",
    "engine.kind": "What draws responses: transformers, or vLLM in each training process, or beside them",
}
"""Descriptions of fields whose settings have none, or one that is longer than a line."""


class Card(BaseModel):
    """Fields that answer one question; None where a person has left one empty."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Form(BaseModel):
    """Cards, by the names of QUESTIONS."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="Change some")

    def overrides(self) -> list[str]:
        """Return the filled fields as `key=value`."""
        names = {_name(dotted): dotted for _, _, settings in QUESTIONS.values() for dotted in settings}
        return [
            f"{names[name]}={json.dumps(value)}"
            for card in self.model_dump(exclude_none=True).values()
            for name, value in card.items()
        ]


def make_form(name: str, questions: Sequence[str]) -> type[Form]:
    """Return the form of a flow: the cards of `questions`."""
    cards: dict[str, Any] = {}
    for position, question in enumerate(questions):
        title, description, settings = QUESTIONS[question]
        fields: dict[str, Any] = {_name(dotted): _field(dotted, place) for place, dotted in enumerate(settings)}
        card = create_model(f"{name}_{question}", __base__=Card, __doc__=description, **fields)
        note = Field(
            default_factory=card, title=title, description=description, json_schema_extra={"position": position}
        )
        cards[question] = (card, note)
    return create_model(name, __base__=Form, __doc__="The settings that are changed most.", **cards)


def _name(dotted: str) -> str:
    return dotted.replace(".", "_")


def _field(dotted: str, position: int) -> tuple[Any, Any]:
    """Return an optional field with type, bounds or choices, description and default-by-recipe of one setting."""
    info = _setting(dotted)
    bounded: Any = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
    limits = [
        f"{sign} {getattr(note, key)}" for note in info.metadata for key, sign in SIGNS.items() if hasattr(note, key)
    ]
    what = WORDS.get(dotted) or info.description or dotted.rsplit(".", 1)[-1].replace("_", " ").capitalize()
    bounds = f" ({', '.join(limits)})" if limits else ""
    description = f"{what}{bounds}. Empty: the recipe's, else {info.default}"

    def without_null(schema: dict[str, Any]) -> None:
        """Leave the null of Optional out: the form would ask `int or None` before it shows a field to fill in."""
        (one,) = [kind for kind in schema.pop("anyOf") if kind != {"type": "null"}]
        schema.pop("default")
        schema.update(one, position=position)

    field = Field(None, title=dotted, description=description, json_schema_extra=without_null)
    return Optional[bounded], field  # noqa: UP045


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
        return FieldInfo(annotation=choice, default=DEFAULT)
    return model.model_fields[last]
