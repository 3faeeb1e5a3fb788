"""Finding a method by its name: a file of this folder, or a module of one's own."""

import difflib
import inspect
import pkgutil
from functools import cache
from importlib import import_module

import sgpo.algorithms
from sgpo.algorithms.base import Algorithm
from sgpo.config.training import TrainingConfig

_NOT_METHODS = {"base", "registry", "rows"}


@cache
def names() -> tuple[str, ...]:
    """Return the names of the methods in this folder, for `training.algorithm.type`."""
    found = {module.name for module in pkgutil.iter_modules(sgpo.algorithms.__path__)} - _NOT_METHODS
    return tuple(sorted(found))


@cache
def method(name: str) -> type[Algorithm]:
    """Return the class of the method `name`: a file here, or `package.module` for one of one's own.

    Raises LookupError with the nearest name, and when a module cannot be imported or holds no method.
    """
    if name not in names() and "." not in name:
        nearest = difflib.get_close_matches(name, names(), n=1)
        hint = f"; '{nearest[0]}' is nearest" if nearest else ""
        raise LookupError(f"'{name}' is no method (expected {', '.join(names())}, or package.module of your own{hint})")
    path = f"sgpo.algorithms.{name}" if name in names() else name
    try:
        module = import_module(path)
    except ImportError as error:
        raise LookupError(
            f"'{name}' cannot be imported: {error} (expected package.module on the Python path)"
        ) from None
    classes = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Algorithm) and value.__module__ == module.__name__
    ]
    if len(classes) != 1:
        raise LookupError(f"'{name}' defines {len(classes)} subclasses of Algorithm (expected exactly 1)")
    return classes[0]


def build(training: TrainingConfig, seed: int) -> Algorithm:
    """Return the method of a run, as `training.algorithm` says."""
    return method(training.algorithm.type)(training.algorithm, training, seed)
