"""What runs in a worker process: loading verifiers, and one verdict, presentation or check at a time."""

from __future__ import annotations

import difflib
import inspect
import logging
import math
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Protocol, get_args

from sgpo.errors import UserError, one_line
from sgpo.problems.domains.registry import DomainError, DomainSpec
from sgpo.problems.schema import Problem

if TYPE_CHECKING:
    from sgpo.problems.verifier import Reason, Verdict

logger = logging.getLogger(__name__)


class DomainVerifier(Protocol):
    """Judges one response. A function, or an object of a class that takes the options; it may raise and hang.

    It may have `present(problem) -> str`, a response that gives the gold answer; without it the answer goes in a box.
    """

    def __call__(self, response: str, problem: Problem) -> Verdict: ...


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict on its way from the worker: as `Verdict`, checked."""

    correct: bool
    extracted: str | None
    reason: Reason
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Broken:
    """Why a verifier cannot be used at all: it says nothing about any response."""

    message: str


@dataclass(frozen=True, slots=True)
class _Loaded:
    spec: DomainSpec
    verifier: DomainVerifier
    present: Callable[[Problem], str]


_loaded: dict[str, _Loaded | Broken] = {}


def prepare(memory_bytes: int, specs: Sequence[DomainSpec]) -> None:
    """Worker start: bound the memory and load the verifiers, so that no verdict's time goes into an import."""
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    for spec in specs:
        _loaded[spec.domain] = load(spec)


def load(spec: DomainSpec) -> _Loaded | Broken:
    """Return the verifier at an import path with its options, or why there is none."""
    where = f"domain '{spec.domain}': {spec.verifier}"
    try:
        found: Any = resolve_name(spec.verifier)
    except Exception as error:  # whatever somebody's module raises while it is imported
        return Broken(f"{where} cannot be imported: {one_line(error, 300)} (expected package.module:name)")
    if not callable(found):
        return Broken(f"{where} is a {type(found).__name__} (expected a function or a class)")
    try:
        verifier: Any = found(**spec.options) if inspect.isclass(found) else partial(found, **spec.options)
        inspect.signature(verifier).bind("", None)
    except UserError as error:
        return Broken(f"domain '{spec.domain}': {error}")
    except Exception as error:
        return Broken(f"{where} {_unknown_option(found, spec) or f'cannot be made: {one_line(error, 300)}'}")
    present = getattr(verifier, "present", None) or getattr(found, "present", None) or _boxed
    return _Loaded(spec, verifier, present)


def ready(domain: str) -> Broken | None:
    """Return why a verifier cannot be used, or None."""
    found = _loaded[domain]
    return found if isinstance(found, Broken) else None


def present(domain: str, problem: Problem) -> str | Broken:
    """Return a response that gives the gold answer as the domain's verifier wants it."""
    found = _loaded[domain]
    return found if isinstance(found, Broken) else found.present(problem)


def judge(domain: str, response: str, problem: Problem, cpu_seconds: float) -> Judged | Broken:
    """Return the verdict of the domain's verifier; what it raises costs this verdict alone.

    `cpu_seconds` is enforced by the kernel, so that this process ends even when nobody is left to kill it.
    """
    found = _loaded[domain]
    if isinstance(found, Broken):
        return found
    _limit_cpu(cpu_seconds)
    try:
        verdict = found.verifier(response, problem)
    except DomainError as error:  # the verifier's own word for "not this response: nothing at all"
        return Broken(str(error))
    except (Exception, SystemExit):
        logger.warning("domain %r: judging %r failed", domain, response[:200], exc_info=True)
        return Judged(False, None, "crashed")
    return checked(verdict, found.spec)


def checked(verdict: object, spec: DomainSpec) -> Judged | Broken:
    """Return a plug-in's verdict by the threshold, or what is wrong with what it returned."""
    from sgpo.problems.verifier import Reason, Verdict

    where = f"domain '{spec.domain}': {spec.verifier} returned"
    if not isinstance(verdict, Verdict):
        return Broken(f"{where} {one_line(repr(verdict), 80)} (expected a Verdict)")
    score, reason, extracted = verdict.score, verdict.reason, verdict.extracted
    if score is not None and not (isinstance(score, (int, float)) and math.isfinite(score) and 0.0 <= score <= 1.0):
        return Broken(f"{where} a score of {score!r} (expected 0.0 to 1.0, or None)")
    if reason not in get_args(Reason):
        return Broken(f"{where} the reason {reason!r} (expected one of {', '.join(get_args(Reason))})")
    if not (extracted is None or isinstance(extracted, str)):
        return Broken(f"{where} a {type(extracted).__name__} as extracted (expected text, or None)")
    correct = bool(verdict.correct) if score is None else score >= spec.threshold
    if correct != (reason == "correct"):
        if score is None:
            return Broken(f"{where} correct={verdict.correct!r} with the reason '{reason}' (expected both to agree)")
        reason = "correct" if correct else "wrong"
    return Judged(correct, extracted, reason, None if score is None else float(score))


def _unknown_option(found: Any, spec: DomainSpec) -> str | None:
    """Return which option there is not, with the nearest that there is."""
    try:
        parameters = list(inspect.signature(found).parameters)
    except (TypeError, ValueError):
        return None
    known = parameters if inspect.isclass(found) else parameters[2:]
    unknown = next((name for name in spec.options if name not in known), None)
    if unknown is None:
        return None
    nearest = difflib.get_close_matches(unknown, known, n=1, cutoff=0.5)
    hint = f"; '{nearest[0]}' is nearest" if nearest else ""
    return f"has no option '{unknown}' (expected {'one of ' + ', '.join(known) if known else 'none'}{hint})"


def _limit_cpu(seconds: float) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    limit = math.ceil(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit if hard < 0 else min(limit, hard), hard))


def _boxed(problem: Problem) -> str:
    return f"\\boxed{{{problem.answer}}}"
