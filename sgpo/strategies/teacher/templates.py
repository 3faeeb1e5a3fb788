"""From problem, response and candidates to the messages of a request: versioned templates in `prompts/`."""

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from string import Template

from sgpo.problems.schema import Problem
from sgpo.strategies.parsing import ParsedStrategy
from sgpo.strategies.teacher.teacher import Message

PROMPT_VERSION = "v1"
"""The folder of `prompts/` in use. A changed wording gets a new folder, since records name the one they came from."""

_MARKER = re.compile(r"<(?=/?(?:problem|response|candidate)\b)", re.IGNORECASE)


def respond_request(problem: Problem) -> list[Message]:
    """Ask for a full solution."""
    return _request("respond", question=inert(problem.question))


def extract_request(problem: Problem, response: str, max_words: int) -> list[Message]:
    """Ask for one strategy candidate."""
    return _request("extract", question=inert(problem.question), response=inert(response), max_words=str(max_words))


def rank_request(problem: Problem, response: str, candidates: Sequence[ParsedStrategy]) -> list[Message]:
    """Ask for scores of all candidates at once; they are numbered from 1."""
    blocks = (
        f'<candidate index="{number}">\n{inert(candidate.text())}\n</candidate>'
        for number, candidate in enumerate(candidates, start=1)
    )
    return _request(
        "rank",
        question=inert(problem.question),
        response=inert(response),
        candidates="\n\n".join(blocks),
        count=str(len(candidates)),
    )


@cache
def _template(name: str) -> Template:
    path = files("sgpo.strategies.teacher") / "prompts" / PROMPT_VERSION / f"{name}.txt"
    return Template(path.read_text(encoding="utf-8"))


def _request(name: str, **values: str) -> list[Message]:
    # One user turn: DeepSeek-R1's usage notes advise against a system prompt.
    return [Message("user", _template(name).substitute(values))]


def inert(text: str) -> str:
    """Return text that cannot close or open one of our own markers: a space goes behind the bracket."""
    return _MARKER.sub("< ", text.strip())
