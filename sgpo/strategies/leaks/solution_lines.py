"""Whether a strategy for a programming task has a line of its solution, or code at all; words are what it may have."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sgpo.problems.domains.fences import last_block
from sgpo.problems.schema import Problem
from sgpo.strategies.leaks.leak import Described
from sgpo.strategies.leaks.wording import excerpt
from sgpo.strategies.refusals import Refusal

_SHORTEST = 6
"""Characters, spaces apart, from which a line or an expression tells more than its words would."""
_CODE = re.compile(r"```|~~~|>>>|\bdef \w+\s?\(|\blambda\b[^.]{0,40}:|\bimport \w+\s*$|\w+\[[^\]]*:[^\]]*\]")
_COMMENT = re.compile(r"(?<!['\"])#[^'\"]*$")
_SIDES = re.compile(
    r"^(?:return\b|yield\b|assert\b|if\b|elif\b|while\b|for\b[^=]*?\bin\b|[\w\[\]., ]+?[-+*/%|&^]?=(?!=))(.*?):?$"
)


def find_solution_lines(strategy: Described, problem: Problem, response: str = "") -> Refusal | None:
    """Why `strategy` gives the program away, or None: the gold one's lines, and those of a response's last block."""
    question = _compact(problem.question)
    programs = [problem.answer, last_block(response) or ""]
    pieces = sorted({piece for program in programs for piece in _pieces(program) if piece not in question}, key=len)
    for text in (strategy.problem_type, strategy.approach, *strategy.steps):
        if found := _CODE.search(text):
            return Refusal("states_answer", f"has code, '{found[0][:40]}': {excerpt(text)}")
        compact = _compact(text)
        for piece in reversed(pieces):
            if piece in compact:
                return Refusal("states_answer", f"has '{piece[:60]}' of a solution: {excerpt(text)}")
    return None


def _pieces(program: str) -> Iterator[str]:
    """Yield each line of a program, and what it returns, assigns or tests, without spaces; plain names are words."""
    for line in program.splitlines():
        line = _COMMENT.sub("", line).strip()
        side = _SIDES.match(line)
        for text in (line, side[1] if side else ""):
            piece = _compact(text)
            if len(piece) >= _SHORTEST and not piece.rstrip(":").isalpha():
                yield piece


def _compact(text: str) -> str:
    return re.sub(r"[\s`]+", "", text).casefold()
