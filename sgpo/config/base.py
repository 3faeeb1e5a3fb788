"""The base of all settings: validated, immutable, and errors that name the key."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from sgpo.errors import UserError, one_line

_CREDENTIALS = re.compile(r"^https?://[^/\s?#]*@|//[^/\s:@]*:[^/\s]*@", re.IGNORECASE)
"""Anything before the host of a web address, as a token may be the user; elsewhere user and password."""


class ConfigError(UserError, ValueError):
    """A configuration that cannot be used; the message names file, key and what would be right."""


class Settings(BaseModel):
    """Base of all settings: immutable, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def without_password(address: str, expected: str) -> str:
    """Return the address; ValueError, saying what is `expected`, when it holds a password: settings are stored."""
    if _CREDENTIALS.search(address):
        raise ValueError(f"it holds a password (expected {expected})")
    return address


Precision = Literal["float32", "bfloat16"]
SettingsT = TypeVar("SettingsT", bound=Settings)
_PASSWORD = re.compile(r"//[^/\s]*@")
"""What a URL has before its host; it is never shown."""


def parse_settings(model: type[SettingsT], tree: dict[str, Any], where: str) -> SettingsT:
    """Validate `tree` as `model`; ConfigError names `where`, the dotted key and what would be right."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("; ".join(_describe(model, where, item) for item in error.errors())) from None


def config_digest(config: Settings) -> str:
    """Short stable hash of a configuration, for lineage tags."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def dump_config(config: Settings) -> str:
    """Return the configuration as YAML that `load_config` reads back to an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


class _KeysOnce(yaml.SafeLoader):
    """Refuses a key that a mapping gives twice: YAML's own loader takes the last one, and drops the other silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping of a node."""
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and lines.setdefault(key.value, line) != line:
                first = lines[key.value]
                raise yaml.YAMLError(f"key '{key.value}' in line {line} is in line {first} already (expected once)")
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the settings in a YAML file; ConfigError names it where it is none, or gives a key twice."""
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=_KeysOnce)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {one_line(error)}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected a mapping of settings, found {type(tree).__name__}")
    return tree


def _describe(model: type[BaseModel], where: str, item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"]) or "(whole)"
    if item["type"] == "whole_line":
        return f"{where}: {item['msg']}"
    if item["type"] == "extra_forbidden":
        return f"{where}: unknown key '{key}' (expected one of: {', '.join(_siblings(model, item['loc']))})"
    shown = _PASSWORD.sub("//***@", repr(item["input"]))
    return f"{where}: '{key}' is {shown}: {item['msg']}" if key != "(whole)" else f"{where}: {item['msg']}"


def _siblings(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    for part in loc[:-1]:
        if str(part) not in model.model_fields:
            continue  # a name that the settings choose, as of a benchmark
        annotation = model.model_fields[str(part)].annotation
        for kind in (annotation, *get_args(annotation)):
            model = kind if isinstance(kind, type) and issubclass(kind, BaseModel) else model
    return sorted(model.model_fields)
