"""What judges, as a hash: settings of domains say where a verifier is, and not what it does there."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

from sgpo.config.domains import DomainConfig
from sgpo.problems.domains.registry import DomainSpec, find_domain
from sgpo.problems.schema import Problem

_OURS = "sgpo"
_LIBRARIES = {"reasoning-gym": "reasoning_gym"}
"""Packages that a verifier of ours asks, by domain."""


def verifiers_digest(problems: Iterable[Problem], settings: Mapping[str, DomainConfig] | None = None) -> str | None:
    """Return a hash of the verifiers of the problems' domains; None where mathematics alone is judged by ours.

    Raises DomainError for an unknown domain.
    """
    digests = verifier_digests({problem.domain for problem in problems}, settings)
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:16] if digests else None


def verifier_digests(domains: Iterable[str], settings: Mapping[str, DomainConfig] | None = None) -> dict[str, str]:
    """Return a hash of each domain's verifier, by domain; mathematics judged by ours has none.

    Of each: its settings, the version of its package, and all Python files of the package, or of the module that
    stands alone. Raises DomainError for an unknown domain.
    """
    specs = [find_domain(name, settings) for name in sorted(set(domains))]
    return {spec.domain: _digest(spec) for spec in specs if not spec.is_mathematics}


def _digest(spec: DomainSpec) -> str:
    tree = {**asdict(spec), "options": dict(spec.options)}
    digest = hashlib.sha256(json.dumps(tree, sort_keys=True, default=str).encode())
    top = spec.verifier.partition(":")[0].partition(".")[0]
    for package in (_LIBRARIES.get(spec.domain), None if top == _OURS else top):
        if package is not None:
            _add_package(package, digest)
    return digest.hexdigest()[:16]


def _add_package(name: str, digest: hashlib._Hash) -> None:
    for distribution in sorted(packages_distributions().get(name, ())):
        digest.update(f"{distribution} {version(distribution)}\0".encode())
    spec = find_spec(name) if name not in sys.modules else sys.modules[name].__spec__
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    files = [path for folder in folders for path in sorted(Path(folder).rglob("*.py"))]
    if not folders and spec is not None and spec.has_location and spec.origin is not None:
        files = [Path(spec.origin)]
    for file in files:
        digest.update(f"{file.name}\0".encode())
        digest.update(file.read_bytes())
