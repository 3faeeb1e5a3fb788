"""What each system around takes for a name: one function per system, and the only place that knows its rules.

Names that a person chooses are checked when settings are read, so that a run does not fail after hours because a system
refuses its name. Names that are made from data (a benchmark, a tier, a reason) are brought into the system's alphabet,
two different ones never into the same name.
"""

import hashlib
import re

RUN_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"
"""A run's id: a folder, a part of S3 keys and of MLflow's and Prefect's names on every system."""

_RUN_NAME = re.compile(RUN_NAME.strip("^$"))
_STORED = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*", re.ASCII)
_METRIC = re.compile(r"[\w.\-: ]+(/[\w.\-: ]+)*", re.ASCII)
_METRIC_LENGTH = 250
_PATHS = {"", ".", ".."}
"""MLflow takes no name that would be another one if it were a path."""
_NOT_IN_A_REGISTERED_MODEL = "/:@%?#\"'\\"
_NOT_IN_A_LOGGED_MODEL = re.compile(r"[/:.%\"']")
_REGISTERED_LENGTH = 256
_EXPERIMENT_LENGTH = 500


def is_run_name(text: str) -> bool:
    """Whether a run can have this id."""
    return _RUN_NAME.fullmatch(text) is not None


def base_run_id(digest: str) -> str:
    """Return the run id that stands for a registered model that no run has trained, by the digest of its bytes."""
    return f"base-{digest[:16]}"


def check_registered_model(name: str) -> str:
    """Return the name when MLflow's registry takes it and an address can hold it; ValueError says what it may not hold.

    MLflow refuses `/` and `:`; `@`, `%`, `?`, `#`, quotes and backslashes change what `models:/<name>@<alias>` means.
    """
    if bad := sorted(set(name) & set(_NOT_IN_A_REGISTERED_MODEL)):
        raise ValueError(f"MLflow's registry takes no {' '.join(bad)} in a name (expected one like math-qwen2.5-1.5b)")
    return _plain(name, _REGISTERED_LENGTH, "math-qwen2.5-1.5b")


def check_experiment(name: str) -> str:
    """Return the name when MLflow takes it for an experiment; ValueError says what would be right."""
    return _plain(name, _EXPERIMENT_LENGTH, "sgpo")


def logged_model_name(registered: str) -> str:
    """Return the name of a logged model in MLflow, which may hold less than the registered model that it belongs to."""
    return _NOT_IN_A_LOGGED_MODEL.sub("-", registered)


def metric_part(text: str) -> str:
    """Return `text`, which comes from data, as a part of a metric's name in MLflow: ASCII, without slashes.

    Where something had to be replaced, six hexadecimal digits keep different texts apart.
    """
    name = re.sub(r"[^\w. -]", "_", text, flags=re.ASCII)[: _METRIC_LENGTH // 4]
    return name if name == text and name not in _PATHS else f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def check_metric(name: str) -> str:
    """Return the name when MLflow takes it for a metric; ValueError says what would be right."""
    if not _METRIC.fullmatch(name) or len(name) > _METRIC_LENGTH or _PATHS & set(name.split("/")):
        raise ValueError(f"metric '{name}' is no name for MLflow (expected one like eval/aime/avg_at_4)")
    return name


def is_stored_name(name: str) -> bool:
    """Whether a stored folder or a lock in object storage can have this name: parts as of a run's id, with slashes."""
    return _STORED.fullmatch(name) is not None


def artifact_key(text: str) -> str:
    """Return `text` as the key of an artifact in Prefect: small letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _plain(name: str, longest: int, example: str) -> str:
    """Return a name that is one printable line and no path to another one (`.`, `..`)."""
    if name != name.strip() or not name.isprintable() or name in _PATHS or len(name) > longest:
        raise ValueError(f"not a name of 1 to {longest} printable characters, with none blank at the ends "
                         f"(expected one like {example})")  # fmt: skip
    return name
