"""Verdicts on problems of other domains than mathematics: each is a plug-in's, in a process that can be killed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sgpo.config.domains import DomainConfig
from sgpo.problems.domains import worker
from sgpo.problems.domains.registry import MATH, DomainError, DomainSpec, find_domain
from sgpo.problems.domains.worker import Broken, Judged
from sgpo.problems.schema import Problem
from sgpo.problems.workers import KillableWorkers

_MEGABYTE = 1 << 20
_READY_SECONDS = 60.0


class DomainJudges:
    """Finds, loads and asks the verifiers of domains; `timeout_s` bounds a verdict where the domain has none."""

    def __init__(self, settings: Mapping[str, DomainConfig], timeout_s: float, workers: int) -> None:
        self._settings, self._timeout_s, self._processes = settings, timeout_s, workers
        self._mathematics_replaced = MATH in settings and settings[MATH].verifier != ""
        self._specs: dict[str, DomainSpec] = {}
        self._workers: KillableWorkers | None = None

    def judges(self, problem: Problem) -> bool:
        """Whether a plug-in judges this problem, and not the verifier of mathematics."""
        return problem.domain != MATH or self._mathematics_replaced

    def require(self, domains: Iterable[str]) -> None:
        """Load the verifiers of `domains`. Raises DomainError for one that is unknown, broken or lacks something."""
        if broken := self.broken(domains):
            raise DomainError(next(iter(broken.values())))

    def broken(self, domains: Iterable[str]) -> dict[str, str]:
        """Load the verifiers of `domains`; return why any cannot judge. Raises DomainError for one unknown."""
        wanted = [name for name in dict.fromkeys(domains) if not self._is_mathematics(name)]
        running = self._load(wanted)
        states = (
            running.run(worker.ready, [(name,) for name in wanted], [_READY_SECONDS] * len(wanted)) if wanted else []
        )
        return {
            name: state.message if isinstance(state, Broken) else f"domain '{name}': {state} at its start"
            for name, state in zip(wanted, states, strict=True)
            if state is not None
        }

    def score_many(self, pairs: Sequence[tuple[str, Problem]]) -> list[Judged]:
        """One verdict per (response text, problem), in order; equal pairs are judged once. Raises DomainError.

        A crash or a hang costs one verdict; a verifier that returns no verdict is an error of the verifier.
        """
        keys = list(dict.fromkeys(pairs))
        running = self._load(problem.domain for _, problem in keys)
        timeouts = [self._specs[problem.domain].timeout_s or self._timeout_s for _, problem in keys]
        items = [
            (problem.domain, text, problem, 2 * seconds)
            for (text, problem), seconds in zip(keys, timeouts, strict=True)
        ]
        found: dict[tuple[str, Problem], Judged] = {}
        for key, result in zip(keys, running.run(worker.judge, items, timeouts), strict=True):
            found[key] = _usable(result if isinstance(result, Judged | Broken) else Judged(False, None, result))
        return [found[pair] for pair in pairs]

    def present_many(self, problems: Sequence[Problem]) -> list[str]:
        """Return for each problem a response that gives its gold answer. Raises DomainError."""
        running = self._load(problem.domain for problem in problems)
        items = [(problem.domain, problem) for problem in problems]
        texts: list[str] = []
        for problem, text in zip(
            problems, running.run(worker.present, items, [self._timeout_s] * len(items)), strict=True
        ):
            if isinstance(text, Broken) or text in ("timeout", "crashed"):
                why = text.message if isinstance(text, Broken) else f"{text} while presenting the gold answer"
                raise DomainError(f"problem '{problem.id}': {why}")
            texts.append(text)
        return texts

    def stop(self) -> None:
        """End the processes."""
        if self._workers is not None:
            self._workers.stop()

    def _is_mathematics(self, domain: str) -> bool:
        return find_domain(domain, self._settings).is_mathematics

    def _load(self, domains: Iterable[str]) -> KillableWorkers:
        """Return workers that know these domains: others are started where one is new."""
        new = [name for name in dict.fromkeys(domains) if name not in self._specs]
        self._specs.update({name: find_domain(name, self._settings) for name in new})
        if self._workers is None or new:
            self.stop()
            memory = max((spec.memory_mb for spec in self._specs.values()), default=1) * _MEGABYTE
            specs = tuple(self._specs.values())
            self._workers = KillableWorkers(self._processes, worker.prepare, (memory, specs))
        return self._workers


def _usable(result: Judged | Broken) -> Judged:
    if isinstance(result, Broken):
        raise DomainError(result.message)
    return result
