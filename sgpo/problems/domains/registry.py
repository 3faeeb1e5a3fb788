"""Which verifier judges a domain: the recipe's `domains`, the ones built in, or a package's entry point."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from sgpo.config.domains import DomainConfig, Prompts
from sgpo.errors import UserError

GROUP = "sgpo.verifiers"
"""The entry points of packages: the name is a domain, the object a verifier."""
MATH = "math"
_HERE = "sgpo.problems.domains"
_BUILT_IN: dict[str, tuple[str, Prompts, float | None]] = {  # the last are seconds for a verdict
    MATH: ("sgpo.problems.verifier:Verifier", "mathematics", None),
    "exact": (f"{_HERE}.exact:judge", "logic", None),
    "choice": (f"{_HERE}.choice:judge", "logic", None),
    "json": (f"{_HERE}.json_equality:judge", "logic", None),
    "reasoning-gym": (f"{_HERE}.reasoning_gym.judge:ReasoningGymVerifier", "logic", 30.0),
    "code": (f"{_HERE}.code.judge:CodeVerifier", "code", 30.0),
}


class DomainError(UserError):
    """A domain that cannot be judged; the message has the nearest name, or what is missing."""


@dataclass(frozen=True, slots=True)
class DomainSpec:
    """A domain's verifier by its import path `verifier`, its settings, and in `origin` who registered it."""

    domain: str
    verifier: str
    origin: str
    options: Mapping[str, Any] = field(default_factory=dict)
    threshold: float = 1.0
    timeout_s: float | None = None
    memory_mb: int = 1024
    prompts: Prompts = "logic"

    @property
    def is_mathematics(self) -> bool:
        """Whether this is the verifier of mathematics itself, which needs no plug-in."""
        return self.verifier == _BUILT_IN[MATH][0]


def known_domains(settings: Mapping[str, DomainConfig] | None = None) -> dict[str, DomainSpec]:
    """Return every domain that can be judged, by name. Raises DomainError for a name that is registered twice."""
    found = dict(_installed())
    for name, chosen in (settings or {}).items():
        there = found.get(name)
        if not chosen.verifier and there is None:
            raise DomainError(
                f"domains.{name}: {_unknown(name, found)}; or domains.{name}.verifier, package.module:name"
            )
        if there is not None and there.is_mathematics and not chosen.verifier and chosen != DomainConfig():
            raise DomainError(f"domains.{name}: mathematics takes no options (expected a verifier of your own)")
        default = there or DomainSpec(name, "", "recipe")
        found[name] = DomainSpec(
            name, chosen.verifier or default.verifier, "recipe", chosen.options, chosen.threshold,
            chosen.timeout_s or default.timeout_s, chosen.memory_mb, chosen.prompts or default.prompts,
        )  # fmt: skip
    return found


def find_domain(domain: str, settings: Mapping[str, DomainConfig] | None = None) -> DomainSpec:
    """Return what judges `domain`; DomainError names the nearest domain that there is."""
    known = known_domains(settings)
    if domain not in known:
        raise DomainError(_unknown(domain, known))
    return known[domain]


def prompts_of(domain: str, settings: Mapping[str, DomainConfig] | None = None) -> Prompts:
    """Return in which wording strategies of a domain are asked for; mathematics needs no look at what is installed."""
    return "mathematics" if domain == MATH and not settings else find_domain(domain, settings).prompts


@cache
def _installed() -> Mapping[str, DomainSpec]:
    found = {
        name: DomainSpec(name, path, "built in", prompts=kind, timeout_s=seconds)
        for name, (path, kind, seconds) in _BUILT_IN.items()
    }
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        package = entry.dist.name if entry.dist is not None else "a package"
        there = found.get(entry.name)
        if there is not None and (there.verifier, there.origin) != (entry.value, package):
            raise DomainError(
                f"domain '{entry.name}': registered by {package} ({entry.value}), but there is one already, "
                f"{there.origin} (expected another name, or one of them in `domains` of the recipe)"
            )
        found[entry.name] = DomainSpec(entry.name, entry.value, package)
    return found


def _unknown(name: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; '{nearest[0]}' is nearest" if nearest else ""
    return f"no verifier for domain '{name}' (expected one of {', '.join(sorted(known))}{hint})"
