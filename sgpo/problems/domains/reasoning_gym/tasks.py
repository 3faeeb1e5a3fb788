"""reasoning-gym's tasks by name: their options, checked, and their levels of difficulty."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from sgpo.errors import one_line
from sgpo.problems.domains.registry import DomainError

DOMAIN = "reasoning-gym"
_OURS = ("seed", "size")


def task_names() -> list[str]:
    """Return the names of all tasks. Raises DomainError where the package is not installed."""
    return sorted(_factory().DATASETS)


def open_task(task: str, seed: int, size: int, options: Mapping[str, Any]) -> Any:
    """Return reasoning-gym's data set of a task. Raises DomainError for an unknown task or option, or a wrong value."""
    factory = _factory()
    if task not in factory.DATASETS:
        raise DomainError(f"{DOMAIN}:{task}: no such task ({_nearest(task, factory.DATASETS) or 'see its gallery'})")
    known = [field.name for field in dataclasses.fields(factory.DATASETS[task][1]) if field.name not in _OURS]
    for name in options:
        if name in _OURS:
            raise DomainError(f"{DOMAIN}:{task}: '{name}' is --{name} here")
        if name not in known:
            nearest = _nearest(name, known)
            raise DomainError(
                f"{DOMAIN}:{task}: no option '{name}' (expected one of {', '.join(known) or 'none'}"
                f"{f'; {nearest}' if nearest else ''})"
            )
    try:
        return factory.create_dataset(task, seed=seed, size=size, **options)
    except Exception as error:  # an assertion, most often
        shown = ", ".join(f"{name}={value}" for name, value in options.items())
        raise DomainError(f"{DOMAIN}:{task} {shown}: {one_line(error, 200) or type(error).__name__}") from None


def level_options(task: str, level: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a task at `level`, 1 the easiest, by the task's own curriculum; given `options` stay."""
    factory = _factory()
    open_task(task, 0, 1, options)
    if task not in factory.CURRICULA:
        raise DomainError(
            f"{DOMAIN}:{task}: has no levels of difficulty (expected no --levels, or options by key=value)"
        )
    curriculum = factory.create_curriculum(task)
    most = max((len(attribute.levels) for attribute in curriculum.attributes.values()), default=1)
    if level > most:
        raise DomainError(f"{DOMAIN}:{task}: has {most} levels of difficulty (level {level} was asked for)")
    for name, attribute in curriculum.attributes.items():
        curriculum.set_attr_level(name, min(level, len(attribute.levels)) - 1)
    chosen = dataclasses.asdict(curriculum.generate_configuration())
    fresh = dataclasses.asdict(factory.DATASETS[task][1]())
    changed = {name: value for name, value in chosen.items() if value != fresh.get(name) and name not in _OURS}
    return as_json({**changed, **options}, task)


def as_json(options: Mapping[str, Any], task: str) -> dict[str, Any]:
    """Return options as they come back from JSON, in which a problem keeps them. Raises DomainError."""
    try:
        return json.loads(json.dumps(dict(options), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise DomainError(f"{DOMAIN}:{task}: options that are no JSON: {one_line(error, 200)}") from None


def installed_version() -> str:
    """Return the version of the package."""
    from importlib.metadata import version

    return version("reasoning-gym")


def _factory() -> Any:
    try:
        from reasoning_gym import factory
    except ModuleNotFoundError as error:
        raise DomainError(f"{DOMAIN}: {error} (expected `pip install '.[reasoning]'` in the checkout)") from None
    return factory


def _nearest(name: str, known: Iterable[str]) -> str | None:
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"'{found[0]}' is nearest" if found else None
