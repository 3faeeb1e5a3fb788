"""The verifiers of other domains than mathematics, tried before they may reward: `sgpo.problems.domains.stress`."""

from __future__ import annotations

from collections.abc import Sequence

from sgpo.checks.finding import Finding
from sgpo.config import RunConfig
from sgpo.errors import UserError
from sgpo.problems import Problem, Verifier
from sgpo.problems.domains.registry import find_domain
from sgpo.problems.domains.stress import stress

GROUP = "data"
TRIED = 5
"""Problems of a domain; `sgpo verifiers check` tries more."""


def check_verifiers(problems: Sequence[Problem], config: RunConfig) -> list[Finding]:
    """Return a finding for each domain of `problems` that a plug-in judges, none where one cannot be used at all.

    That one's golds have been refused already, in the plug-in's own words.
    """
    try:
        asked = [problem for problem in problems if not find_domain(problem.domain, config.domains).is_mathematics]
        if not asked:
            return []
        evaluation = config.evaluation
        with Verifier(evaluation.verifier_timeout, evaluation.verifier_workers, config.domains, asked) as verifier:
            reports = stress(asked, verifier, TRIED)
    except UserError:
        return []
    cure = "a verifier that passes the gold answer alone, twice the same (`sgpo verifiers check` has the problems)"
    return [
        Finding(GROUP, f"verifier of {report.domain}", "ok", report.lines()[0].partition(": ")[2]) if report.passed
        else Finding(GROUP, f"verifier of {report.domain}", "wrong", "; ".join(report.failures), cure)
        for report in reports
    ]  # fmt: skip
