"""Which leak check a strategy gets: that of its domain's prompts. Each domain gives away something else."""

from __future__ import annotations

from sgpo.config.domains import Prompts
from sgpo.problems.schema import Problem
from sgpo.strategies.leaks.answer_parts import find_answer_parts
from sgpo.strategies.leaks.leak import Described, find_leak
from sgpo.strategies.leaks.solution_lines import find_solution_lines
from sgpo.strategies.refusals import Refusal


def find_domain_leak(strategy: Described, problem: Problem, prompts: Prompts, response: str = "") -> Refusal | None:
    """Why `strategy` gives away the solution, or None.

    Mathematics: answer and results. Logic: the answer's parts. Code: lines of the gold program or of the `response`.
    """
    if prompts == "mathematics":
        return find_leak(strategy, problem)
    if prompts == "code":
        return find_solution_lines(strategy, problem, response)
    return find_answer_parts(strategy, problem)
